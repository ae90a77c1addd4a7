"""The layers of images, a tree: `profiles/<layer>.toml` says what each is for and what it may weigh."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import tomli
from pydantic import AfterValidator, Field, ValidationError

from factory.config.model import StrictModel
from factory.config.schema import dotted, schema_of
from factory.config.texts import Matches, Size
from factory.config.wording import describe, suggestion
from factory.errors import ConfigurationError
from factory.resources import shipped
from factory.toml_lines import fault, line_of_key, lines_of_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from factory.config.positions import Location

ADVICE = "docs/configuration.md explains the profiles of layers."

LAYER_NAME = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProfile:
    """The policy of one layer.

    `anchors` are the crates whose users belong here, `repos` repositories that do whatever they use.
    `budget_bytes` is `None` where only the total counts. A unit
    needs `min_repos` repositories that use it, unless its crate is in `always`: those are in, whatever they save.
    Crates in `never` are not cooked.
    `packages` are Debian packages to install besides those that the units need, `never_packages` those that neither
    this layer nor one on it installs.
    """

    name: str
    parent: str | None = None
    description: str = ""
    anchors: frozenset[str] = frozenset()
    repos: frozenset[str] = frozenset()
    budget_bytes: int | None = None
    min_repos: int = 1
    always: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()
    never_packages: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTree:
    """The layers, parents before children: by depth, then by name, whatever order they were given in.

    Making one raises `ConfigurationError` with everything that keeps `layers` from being one tree.
    """

    layers: tuple[LayerProfile, ...]
    _paths: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        problems = [f"{name}: {message}" for name, message in _tree_problems(self.layers)]
        if problems:
            raise ConfigurationError("\n".join(problems), advice=ADVICE)
        parents = {profile.name: profile.parent for profile in self.layers}
        paths = {name: _path_to_root(name, parents) for name in parents}
        ordered = sorted(self.layers, key=lambda profile: (len(paths[profile.name]), profile.name))
        object.__setattr__(self, "layers", tuple(ordered))
        object.__setattr__(self, "_paths", paths)

    @property
    def root(self) -> LayerProfile:
        """The layer that all others stand on."""
        return self.layers[0]

    def layer(self, name: str) -> LayerProfile:
        """Return the profile of a layer; raise `ConfigurationError` when there is none of that name."""
        for profile in self.layers:
            if profile.name == name:
                return profile
        names = [profile.name for profile in self.layers]
        advice = suggestion(name, names).capitalize() or f"The layers are {', '.join(names)}."
        raise ConfigurationError(f"there is no layer {name}", advice=advice)

    def parent(self, name: str) -> str | None:
        """Return the layer that `name` stands on, `None` for the root; `KeyError` for an unknown name."""
        return next(iter(self.ancestors(name)), None)

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Return the layers under `name`, the nearest first; `KeyError` for an unknown name."""
        return self._paths[name][1:]

    def path_to_root(self, name: str) -> tuple[str, ...]:
        """Return `name` and the layers under it, the nearest first; `KeyError` for an unknown name."""
        return self._paths[name]

    def layer_naming(self, repo: str) -> str | None:
        """Return the layer that names a repository in its `repos`; `None` where none does.

        A name stands for every repository whose path or URL ends with it; of several, the longest counts.
        """
        names = {name: profile.name for profile in self.layers for name in profile.repos}
        found = [name for name in names if f"/{plain_repo(repo)}".endswith(f"/{plain_repo(name)}")]
        return names[max(found, key=len)] if found else None

    def lowest_common_ancestor(self, names: Iterable[str]) -> str:
        """Return the layer nearest to `names` that is each of them or under it.

        Raises `ValueError` without names, `KeyError` for an unknown one.
        """
        paths = [self._paths[name] for name in dict.fromkeys(names)]
        if not paths:
            message = "no layers given"
            raise ValueError(message)
        shared = set(paths[0]).intersection(*paths[1:])
        return next(name for name in paths[0] if name in shared)


def load_layer_profiles(folder: Path | None) -> LayerTree:
    """Read every `*.toml` of `folder` (default: the shipped profiles) as the layer of that name.

    Raises `ConfigurationError` with every fault of every file at once, one a line:
    `file:line: key: what, and what to do`, or `file:line: [table]: …`, or `file:line:col: …` for what is not TOML.
    """
    files = profile_files(folder)
    problems: list[str] = []
    read: list[LayerProfile] = []
    unsure: set[str] = set()
    positions: dict[str, Mapping[tuple[str, ...], int]] = {}
    for file in files:
        text, faults = _text(file)
        positions[file.stem] = lines_of_keys(text)
        profile, more = _read(file, text, positions[file.stem])
        read.append(profile)
        if lines := [*faults, *more]:
            problems += lines
            unsure.add(profile.name)
    for name, message in _tree_problems(read, frozenset(unsure)):
        file = files[0].parent / f"{name}.toml"
        # Who has no parent written has no line for it.
        problems.append(f"{file}{_line(positions[name], (message.partition(':')[0],))}: {message}")
    if problems:
        raise ConfigurationError("\n".join(problems), advice=ADVICE)
    return LayerTree(layers=tuple(read))


