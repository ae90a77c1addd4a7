"""What a repository's own `.cargo/config.toml` files decide: recorded, evaluated as cargo does, never in
effect.

A configuration can name programs (a compiler wrapper, a linker, a credential provider). So cargo never sees a
repository's; it sees `RecordedConfig.resolution`, which holds data only. What decides whether units are
reused (rustflags, linker) is recorded beside it, and everything else is listed as ignored, each with its
reason.

The rules are those of `cargo/util/context`: `.cargo/config` wins over `.cargo/config.toml` in the same
folder; the folder nearer to the workspace wins, except that arrays are joined, the nearer one last, unless
they name a program. Files above the repository are not read: a CI job does not have them.
"""

from __future__ import annotations

import enum
import fnmatch
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import tomlkit

from factory.scan.cfg_expression import CfgSet, CfgSyntaxError, parse_target_key
from factory.scan.config_files import INCLUDE, configuration_files, configuration_in, malformed, place_of_key
from factory.scan.model import IgnoredSetting, SkipReason, UnscannableError
from factory.scan.source_tree import SourceTree, escaped, normalised
from factory.toml_lines import dotted, line_of_key, lines_of_keys
from factory.triple import is_triple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from factory.scan.config_files import ConfigFile


CfgsUnder = Callable[[tuple[str, ...]], CfgSet]
"""What `rustc --print cfg` says of a platform under some flags."""


