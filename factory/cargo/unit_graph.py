"""Reads `cargo build --unit-graph` and gives every unit its key.

The format is cargo's own, unstable (`version: 1` since 2020): anything else than what we know is refused, never
guessed. What cargo hashes into a fingerprint and a directory name, and so into the key, was read in
`core/compiler/fingerprint/mod.rs` and `core/compiler/build_runner/compilation_files.rs` of cargo 0.96 (Rust 1.95);
`tests/cargo/test_unit_keys.py` holds the key against what cargo does.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from factory.cargo.lto import LtoNode, lto_demands
from factory.errors import EnvironmentFaultError
from factory.files import digest
from factory.model import CargoProfile, Dependency, LtoDemand, Mode, PackageId, Side, SourceKind, Unit, UnitKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY_DIGITS = 32
"""128 bits: a collision among a billion units is less likely than a broken disk."""

_FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What decides a unit key beside the graph: the compiler, and flags and linker by platform.

    `rustflags` and `linkers` map a platform, `None` for builds without `--target`, to what applies there.
    """

    rustc: str
    """The whole output of `rustc -vV`: cargo hashes all of it."""
    rustflags: Mapping[str | None, tuple[str, ...]] = field(default_factory=dict)
    linkers: Mapping[str | None, str] = field(default_factory=dict)


def parse_unit_graph(
    text: str,
    surroundings: Surroundings,
    *,
    root: Path | None = None,
    commits: Mapping[PackageId, PackageId] | None = None,
) -> tuple[Unit, ...]:
    """Return the units of cargo's unit graph in cargo's order; raise `EnvironmentFaultError` on an unknown format.

    With a `root`, the absolute folder where cargo ran, the sources of path packages are relative to it
    (`path+../patched`): where a copy of a workspace lies must not change the key of what stands on such a package.
    `commits` are those of the lock (`Lock.commits`): the graph does not name them, and they decide about reuse.
    """
    try:
        return _units(json.loads(text), surroundings, root, commits or {})
    except (ValueError, KeyError, TypeError) as error:
        raise EnvironmentFaultError(
            f"cargo's unit graph is not in the known format: {error!r}",
            advice="This version of factory knows the format of cargo 1.85 to 1.97: use such a toolchain.",
        ) from error


def _units(
    graph: Mapping[str, Any], surroundings: Surroundings, root: Path | None, commits: Mapping[PackageId, PackageId]
) -> tuple[Unit, ...]:
    if graph["version"] != _FORMAT_VERSION:
        message = f"version {graph['version']}"
        raise ValueError(message)
    raw_units: list[dict[str, Any]] = graph["units"]
    roots: list[int] = graph["roots"]
    demands = lto_demands([_lto_node(raw) for raw in raw_units], roots)
    sides = _sides(raw_units, roots)
    cross = any(raw["platform"] is not None for raw in raw_units)
    done: dict[int, Unit] = {}
    for index in _dependencies_first(raw_units, roots):
        raw = raw_units[index]
        edges = (
            Dependency(extern_name=edge["extern_crate_name"], public=edge["public"], key=done[edge["index"]].key)
            for edge in raw["dependencies"]
        )
        dependencies = tuple(sorted(edges, key=lambda edge: (edge.extern_name, edge.key)))
        package = _package(raw["pkg_id"], root)
        package = commits.get(package, package)
        reached = frozenset(sides[index])
        done[index] = _unit(raw, package, demands[index], reached, dependencies, surroundings, cross=cross)
    return tuple(done[index] for index in range(len(raw_units)))


def _unit(
    raw: dict[str, Any],
    package: PackageId,
    demand: LtoDemand,
    sides: frozenset[Side],
    dependencies: tuple[Dependency, ...],
    surroundings: Surroundings,
    *,
    cross: bool,
) -> Unit:
    platform: str | None = raw["platform"]
    # With --target, what is compiled for the host gets no RUSTFLAGS at all; without, everything gets the same.
    has_flags = platform is not None or not cross
    rustflags = surroundings.rustflags.get(platform, ()) if has_flags else ()
    unit = Unit(
        key=UnitKey(""),
        package=package,
        target_name=raw["target"]["name"],
        target_kind=raw["target"]["kind"][0],
        mode=Mode(raw["mode"]),
        features=tuple(sorted(raw["features"])),
        sides=sides,
        platform=platform,
        profile=_profile(raw["profile"]),
        lto=demand,
        rustflags=rustflags,
        linker=surroundings.linkers.get(platform),
        dependencies=dependencies,
    )
    return _with_key(unit, raw["target"]["crate_types"], surroundings.rustc)


