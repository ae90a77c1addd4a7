"""The values of an analysis, and their form in `analysis.json`."""

from __future__ import annotations

import enum
from dataclasses import asdict, astuple, dataclass, field, replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from factory.cargo.lock import Lock, LockedPackage
from factory.errors import ConfigurationError
from factory.files import flaw
from factory.model import PackageId, SourceSizes, UnitKey
from factory.unit_json import (
    cargo_profiles_from_json,
    cargo_profiles_to_json,
    interned_package,
    number_profiles,
    package_to_json,
    profile_table_from_json,
    profile_table_to_json,
    unit_from_json,
    unit_to_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.cargo.profile_table import ProfileTable
    from factory.model import Unit

SCHEMA = 4


def aligned_path(path: str, aligned: str) -> str:
    """Return what a workspace is called once something of it was moved onto the baseline: `orders + versions`."""
    return f"{path} + {aligned}"


def original_path(path: str, aligned: str) -> str:
    """Return the path of a workspace as it is, whatever was moved: the inverse of `aligned_path`."""
    return path.removesuffix(aligned_path("", aligned))


class Status(enum.StrEnum):
    """Whether cargo resolved a workspace."""

    RESOLVED = "resolved"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantUse:
    """What one cargo command deals with in one workspace: its registry units and those of git, each in key order."""

    keys: tuple[UnitKey, ...]
    profile: ProfileTable | None
    """`None` where there is no such unit."""
    rustflags: tuple[str, ...]
    git_keys: tuple[UnitKey, ...] = ()

    @property
    def all_keys(self) -> tuple[UnitKey, ...]:
        """What may be cooked of it."""
        return self.keys + self.git_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """One workspace with what it uses by variant, or why it was skipped; a pin is told, and does not skip.

    `doubts` say under which settings a build finds less warm than its units are: cargo's unit graph does not show them.
    """

    path: str
    repo: str
    status: Status
    reason: str
    toolchain_pin: str | None = None
    rust_version: str | None = None
    ignored: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    builds: float = 1.0
    """How often it is built, compared with others: what it saves counts as often."""
    aligned: str = ""
    """What was moved onto the baseline (`versions`, `features`, `profile`): empty for a workspace as it is."""
    variants: Mapping[str, VariantUse]
    lock: Lock

    @property
    def remark(self) -> str:
        """All that a reader has to know of it, "" for nothing."""
        return "; ".join(filter(None, (self.reason, *self.doubts)))

    @property
    def registry_units(self) -> int:
        """How many registry units its variants have, each counted once."""
        return len({key for use in self.variants.values() for key in use.keys})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolchainFacts:
    """The compiler that the keys are for."""

    version: str
    host: str
    rustc_verbose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """All workspaces, sorted by path, and every unit that their registry and git units stand on."""

    toolchain: ToolchainFacts
    variants: tuple[str, ...]
    workspaces: tuple[Workspace, ...]
    units: Mapping[UnitKey, Unit]
    links: Mapping[PackageId, str]
    """The `links` name of each package that has one: cargo allows one package for each name."""
    sizes: Mapping[PackageId, SourceSizes] = field(default_factory=dict)
    """How large the sources of packages are, of those that were at hand: estimates are the same on every machine."""

    @property
    def packages(self) -> frozenset[PackageId]:
        """Those that there are units of."""
        return frozenset(unit.package for unit in self.units.values())

    @property
    def resolved(self) -> tuple[Workspace, ...]:
        """The workspaces that cargo resolved."""
        return tuple(workspace for workspace in self.workspaces if workspace.status is Status.RESOLVED)


def join(parts: Sequence[Analysis]) -> Analysis:
    """Return one analysis of what several, at least one, have; they are of one toolchain and its variants."""
    links: dict[PackageId, str] = {}
    sizes: dict[PackageId, SourceSizes] = {}
    for part in parts:
        links |= part.links
        sizes |= part.sizes
    return replace(
        parts[0],
        workspaces=tuple(sorted((row for part in parts for row in part.workspaces), key=_by_path)),
        units=dict(sorted(merge_units(part.units for part in parts).items())),
        links=dict(sorted(links.items())),
        sizes=sizes,
    )


def merge_units(parts: Iterable[Mapping[UnitKey, Unit]]) -> dict[UnitKey, Unit]:
    """Return the units of all `parts`: the same for whatever order these come in.

    Equal keys may still differ in two things: the sides from which a unit is reached, which are united, and the name
    of a cargo profile that shares its directory (`dev` and `test`), of which the first by name is taken.
    """
    merged: dict[UnitKey, Unit] = {}
    for part in parts:
        for key, unit in part.items():
            known = merged.setdefault(key, unit)
            if known != unit:
                first = min(known, unit, key=lambda same: same.profile.name)
                merged[key] = replace(first, sides=unit.sides | known.sides)
    return merged


def analysis_to_json(analysis: Analysis) -> dict[str, Any]:
    """Return the analysis as JSON values; the order of everything depends on the content alone."""
    index = number_profiles(analysis.units.values())
    return {
        "schema": SCHEMA,
        "toolchain": asdict(analysis.toolchain),
        "variants": list(analysis.variants),
        "workspaces": [_workspace_to_json(workspace) for workspace in sorted(analysis.workspaces, key=_by_path)],
        "profiles": cargo_profiles_to_json(index),
        "units": {key: unit_to_json(unit, index) for key, unit in analysis.units.items()},
        "links": sorted([*package_to_json(package), name] for package, name in analysis.links.items()),
        "sizes": sorted([*package_to_json(package), *astuple(sizes)] for package, sizes in analysis.sizes.items()),
    }


def analysis_from_json(document: Any) -> Analysis:  # noqa: ANN401 - any JSON value
    """Read what `analysis_to_json` wrote; raise `ConfigurationError` on anything else."""
    try:
        return _analysis(document)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ConfigurationError(
            f"not an analysis that this version of factory reads: {flaw(error)}",
            advice="Run `factory analyze` again.",
        ) from error


def _analysis(document: Mapping[str, Any]) -> Analysis:
    if document["schema"] != SCHEMA:
        message = f"schema {document['schema']}, not {SCHEMA}"
        raise ValueError(message)
    profiles = cargo_profiles_from_json(document["profiles"])
    packages: dict[tuple[str, str, str], PackageId] = {}
    units = {
        UnitKey(key): unit_from_json(UnitKey(key), raw, profiles, packages) for key, raw in document["units"].items()
    }
    workspaces = tuple(_workspace(raw, packages) for raw in document["workspaces"])
    _check_edges(units, workspaces)
    return Analysis(
        toolchain=ToolchainFacts(**document["toolchain"]),
        variants=tuple(document["variants"]),
        workspaces=workspaces,
        units=units,
        links={PackageId(name, version, source): links for name, version, source, links in document["links"]},
        sizes={
            interned_package(packages, name, version, source): SourceSizes(rust=rust, script=script, native=native)
            for name, version, source, rust, script, native in document["sizes"]
        },
    )


def _check_edges(units: Mapping[UnitKey, Unit], workspaces: Iterable[Workspace]) -> None:
    """Raise `ValueError` for what a file made by hand could have: edges to nowhere, or in a circle."""
    edges = {key: [edge.key for edge in unit.dependencies] for key, unit in units.items()}
    named = {key for keys in edges.values() for key in keys}
    named.update(key for workspace in workspaces for use in workspace.variants.values() for key in use.all_keys)
    unknown = sorted(named - units.keys())
    if unknown:
        message = f"there is no unit {unknown[0]}"
        raise ValueError(message)
    TopologicalSorter(edges).prepare()


def _by_path(workspace: Workspace) -> str:
    return workspace.path


def _workspace_to_json(workspace: Workspace) -> dict[str, Any]:
    return {
        "path": workspace.path,
        "repo": workspace.repo,
        "status": workspace.status.value,
        "reason": workspace.reason,
        "registry_units": workspace.registry_units,
        "toolchain_pin": workspace.toolchain_pin,
        "rust_version": workspace.rust_version,
        "ignored": list(workspace.ignored),
        "doubts": list(workspace.doubts),
        "builds": workspace.builds,
        **({"aligned": workspace.aligned} if workspace.aligned else {}),
        "variants": {name: _use_to_json(use) for name, use in workspace.variants.items()},
        "lock": _lock_to_json(workspace.lock),
    }


def _workspace(raw: Mapping[str, Any], packages: dict[tuple[str, str, str], PackageId]) -> Workspace:
    return Workspace(
        path=raw["path"],
        repo=raw["repo"],
        status=Status(raw["status"]),
        reason=raw["reason"],
        toolchain_pin=raw["toolchain_pin"],
        rust_version=raw["rust_version"],
        ignored=tuple(raw["ignored"]),
        doubts=tuple(raw["doubts"]),
        builds=raw["builds"],
        aligned=raw.get("aligned", ""),
        variants={name: _use(use) for name, use in raw["variants"].items()},
        lock=_lock(raw["lock"], packages),
    )


def _use_to_json(use: VariantUse) -> dict[str, Any]:
    return {
        "keys": sorted(use.keys),
        "git_keys": sorted(use.git_keys),
        "profile": None if use.profile is None else profile_table_to_json(use.profile),
        "rustflags": list(use.rustflags),
    }


def _use(raw: Mapping[str, Any]) -> VariantUse:
    return VariantUse(
        keys=tuple(UnitKey(key) for key in raw["keys"]),
        profile=None if raw["profile"] is None else profile_table_from_json(raw["profile"]),
        rustflags=tuple(raw["rustflags"]),
        git_keys=tuple(UnitKey(key) for key in raw["git_keys"]),
    )


def _lock_to_json(lock: Lock) -> list[list[Any]]:
    """One row a package: name, version, source, checksum, and the rows it depends on."""
    index = {entry.package: number for number, entry in enumerate(lock.packages)}
    return [
        [
            *package_to_json(entry.package),
            entry.checksum,
            [index[dependency] for dependency in entry.dependencies if dependency in index],
        ]
        for entry in lock.packages
    ]


def _lock(rows: Sequence[Sequence[Any]], packages: dict[tuple[str, str, str], PackageId]) -> Lock:
    found = [interned_package(packages, name, version, source) for name, version, source, _, _ in rows]
    return Lock(
        tuple(
            LockedPackage(
                package=found[number],
                checksum=row[3],
                dependencies=tuple(found[dependency] for dependency in row[4]),
            )
            for number, row in enumerate(rows)
        )
    )
