"""A `Cargo.toml` as far as finding and copying need it: workspace, targets, and paths to other packages."""

from __future__ import annotations

import functools
import re
import tomllib
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.scan.model import SkipReason, UnscannableError
from factory.toml_lines import fault
from factory.triple import is_triple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from factory.scan.source_tree import SourceTree

MAX_KEY_PARTS = 64
"""Dotted keys longer than this are refused: the parser's work grows with the square of their length."""

_KEPT_CHARACTERS = 32 * 1024
_TABLES_OF_DEPENDENCIES = (
    "dependencies",
    "build-dependencies",
    "build_dependencies",
    "dev-dependencies",
    "dev_dependencies",
)
_LISTS_OF_TARGETS = ("bin", "example", "test", "bench")


@dataclass(frozen=True, kw_only=True, slots=True)
class PathDependency:
    """A dependency by `path`, or one taken over from the workspace (`path` is `None`) that may be one."""

    name: str
    path: str | None
    dev: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """The `[workspace]` table."""

    members: tuple[str, ...]
    default_members: tuple[str, ...] | None
    """`None` where nothing says which: an empty list is something else."""
    exclude: tuple[str, ...]
    dependency_paths: Mapping[str, str]
    """Name to path, relative to this manifest, of the `[workspace.dependencies]` that have one."""
    rust_version: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """The `[package]` table, with the paths of the targets that the manifest names."""

    name: str
    pointer: str | None
    """`package.workspace`: the folder of the root that this package says it belongs to."""
    rust_version: str | None
    inherits_rust_version: bool
    build_scripts: tuple[str, ...]
    """Relative paths; the implicit `build.rs` is not among them."""
    library_paths: tuple[str, ...]
    target_paths: tuple[str, ...]
    """Explicit paths of binaries, examples, tests and benchmarks."""
    target_names: tuple[str, ...]
    """Names of the targets that have no explicit path."""
    dependencies: tuple[PathDependency, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One parsed `Cargo.toml`."""

    package: Package | None
    workspace: Workspace | None
    patch_paths: tuple[str, ...]
    """Paths in `[patch]` and `[replace]`, which count only in a workspace's root."""


def read_manifest(tree: SourceTree, path: Path) -> Manifest:
    """Read and parse one `Cargo.toml`; raise `UnscannableError` with file, line and column where it is
    malformed.
    """
    known = _seen.setdefault(tree, {})
    if path not in known:
        known[path] = _read(tree, path)
    return known[path]


def manifests_read(tree: SourceTree) -> Mapping[Path, Manifest]:
    """Return every manifest that `read_manifest` has given for this tree so far."""
    return _seen.get(tree, {})


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML of unknown origin; raise `ValueError` with `:line:column: what` for any other text."""
    try:
        if _LONG_KEY.search(text):
            what = f": a key of more than {MAX_KEY_PARTS} parts"
            raise _MalformedError(what)
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _MalformedError(fault(error, text)) from error
    except RecursionError as error:
        raise _MalformedError(": values nested too deep") from error
    except ValueError as error:
        # For instance an integer of more digits than Python converts.
        raise error if isinstance(error, _MalformedError) else _MalformedError(f": {error}") from error


# A tree lives as long as one look at a folder, and what was read of it no longer.
_seen: weakref.WeakKeyDictionary[SourceTree, dict[Path, Manifest]] = weakref.WeakKeyDictionary()


def _read(tree: SourceTree, path: Path) -> Manifest:
    text = tree.read_text(path)
    try:
        return _parse_and_keep(text) if len(text) <= _KEPT_CHARACTERS else _parse(text)
    except _MalformedError as error:
        what = f"{tree.display(path)}{error}"
        raise UnscannableError(
            SkipReason.MALFORMED_MANIFEST, what, advice="correct it: cargo refuses it too"
        ) from error


class _MalformedError(ValueError):
    """What is wrong with a TOML text, beginning with its place in the file."""


_LONG_KEY = re.compile(
    r"""(?<![\w"'-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){%d}""" % MAX_KEY_PARTS  # noqa: UP031
)


@functools.lru_cache(maxsize=4096)
def _parse_and_keep(text: str) -> Manifest:
    """Keep the common manifests, because discovery and copying ask for the same ones; large ones would fill
    memory.
    """
    return _parse(text)


def _parse(text: str) -> Manifest:
    document = parse_toml(text)
    return Manifest(
        package=_package(document),
        workspace=_workspace(document),
        patch_paths=tuple(_patch_paths(document)),
    )


def _package(document: dict[str, Any]) -> Package | None:
    table = _table(document, "package") or _table(document, "project")
    if not table:
        return None
    _check_own_targets(table)
    library = _table(document, "lib")
    targets = tuple(_targets(document))
    rust_version = table.get("rust-version")
    return Package(
        name=_text(table, "name", "package.name") or "",
        pointer=_text(table, "workspace", "package.workspace"),
        rust_version=rust_version if isinstance(rust_version, str) else None,
        inherits_rust_version=isinstance(rust_version, dict),
        build_scripts=tuple(_build_scripts(table)),
        library_paths=tuple(_optional(_text(library, "path", "lib.path"))),
        target_paths=tuple(path for _, path in targets if path is not None),
        target_names=(
            *_optional(_text(library, "name", "lib.name")),
            *(name for name, path in targets if path is None and name is not None),
        ),
        dependencies=tuple(_dependencies(document)),
    )


def _check_own_targets(package: dict[str, Any]) -> None:
    """Refuse what cargo would pass to rustc as a target and is none: it may name a file with more arguments."""
    for key in ("default-target", "forced-target"):
        value = package.get(key)
        if value is not None and not (isinstance(value, str) and is_triple(value)):
            what = f": `package.{key}` must be a target triple"
            raise _MalformedError(what)


def _workspace(document: dict[str, Any]) -> Workspace | None:
    if "workspace" not in document:
        return None
    table = _table(document, "workspace")
    inherited = _table(table, "dependencies", "workspace.dependencies")
    paths = {name: path for name, detail in inherited.items() if (path := _path_of(name, detail)) is not None}
    return Workspace(
        members=_texts(table, "members", "workspace.members"),
        default_members=_texts(table, "default-members", "workspace.default-members")
        if "default-members" in table
        else None,
        exclude=_texts(table, "exclude", "workspace.exclude"),
        dependency_paths=paths,
        rust_version=_text(_table(table, "package", "workspace.package"), "rust-version", "rust-version"),
    )


def _targets(document: dict[str, Any]) -> Iterator[tuple[str | None, str | None]]:
    for kind in _LISTS_OF_TARGETS:
        targets = document.get(kind, [])
        if not isinstance(targets, list) or not all(isinstance(target, dict) for target in targets):
            what = f": `{kind}` must be an array of tables: [[{kind}]]"
            raise _MalformedError(what)
        for target in targets:
            yield _text(target, "name", f"{kind}.name"), _text(target, "path", f"{kind}.path")


def _build_scripts(package: dict[str, Any]) -> Iterable[str]:
    match package.get("build"):
        case str(script):
            return (script,)
        case list(scripts) if all(isinstance(script, str) for script in scripts):
            return scripts
        case None | bool():
            return ()
        case _:
            raise _MalformedError(": `package.build` must be a path, an array of paths or a boolean")


def _dependencies(document: dict[str, Any]) -> Iterator[PathDependency]:
    platforms = _table(document, "target")
    for table in (document, *(_table(platforms, name, f"target.{name}") for name in platforms)):
        for kind in _TABLES_OF_DEPENDENCIES:
            yield from _of_table(_table(table, kind), dev=kind.startswith("dev"))


def _of_table(dependencies: dict[str, Any], *, dev: bool) -> Iterator[PathDependency]:
    for name, detail in dependencies.items():
        path = _path_of(name, detail)
        if path is not None or (isinstance(detail, dict) and detail.get("workspace") is True):
            yield PathDependency(name=name, path=path, dev=dev)


def _patch_paths(document: dict[str, Any]) -> Iterator[str]:
    patches = _table(document, "patch")
    for table in (
        *(_table(patches, source, f"patch.{source}") for source in patches),
        _table(document, "replace"),
    ):
        for name, detail in table.items():
            yield from _optional(_path_of(name, detail))


def _path_of(name: str, detail: object) -> str | None:
    return _text(detail, "path", f"{name}.path") if isinstance(detail, dict) else None


def _table(table: dict[str, Any], key: str, shown: str | None = None) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        what = f": `{shown or key}` must be a table"
        raise _MalformedError(what)
    return value


def _text(table: dict[str, Any], key: str, shown: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        what = f": `{shown}` must be a string"
        raise _MalformedError(what)
    if value is not None and "\0" in value:
        what = f": `{shown}` holds a NUL character"
        raise _MalformedError(what)
    return value


def _texts(table: dict[str, Any], key: str, shown: str) -> tuple[str, ...]:
    values = table.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) and "\0" not in value for value in values):
        what = f": `{shown}` must be an array of strings"
        raise _MalformedError(what)
    return tuple(values)


def _optional(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)
