"""Measures what a plan saves, beside what others warm images with: hits by count and by seconds, bytes, wall seconds.

    python -m benchmarks.plan REPOS --timeline FOLDER [--costs FILE] [--budgets MB,MB] [--out FILE]

REPOS is a folder with a folder for each repository, FOLDER one with such a folder for each of several dates. Nothing is
cooked: the units are cargo's own (unit graphs of every repository and of every peer), seconds and bytes are measured
ones where the store of costs FILE or the shipped measurements have them, and estimates otherwise, whose error is
printed with the table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers import FIXED_LIST, popular, resolve_package, union
from factory import pipeline
from factory.analysis.model import merge_units
from factory.cargo.home import prepare_resolving_home
from factory.cargo.toolchain import find_toolchain
from factory.config.layers import LayerProfile, LayerTree, load_layer_profiles
from factory.config.load import load_configuration
from factory.consumer.recommend import COMPRESSED
from factory.costs.estimate import costs_of, fit, how_sure
from factory.costs.shipped import shipped_records
from factory.costs.sources import Sources
from factory.costs.store import open_store, store_url
from factory.files import cache_directory
from factory.graph import MergedGraph
from factory.output import Output
from factory.planning.knapsack import greedy
from factory.planning.layers import place_units
from factory.planning.selection import Demand, knapsack_of
from factory.planning.wall import BuildModel
from factory.planning.worth import savings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from factory.analysis.model import Analysis, VariantUse
    from factory.costs.model import UnitCost
    from factory.model import Unit, UnitKey
    from factory.planning.worth import Savings

_MB = 1_000_000
_ONE_LAYER = LayerTree(layers=(LayerProfile(name="all"),))


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything that the rows are made from: unit graphs of the repositories and of the peers, and what units cost."""

    now: Analysis
    dates: Mapping[str, Analysis]
    """The repositories as they were, by date, the earliest first."""
    peers: Mapping[str, tuple[UnitKey, ...]]
    """The units of each peer, in the order in which it would give them up last."""
    units: Mapping[UnitKey, Unit]
    costs: Mapping[UnitKey, UnitCost]
    jobs: int

    def bytes_of(self, keys: Iterable[UnitKey]) -> int:
        """Return what these units weigh in an image."""
        return sum(self.costs[key].bytes for key in keys)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a set of units does for one repository: hits and seconds of all it has, wall seconds, bytes to pull."""

    units: int
    hits: int
    seconds: float
    seconds_hit: float
    wall: float
    wall_saved: float
    pulled: float


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repos", type=Path)
    parser.add_argument("--timeline", type=Path)
    parser.add_argument("--costs", type=Path, help="a SQLite store of measured costs")
    parser.add_argument("--budgets", default="500,1000,2000,4000", help="MB, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/plan.md"))
    options = parser.parse_args()
    world, sure = _world(options.repos, options.timeline, options.costs)
    lines = _head(world, sure)
    budgets = [int(word) * _MB for word in options.budgets.split(",")]
    for section in (_in_plan, _later, _left_out):
        lines += section(world, budgets)
        # At once: the next section may take long.
        options.out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    return 0


def _world(repos: Path, timeline: Path | None, costs: Path | None) -> tuple[World, str]:
    settings = load_configuration(None, environ={}, start=Path("/")).settings
    run = pipeline.Run(settings=settings, output=Output())

    def analysed(folder: Path) -> Analysis:
        return pipeline.analyze(run, pipeline.scan(run, [str(folder)]), offline=False)

    now = analysed(repos)
    dates = {folder.name: analysed(folder) for folder in sorted(timeline.iterdir())} if timeline else {}
    with tempfile.TemporaryDirectory(prefix="factory-peers-") as name:
        peers = {peer: analysed(folder) for peer, folder in _write_peers(repos, Path(name), settings.toolchain)}
    units: Mapping[UnitKey, Unit] = {}
    for analysis in (now, *dates.values(), *peers.values()):
        units = merge_units(units, analysis.units)
    known, sure = _costs(now, units, costs)
    graph = MergedGraph(units)
    return World(
        now=now,
        dates=dates,
        peers={peer: tuple(graph.dependencies_first(_keys(analysis))) for peer, analysis in peers.items()},
        units=units,
        costs=known,
        jobs=settings.worth.jobs,
    ), sure


def _write_peers(repos: Path, folder: Path, version: str) -> list[tuple[str, Path]]:
    toolchain = find_toolchain(version)
    home = prepare_resolving_home(cache_directory() / "cargo-home")
    wanted = {"fixed list": FIXED_LIST, "popular crates": popular(), "union": union(repos)}
    for name, dependencies in wanted.items():
        left_out = resolve_package(folder / name, dependencies, toolchain=toolchain, cargo_home=home)
        print(f"{name}: {len(dependencies)} crates, without {', '.join(left_out) or 'none'}", file=sys.stderr)
    return [(name, folder / name) for name in wanted]


def _costs(
    analysis: Analysis, units: Mapping[UnitKey, Unit], store_file: Path | None
) -> tuple[Mapping[UnitKey, UnitCost], str]:
    records = [*shipped_records()]
    measured = {}
    if store_file is not None:
        with open_store(store_url(f"sqlite:///{store_file.absolute()}")) as store:
            records += store.records()
    compiler = analysis.toolchain.rustc_verbose.partition("\n")[0], analysis.toolchain.host
    measured = {record.key: record.cost for record in records if (record.rustc, record.platform) == compiler}
    cache = cache_directory()
    sources = Sources([cache / "cargo-home"], cache / "crate-sizes.json")
    estimator = fit(records)
    costs = costs_of(units, measured, estimator, sources)
    sources.remember()
    return costs, how_sure({key: costs[key] for key in analysis.units}, estimator)


def _keys(analysis: Analysis) -> list[UnitKey]:
    return sorted({key for workspace in analysis.resolved for use in workspace.variants.values() for key in use.keys})


# The sets of units


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """What can be chosen from the repositories of one date, in one layer, with what it saves each of them."""

    graph: MergedGraph
    users: Mapping[UnitKey, frozenset[str]]
    saved: Savings


def _candidates(world: World, analysis: Analysis) -> _Candidates:
    users: dict[UnitKey, set[str]] = defaultdict(set)
    for workspace in analysis.resolved:
        for use in workspace.variants.values():
            for key in use.keys:
                users[key].add(workspace.repo)
    graph = MergedGraph(analysis.units)
    return _Candidates(
        graph=graph,
        users={key: frozenset(repos) for key, repos in users.items() if key in graph.cookable},
        saved=savings(analysis, costs=world.costs, jobs=world.jobs),
    )


def _ours(
    world: World, found: _Candidates, budgets: Sequence[int], *, tree: LayerTree = _ONE_LAYER, without: str = ""
) -> list[frozenset[UnitKey]]:
    """Return the best set for each budget, with one repository left out; greedily, as there are many to be found."""
    users = {key: repos - {without} for key, repos in found.users.items() if repos - {without}}
    placements = place_units(sorted(users), graph=found.graph, users=users, tree=tree)
    demand = Demand(
        users=users,
        worth={
            key: sum(seconds for repo, seconds in sorted(found.saved[key].items()) if repo != without) for key in users
        },
        size={key: world.costs[key].bytes for key in users},
        placements=placements,
    )
    wanted = [key for key in users if world.units[key].is_library]
    unlimited = {profile.name: None for profile in tree.layers}
    problem, groups = knapsack_of(wanted, frozenset(), demand, found.graph, tree, unlimited, max(budgets))
    solved = (greedy(replace(problem, total=budget), frozenset()) for budget in budgets)
    return [frozenset(key for index in solution.chosen for key in groups[index]) for solution in solved]


def _frequent(world: World, found: _Candidates, budget: int, *, without: str = "") -> frozenset[UnitKey]:
    """Return the units that most repositories have."""
    counts = {key: len(repos - {without}) for key, repos in found.users.items()}
    order = sorted(
        (key for key, count in counts.items() if count and world.units[key].is_library),
        key=lambda key: (-counts[key], found.graph.height[key], key),
    )
    return _filled(world, found.graph, order, budget)


def _peer(world: World, name: str, budget: int) -> frozenset[UnitKey]:
    """Return as much of a peer as fits, in its own order."""
    keys = world.peers[name]
    if world.bytes_of(keys) <= budget:
        return frozenset(keys)
    return _filled(world, MergedGraph(world.units), keys, budget)


def _filled(world: World, graph: MergedGraph, order: Iterable[UnitKey], budget: int) -> frozenset[UnitKey]:
    chosen: set[UnitKey] = set()
    left = budget
    for key in order:
        missing = graph.closure(key) - chosen
        weight = world.bytes_of(missing)
        if weight <= left:
            chosen |= missing
            left -= weight
    return frozenset(chosen)


# What they do


def _results(
    world: World, analysis: Analysis, warm: AbstractSet[UnitKey], *, only: str | None = None
) -> dict[str, Result]:
    """Return what a set of units does for every repository that builds with cargo's own default profile, or for one."""
    rows: dict[str, list[Result]] = defaultdict(list)
    pulled = world.bytes_of(warm) * COMPRESSED
    for workspace in analysis.resolved:
        for use in workspace.variants.values():
            if use.keys and (only is None or workspace.repo == only):
                rows[workspace.repo].append(_result(world, use, warm, pulled))
    return {
        repo: Result(
            units=sum(row.units for row in parts),
            hits=sum(row.hits for row in parts),
            seconds=sum(row.seconds for row in parts),
            seconds_hit=sum(row.seconds_hit for row in parts),
            wall=sum(row.wall for row in parts),
            wall_saved=sum(row.wall_saved for row in parts),
            pulled=pulled,
        )
        for repo, parts in rows.items()
    }


