"""Where in a repository each cause is written: the file and line that a developer has to look at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from factory.scan.config_files import configuration_files
from factory.scan.manifest import parse_toml
from factory.scan.source_tree import MAX_LOCK_BYTES, SourceTree
from factory.toml_lines import line_of_key, lines_of_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from factory.scan.model import FoundWorkspace

_LOCKED = re.compile(r'\[\[package\]\]\nname = "(?P<name>[^"\n]+)"\nversion = "(?P<version>[^"\n]+)"')
_TABLES = ("dependencies", "build-dependencies", "build_dependencies", "dev-dependencies", "dev_dependencies")
_PINS = ("rust-toolchain", "rust-toolchain.toml")


class Place(NamedTuple):
    """A file, as a POSIX path relative to the top of the repository, and a line counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class _Toml:
    """A TOML file of the repository."""

    path: Path
    lines: Mapping[tuple[str, ...], int]
    table: Mapping[str, Any]


class Places:
    """The places of one workspace; every file is read at most once, and never from outside the repository.

    Raises `UnscannableError` for a file that cannot be read.
    """

    def __init__(self, found: FoundWorkspace) -> None:
        self._found = found
        self._tree = SourceTree.of(found)

    def locked(self, name: str, version: str) -> Place:
        """Return the place of a package in Cargo.lock, the top of the lock where it is written otherwise."""
        return Place(self._shown(self._found.lock), self._locked.get((name, version), 1))

    def dependency(self, name: str) -> Place | None:
        """Return the place where a manifest asks for a crate directly: `[workspace.dependencies]` first."""
        return self._dependencies.get(name)

    def profile(self, table: str, keys: tuple[str, ...]) -> Place:
        """Return the place of the first of `keys` that is set in a table such as `profile.release`.

        Without any that of the table; without a table, the top of the root manifest.
        """
        parts = _split_table(table)
        files = (*self._configurations, self._root)
        lines = [(toml, toml.lines.get((*parts, key))) for toml in files for key in keys]
        # Where no key is written, the table that is there, be it the profile that has no such table.
        tables = (parts, parts[:2])
        lines += [(toml, line_of_key(toml.lines, t)) for t in tables for toml in files if _below(toml.table, *t)]
        return next((Place(self._shown(toml.path), line) for toml, line in lines if line is not None), self.manifest)

    def is_set(self, table: str, key: str) -> bool:
        """Whether the repository itself sets a key of a table such as `profile.release`."""
        return key in self.keys(table)

    def keys(self, table: str) -> frozenset[str]:
        """Return the keys that the repository itself sets in a table such as `profile.release`."""
        parts = _split_table(table)
        return frozenset(key for toml in (*self._configurations, self._root) for key in _below(toml.table, *parts))

    def configured(self, *parts: str, last: str | None = None) -> Place | None:
        """Return the place of a setting in the cargo configuration; with `last`, of the first below that ends so."""
        for toml in self._configurations:
            if last is None and parts in toml.lines:
                return Place(self._shown(toml.path), toml.lines[parts])
            for keys, line in toml.lines.items():
                if last is not None and keys[: len(parts)] == parts and keys[-1] == last:
                    return Place(self._shown(toml.path), line)
        return None

    def patched(self, name: str) -> Place | None:
        """Return the place of the `[patch]` entry of a crate."""
        for toml in (*self._configurations, self._root):
            for keys, line in toml.lines.items():
                if len(keys) > 2 and keys[0] == "patch" and keys[2] == name:
                    return Place(self._shown(toml.path), line)
        return None

    def pin(self) -> Place | None:
        """Return the place of the nearest toolchain pin."""
        for folder in self._folders():
            for path in (folder / name for name in _PINS):
                if self._tree.exists(path):
                    lines = lines_of_keys(self._tree.read_text(path))
                    return Place(self._shown(path), lines.get(("toolchain", "channel"), 1))
        return None

    def overrides(self, profile: str) -> frozenset[str]:
        """Return the packages with settings of their own in a cargo profile, and `build-override` where it is set."""
        found: set[str] = set()
        for toml in (*self._configurations, self._root):
            table = _below(toml.table, "profile", profile)
            found.update(_below(table, "package"))
            found.update({"build-override"} & table.keys())
        return frozenset(found)

    @property
    def manifest(self) -> Place:
        """The top of the root manifest."""
        return Place(self._shown(self._root.path), 1)

    @cached_property
    def _locked(self) -> Mapping[tuple[str, str], int]:
        text = self._tree.read(self._found.lock, limit=MAX_LOCK_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")
        found: dict[tuple[str, str], int] = {}
        seen = line = 0
        for match in _LOCKED.finditer(text):
            line += text.count("\n", seen, match.start("name"))
            seen = match.start("name")
            found.setdefault((match["name"], match["version"]), line + 1)
        return found

    @cached_property
    def _dependencies(self) -> Mapping[str, Place]:
        found: dict[str, Place] = {}
        for toml in (self._root, *map(self._read, self._found.manifests)):
            for name, line in _dependencies_of(toml):
                found.setdefault(name, Place(self._shown(toml.path), line))
        return found

    @cached_property
    def _root(self) -> _Toml:
        return self._read(self._found.root / "Cargo.toml")

    @cached_property
    def _configurations(self) -> tuple[_Toml, ...]:
        """The cargo configurations that count, the nearest first."""
        return tuple(self._read(file.path) for file in configuration_files(self._tree, self._found.root))

    def _folders(self) -> Iterator[Path]:
        for folder in (self._found.root, *self._found.root.parents):
            if not folder.is_relative_to(self._found.repo_root):
                break
            yield folder

    def _read(self, path: Path) -> _Toml:
        text = self._tree.read_text(path)
        return _Toml(path=path, lines=lines_of_keys(text), table=parse_toml(text))

    def _shown(self, path: Path) -> str:
        top = self._found.repo_root
        return str(PurePosixPath(path.relative_to(top))) if path.is_relative_to(top) else self._tree.display(path)


def _split_table(table: str) -> tuple[str, ...]:
    """`profile.release.package.a@1.0` is four keys: what follows `package` is one name, whatever it holds."""
    head, package, name = table.partition(".package.")
    return (*head.split("."), "package", name) if package else tuple(head.split("."))


def _below(table: Mapping[str, Any], *parts: str) -> Mapping[str, Any]:
    """Return the table at a key, an empty one where there is none."""
    found: object = table
    for part in parts:
        found = found.get(part) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _dependencies_of(toml: _Toml) -> Iterator[tuple[str, int]]:
    """Yield the crates that a manifest asks for, each with the line; `workspace = true` says nothing by itself."""
    roots: list[tuple[str, ...]] = [("workspace",), ()]
    roots += [("target", name) for name in _below(toml.table, "target")]
    for root in roots:
        for kind in _TABLES:
            for name, detail in _below(toml.table, *root, kind).items():
                inherited = isinstance(detail, dict) and detail.get("workspace") is True and "features" not in detail
                crate = detail.get("package", name) if isinstance(detail, dict) else name
                line = line_of_key(toml.lines, (*root, kind, name))
                if not inherited and isinstance(crate, str) and line is not None:
                    yield crate, line