def profile_files(folder: Path | None) -> list[Path]:
    """Return the files of all layers in `folder` (default: the shipped profiles); `ConfigurationError` without any."""
    folder = shipped("profiles") if folder is None else folder
    files = sorted(folder.glob("*.toml"))
    if not files:
        advice = f"Put a file for each layer there, like core.toml, or name another directory. {ADVICE}"
        raise ConfigurationError(f"{folder}: no layer profiles (*.toml)", advice=advice)
    return files


def folded(crate: str) -> str:
    """Return a crate's name in the form to compare: crates.io has no two names that differ in `-`, `_` or case only."""
    return crate.replace("_", "-").lower()


def plain_repo(repo: str) -> str:
    """Return the path or URL of a repository without its branch and without `.git`."""
    return repo.partition("#")[0].rstrip("/").removesuffix(".git")


def layer_json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a layer's profile, for editors."""
    return schema_of(_ProfileFile) | {"title": "profiles/<layer>.toml"}


def _each_once(crates: tuple[str, ...]) -> tuple[str, ...]:
    seen: set[str] = set()
    for crate in crates:
        if folded(crate) in seen:
            message = f"{crate} is listed twice; name each crate once"
            raise ValueError(message)
        seen.add(folded(crate))
    return crates


def _no_twins(packages: tuple[str, ...]) -> tuple[str, ...]:
    twins = sorted({name for name in packages if packages.count(name) > 1})
    if twins:
        message = f"{', '.join(twins)} is listed twice; name each once"
        raise ValueError(message)
    return packages


