"""Units for tests, by what they differ in from an ordinary release unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from factory.cargo.index_cache import IndexDependency
from factory.files import digest
from factory.model import (
    CRATES_IO,
    CargoProfile,
    Dependency,
    LtoDemand,
    Mode,
    PackageId,
    Side,
    Unit,
    UnitKey,
)

RELEASE = CargoProfile(
    name="release",
    opt_level="3",
    lto="false",
    codegen_backend=None,
    codegen_units=None,
    debuginfo="0",
    split_debuginfo=None,
    debug_assertions=False,
    overflow_checks=False,
    rpath=False,
    panic="unwind",
    strip="debuginfo",
    trim_paths=None,
    rustflags=(),
)
RELEASE_HOST = replace(RELEASE, opt_level="0")
DEV = replace(
    RELEASE,
    name="dev",
    opt_level="0",
    debuginfo="2",
    debug_assertions=True,
    overflow_checks=True,
    strip="none",
)
DEV_HOST = replace(DEV, debuginfo="0")


def package(name: str, version: str = "1.0.0", source: str = CRATES_IO) -> PackageId:
    return PackageId(name, version, source)


def needs(crate: str, demand: str) -> IndexDependency:
    """What the registry's index says of a plain dependency."""
    return IndexDependency(
        name=crate,
        package=crate,
        requirement=demand,
        features=(),
        default_features=True,
        optional=False,
        target=None,
        kind="normal",
    )


def unit(
    name: str,
    *dependencies: Unit,
    version: str = "1.0.0",
    sides: tuple[Side, ...] = (Side.TARGET,),
    **changes: Any,  # noqa: ANN401 - any field of a unit
) -> Unit:
    """Return a library unit whose key is the digest of all of it."""
    plain = Unit(
        key=UnitKey(""),
        package=package(name, version),
        target_name=name,
        target_kind="lib",
        mode=Mode.BUILD,
        features=(),
        sides=frozenset(sides),
        platform=None,
        profile=RELEASE if Side.TARGET in sides else RELEASE_HOST,
        lto=LtoDemand.ONLY_OBJECT,
        rustflags=(),
        linker=None,
        dependencies=tuple(
            Dependency(extern_name=each.package.name, public=False, key=each.key) for each in dependencies
        ),
    )
    changed = replace(plain, **changes)
    return replace(changed, key=UnitKey(digest(repr(replace(changed, sides=frozenset())))[:32]))
