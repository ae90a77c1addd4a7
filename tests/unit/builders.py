"""Small values for tests: units by hand, random graphs with their users, and an organisation's analysis and plan."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from factory.analysis.model import Analysis, Status, ToolchainFacts, VariantUse, Workspace, merge_units
from factory.cargo.lock import Lock, LockedPackage
from factory.cargo.profile_table import ProfileTable, derive_profile_table
from factory.cargo.unit_graph import Surroundings, parse_unit_graph
from factory.config.layers import LayerProfile, LayerTree
from factory.costs.model import UnitCost
from factory.graph import MergedGraph
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
from factory.planning.contract import Contract
from factory.planning.plan import Exclusion, Forecast, Plan, PlannedLayer, PlannedUnit
from factory.planning.recipe import Recipe, RecipeContext, RecipePackage
from factory.planning.selection import Quality
from tests.unit.unit_builder import RELEASE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

FACTS = ToolchainFacts(version="1.95.0", host="x86_64-unknown-linux-gnu", rustc_verbose="rustc 1.95.0\nLLVM: 21\n")


# Units by hand


def unit(key: str, *below: str, name: str | None = None, source: str = CRATES_IO, **changes: Any) -> Unit:  # noqa: ANN401
    """A library called like its key that stands on the units `below`; `changes` are other fields of `Unit`."""
    crate = name or key
    made = Unit(
        key=UnitKey(key),
        package=PackageId(crate, "1.0.0", source),
        target_name=crate.replace("-", "_"),
        target_kind="lib",
        mode=Mode.BUILD,
        features=(),
        sides=frozenset({Side.TARGET}),
        platform=None,
        profile=RELEASE,
        lto=LtoDemand.ONLY_OBJECT,
        rustflags=(),
        linker=None,
        dependencies=tuple(Dependency(extern_name=edge, public=False, key=UnitKey(edge)) for edge in below),
    )
    return replace(made, **changes)


def graph(*units: Unit) -> MergedGraph:
    return MergedGraph({one.key: one for one in units})


def keys(*names: str) -> frozenset[UnitKey]:
    return frozenset(UnitKey(name) for name in names)


def chain(*names: str, **anchors: str) -> LayerTree:
    """Layers each on the one before; `anchors` are one crate for a layer."""
    parents = (None, *names)
    return LayerTree(
        layers=tuple(
            LayerProfile(name=name, parent=parent, anchors=frozenset({anchors[name]} if name in anchors else ()))
            for name, parent in zip(names, parents, strict=False)
        )
    )


# Random graphs, trees and users

CRATES = tuple("abcdefgh")
REPOS = ("r1", "r2", "r3", "r4")


@st.composite
def graphs(draw: st.DrawFn, *, most: int = 12) -> MergedGraph:
    """Acyclic graphs of registry libraries and build scripts; the order of keys says nothing about edges."""
    size = draw(st.integers(1, most))
    names = draw(st.permutations([f"k{number:02}" for number in range(size)]))
    units = []
    for number, key in enumerate(names):
        below = draw(st.lists(st.sampled_from(names[:number]), unique=True, max_size=3)) if number else []
        kind = draw(st.sampled_from(("lib", "lib", "lib", "proc-macro", "custom-build")))
        units.append(unit(key, *below, name=draw(st.sampled_from(CRATES)), target_kind=kind))
    return graph(*draw(st.permutations(units)))


@st.composite
def trees(draw: st.DrawFn) -> LayerTree:
    """Trees of one to five layers, with at most one layer as the home of each crate and of each repository."""
    size = draw(st.integers(1, 5))
    homes = {word: draw(st.integers(0, 2 * size)) for word in (*CRATES, *REPOS)}
    some = st.frozensets(st.sampled_from(CRATES), max_size=2)
    return LayerTree(
        layers=tuple(
            LayerProfile(
                name=f"layer{number}",
                parent=f"layer{draw(st.integers(0, number - 1))}" if number else None,
                anchors=frozenset(crate for crate in CRATES if homes[crate] == number),
                repos=frozenset(repo for repo in REPOS if homes[repo] == number),
                min_repos=draw(st.integers(1, 3)),
                always=draw(some),
                never=draw(some),
            )
            for number in range(size)
        )
    )


@dataclass(frozen=True, kw_only=True)
class World:
    """A graph, its layers, and the repositories that have each unit, as an analysis would give them."""

    graph: MergedGraph
    tree: LayerTree
    users: Mapping[UnitKey, frozenset[str]]

    @property
    def used(self) -> tuple[UnitKey, ...]:
        return tuple(key for key, repos in self.users.items() if repos)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Worlds in which every repository has some units with all that is under them."""
    merged = draw(graphs())
    users: dict[UnitKey, set[str]] = {key: set() for key in merged.units}
    for repo in REPOS:
        for root in draw(st.lists(st.sampled_from(sorted(merged.units)), max_size=2)):
            for key in merged.closure(root):
                users[key].add(repo)
    return World(graph=merged, tree=draw(trees()), users={key: frozenset(repos) for key, repos in users.items()})


