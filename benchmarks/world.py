"""What the benchmarks of plans share: sets of units, chosen in several ways, and what they do for repositories."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from factory.analysis.model import merge_units, original_path
from factory.cargo.home import user_cargo_home
from factory.config.layers import LayerProfile, LayerTree
from factory.config.load import load_configuration
from factory.consumer.align.model import StepName
from factory.consumer.recommend import COMPRESSED, UNPACKED_PER_SECOND
from factory.costs.estimate import costs_of, fit
from factory.costs.shipped import shipped_records
from factory.costs.sources import Sources
from factory.costs.store import open_store, store_url
from factory.files import cache_directory
from factory.graph import MergedGraph
from factory.output import Output
from factory.pipeline import analyzing
from factory.pipeline.run import Run
from factory.planning.knapsack import fill, greedy
from factory.planning.layers import Placement
from factory.planning.selection import Demand, knapsack_of
from factory.planning.wall import BuildModel
from factory.planning.worth import savings, worth_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from factory.analysis.model import Analysis, VariantUse
    from factory.costs.estimate import Estimator
    from factory.costs.model import UnitCost
    from factory.model import Unit, UnitKey
    from factory.planning.knapsack import Knapsack
    from factory.planning.worth import Savings

MB = 1_000_000
_BANDWIDTH = 100 * MB
"""Bytes that a machine pulls in a second, as `factory recommend` takes for granted."""
_ONE_LAYER = LayerTree(layers=(LayerProfile(name="all"),))


def default_run() -> Run:
    """Return a run by the shipped configuration, which says nothing but answers and warnings."""
    return Run(settings=load_configuration(None, environ={}, start=Path("/")).settings, output=Output())


def analysed(run: Run, folder: Path) -> Analysis:
    """Analyse all repositories in a folder."""
    return analyzing.analyze(run, analyzing.scan(run, [str(folder)]), offline=False)


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What units cost, measured or estimated."""

    measured: Mapping[UnitKey, UnitCost]
    estimator: Estimator
    sources: Sources

    def of(self, units: Mapping[UnitKey, Unit]) -> dict[UnitKey, UnitCost]:
        """Return what some units cost."""
        found = dict(costs_of(units, self.measured, self.estimator, self.sources))
        self.sources.remember()
        return found


@dataclass(frozen=True, kw_only=True)
class World:
    """Units that repositories and peers compile, what they cost, and the jobs of the machines that do."""

    units: Mapping[UnitKey, Unit]
    costs: Mapping[UnitKey, UnitCost]
    prices: Prices
    jobs: int

    def with_units(self, units: Mapping[UnitKey, Unit]) -> Self:
        """Return a world that knows other units too, and what they cost."""
        return replace(self, units=merge_units([self.units, units]), costs={**self.costs, **self.prices.of(units)})

    def bytes_of(self, keys: Iterable[UnitKey]) -> int:
        """Return what these units weigh in an image."""
        return sum(self.costs[key].bytes for key in keys)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an image does for one repository: hits and seconds of all it has, wall seconds, and its bytes, unpacked."""

    units: int
    hits: int
    seconds: float
    seconds_hit: float
    wall: float
    wall_saved: float
    bytes: float

    @property
    def gain(self) -> float:
        """What `factory recommend` goes by: seconds saved less those of pulling, at its defaults."""
        return self.wall_saved - self.bytes * (COMPRESSED["gzip"] / _BANDWIDTH + 1 / UNPACKED_PER_SECOND)


def price_list(analysis: Analysis, store_file: Path | None) -> Prices:
    """Return the prices for the compiler of an analysis, by the shipped measurements and those of a store."""
    records = [*shipped_records()]
    if store_file is not None:
        with open_store(store_url(f"sqlite:///{store_file.absolute()}")) as store:
            records += store.records()
    compiler = analysis.toolchain.rustc_verbose.partition("\n")[0], analysis.toolchain.host
    return Prices(
        measured={record.key: record.cost for record in records if (record.rustc, record.platform) == compiler},
        estimator=fit(records),
        sources=Sources([user_cargo_home()], cache_directory() / "crate-sizes.json"),
    )


def keys_of(analysis: Analysis) -> list[UnitKey]:
    """Return every unit of the repositories, sorted."""
    return sorted({key for workspace in analysis.resolved for use in workspace.variants.values() for key in use.keys})


# The sets of units


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What can be chosen from the repositories of one date, in one layer, with what it saves each of them."""

    graph: MergedGraph
    users: Mapping[UnitKey, frozenset[str]]
    saved: Savings