def _result(world: World, use: VariantUse, warm: AbstractSet[UnitKey], pulled: float) -> Result:
    hit = [key for key in use.keys if key in warm]
    cold = _wall(world, use, frozenset())
    return Result(
        units=len(use.keys),
        hits=len(hit),
        seconds=sum(world.costs[key].seconds for key in use.keys),
        seconds_hit=sum(world.costs[key].seconds for key in hit),
        wall=cold,
        wall_saved=cold - _wall(world, use, frozenset(hit)) if hit else 0.0,
        pulled=pulled,
    )


_MODELS: dict[tuple[UnitKey, ...], tuple[BuildModel, float]] = {}


def _wall(world: World, use: VariantUse, warm: frozenset[UnitKey]) -> float:
    if use.keys not in _MODELS:
        model = BuildModel(use.keys, units=world.units, costs=world.costs)
        _MODELS[use.keys] = model, model.wall_seconds(world.jobs)
    model, cold = _MODELS[use.keys]
    return model.wall_seconds(world.jobs, warm=warm) if warm else cold


def _default_profile(analysis: Analysis) -> frozenset[str]:
    """Return the repositories all of whose workspaces build with cargo's defaults."""
    others = {
        workspace.repo
        for workspace in analysis.resolved
        for use in workspace.variants.values()
        if use.rustflags or (use.profile and (use.profile.base or use.profile.build_override or use.profile.packages))
    }
    return frozenset(workspace.repo for workspace in analysis.resolved) - others


