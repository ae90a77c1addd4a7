"""The product's nouns: packages, units and their keys.

A *unit* is one node of cargo's unit graph: one rustc call or one build-script run. A *unit key* is the digest of
everything that decides whether cargo calls the unit fresh, the keys of its dependencies included: equal keys mean
equal closures.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from typing import NewType

UnitKey = NewType("UnitKey", str)
"""32 hexadecimal digits: see `factory.cargo.unit_graph`."""

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
"""How cargo names the default registry in package ids and lockfiles."""


class SourceKind(enum.StrEnum):
    """Where a package comes from; packages of registries and git are cooked, those of registries counted as hits."""

    REGISTRY = "registry"
    GIT = "git"
    PATH = "path"
    STANDARD_LIBRARY = "std"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSizes:
    """Bytes of a crate's sources: Rust without the build script, the build script, and native code."""

    rust: int
    script: int
    native: int


class Side(enum.StrEnum):
    """Which side of the compiler a unit works on: what ships (target), or build scripts and proc-macros (host)."""

    TARGET = "target"
    HOST = "host"


class Mode(enum.StrEnum):
    """What cargo does with a unit; the names are those of `--unit-graph`."""

    BUILD = "build"
    CHECK = "check"
    TEST = "test"
    RUN_CUSTOM_BUILD = "run-custom-build"
    DOC = "doc"
    DOC_TEST = "doctest"
    DOC_SCRAPE = "docscrape"


class LtoDemand(enum.StrEnum):
    """What a unit's object files must hold for the link above it; computed by cargo, not shown in the unit graph."""

    RUN = "run"
    RUN_THIN = "run-thin"
    RUN_FAT = "run-fat"
    OFF = "off"
    ONLY_BITCODE = "only-bitcode"
    OBJECT_AND_BITCODE = "object-and-bitcode"
    ONLY_OBJECT = "only-object"


CRATE_NAME = r"(?:[A-Za-z0-9_-]|[^\x00-\x7f])+"
"""A pattern for names of crates: those of crates.io are ASCII, of path and git packages any letters will do. Which of
all characters are letters, cargo has looked at."""

_PACKAGE_ID = re.compile(rf"(?P<source>[^#]+)#(?:(?P<name>{CRATE_NAME})@)?(?P<version>[^@]+)")
_OLD_PACKAGE_ID = re.compile(rf"(?P<name>{CRATE_NAME}) (?P<version>[^ ]+) \((?P<source>[^#)]+)(?:#[^)]*)?\)")
"""As older unit graphs have it, that of cargo 1.85 for one: with the commit of a git package behind its source."""


@dataclass(frozen=True, order=True, slots=True)
class PackageId:
    """A package as cargo names it in JSON: `source#name@version`.

    The source of a git package ends in the commit, as in lockfiles (`git+URL?branch=main#COMMIT`), wherever the lock
    is at hand. Cargo's JSON leaves the commit out.
    """

    name: str
    version: str
    source: str

    @classmethod
    def parse(cls, text: str) -> PackageId:
        """Parse cargo's package id specification; raise `ValueError` when it is none."""
        match = _OLD_PACKAGE_ID.fullmatch(text) or _PACKAGE_ID.fullmatch(text)
        if match is None:
            message = f"not a package id: {text!r}"
            raise ValueError(message)
        source = match["source"]
        # A path or git package whose folder has its name is written without the name.
        name = match["name"] or source.partition("?")[0].rstrip("/").rpartition("/")[2].removesuffix(".git")
        return cls(name=name, version=match["version"], source=source)

    @property
    def kind(self) -> SourceKind:
        """The kind of source, from the source's scheme."""
        scheme = self.source.partition("+")[0]
        return SourceKind.REGISTRY if scheme == "sparse" else SourceKind(scheme)

    @property
    def commit(self) -> str:
        """The commit of a git package, "" where it is not known and for every other kind."""
        return self.source.partition("#")[2] if self.kind is SourceKind.GIT else ""

    @property
    def without_commit(self) -> PackageId:
        """The package as cargo's JSON names it: cargo puts the units of all commits of a branch in one place."""
        return replace(self, source=self.source.partition("#")[0]) if self.kind is SourceKind.GIT else self

    @property
    def label(self) -> str:
        """`name@version`, for people."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class CargoProfile:
    """The settings of a cargo profile as resolved for one unit; `name` picks the directory only.

    `debuginfo` is cargo's own value (0, 1, 2 or a name such as `line-tables-only`), as text; `codegen_units` is
    `None` where rustc decides.
    """

    name: str
    opt_level: str
    lto: str
    codegen_backend: str | None
    codegen_units: int | None
    debuginfo: str
    split_debuginfo: str | None
    debug_assertions: bool
    overflow_checks: bool
    rpath: bool
    panic: str
    strip: str
    trim_paths: str | None
    rustflags: tuple[str, ...]

    @property
    def directory(self) -> str:
        """The directory under the build-dir: cargo keeps `dev` and `test` in `debug`, `bench` in `release`."""
        return {"dev": "debug", "test": "debug", "bench": "release"}.get(self.name, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """An edge of the unit graph: the crate name that the dependent sees, and the unit."""

    extern_name: str
    public: bool
    key: UnitKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit with its key. `sides` says from which sides of its graph it is reached: mostly one, sometimes both.

    `platform` is the `--target` triple, `None` without one. `rustflags` are those that apply to this unit.
    """

    key: UnitKey
    package: PackageId
    target_name: str
    target_kind: str
    mode: Mode
    features: tuple[str, ...]
    sides: frozenset[Side]
    platform: str | None
    profile: CargoProfile
    lto: LtoDemand
    rustflags: tuple[str, ...]
    linker: str | None
    dependencies: tuple[Dependency, ...]

    @property
    def is_registry(self) -> bool:
        """Whether the unit's package comes from a registry: only those are counted."""
        return self.package.kind is SourceKind.REGISTRY

    @property
    def is_git(self) -> bool:
        """Whether the unit's package comes from git: such units may be cooked, and are told beside the counted ones."""
        return self.package.kind is SourceKind.GIT

    @property
    def is_library(self) -> bool:
        """Whether the unit compiles the package's library or proc-macro."""
        return self.mode is not Mode.RUN_CUSTOM_BUILD and self.target_kind != "custom-build"

    @property
    def label(self) -> str:
        """`name@version (what)`, for people."""
        what = {"custom-build": "build script"}.get(self.target_kind, self.target_kind)
        if self.mode is Mode.RUN_CUSTOM_BUILD:
            what = "build script run"
        elif self.mode is Mode.CHECK:
            what = f"{what}, check"
        return f"{self.package.label} ({what})"