def candidates(world: World, analysis: Analysis) -> Candidates:
    """Return what can be chosen from the repositories of an analysis."""
    users: dict[UnitKey, set[str]] = defaultdict(set)
    for workspace in analysis.resolved:
        for use in workspace.variants.values():
            for key in use.keys:
                users[key].add(workspace.repo)
    graph = MergedGraph(analysis.units)
    return Candidates(
        graph=graph,
        users={key: frozenset(repos) for key, repos in users.items() if key in graph.cookable},
        saved=savings(analysis, costs=world.costs, jobs=world.jobs),
    )


def ours(
    world: World,
    found: Candidates,
    budgets: Sequence[int],
    *,
    without: AbstractSet[str] = frozenset(),
    unseen: float = 0.0,
) -> list[frozenset[UnitKey]]:
    """Return the best set for each budget, with some repositories left out; greedily, as there are many to be found."""
    users = {key: repos - without for key, repos in found.users.items() if repos - without}
    saved = {
        key: {repo: seconds for repo, seconds in by_repo.items() if repo not in without}
        for key, by_repo in found.saved.items()
        if by_repo.keys() - without
    }
    worth = worth_of(saved, repos=len(frozenset().union(*users.values())), unseen=unseen)
    problem, groups = _problem(world, found.graph, users, worth)
    filled = (fill(replace(problem, total=budget), frozenset())[0] for budget in budgets)
    return [frozenset(key for index in chosen for key in groups[index]) for chosen in filled]


def bounds(world: World, analysis: Analysis, budgets: Sequence[int], *, only: AbstractSet[str]) -> list[float]:
    """Return for each budget the share of some repositories' seconds that no set can hit more of: proven.

    The sets that are meant are made for this: of these repositories' units, by core seconds.
    """
    uses = [(row.repo, use) for row in analysis.resolved for use in row.variants.values() if row.repo in only]
    users: dict[UnitKey, set[str]] = defaultdict(set)
    worth: dict[UnitKey, float] = defaultdict(float)
    for repo, use in uses:
        for key in use.keys:
            users[key].add(repo)
            worth[key] += world.costs[key].seconds
    whole = sum(seconds for _, seconds in sorted(worth.items()))
    graph = MergedGraph(analysis.units)
    able = {key: frozenset(repos) for key, repos in users.items() if key in graph.cookable}
    problem, _ = _problem(world, graph, able, worth)
    # Worth is counted in millionths of a second.
    return [greedy(replace(problem, total=budget), frozenset()).bound / 1e6 / whole for budget in budgets]


def _problem(
    world: World, graph: MergedGraph, users: Mapping[UnitKey, frozenset[str]], worth: Mapping[UnitKey, float]
) -> tuple[Knapsack, list[list[UnitKey]]]:
    """Return the problem of choosing among some units in one layer, its budget still to be set."""
    demand = Demand(
        users=users,
        worth={key: worth[key] for key in users},
        size={key: world.costs[key].bytes for key in users},
        placements=dict.fromkeys(users, Placement(layer="all", why="there is one layer")),
    )
    wanted = [key for key in users if world.units[key].is_library]
    return knapsack_of(wanted, frozenset(), demand, graph, _ONE_LAYER, {"all": None}, 0)


def frequent(
    world: World, found: Candidates, budget: int, *, without: AbstractSet[str] = frozenset()
) -> frozenset[UnitKey]:
    """Return the units that most repositories have."""
    counts = {key: len(repos - without) for key, repos in found.users.items()}
    order = sorted(
        (key for key, count in counts.items() if count and world.units[key].is_library),
        key=lambda key: (-counts[key], found.graph.height[key], key),
    )
    return _filled(world, found.graph, order, budget)


def fitting(world: World, keys: Sequence[UnitKey], budget: int) -> frozenset[UnitKey]:
    """Return as much of a list of units as fits, in its own order."""
    if world.bytes_of(keys) <= budget:
        return frozenset(keys)
    return _filled(world, MergedGraph(world.units), keys, budget)


def _filled(world: World, graph: MergedGraph, order: Iterable[UnitKey], budget: int) -> frozenset[UnitKey]:
    """Return as much as fits of some units, in their order, each with all under it."""
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


