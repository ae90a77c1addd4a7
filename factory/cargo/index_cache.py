"""What the registry says of crates: yanked, `rust-version`, features. Read from what cargo has kept of the index.

Cargo asks the index for every crate that it resolves, and keeps the answer in CARGO_HOME. The lines are the index's own
(https://doc.rust-lang.org/cargo/reference/registry-index.html); the file around them is cargo's
(`sources/registry/index/cache.rs`, version 3 since 1.72). Any other is not read: what is not known is said to be so.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from factory.cargo.home import mirror_of
from factory.errors import ConfigurationError
from factory.model import CRATES_IO

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from factory.model import PackageId

_HEADER = b"\x03\x02\x00\x00\x00"
"""Version 3 of the file, version 2 of the lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexDependency:
    """A dependency of one version of a crate: `name` is what its features call it, `package` the crate.

    `kind` is `normal`, `build` or `dev`; `target` is `None` or what `[target.*]` says, a triple or `cfg(...)`.
    """

    name: str
    package: str
    requirement: str
    features: tuple[str, ...]
    default_features: bool
    optional: bool
    target: str | None
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CrateFacts:
    """What the index says of one version of a crate; `rust_version` and `links` are `None` where it names none."""

    yanked: bool
    rust_version: str | None
    links: str | None
    features: frozenset[str]
    """Every name that a feature list may have, those of optional dependencies included."""
    checksum: str = ""
    """As lockfiles have it."""
    feature_table: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What each written feature turns on, in the words of a manifest."""
    dependencies: tuple[IndexDependency, ...] = ()


class CrateIndex:
    """The facts about crates of crates.io that a CARGO_HOME knows: its own, or those of the mirror that it asks."""

    def __init__(self, cargo_home: Path) -> None:
        self._index = cargo_home / "registry" / "index"
        self._pattern = f"{_host(cargo_home)}-*/.cache"
        self._folders: list[Path] = []
        self._lines: dict[str, Mapping[str, bytes]] = {}
        self._facts: dict[PackageId, CrateFacts] = {}

    def __call__(self, package: PackageId) -> CrateFacts | None:
        """Return the facts about a package; `None` where nothing is known of it."""
        if package.source != CRATES_IO:
            return None
        known = self._facts.get(package)
        if known is None:
            if package.version not in self._of(package.name):
                # Cargo may have asked for it in the meantime.
                self._lines[package.name] = self._read(package.name)
            line = self._lines[package.name].get(package.version)
            known = None if line is None else parse_index_line(line)
            if known is not None:
                self._facts[package] = known
        return known

    def versions(self, name: str) -> tuple[str, ...]:
        """Return all versions of a crate, yanked ones too, in the index's order; none where nothing is known of it."""
        return tuple(self._of(name))

    def _of(self, name: str) -> Mapping[str, bytes]:
        # Of what cargo has not asked for yet there is nothing; it may do so at any time.
        if not self._lines.get(name):
            self._lines[name] = self._read(name)
        return self._lines[name]

    def _read(self, name: str) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        # A new CARGO_HOME has none until cargo has asked for the first crate.
        self._folders = self._folders or sorted(self._index.glob(self._pattern))
        for folder in self._folders:
            try:
                content = (folder / index_path(name)).read_bytes()
            except OSError:
                continue
            found |= split_index_file(content)
        return found


def _host(cargo_home: Path) -> str:
    """Return the host whose index a CARGO_HOME asks about crates.io's crates: cargo calls the folders after it."""
    mirror = None
    # Of a folder with sources there is no index.
    with contextlib.suppress(ConfigurationError):
        mirror = mirror_of(cargo_home)
    return (mirror and urlsplit(mirror.removeprefix("sparse+")).hostname) or "index.crates.io"


def index_path(name: str) -> str:
    """Return where the index keeps a crate: `se/rd/serde`, `3/s/syn`."""
    lower = name.lower()
    if len(lower) <= 2:
        return f"{len(lower)}/{lower}"
    return f"3/{lower[0]}/{lower}" if len(lower) == 3 else f"{lower[:2]}/{lower[2:4]}/{lower}"


def split_index_file(content: bytes) -> dict[str, bytes]:
    """Return the index's line for each version; empty for a file of another form, which says nothing to us."""
    if not content.startswith(_HEADER):
        return {}
    # The index's own version, then version and line in turns, each ended by a zero byte.
    fields = content[len(_HEADER) :].split(b"\0")[1:]
    return {version.decode("utf-8", "replace"): line for version, line in zip(fields[::2], fields[1::2], strict=False)}


def parse_index_line(line: bytes) -> CrateFacts | None:
    """Return the facts of a line; `None` for one of a later format, which cargo passes over as well."""
    try:
        return _facts(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _facts(raw: Mapping[str, Any]) -> CrateFacts:
    features = {**raw["features"], **(raw.get("features2") or {})}
    optional = {row["name"] for row in raw["deps"] if row["optional"]}
    hidden = {name.removeprefix("dep:") for names in features.values() for name in names if name.startswith("dep:")}
    return CrateFacts(
        yanked=bool(raw["yanked"]),
        rust_version=raw.get("rust_version"),
        links=raw.get("links"),
        features=frozenset(features) | (optional - hidden),
        checksum=raw["cksum"],
        feature_table={name: tuple(names) for name, names in features.items()},
        dependencies=tuple(_dependency(row) for row in raw["deps"]),
    )


def _dependency(row: Mapping[str, Any]) -> IndexDependency:
    return IndexDependency(
        name=row["name"],
        package=row.get("package") or row["name"],
        requirement=row["req"],
        features=tuple(row["features"]),
        default_features=bool(row["default_features"]),
        optional=bool(row["optional"]),
        target=row.get("target"),
        kind=row.get("kind") or "normal",
    )