def shuffled(mapping: Mapping[Any, Any], random: Random) -> dict[Any, Any]:
    """The same mapping with its entries in another order."""
    items = list(mapping.items())
    random.shuffle(items)
    return dict(items)


# An organisation: workspaces as cargo prints them, and what follows


@dataclass(frozen=True, kw_only=True)
class Crate:
    """A registry crate in a workspace's unit graph; `below` are the names of the crates it stands on."""

    name: str
    below: tuple[str, ...] = ()
    version: str = "1.0.0"
    features: tuple[str, ...] = ()
    kind: str = "lib"


ORGANISATION: Mapping[str, tuple[Crate, ...]] = {
    "cli": (
        Crate(name="serde_derive", kind="proc-macro"),
        Crate(name="serde", below=("serde_derive",), features=("derive", "std", "alloc")),
        Crate(name="clap", features=("std", "derive")),
    ),
    "web": (
        Crate(name="serde_derive", kind="proc-macro"),
        Crate(name="serde", below=("serde_derive",), features=("std", "derive", "alloc")),
        Crate(name="hyper", below=("serde",), version="2.0.0"),
        Crate(name="axum", below=("hyper", "serde"), features=("ws", "http2", "json")),
    ),
    "db": (
        Crate(name="serde_derive", kind="proc-macro"),
        Crate(name="serde", below=("serde_derive",), features=("alloc", "derive", "std")),
        Crate(name="hyper", below=("serde",), version="2.0.0"),
        Crate(name="sqlx", below=("serde", "hyper")),
    ),
}
"""Workspaces by name; features stand in different orders, as nothing may depend on it."""


def unit_graph(workspace: str, crates: Sequence[Crate], random: Random | None = None) -> str:
    """What cargo prints for a workspace with these registry crates; with `random`, in another order."""
    order = [*range(len(crates) + 1)]
    if random is not None:
        random.shuffle(order)
    place = {number: index for index, number in enumerate(order)}
    number_of = {crate.name: number for number, crate in enumerate(crates)}
    rows = [
        _raw(f"{CRATES_IO}#{crate.name}@{crate.version}", crate, [place[number_of[name]] for name in crate.below])
        for crate in crates
    ]
    root = Crate(name=workspace, below=tuple(number_of), kind="bin")
    rows.append(_raw(f"path+file:///repos/{workspace}#1.0.0", root, [place[number] for number in number_of.values()]))
    if random is not None:
        for row in rows:
            random.shuffle(row["dependencies"])
            random.shuffle(row["features"])
    units = [rows[number] for number in order]
    return json.dumps({"version": 1, "units": units, "roots": [place[len(crates)]]})


def _raw(package: str, crate: Crate, below: Sequence[int]) -> dict[str, Any]:
    return {
        "pkg_id": package,
        "target": {"kind": [crate.kind], "crate_types": [crate.kind], "name": crate.name.replace("-", "_")},
        "profile": {
            **{name: getattr(RELEASE, name) for name in CargoProfile.__dataclass_fields__},
            "opt_level": "0" if crate.kind == "proc-macro" else "3",
            "debuginfo": 0,
            "strip": {"deferred": {"Named": "debuginfo"}},
            "rustflags": [],
        },
        "platform": None,
        "mode": "build",
        "features": list(crate.features),
        "dependencies": [
            {"index": index, "extern_crate_name": name, "public": False}
            for index, name in zip(below, crate.below, strict=True)
        ],
    }


def organisation(random: Random | None = None, *, variants: Sequence[str] = ("release",)) -> Analysis:
    """The analysis of `ORGANISATION`; with `random`, made from the same input in another order everywhere."""
    names = list(ORGANISATION)
    if random is not None:
        random.shuffle(names)
    units: list[Mapping[UnitKey, Unit]] = []
    workspaces = []
    for name in names:
        found = parse_unit_graph(unit_graph(name, ORGANISATION[name], random), Surroundings(rustc=FACTS.rustc_verbose))
        registry = [one for one in found if one.is_registry]
        units.append({one.key: one for one in registry})
        workspaces.append(_workspace(name, registry, variants, random))
    merged = merge_units(units)
    links = {PackageId("openssl-sys", "0.9.0", CRATES_IO): "openssl", PackageId("zlib", "1.0.0", CRATES_IO): "z"}
    return Analysis(
        toolchain=FACTS,
        variants=tuple(variants),
        workspaces=tuple(workspaces),
        units=merged if random is None else shuffled(merged, random),
        links=links if random is None else shuffled(links, random),
    )