def results(
    world: World, analysis: Analysis, warm: AbstractSet[UnitKey], *, only: AbstractSet[str] | None = None
) -> dict[str, Result]:
    """Return what a set of units does for every repository that builds with cargo's own default profile, or for one."""
    rows: dict[str, list[Result]] = defaultdict(list)
    weight = world.bytes_of(warm)
    for workspace in analysis.resolved:
        for use in workspace.variants.values():
            if use.keys and (only is None or workspace.repo in only):
                rows[workspace.repo].append(_result(world, use, warm, weight))
    return {
        repo: Result(
            units=sum(row.units for row in parts),
            hits=sum(row.hits for row in parts),
            seconds=sum(row.seconds for row in parts),
            seconds_hit=sum(row.seconds_hit for row in parts),
            wall=sum(row.wall for row in parts),
            wall_saved=sum(row.wall_saved for row in parts),
            bytes=weight,
        )
        for repo, parts in rows.items()
    }


def _result(world: World, use: VariantUse, warm: AbstractSet[UnitKey], weight: float) -> Result:
    hit = [key for key in use.keys if key in warm]
    cold = _wall(world, use, frozenset())
    return Result(
        units=len(use.keys),
        hits=len(hit),
        seconds=sum(world.costs[key].seconds for key in use.keys),
        seconds_hit=sum(world.costs[key].seconds for key in hit),
        wall=cold,
        wall_saved=cold - _wall(world, use, frozenset(hit)) if hit else 0.0,
        bytes=weight,
    )


_MODELS: dict[tuple[UnitKey, ...], tuple[BuildModel, float]] = {}


def _wall(world: World, use: VariantUse, warm: frozenset[UnitKey]) -> float:
    if use.keys not in _MODELS:
        model = BuildModel(use.keys, units=world.units, costs=world.costs)
        _MODELS[use.keys] = model, model.wall_seconds(world.jobs)
    model, cold = _MODELS[use.keys]
    return model.wall_seconds(world.jobs, warm=warm) if warm else cold


def default_profile(analysis: Analysis) -> frozenset[str]:
    """Return the repositories all of whose workspaces build with cargo's defaults."""
    others = {
        workspace.repo
        for workspace in analysis.resolved
        for use in workspace.variants.values()
        if use.rustflags or (use.profile and (use.profile.base or use.profile.build_override or use.profile.packages))
    }
    return frozenset(workspace.repo for workspace in analysis.resolved) - others


# Rows of tables

COLUMNS = (
    "| plan | budget MB | MB | units hit | seconds hit | of default-profile repos' seconds "
    "| wall seconds saved by build | MB pulled per second saved, gzip · zstd |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def line(name: str, budget: int, world: World, keys: AbstractSet[UnitKey], analysis: Analysis) -> str:
    """Return the row of one set of units for all repositories of an analysis."""
    found = results(world, analysis, keys)
    return row(name, budget, world.bytes_of(keys), found, default_profile(analysis))


def row(name: str, budget: int, weight: float, found: Mapping[str, Result], defaults: AbstractSet[str]) -> str:
    """Return a row from the results of repositories; `defaults` are those with a default profile."""
    everything = list(found.values())
    plain = [result for repo, result in found.items() if repo in defaults]
    saved = sum(result.wall_saved for result in everything)
    weights = sum(result.bytes for result in everything) / MB
    prices = (f"{weights * part / saved:.1f}" for part in COMPRESSED.values())
    return (
        f"| {name} | {budget / MB:.0f} | {weight / MB:.0f} "
        f"| {share(sum(r.hits for r in everything), sum(r.units for r in everything))} "
        f"| {share(sum(r.seconds_hit for r in everything), sum(r.seconds for r in everything))} "
        f"| {share(sum(r.seconds_hit for r in plain), sum(r.seconds for r in plain))} "
        f"| {saved / len(everything):.1f} | {' · '.join(prices) if saved else '-'} |"
    )


def share(part: float, whole: float) -> str:
    """Return a share in per cent."""
    return f"{100 * part / whole:.1f} %"


_ALIGNED = {
    "aligned": (f"{StepName.VERSIONS}, {StepName.FEATURES}",),
    "aligned, cargo profile too": (
        f"{StepName.VERSIONS}, {StepName.FEATURES}, {StepName.PROFILE}",
        f"{StepName.VERSIONS}, {StepName.FEATURES}",
    ),
}
"""States of repositories at the baseline, each by the steps taken: the first that a workspace has."""


def states(aligned: Analysis) -> dict[str, Analysis]:
    """Return the repositories at the baseline, without and with its cargo profile."""
    rows = {(original_path(row.path, row.aligned), row.aligned): row for row in aligned.workspaces}
    paths = sorted({path for path, _ in rows})
    return {
        name: replace(
            aligned,
            workspaces=tuple(
                next(rows[path, steps] for steps in wanted if (path, steps) in rows)
                for path in paths
                if any((path, steps) in rows for steps in wanted)
            ),
        )
        for name, wanted in _ALIGNED.items()
    }
