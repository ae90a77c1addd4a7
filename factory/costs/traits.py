"""What the cost of a unit depends on: its crate, its kind, its settings, and how much source it is made of."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.model import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from factory.model import PackageId, SourceSizes, Unit, UnitKey

NATIVE_BUILDERS = frozenset({"cc", "cmake", "autotools", "nasm-rs", "meson-next"})
"""Crates that a build script uses to compile C, C++ or assembler."""


class Kind(enum.StrEnum):
    """Sorts of units that differ in how their cost comes about."""

    LIBRARY = "lib"
    CHECKED_LIBRARY = "lib, checked"
    PROC_MACRO = "proc-macro"
    BUILD_SCRIPT = "build script"
    BUILD_SCRIPT_RUN = "build script run"
    NATIVE_RUN = "build script run, native code"
    """A run whose script can compile C."""


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Traits:
    """What is known of a unit before it is cooked.

    `source_bytes` are those of what its kind works through: the Rust sources of a library, the script, the native
    sources of a run; `None` where the crate was not at hand.
    """

    crate: str
    version: str
    kind: Kind
    opt_level: str
    features: tuple[str, ...]
    source_bytes: int | None

    @property
    def optimised(self) -> bool:
        """Whether rustc optimises."""
        return self.opt_level != "0"


def kind_of(unit: Unit, units: Mapping[UnitKey, Unit]) -> Kind:
    """Return the kind of a unit; `units` has at least its script, and what that stands on, where it is a run."""
    if unit.mode is Mode.RUN_CUSTOM_BUILD:
        tools = {package.name for package in _script_packages(unit, units)}
        return Kind.NATIVE_RUN if tools & NATIVE_BUILDERS else Kind.BUILD_SCRIPT_RUN
    if unit.target_kind == "custom-build":
        return Kind.BUILD_SCRIPT
    if unit.target_kind == "proc-macro":
        return Kind.PROC_MACRO
    return Kind.CHECKED_LIBRARY if unit.mode is Mode.CHECK else Kind.LIBRARY


def traits_of(unit: Unit, units: Mapping[UnitKey, Unit], sizes: Callable[[PackageId], SourceSizes | None]) -> Traits:
    """Return the traits of a unit; `sizes` tells how large the sources of a package are, where they are at hand."""
    kind = kind_of(unit, units)
    return Traits(
        crate=unit.package.name,
        version=unit.package.version,
        kind=kind,
        opt_level=unit.profile.opt_level,
        features=unit.features,
        source_bytes=_source_bytes(unit, kind, units, sizes),
    )


def _source_bytes(
    unit: Unit, kind: Kind, units: Mapping[UnitKey, Unit], sizes: Callable[[PackageId], SourceSizes | None]
) -> int | None:
    own = sizes(unit.package)
    if own is None:
        return None
    if kind is Kind.NATIVE_RUN:
        # Sources that a crate of their own brings, as openssl-src does for openssl-sys.
        brought = (sizes(package) for package in _script_packages(unit, units))
        return own.native + sum(found.native for found in brought if found is not None)
    return own.script if kind in (Kind.BUILD_SCRIPT, Kind.BUILD_SCRIPT_RUN) else own.rust


def _script_packages(unit: Unit, units: Mapping[UnitKey, Unit]) -> frozenset[PackageId]:
    """Return the packages on which the build script of a run stands, down to two steps below it."""
    found: set[PackageId] = set()
    for script in _below(unit, units):
        if script.target_kind != "custom-build" or script.mode is Mode.RUN_CUSTOM_BUILD:
            continue
        for used in _below(script, units):
            found.add(used.package)
            found.update(deeper.package for deeper in _below(used, units))
    return frozenset(found)


def _below(unit: Unit, units: Mapping[UnitKey, Unit]) -> list[Unit]:
    return [units[edge.key] for edge in unit.dependencies if edge.key in units]
