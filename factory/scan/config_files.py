"""Which files are a workspace's cargo configuration: those of the folders up to its repository's, and their includes.

`include` is that of cargo 1.94 and later: a list of paths, or of tables with `path` and `optional`, relative to the
file that has it. A file wins over what it includes, and what it includes later over what it includes earlier.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from factory.scan.manifest import parse_toml
from factory.scan.model import SkipReason, UnscannableError
from factory.toml_lines import line_of_key, lines_of_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from factory.scan.source_tree import SourceTree

INCLUDE = "include"
MOST_FILES = 100
"""Of one folder's configuration: with `..` in them, the paths of a circle never repeat, and cargo ends in a crash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigFile:
    """A file of the configuration and what it sets, `include` aside."""

    path: Path
    table: dict[str, Any]
    includes: tuple[str, ...] = ()
    """What it includes, as written."""
    unread: tuple[str, ...] = ()
    """Those of `includes` that the repository does not have: outside of it, or made by whoever builds."""
    is_included: bool = False


def configuration_files(tree: SourceTree, workspace_root: Path) -> Iterator[ConfigFile]:
    """Yield the configuration from `workspace_root` up to the top of its repository, what wins first.

    A file that several folders include comes several times, as cargo reads it. Raises `UnscannableError` for one that
    cargo would refuse.
    """
    top = tree.repo_root(workspace_root)
    for folder in (workspace_root, *workspace_root.parents):
        if not folder.is_relative_to(top):
            return
        yield from configuration_in(tree, folder)


def configuration_in(tree: SourceTree, folder: Path) -> Iterator[ConfigFile]:
    """Yield the configuration that a folder has itself, what wins first; raise as `configuration_files` does."""
    path = _config_file(tree, folder)
    reading = _Reading(tree, tree.repo_root(folder))
    if path is not None:
        yield from reading.files(path)


def malformed(what: str) -> UnscannableError:
    """Return the error for a configuration that cargo refuses."""
    return UnscannableError(SkipReason.MALFORMED_CONFIG, what, advice="correct it: cargo refuses it too")


def place_of_key(tree: SourceTree, path: Path, *parts: str) -> str:
    """Return `file:line` of a key in a TOML file, or just the file."""
    line = line_of_key(lines_of_keys(tree.read_text(path)), parts)
    return f"{tree.display(path)}:{line}" if line else tree.display(path)


def _config_file(tree: SourceTree, folder: Path) -> Path | None:
    for name in ("config", "config.toml"):
        path = folder / ".cargo" / name
        if tree.exists(path):
            return path
    return None


@dataclass(frozen=True, slots=True)
class _Include:
    """An entry of `include`."""

    name: str
    optional: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads one file and all that it includes."""

    tree: SourceTree
    top: Path
    seen: set[Path] = field(default_factory=set)
    """The paths as cargo makes them, which takes two spellings of a file for two files."""

    def files(self, path: Path) -> Iterator[ConfigFile]:
        """Yield the configuration at `path` and what it includes, what wins first."""
        self.seen.add(path)
        # Not by recursion: a hostile chain of files would end the interpreter's stack.
        waiting = [(path, path)]
        while waiting:
            spelled, real = waiting.pop()
            table = self._read(real)
            entries = self._entries(real, table.pop(INCLUDE, []))
            found = [(entry, *self._place(entry.name, spelled.parent / entry.name, real)) for entry in entries]
            yield ConfigFile(
                path=real,
                table=table,
                includes=tuple(entry.name for entry in entries),
                unread=tuple(entry.name for entry, _, place in found if self._is_unknown(entry, place)),
                is_included=spelled != path,
            )
            # The last one wins: it is taken from the end.
            waiting += [
                (include, place) for _, include, place in found if place is not None and self.tree.exists(place)
            ]

    def _read(self, path: Path) -> dict[str, Any]:
        text = self.tree.read_text(path, reason=SkipReason.MALFORMED_CONFIG)
        try:
            return parse_toml(text)
        except ValueError as error:
            what = f"{self.tree.display(path)}{error}"
            raise malformed(what) from error

    def _entries(self, file: Path, value: object) -> list[_Include]:
        if not isinstance(value, list):
            raise malformed(f"{self._at(file)}: `include` must be a list of paths or of tables with a `path`")
        return [self._entry(file, item) for item in value]

    def _entry(self, file: Path, item: object) -> _Include:
        match item:
            case str(name) | {"path": str(name)}:
                optional = item.get("optional", False) if isinstance(item, dict) else False
            case _:
                name, optional = "", False
        if not name.endswith(".toml") or "\0" in name or "{" in name or "}" in name or not isinstance(optional, bool):
            raise malformed(f"{self._at(file)}: `include` takes paths that end in `.toml`, and have no braces")
        return _Include(name, optional)

    def _place(self, name: str, spelled: Path, file: Path) -> tuple[Path, Path | None]:
        """Return `spelled`, and the real place of what `file` includes as `name`: `None` outside of the repository."""
        if spelled in self.seen or len(self.seen) == MOST_FILES:
            raise malformed(f"{self._at(file)}: files include each other, or are more than {MOST_FILES}")
        self.seen.add(spelled)
        real = Path(os.path.realpath(spelled))
        inside = real.is_relative_to(self.top) and not PurePosixPath(name).is_absolute()
        return spelled, real if inside else None

    def _at(self, file: Path) -> str:
        return place_of_key(self.tree, file, INCLUDE)

    def _is_unknown(self, entry: _Include, place: Path | None) -> bool:
        """Whether cargo reads it in a build, as far as anybody knows, and nobody can here."""
        return place is None or not (entry.optional or self.tree.exists(place))
