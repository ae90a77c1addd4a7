"""Packages, units, and the cargo profiles that they are compiled with, as JSON values.

`analysis.json`, `plan.json` and the `contents.json` of what was cooked have them in this one form. Readers raise
`KeyError`, `IndexError`, `TypeError` or `ValueError` on anything else: whoever reads the file knows its name.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from factory.cargo.profile_table import ProfileTable
from factory.model import CargoProfile, Dependency, LtoDemand, Mode, PackageId, Side, Unit, UnitKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def unit_to_json(unit: Unit, profiles: Mapping[CargoProfile, int]) -> dict[str, Any]:
    """Return a unit as JSON values, without its key; `profiles` numbers the cargo profiles."""
    return {
        "package": package_to_json(unit.package),
        "target": [unit.target_name, unit.target_kind],
        "mode": unit.mode.value,
        "features": list(unit.features),
        "sides": sorted(unit.sides),
        "platform": unit.platform,
        "profile": profiles[unit.profile],
        "lto": unit.lto.value,
        "rustflags": list(unit.rustflags),
        "linker": unit.linker,
        "dependencies": [[edge.extern_name, edge.public, edge.key] for edge in unit.dependencies],
    }


def unit_from_json(
    key: UnitKey,
    raw: Mapping[str, Any],
    profiles: Sequence[CargoProfile],
    packages: dict[tuple[str, str, str], PackageId],
) -> Unit:
    """Read what `unit_to_json` wrote; `packages` holds one object for each package read so far."""
    return Unit(
        key=key,
        package=interned_package(packages, *raw["package"]),
        target_name=raw["target"][0],
        target_kind=raw["target"][1],
        mode=Mode(raw["mode"]),
        features=tuple(raw["features"]),
        sides=frozenset(Side(side) for side in raw["sides"]),
        platform=raw["platform"],
        profile=profiles[raw["profile"]],
        lto=LtoDemand(raw["lto"]),
        rustflags=tuple(raw["rustflags"]),
        linker=raw["linker"],
        dependencies=tuple(
            Dependency(extern_name=name, public=public, key=UnitKey(edge)) for name, public, edge in raw["dependencies"]
        ),
    )


def number_profiles(units: Iterable[Unit]) -> dict[CargoProfile, int]:
    """Number the cargo profiles of `units`, in an order that depends on them alone."""
    return {profile: number for number, profile in enumerate(sorted({unit.profile for unit in units}, key=repr))}


def cargo_profiles_to_json(profiles: Iterable[CargoProfile]) -> list[dict[str, Any]]:
    """Return cargo profiles as JSON values, in the order given: that of their numbers."""
    return [asdict(profile) for profile in profiles]


def cargo_profiles_from_json(rows: Sequence[Mapping[str, Any]]) -> list[CargoProfile]:
    """Read what `cargo_profiles_to_json` wrote."""
    return [CargoProfile(**dict(raw) | {"rustflags": tuple(raw["rustflags"])}) for raw in rows]


def profile_table_to_json(table: ProfileTable) -> dict[str, Any]:
    """Return a profile table as JSON values."""
    return {
        "name": table.name,
        "base": dict(table.base),
        "build-override": dict(table.build_override),
        "packages": [[*package_to_json(package), dict(settings)] for package, settings in table.packages],
    }


def profile_table_from_json(raw: Mapping[str, Any]) -> ProfileTable:
    """Read what `profile_table_to_json` wrote."""
    return ProfileTable(
        name=raw["name"],
        base=tuple(sorted(raw["base"].items())),
        build_override=tuple(sorted(raw["build-override"].items())),
        packages=tuple(
            (PackageId(name, version, source), tuple(sorted(settings.items())))
            for name, version, source, settings in raw["packages"]
        ),
    )


def package_to_json(package: PackageId) -> list[str]:
    """Return a package as its name, version and source."""
    return [package.name, package.version, package.source]


def interned_package(
    packages: dict[tuple[str, str, str], PackageId], name: str, version: str, source: str
) -> PackageId:
    """Return the package, the same object every time: thousands of units name the same few, and memory is short."""
    return packages.setdefault((name, version, source), PackageId(name, version, source))


def packages_by_source(packages: Iterable[PackageId]) -> dict[str, list[str]]:
    """Return `name version` of each package, by source."""
    found: dict[str, list[str]] = {}
    for package in sorted(packages, key=lambda package: (package.source, package)):
        found.setdefault(package.source, []).append(f"{package.name} {package.version}")
    return found


def packages_from_sources(raw: Mapping[str, Sequence[str]]) -> tuple[PackageId, ...]:
    """Read what `packages_by_source` wrote, sorted."""
    pairs = [(source, *label.split(" ", 1)) for source, labels in raw.items() for label in labels]
    return tuple(sorted(PackageId(name, version, source) for source, name, version in pairs))
