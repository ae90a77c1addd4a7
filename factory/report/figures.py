"""The figures of a report: everything that the page shows, computed once, as JSON values can hold it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from factory.analysis.uses import crate_uses, profile_uses
from factory.planning.knapsack import greedy
from factory.planning.selection import knapsack_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.analysis.model import Analysis
    from factory.analysis.uses import CrateUse
    from factory.costs.model import UnitCost
    from factory.model import UnitKey
    from factory.planning.agreement import Agreement
    from factory.planning.choose import Choice
    from factory.planning.plan import Forecast, Plan

SCHEMA = 1

BUDGETS_MB = (250, 500, 1000, 2000, 4000, 8000)
"""The budgets of the coverage curve: it flattens within them for a hundred repositories."""

_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the best set of a budget (bytes) covers: shares of all units and of all compile seconds, 0 to 1."""

    budget: int
    units: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What one variant of one workspace finds on the smallest image that has most of its compile seconds."""

    path: str
    variant: str
    image: str
    units: int
    hits: int
    seconds: float
    seconds_hit: float
    wall_cold: float
    wall_warm: float
    remark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSize:
    """A layer with the bytes of its crates (name, all versions together), the heaviest first."""

    name: str
    bytes: int
    units: int
    crates: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """How much of one analysis the plan has, and how much of it the first analysis had: shares of units, 0 to 1."""

    name: str
    units: int
    planned: float
    in_first: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All of a report."""

    rustc: str
    host: str
    repos: int
    workspaces: int
    skipped: int
    units: int
    measured_seconds: float
    """The share of all compile seconds that was measured; the rest is estimated."""
    crates: tuple[CrateUse, ...]
    profiles: tuple[tuple[str, int], ...]
    coverage: tuple[Coverage, ...]
    savings: tuple[Saving, ...]
    layers: tuple[LayerSize, ...]
    agreement: Agreement | None
    """What the repositories would share if they agreed; `None` in a plan without a baseline."""
    ages: tuple[Age, ...]


def figures(
    choice: Choice, plan: Plan, others: Sequence[tuple[str, Analysis]], *, name: str, most_crates: int
) -> Figures:
    """Compute a report's figures; `others` are analyses of other days, the earliest first, `name` is this one's."""
    analysis = choice.analysis
    seconds = sum(cost.seconds for cost in choice.costs.values())
    return Figures(
        rustc=analysis.toolchain.version,
        host=analysis.toolchain.host,
        repos=len({workspace.repo for workspace in analysis.resolved}),
        workspaces=len(analysis.resolved),
        skipped=len(analysis.workspaces) - len(analysis.resolved),
        units=len(_used(analysis)),
        measured_seconds=_share(sum(cost.seconds for cost in choice.costs.values() if cost.measured), seconds),
        crates=crate_uses(analysis)[:most_crates],
        profiles=profile_uses(analysis),
        coverage=_coverage(choice),
        savings=tuple(sorted((_saving(row, plan) for row in plan.forecast), key=_by_seconds_saved)),
        layers=_layers(plan),
        agreement=plan.agreement,
        ages=_ages([*others, (name, analysis)], plan) if others else (),
    )


def figures_to_json(found: Figures) -> dict[str, Any]:
    """Return the figures as JSON values."""
    return {"schema": SCHEMA} | asdict(found)


def _coverage(choice: Choice) -> tuple[Coverage, ...]:
    """Return what the best sets cover that do not have to keep to the budgets of single layers."""
    tree, demand = choice.policy.tree, choice.demand
    wanted = [key for key in demand.users if choice.graph.units[key].is_library]
    unlimited = {profile.name: None for profile in tree.layers}
    problem, groups = knapsack_of(wanted, frozenset(), demand, choice.graph, tree, unlimited, 0)
    rows = []
    for megabytes in BUDGETS_MB:
        solution = greedy(replace(problem, total=megabytes * _MB), frozenset())
        chosen = {key for index in solution.chosen for key in groups[index]}
        rows.append(_covered(megabytes * _MB, chosen, choice.analysis, choice.costs))
    return tuple(rows)


def _covered(budget: int, chosen: set[UnitKey], analysis: Analysis, costs: Mapping[UnitKey, UnitCost]) -> Coverage:
    uses = [use.all_keys for workspace in analysis.resolved for use in workspace.variants.values()]
    units = sum(len(keys) for keys in uses)
    hits = [key for keys in uses for key in keys if key in chosen]
    seconds = sum(costs[key].seconds for keys in uses for key in keys)
    return Coverage(
        budget=budget,
        units=_share(len(hits), units),
        seconds=_share(sum(costs[key].seconds for key in hits), seconds),
    )


def _saving(row: Forecast, plan: Plan) -> Saving:
    image = plan.image_for(row)
    return Saving(
        path=row.path,
        variant=row.variant,
        image=image,
        units=row.total,
        hits=row.hits[image],
        seconds=row.seconds_total,
        seconds_hit=row.seconds_hit[image],
        wall_cold=row.wall_cold,
        wall_warm=row.wall_warm[image],
        remark=row.remark,
    )


def _by_seconds_saved(row: Saving) -> tuple[float, str, str]:
    return (row.wall_warm - row.wall_cold, row.path, row.variant)


def _layers(plan: Plan) -> tuple[LayerSize, ...]:
    rows = []
    for layer in plan.layers:
        crates: dict[str, int] = defaultdict(int)
        for key in layer.keys:
            planned = plan.units[key]
            crates[planned.unit.package.name] += planned.cost.bytes
        ordered = sorted(crates.items(), key=lambda item: (-item[1], item[0]))
        rows.append(
            LayerSize(name=layer.name, bytes=sum(crates.values()), units=len(layer.keys), crates=tuple(ordered))
        )
    return tuple(rows)


def _ages(analyses: Sequence[tuple[str, Analysis]], plan: Plan) -> tuple[Age, ...]:
    first = _used(analyses[0][1])
    return tuple(
        Age(
            name=name,
            units=len(keys),
            planned=_share(len(keys & plan.units.keys()), len(keys)),
            in_first=_share(len(keys & first), len(keys)),
        )
        for name, keys in ((name, _used(analysis)) for name, analysis in analyses)
    )


def _used(analysis: Analysis) -> frozenset[UnitKey]:
    uses: Iterable[tuple[UnitKey, ...]] = (
        use.all_keys for workspace in analysis.resolved for use in workspace.variants.values()
    )
    return frozenset(key for keys in uses for key in keys)


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0