_Crate = Annotated[
    str,
    Matches(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", "write the name of a crate alone, without version or features"),
]
_Crates = Annotated[tuple[_Crate, ...], Field(json_schema_extra={"uniqueItems": True}), AfterValidator(_each_once)]
_Packages = Annotated[
    tuple[
        Annotated[str, Matches(r"[a-z0-9][a-z0-9+.-]+", "write the name of a Debian package alone, like libpq-dev")],
        ...,
    ],
    Field(json_schema_extra={"uniqueItems": True}),
    AfterValidator(_no_twins),
]
_Repos = Annotated[
    tuple[
        Annotated[
            str, Matches(r"[^\s/](?:\S*[^\s/])?", "write the name of a repository, or the end of its path or URL")
        ],
        ...,
    ],
    Field(json_schema_extra={"uniqueItems": True}),
    AfterValidator(_no_twins),
]
_LayerName = Annotated[
    str,
    Matches(LAYER_NAME, "write the name of a layer: the name of its file without .toml"),
    Field(max_length=64),
]


class _ProfileFile(StrictModel):
    """A layer's profile as its file has it."""

    parent: _LayerName | None = Field(None, description="Layer that this one stands on; the root has none.")
    description: str = Field("", description="What the layer is for, in a sentence.")
    anchors: _Crates = Field((), description="Crates whose users belong to this layer.")
    repos: _Repos = Field(
        (), description="Repositories that belong to this layer whatever they use; what only they have is in it."
    )
    budget: Size | None = Field(None, description='Most that the layer\'s own units may weigh, like "800 MB".')
    min_repos: Annotated[int, Field(ge=1)] = Field(1, description="Repositories that must use a unit.")
    always: _Crates = Field(
        (),
        description="Crates whose units of this layer are cooked whatever they save; an error where they do not fit.",
    )
    never: _Crates = Field((), description="Crates that are not cooked, with all that stands on them.")
    packages: _Packages = Field((), description="Debian packages to install besides those that the units need.")
    never_packages: _Packages = Field((), description="Debian packages not to install, here and in the layers on it.")


def _read(file: Path, text: str, positions: Mapping[tuple[str, ...], int]) -> tuple[LayerProfile, list[str]]:
    """Return the layer of a file and what is wrong with its text; then only the layer's name and parent count."""
    content, lines = _content(file, text)
    if re.fullmatch(LAYER_NAME, file.stem) is None:
        lines.append(f"{file}: not a layer's name; call the file in lower-case letters and digits, like web.toml")
    try:
        # As JSON, strict types still take lists for tuples; TOML's dates have no JSON form and become text.
        profile = _ProfileFile.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        schema = layer_json_schema()
        for details in error.errors():
            key = _key(details["loc"], content)
            lines.append(f"{file}{_line(positions, details['loc'])}: {key}{describe(details, schema=schema)}")
        return LayerProfile(name=file.stem), lines
    both = sorted(set(profile.always) & set(profile.never))
    twice = sorted(set(profile.packages) & set(profile.never_packages))
    clashes = [("never", f"{crate} is in always too") for crate in both]
    clashes += [("never_packages", f"{name} is in packages too") for name in twice]
    lines += [f"{file}{_line(positions, (key,))}: {key}: {what}; keep it in one of them" for key, what in clashes]
    return _layer(file.stem, profile), lines


def _text(file: Path) -> tuple[str, list[str]]:
    try:
        return file.read_bytes().decode("utf-8"), []
    except OSError as error:
        return "", [f"{file}: {error.strerror}; make it readable"]
    except UnicodeDecodeError:
        return "", [f"{file}: not UTF-8; save the file as UTF-8"]


def _content(file: Path, text: str) -> tuple[dict[str, Any], list[str]]:
    try:
        return tomli.loads(text), []
    except tomli.TOMLDecodeError as error:
        return {}, [f"{file}{fault(error)}; correct the syntax"]


def _line(positions: Mapping[tuple[str, ...], int], location: Location) -> str:
    """Return `:LINE` for the key that a location is of, or is below; "" where none is written."""
    keys = tuple(str(step) for step in location)
    line = line_of_key(positions, keys) if keys else None
    return "" if line is None else f":{line}"


def _key(location: Location, content: Mapping[str, Any]) -> str:
    """Return a key as TOML shows it, with its table in brackets where it is one, and a colon after it."""
    if not location:
        return ""
    table = isinstance(content.get(str(location[0])), dict)
    return f"[{location[0]}]: " if table else f"{dotted(location)}: "


def _layer(name: str, profile: _ProfileFile) -> LayerProfile:
    return LayerProfile(
        name=name,
        parent=profile.parent,
        description=profile.description,
        anchors=frozenset(profile.anchors),
        repos=frozenset(profile.repos),
        budget_bytes=profile.budget,
        min_repos=profile.min_repos,
        always=frozenset(profile.always),
        never=frozenset(profile.never),
        packages=frozenset(profile.packages),
        never_packages=frozenset(profile.never_packages),
    )


def _tree_problems(profiles: Iterable[LayerProfile], unsure: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Yield (layer, what is wrong) for all that keeps `profiles` from being one tree.

    The profiles named in `unsure` could not be read: they exist, and nothing more is known of them.
    """
    ordered = sorted(profiles, key=lambda profile: profile.name)
    names = [profile.name for profile in ordered]
    if not names:
        yield "layers", "there are none; define one at least"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield name, "is defined twice; give each layer a name of its own"
    sure = [profile for profile in ordered if profile.name not in unsure]
    yield from _parent_problems(sure, names)
    yield from _root_problems(sure)
    yield from _cycles({profile.name: profile.parent for profile in sure})
    yield from _anchor_problems(ordered)
    yield from _repo_problems(ordered)


def _parent_problems(profiles: Iterable[LayerProfile], names: list[str]) -> Iterator[tuple[str, str]]:
    for profile in profiles:
        if profile.parent is not None and profile.parent not in names:
            close = suggestion(profile.parent, names) or f"the layers are {', '.join(names)}"
            yield profile.name, f"parent: there is no layer {profile.parent}; {close}"


def _root_problems(profiles: Iterable[LayerProfile]) -> Iterator[tuple[str, str]]:
    roots = [profile.name for profile in profiles if profile.parent is None]
    for name in dict.fromkeys(roots[1:]):
        if name != roots[0]:
            yield name, f'parent: is missing, and {roots[0]} has none either; write one, like parent = "{roots[0]}"'


def _cycles(parents: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    """Yield each circle of parents once, at the first of its names."""
    told: set[str] = set()
    for name in sorted(parents):
        path = _path_to_root(name, parents)
        closing = parents.get(path[-1])
        if closing is None or closing not in path or closing in told:
            continue
        circle = path[path.index(closing) :]
        told.update(circle)
        first = circle.index(min(circle))
        shown = " → ".join((*circle[first:], *circle[:first], circle[first]))
        yield min(circle), f"parent: {shown} is a circle; let one of them stand on a layer outside of it"


def _path_to_root(name: str, parents: Mapping[str, str | None]) -> tuple[str, ...]:
    """Follow the parents of `name` up to the root, an unknown name or the first repetition."""
    path = [name]
    while (parent := parents.get(path[-1])) is not None and parent in parents and parent not in path:
        path.append(parent)
    return tuple(path)


def _anchor_problems(profiles: Iterable[LayerProfile]) -> Iterator[tuple[str, str]]:
    for layer, crate, owner in _claimed_twice(profiles, lambda profile: profile.anchors, folded):
        yield layer, f"anchors: {crate} is an anchor of {owner} too; keep it in one of them"


def _repo_problems(profiles: Iterable[LayerProfile]) -> Iterator[tuple[str, str]]:
    for layer, repo, owner in _claimed_twice(profiles, lambda profile: profile.repos, plain_repo):
        yield layer, f"repos: {repo} belongs to {owner} too; keep it in one of them"


def _claimed_twice(
    profiles: Iterable[LayerProfile], names: Callable[[LayerProfile], Iterable[str]], plain: Callable[[str], str]
) -> Iterator[tuple[str, str, str]]:
    """Yield (layer, name, the layer that had it first) for names that are the same once they are plain."""
    owners: dict[str, str] = {}
    for profile in profiles:
        for name in sorted(names(profile)):
            owner = owners.setdefault(plain(name), profile.name)
            if owner != profile.name:
                yield profile.name, name, owner