def _workspace(name: str, registry: Sequence[Unit], variants: Sequence[str], random: Random | None) -> Workspace:
    found = [one.key for one in registry]
    if random is not None:
        random.shuffle(found)
    use = VariantUse(keys=tuple(found), profile=derive_profile_table(registry), rustflags=())
    uses = dict.fromkeys(variants, use)
    return Workspace(
        path=f"repos/{name}",
        repo=name,
        status=Status.RESOLVED,
        reason="",
        variants=uses if random is None else shuffled(uses, random),
        lock=lock_of(registry),
    )


def lock_of(units: Iterable[Unit]) -> Lock:
    by_key = {one.key: one.package for one in units}
    return Lock(
        tuple(
            sorted(
                LockedPackage(
                    package=one.package,
                    checksum="0" * 64,
                    dependencies=tuple(sorted(by_key[edge.key] for edge in one.dependencies)),
                )
                for one in units
            )
        )
    )


def skipped(path: str, reason: str) -> Workspace:
    return Workspace(path=path, repo=path, status=Status.SKIPPED, reason=reason, variants={}, lock=Lock(()))


def recipe(layer: str, units: Sequence[Unit], *, rustflags: tuple[str, ...] = ()) -> Recipe:
    """A recipe for these units, with a lock that is short and whose last line ends."""
    table = ProfileTable(
        name="release",
        base=(("lto", "thin"), ("opt-level", "2")),
        build_override=(("opt-level", "3"),),
        packages=tuple((one.package, (("opt-level", "1"),)) for one in units[:1]),
    )
    return Recipe(
        name=f"factory-recipe-{layer}-{len(units)}",
        layer=layer,
        context=RecipeContext(command="build", profile=table, platform=None, rustflags=rustflags),
        packages=tuple(RecipePackage(package=one.package, side=Side.TARGET, features=one.features) for one in units),
        lock="# a lock\nversion = 4\n",
        keys=tuple(sorted(one.key for one in units)),
    )


def plan_for(layers: Mapping[str, Sequence[Unit]]) -> Plan:
    """A plan with a chain of layers, one recipe in each."""
    names = list(layers)
    return Plan(
        contract=Contract(cargo_home="/usr/local/cargo", build_dir="/build", toolchain=FACTS, variants=("release",)),
        layers=tuple(
            PlannedLayer(
                name=name,
                parent=parent,
                budget_bytes=None if parent else 10_000_000,
                estimated_bytes=2_000_000 * len(layers[name]),
                keys=tuple(sorted(one.key for one in layers[name])),
            )
            for name, parent in zip(names, (None, *names), strict=False)
        ),
        units={one.key: _planned(one, name) for name, units in layers.items() for one in units},
        recipes=tuple(recipe(name, units) for name, units in layers.items() if units),
        excluded=(Exclusion(package="ring@0.17.0", reason="over the budget", units=2, repos=3),),
        forecast=(forecast_row("repos/web", 9, dict.fromkeys(names, 8)),),
        quality=Quality(saved=40.0, bound=41.0, method="greedy", prices=dict.fromkeys(names, 0.5e-6)),
    )


def forecast_row(path: str, total: int, hits: Mapping[str, int], **changes: Any) -> Forecast:  # noqa: ANN401 - any field
    """A forecast in which every unit takes two seconds and two run at a time."""
    row = Forecast(
        path=path,
        repo=path.rpartition("/")[2],
        variant="release",
        total=total,
        hits=hits,
        seconds_total=2.0 * total,
        seconds_hit={layer: 2.0 * hit for layer, hit in hits.items()},
        jobs=2,
        wall_cold=float(total),
        wall_warm={layer: float(total - hit) for layer, hit in hits.items()},
    )
    return replace(row, **changes)


def _planned(one: Unit, layer: str) -> PlannedUnit:
    return PlannedUnit(
        unit=one,
        layer=layer,
        why=f"its closure holds {one.package.name}, an anchor of {layer}",
        repos=("cli", "web"),
        saves=3.0,
        cost=UnitCost(seconds=1.5, bytes=2_000_000, measured=False),
    )