def _package(pkg_id: str, root: Path | None) -> PackageId:
    package = PackageId.parse(pkg_id)
    scheme, _, path = package.source.partition("+file://")
    if root is None or scheme != SourceKind.PATH:
        return package
    return replace(package, source=f"path+{os.path.relpath(unquote(path), root)}")


def _with_key(unit: Unit, crate_types: list[str], rustc: str) -> Unit:
    profile = unit.profile
    content = [
        [unit.package.source, unit.package.name, unit.package.version],
        [unit.target_name, unit.target_kind, sorted(crate_types)],
        unit.mode.value,
        unit.features,
        unit.platform,
        [profile.directory, *_hashed_settings(profile)],
        unit.lto.value,
        unit.rustflags,
        unit.linker,
        rustc,
        sorted([edge.extern_name, edge.public, edge.key] for edge in unit.dependencies),
    ]
    return replace(unit, key=UnitKey(digest(content)[:KEY_DIGITS]))


def _hashed_settings(profile: CargoProfile) -> list[object]:
    return [getattr(profile, name) for name in CargoProfile.__dataclass_fields__ if name != "name"]


def _profile(raw: dict[str, Any]) -> CargoProfile:
    return CargoProfile(
        name=raw["name"],
        opt_level=raw["opt_level"],
        lto=raw["lto"],
        codegen_backend=raw["codegen_backend"],
        codegen_units=raw["codegen_units"],
        debuginfo=str(raw["debuginfo"]),
        split_debuginfo=raw["split_debuginfo"],
        debug_assertions=raw["debug_assertions"],
        overflow_checks=raw["overflow_checks"],
        rpath=raw["rpath"],
        panic=raw["panic"],
        strip=_strip(raw["strip"]),
        trim_paths=json.dumps(raw["trim_paths"]) if raw.get("trim_paths") is not None else None,
        rustflags=tuple(raw.get("rustflags", ())),
    )


def _strip(raw: dict[str, Any]) -> str:
    """Cargo writes `{"resolved" or "deferred": "None" or {"Named": name}}`; whether it was deferred is not hashed."""
    (inner,) = raw.values()
    return "none" if inner == "None" else str(inner["Named"])


def _lto_node(raw: dict[str, Any]) -> LtoNode:
    target = raw["target"]
    return LtoNode(
        crate_types=tuple(target["crate_types"]),
        for_host=target["kind"][0] in {"proc-macro", "custom-build"},
        is_test=raw["mode"] in {"test", "doctest"},
        lto_setting=raw["profile"]["lto"],
        dependencies=tuple(edge["index"] for edge in raw["dependencies"]),
    )


def _sides(raw_units: list[dict[str, Any]], roots: list[int]) -> list[set[Side]]:
    sides: list[set[Side]] = [set() for _ in raw_units]
    pending = [(root, _own_side(raw_units[root], Side.TARGET)) for root in roots]
    while pending:
        index, side = pending.pop()
        if side in sides[index]:
            continue
        sides[index].add(side)
        edges = (edge["index"] for edge in raw_units[index]["dependencies"])
        pending.extend((edge, _own_side(raw_units[edge], side)) for edge in edges)
    return sides


def _own_side(raw: dict[str, Any], dependent: Side) -> Side:
    """The side on which a unit is reached: below a proc-macro or a compiled build script, everything is host."""
    kind = raw["target"]["kind"][0]
    is_host = kind == "proc-macro" or (kind == "custom-build" and raw["mode"] != "run-custom-build")
    return Side.HOST if is_host else dependent


def _dependencies_first(raw_units: list[dict[str, Any]], roots: list[int]) -> list[int]:
    order: list[int] = []
    seen: set[int] = set()
    pending = [(root, False) for root in reversed(roots)]
    while pending:
        index, expanded = pending.pop()
        if expanded:
            order.append(index)
        elif index not in seen:
            seen.add(index)
            pending.append((index, True))
            pending.extend((edge["index"], False) for edge in reversed(raw_units[index]["dependencies"]))
    return order