# The tables

_COLUMNS = (
    "| plan | budget MB | MB | units hit | seconds hit | of default-profile repos' seconds "
    "| wall seconds saved by build | MB pulled per second saved |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def _head(world: World, sure: str) -> list[str]:
    defaults = _default_profile(world.now)
    repos = {workspace.repo for workspace in world.now.resolved}
    weights = ", ".join(f"{name} {world.bytes_of(keys) / _MB:.0f} MB" for name, keys in world.peers.items())
    return [
        "# What a plan saves",
        "",
        f"Made by `python -m benchmarks.plan`: {len(repos)} public repositories, {len(defaults)} of them with",
        f"cargo's default release profile; rustc {world.now.toolchain.version}, builds on {world.jobs} jobs.",
        f"Hits are exact (unit keys); seconds and bytes are not: {sure}.",
        "",
        "Units and seconds are shares of those of all repositories together. Wall seconds are those that registry",
        f"units take, predicted, as a mean over repositories. A pull is {COMPRESSED:.0%} of the bytes, compressed.",
        f"Uncut, the peers weigh: {weights}.",
        "",
    ]


def _line(name: str, budget: int, world: World, keys: AbstractSet[UnitKey], analysis: Analysis) -> str:
    found = _results(world, analysis, keys)
    return _row(name, budget, world.bytes_of(keys), found, _default_profile(analysis))


def _row(name: str, budget: int, weight: float, found: Mapping[str, Result], defaults: AbstractSet[str]) -> str:
    everything = list(found.values())
    plain = [result for repo, result in found.items() if repo in defaults]
    saved = sum(result.wall_saved for result in everything)
    pulled = sum(result.pulled for result in everything) / _MB
    return (
        f"| {name} | {budget / _MB:.0f} | {weight / _MB:.0f} "
        f"| {_share(sum(r.hits for r in everything), sum(r.units for r in everything))} "
        f"| {_share(sum(r.seconds_hit for r in everything), sum(r.seconds for r in everything))} "
        f"| {_share(sum(r.seconds_hit for r in plain), sum(r.seconds for r in plain))} "
        f"| {saved / len(everything):.1f} | {f'{pulled / saved:.1f}' if saved else '-'} |"
    )


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %"


def _in_plan(world: World, budgets: Sequence[int]) -> list[str]:
    found = _candidates(world, world.now)
    rows = ["## Repositories that the plan was made from", "", _COLUMNS]
    for budget, ours in zip(budgets, _ours(world, found, budgets), strict=True):
        rows += [_line(name, budget, world, _peer(world, name, budget), world.now) for name in world.peers]
        rows.append(_line("most frequent units", budget, world, _frequent(world, found, budget), world.now))
        rows.append(_line("factory, one image", budget, world, ours, world.now))
        rows.append(_layered(world, found, ours, budget))
    return [*rows, ""]


def _layered(world: World, found: _Candidates, chosen: frozenset[UnitKey], budget: int) -> str:
    """Return the row of the shipped layers: each repository pulls the image that costs least by second saved."""
    tree = load_layer_profiles(None)
    placements = place_units(sorted(found.users), graph=found.graph, users=found.users, tree=tree)
    images = [
        frozenset(key for key in chosen if placements[key].layer in tree.path_to_root(profile.name))
        for profile in tree.layers
    ]
    by_image = [_results(world, world.now, keys) for keys in images]
    best = {repo: min((rows[repo] for rows in by_image), key=_price) for repo in by_image[0]}
    return _row("factory, three images", budget, world.bytes_of(chosen), best, _default_profile(world.now))


def _price(result: Result) -> float:
    """Return the bytes pulled for a second saved."""
    return result.pulled / result.wall_saved if result.wall_saved else float("inf")


def _left_out(world: World, budgets: Sequence[int]) -> list[str]:
    found = _candidates(world, world.now)
    repos = sorted({workspace.repo for workspace in world.now.resolved})
    ours: list[dict[str, Result]] = [{} for _ in budgets]
    frequent: list[dict[str, Result]] = [{} for _ in budgets]
    for repo in repos:
        for number, keys in enumerate(_ours(world, found, budgets, without=repo)):
            ours[number] |= _results(world, world.now, keys, only=repo)
            most = _frequent(world, found, budgets[number], without=repo)
            frequent[number] |= _results(world, world.now, most, only=repo)
        print(f"left out: {repo}", file=sys.stderr)
    rows = [
        "## Each repository with a plan made from the others",
        "",
        "Lists are what they were; so is the union, with the repository in it, which flatters it.",
        "",
        _COLUMNS,
    ]
    defaults = _default_profile(world.now)
    for number, budget in enumerate(budgets):
        rows += [_line(name, budget, world, _peer(world, name, budget), world.now) for name in world.peers]
        rows.append(_row("most frequent units", budget, budget, frequent[number], defaults))
        rows.append(_row("factory, one image", budget, budget, ours[number], defaults))
    return [*rows, ""]


def _later(world: World, budgets: Sequence[int]) -> list[str]:
    if not world.dates:
        return []
    (first, start), *_ = world.dates.items()
    found = _candidates(world, start)
    rows = [
        f"## A plan of {first}, as the same repositories move on",
        "",
        "| date " + _COLUMNS.replace("\n", "\n| --- "),
    ]
    for budget, ours in zip(budgets, _ours(world, found, budgets), strict=True):
        sets = {name: _peer(world, name, budget) for name in world.peers}
        sets |= {"most frequent units": _frequent(world, found, budget), "factory, one image": ours}
        rows += [
            f"| {date} {_line(name, budget, world, keys, analysis)}"
            for name, keys in sets.items()
            for date, analysis in world.dates.items()
        ]
    return [*rows, ""]


if __name__ == "__main__":
    sys.exit(main())