class Replacement(enum.StrEnum):
    """What a configuration can have crates of crates.io taken from instead, in the words of people."""

    VENDORED = "vendored sources"
    LOCAL_REGISTRY = "a local registry"
    GIT = "a git repository"
    REGISTRY = "another registry"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedConfig:
    """What the configuration of one workspace says, merged as cargo does; every sequence is sorted by its
    key.
    """

    build_rustflags: tuple[str, ...] = ()
    target_rustflags: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """For each key of `[target]`, a triple or `cfg(...)`."""
    linkers: tuple[tuple[str, str], ...] = ()
    """For each key of `[target]`, the linker as written."""
    build_targets: tuple[str, ...] = ()
    """The triples of `build.target`: not empty if cargo builds as with `--target`."""
    resolution: str = ""
    """The TOML that cargo may see: `registries.*.index`, `[patch]`, `[profile]` and `build.target`, sorted.
    """
    patch_folders: tuple[Path, ...] = ()
    """The folders of `[patch]` entries with a path."""
    ignored: tuple[IgnoredSetting, ...] = ()
    """What never takes effect here."""
    replacement: Replacement | None = None
    """What its `[source]` tables put for crates.io."""
    doubts: tuple[tuple[str, str], ...] = ()
    """Keys of ignored settings with which a build finds less fresh than is forecast, each with what it does there."""
    including: str = ""
    """The place of the first `include`; "" where there is none."""
    unread: tuple[str, ...] = ()
    """What is included and not in the repository: nobody knows here what it sets."""

    def effective_rustflags(
        self, triple: str, cfgs_under: CfgsUnder, *, beneath: tuple[str, ...] = ()
    ) -> tuple[str, ...]:
        """Return the flags cargo would pass for `triple`.

        Those of `target.<triple>` and of every matching `target.'cfg(...)'`, by sorted key; if there are
        none, those of `build.rustflags`, after those that CARGO_HOME's configuration sets (`beneath`): cargo joins
        the arrays of all files. They are hostile data: see `factory.cargo.rustflags` before any program gets them.

        Flags decide which `cfg(...)` match, which decide the flags. As cargo does, those without any `cfg(...)` are
        taken for the first question, and the answer is not asked about again.
        """
        first = self._rustflags(triple, None, beneath)
        if not any(map(_is_cfg, dict(self.target_rustflags))):
            return first
        return self._rustflags(triple, cfgs_under(first), beneath)

    def effective_linker(self, triple: str, cfgs_under: CfgsUnder, *, beneath: tuple[str, ...] = ()) -> str | None:
        """Return the linker cargo would use for `triple`, as written, or `None` for rustc's own choice.

        Raises `UnscannableError` where several `cfg(...)` keys match: cargo refuses that too.
        """
        linkers = dict(self.linkers)
        if triple in linkers or not any(map(_is_cfg, linkers)):
            return linkers.get(triple)
        cfgs = cfgs_under(self.effective_rustflags(triple, cfgs_under, beneath=beneath))
        matching = [key for key in linkers if _matches(key, cfgs)]
        if len(matching) > 1:
            what = f"the linker is set by both `target.{matching[0]}` and `target.{matching[1]}`"
            raise UnscannableError(SkipReason.MALFORMED_CONFIG, what, advice="keep one: cargo refuses both")
        return linkers[matching[0]] if matching else None

    def target_keys(self, triple: str, cfgs_under: CfgsUnder, *, beneath: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return the keys of `[target]` that set flags or a linker for `triple`."""
        keys = {key for key, _ in (*self.target_rustflags, *self.linkers)}
        found = {triple} & keys
        if any(map(_is_cfg, keys)):
            asked = (
                self._rustflags(triple, None, beneath),
                self.effective_rustflags(triple, cfgs_under, beneath=beneath),
            )
            found |= {key for flags in asked for key in keys if _matches(key, cfgs_under(flags))}
        return tuple(sorted(found))

    def with_rustflags(self, flags: tuple[str, ...], keys: Collection[str]) -> RecordedConfig:
        """Return the configuration with `flags` for all platforms, and no others and no linker in `keys`."""
        return replace(
            self,
            build_rustflags=flags,
            target_rustflags=tuple(row for row in self.target_rustflags if row[0] not in keys),
            linkers=tuple(row for row in self.linkers if row[0] not in keys),
        )

    def _rustflags(self, triple: str, cfgs: CfgSet | None, beneath: tuple[str, ...]) -> tuple[str, ...]:
        """The flags where `cfgs` hold; `None` for those that depend on no `cfg(...)`."""
        flags = [flag for key, values in self.target_rustflags if key == triple for flag in values]
        if cfgs is not None:
            flags += [flag for key, values in self.target_rustflags if _matches(key, cfgs) for flag in values]
        return tuple(flags) or (*beneath, *self.build_rustflags)

    def build_script_override(self, triple: str, links: str) -> IgnoredSetting | None:
        """Return the setting that replaces the build scripts of packages with this `links` name on `triple`."""
        key = dotted(("target", triple, links))
        return next((setting for setting in self.ignored if setting.key == key and setting.why == _OVERRIDES), None)

    def content(self) -> dict[str, Any]:
        """Return what decides anything (all but the ignored settings), as JSON values."""
        return {
            "build_rustflags": self.build_rustflags,
            "target_rustflags": self.target_rustflags,
            "linkers": self.linkers,
            "build_targets": self.build_targets,
            "resolution": self.resolution,
        }


def _replacement(sources: Mapping[str, Any]) -> Replacement | None:
    """Return what the tables of `[source]` put for crates.io; `None` where they leave it as it is."""
    name = "crates-io"
    for _ in sources:  # so often at most: cargo refuses circles
        table = sources.get(name)
        after = table.get("replace-with") if isinstance(table, dict) else None
        if not isinstance(after, str):
            break
        name = after
    if name == "crates-io":
        return None
    table = sources.get(name)
    kinds = (kind for kind in _SOURCE_KINDS if isinstance(table, dict) and kind in table)
    # A name without a table is one of `[registries]`.
    return _SOURCE_KINDS[next(kinds, "registry")]


def read_recorded(tree: SourceTree, workspace_root: Path, *, registries: Collection[str] = ()) -> RecordedConfig:
    """Read the configuration files from `workspace_root` up to the top of its repository, and merge them.

    `registries` names those that the user's own cargo knows or has a token for: what a repository says of their index
    is ignored, or it could have the token sent to a server of its choice.
    Raises `UnscannableError` with file and line for one that cargo would refuse. What they `include`
    is read where the repository has it, and else a doubt.
    """
    taken = frozenset(map(_variable, ("crates-io", *registries)))
    merged: dict[str, Any] = {}
    ignored: list[IgnoredSetting] = []
    files = tuple(configuration_files(tree, workspace_root))
    for file in files:
        ignored.extend(_ignored(tree, file, taken))
        _merge(merged, _located(tree, file.path, file.table), ())
    recorded = _recorded(tree, workspace_root, merged, tuple(sorted(set(ignored))), taken)
    unread = tuple(sorted({name for file in files for name in file.unread}))
    return replace(
        recorded,
        including=next((place_of_key(tree, file.path, INCLUDE) for file in files if file.includes), ""),
        unread=unread,
        doubts=(*recorded.doubts, *_doubts_of_unread(unread)),
    )


def vendored_folders(tree: SourceTree, folder: Path) -> tuple[Path, ...]:
    """Return the folders that the configuration in `folder` names as sources; none where it is malformed."""
    try:
        files = tuple(configuration_in(tree, folder))
    except UnscannableError:
        return ()
    named = (
        (file.path.parent.parent, source.get("directory"))
        for file in files
        for source in _dictionaries(file.table.get("source", {}))
    )
    return tuple(normalised(base / name) for base, name in named if isinstance(name, str) and "\0" not in name)


_SOURCE_KINDS = {
    "directory": Replacement.VENDORED,
    "local-registry": Replacement.LOCAL_REGISTRY,
    "git": Replacement.GIT,
    "registry": Replacement.REGISTRY,
}
_LISTS_OF_PROGRAMS = (
    "credential-alias.*",
    "doc.browser",
    "host.runner",
    "registries.*.credential-provider",
    "registry.credential-provider",
    "target.*.runner",
)
# No build script of 2,600 packages of crates.io that were looked through asks for one of these.
READ_BY_PROGRAMS = frozenset(
    {
        "CARGO_WORKSPACE_DIR",
        "RUST_BACKTRACE",
        "RUST_LIB_BACKTRACE",
        "RUST_LOG",
        "RUST_LOG_STYLE",
        "RUST_MIN_STACK",
        "RUST_TEST_NOCAPTURE",
        "RUST_TEST_THREADS",
    }
)
"""Variables that reach compilers and build scripts as others of `[env]` do, but only running programs ask for."""
_MOST_NAMED = 8
_RUNS = "names a program to run"
_OVERRIDES = "replaces the output of a build script"
_REASONS = (
    ("build.rustc", _RUNS),
    ("build.rustc-wrapper", _RUNS),
    ("build.rustc-workspace-wrapper", _RUNS),
    ("build.rustdoc", _RUNS),
    ("build.target", "names what is no target triple, such as a specification file"),
    ("target.*.linker", "recorded, because units are reused only under the same linker; never run"),
    ("target.*.runner", _RUNS),
    ("target.*.ar", _RUNS),
    ("target.*.rustdocflags", "documentation is not built"),
    ("target.*.rustflags", "recorded, but the cfg expression is malformed, so that cargo never applies it"),
    ("target.*", _OVERRIDES),
    ("host*", "needs a nightly cargo"),
    ("unstable*", "needs a nightly cargo"),
    ("env.*", "sets a variable for compilers and build scripts: units that ask for it are compiled anew"),
    ("source.*", "replaces where crates come from"),
    ("paths", "replaces dependencies by folders"),
    ("registry.credential-provider", _RUNS),
    ("registries.*.credential-provider", _RUNS),
    ("registries.*.token", "a secret: never copied"),
    ("registries.*.index", "the registry is known on this machine or has a token here: only its own cargo says where"),
    ("registry.token", "a secret: never copied"),
    ("credential-alias.*", _RUNS),
    ("alias.*", "a command of its own"),
    ("include", "names what is not in the repository: not read"),
    ("resolver.lockfile-path", "moves the lockfile: the one beside the manifest is read"),
    ("net.*", "the network settings are those of this machine"),
    ("http.*", "the network settings are those of this machine"),
    ("*", "does not change which units there are"),
)


def _is_cfg(key: str) -> bool:
    return key.startswith("cfg(")


def _matches(key: str, cfgs: CfgSet) -> bool:
    try:
        expression = parse_target_key(key)
    except CfgSyntaxError:
        # As in cargo, which says nothing; here it is among the ignored settings.
        return False
    return expression is not None and expression.matches(cfgs)


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A single value, with the file that it comes from."""

    value: str | int
    file: Path


def _located(tree: SourceTree, path: Path, value: object) -> Any:  # noqa: ANN401 - tables, lists and leaves
    match value:
        case dict():
            return {key: _located(tree, path, item) for key, item in value.items()}
        case list():
            return [_located(tree, path, item) for item in value]
        case str() | int():
            return _Leaf(value, path)
        case _:
            what = f"{tree.display(path)}: values of type {type(value).__name__} are not supported"
            raise malformed(what)


def _merge(near: dict[str, Any], far: dict[str, Any], parents: tuple[str, ...]) -> None:
    """Put into `near` what `far` adds."""
    for key, value in far.items():
        mine = near.setdefault(key, value)
        if mine is value:
            continue
        parts = (*parents, key)
        match mine, value:
            case dict(), dict():
                _merge(mine, value, parts)
            case list(), list():
                if not any(fnmatch.fnmatchcase(dotted(parts), pattern) for pattern in _LISTS_OF_PROGRAMS):
                    near[key] = [*value, *mine]
            case (_Leaf(), _Leaf()):
                pass  # the nearer one stands
            case _:
                what = f"`{dotted(parts)}` has another type in one .cargo/config.toml than in the next one"
                raise malformed(what)


def _recorded(
    tree: SourceTree,
    root: Path,
    merged: dict[str, Any],
    ignored: tuple[IgnoredSetting, ...],
    taken: frozenset[str],
) -> RecordedConfig:
    build = _table(merged, "build")
    targets = {name: _table(_table(merged, "target"), name) for name in sorted(_table(merged, "target"))}
    triples = tuple(filter(is_triple, _strings(build.get("target"), "build.target", split=False)))
    patches = _table(merged, "patch")
    replacement = _replacement(_plain(_table(merged, "source")))
    resolution = {
        "registries": _indexes(_table(merged, "registries"), taken),
        "patch": _plain(_rebased(tree, root, patches)),
        "profile": _plain(_table(merged, "profile")),
        "build": {"target": triples} if triples else {},
    }
    return RecordedConfig(
        build_rustflags=_strings(build.get("rustflags"), "build.rustflags"),
        target_rustflags=tuple(
            (name, _strings(table["rustflags"], f"target.{name}.rustflags"))
            for name, table in targets.items()
            if "rustflags" in table
        ),
        linkers=tuple(
            (name, _string(table["linker"], f"target.{name}.linker"))
            for name, table in targets.items()
            if "linker" in table
        ),
        build_targets=triples,
        resolution=tomlkit.dumps({key: value for key, value in resolution.items() if value}, sort_keys=True),
        patch_folders=tuple(sorted({folder for _, folder in _patched(tree, patches)})),
        ignored=ignored,
        replacement=replacement,
        doubts=tuple(_doubts(merged, replacement)),
    )


def _doubts(merged: dict[str, Any], found: Replacement | None) -> Iterator[tuple[str, str]]:
    """As far as it can be seen without an image: `warm-doctor` in it says of each whether it breaks the contract."""
    if found is not None:
        mirror = "units are fresh only where they were cooked through it"
        fresh = mirror if found is Replacement.REGISTRY else "nothing is fresh"
        yield "source.crates-io", f"takes crates from {found}: {fresh}"
    if "paths" in merged:
        yield "paths", "replaces crates by folders: they, and all that stands on them, are compiled anew"
    build = _table(merged, "build")
    if "build-dir" in build:
        yield "build.build-dir", "leads away from the warm units, unless it is the images' own"
    if "rustc" in build:
        yield "build.rustc", "names another compiler: nothing is fresh unless it is the images' own"
    yield from _doubts_of_variables(sorted(_table(merged, "env").keys() - READ_BY_PROGRAMS))


def _doubts_of_variables(names: list[str]) -> Iterator[tuple[str, str]]:
    """Cargo compares a variable with its value when a build script asked for it: in the images it had none."""
    if names:
        first, *others = (escaped(dotted((name,))) for name in names)
        more = [f"{len(others) - _MOST_NAMED} more"] if len(others) > _MOST_NAMED else []
        also = f", like {', '.join(others[:_MOST_NAMED] + more)}" if others else ""
        yield f"env.{first}", f"is set for build scripts and compilers{also}: what asks for it is compiled anew"


def _doubts_of_unread(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if names:
        listed = ", ".join(f"`{escaped(name)}`" for name in names)
        yield INCLUDE, f"names {listed}, not in the repository: what is set there is not known here"


def _table(parent: dict[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key, {})
    if not isinstance(value, dict):
        what = f"`{key}` in .cargo/config.toml must be a table"
        raise malformed(what)
    return value


def _string(value: object, key: str) -> str:
    if isinstance(value, _Leaf) and isinstance(value.value, str):
        return value.value
    what = f"`{key}` in .cargo/config.toml must be a string"
    raise malformed(what)


def _strings(value: object, key: str, *, split: bool = True) -> tuple[str, ...]:
    """A list of strings; a single string is one, of its words if `split`."""
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(_string(item, key) for item in value)
    text = _string(value, key)
    return tuple(text.split()) if split else (text,)


def _indexes(registries: dict[str, Any], taken: frozenset[str]) -> dict[str, dict[str, str]]:
    written = {
        name: {"index": _string(table["index"], f"registries.{name}.index")}
        for name in sorted(registries)
        if "index" in (table := _table(registries, name))
    }
    return {name: table for name, table in written.items() if _variable(name) not in taken}


def _variable(registry: str) -> str:
    """A registry's name as cargo writes it in `CARGO_REGISTRIES_<NAME>_INDEX`, where several spellings are one."""
    return re.sub(r"[-.]", "_", registry).upper()


def _patched(tree: SourceTree, patches: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Path]]:
    """Each `[patch]` entry that has a path, with the folder it means: relative to the folder of `.cargo`."""
    for source in sorted(patches):
        for name, entry in sorted(_table(patches, source).items()):
            if isinstance(entry, dict) and isinstance(leaf := entry.get("path"), _Leaf):
                path = _string(leaf, f"patch.{source}.{name}.path")
                folder = normalised(leaf.file.parent.parent / path.replace("\0", ""))
                if PurePosixPath(path).is_absolute() or not tree.holds(folder):
                    what = f"{tree.line_of(leaf.file, path)}: the patch `{path}` is outside the scanned folder"
                    raise UnscannableError(SkipReason.PATH_DEPENDENCY_OUTSIDE, what)
                yield entry, folder


def _rebased(tree: SourceTree, root: Path, patches: dict[str, Any]) -> dict[str, Any]:
    """The patches with their paths relative to `root`, where the one merged file will be."""
    folders = {id(entry): folder for entry, folder in _patched(tree, patches)}
    return {
        source: {
            name: {**entry, "path": os.path.relpath(folders[id(entry)], root)} if id(entry) in folders else entry
            for name, entry in table.items()
        }
        for source, table in patches.items()
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - tables, lists and leaves
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _Leaf():
            return value.value
        case _:
            return value


def _dictionaries(table: object) -> Iterator[dict[str, Any]]:
    if isinstance(table, dict):
        yield from (value for value in table.values() if isinstance(value, dict))


def _ignored(tree: SourceTree, file: ConfigFile, taken: frozenset[str]) -> Iterator[IgnoredSetting]:
    path = file.path
    lines = lines_of_keys(tree.read_text(path))
    unread = {INCLUDE: file.unread} if file.unread else {}
    for parts, value in _settings(file.table | unread):
        if not _is_recorded(parts, value, taken):
            yield IgnoredSetting(
                key=dotted(parts), file=tree.display(path), line=line_of_key(lines, parts), why=_reason(parts)
            )
    other = path.with_name("config.toml")
    if path.name == "config" and tree.exists(other) and not path.samefile(other):
        yield IgnoredSetting(
            key="(the whole file)", file=tree.display(other), why="cargo reads only `config` beside it"
        )


def _settings(table: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], object]]:
    """The settings one by one: two keys deep, three below `[target]` and `[registries]`."""
    for name, value in table.items():
        if not isinstance(value, dict):
            yield (name,), value
            continue
        for key, item in value.items():
            if name in {"target", "registries"} and isinstance(item, dict):
                yield from (((name, key, last), setting) for last, setting in item.items())
            else:
                yield (name, key), item


def _is_recorded(parts: tuple[str, ...], value: object, taken: frozenset[str]) -> bool:
    match parts:
        case ("patch" | "profile", *_) | ("build", "rustflags"):
            return True
        case ("registries", name, "index"):
            return _variable(name) not in taken
        case ("build", "target"):
            return all(is_triple(str(triple)) for triple in (value if isinstance(value, list) else [value]))
        case ("target", key, "rustflags"):
            return _is_well_formed(key)
        case _:
            return False


def _is_well_formed(key: str) -> bool:
    try:
        parse_target_key(key)
    except CfgSyntaxError:
        return False
    return True


def _reason(parts: tuple[str, ...]) -> str:
    key = ".".join(parts)
    return next(why for pattern, why in _REASONS if fnmatch.fnmatchcase(key, pattern))
