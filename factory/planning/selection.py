"""Which units the images hold: the closed set that saves most, within the budget of each layer and of all.

`factory.planning.knapsack` solves the problem; here it is made of units, layers and policies, and what was left out
gets its reason.
"""

from __future__ import annotations

import enum
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.config.layers import ADVICE, folded
from factory.errors import ConfigurationError
from factory.planning.knapsack import Item, Knapsack, Solution, greedy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from factory.config.layers import LayerTree
    from factory.graph import MergedGraph
    from factory.model import UnitKey
    from factory.planning.layers import Placement

_MICROSECONDS = 1_000_000
"""Worth is counted in whole millionths of a second: sums of them do not depend on their order."""


class LeftOut(enum.StrEnum):
    """Why a unit is not in the plan."""

    NEVER = "a layer's profile says never"
    TOO_RARE = "used by fewer repositories than the layer's profile asks for"
    OVER_BUDGET = "over the budget"
    NOT_COOKABLE = "it stands on something that cannot be cooked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What selection decides by; every mapping has every registry unit that can be cooked."""

    users: Mapping[UnitKey, frozenset[str]]
    """The repositories that have the unit."""
    worth: Mapping[UnitKey, float]
    """Wall seconds, in as many builds as repositories make: see `factory.planning.worth`."""
    size: Mapping[UnitKey, int]
    """Bytes in the image."""
    placements: Mapping[UnitKey, Placement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good a selection is: seconds that it is worth, an upper bound that no selection can exceed, the method.

    `prices` are, for each layer, the seconds that another byte of budget would save: what saves less by byte is out.
    """

    saved: float
    bound: float
    method: str
    prices: Mapping[str, float]

    @property
    def gap(self) -> float:
        """How far the best selection lies above this one at most, as a share of it all."""
        return max(0.0, 1 - self.saved / self.bound) if self.bound else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The chosen closed set, why each other library was left out, and how good the choice is."""

    chosen: frozenset[UnitKey]
    left_out: Mapping[UnitKey, LeftOut]
    quality: Quality


def select(
    demand: Demand, *, graph: MergedGraph, tree: LayerTree, budgets: Mapping[str, int | None], total_budget: int
) -> Selection:
    """Choose the closed set of most worth within every budget.

    Units of crates in a profile's `always` are in, with all that they stand on, if their layer is that profile's; units
    that fewer repositories have than `min_repos` of their layer come only under others. Build scripts and their runs
    come only under a library. Raises `ConfigurationError` where what has to be in is barred, or does not fit.
    """
    barred = _barred(demand, graph, tree)
    always = _always(demand, graph, tree)
    rare = _too_rare(demand, tree) - always
    _refuse_contradictions(always & barred, graph)
    wanted = [key for key in demand.users if graph.units[key].is_library and key not in barred | rare]
    problem, groups = knapsack_of(wanted, always, demand, graph, tree, budgets, total_budget)
    if not problem.fits(problem.closure(problem.forced)):
        _refuse_size(problem, tree, budgets, total_budget)
    solution = solve(problem)
    chosen = frozenset(key for index in solution.chosen for key in groups[index])
    reasons = {
        key: LeftOut.NEVER if key in barred else LeftOut.TOO_RARE if key in rare else LeftOut.OVER_BUDGET
        for key in demand.users
        if graph.units[key].is_library and key not in chosen
    }
    return Selection(chosen=chosen, left_out=reasons, quality=_quality(solution, tree))


def solve(problem: Knapsack) -> Solution:
    """Return the best set that is found, with its bound; exact methods are used where scipy is installed."""
    first = greedy(problem, problem.closure(problem.forced))
    if importlib.util.find_spec("scipy") is None:
        return first
    # Imported here, as it is an extra, and takes a second.
    from factory.planning.exact import improve

    return improve(problem, first)


def _quality(solution: Solution, tree: LayerTree) -> Quality:
    prices = zip(tree.layers, solution.prices, strict=True)
    return Quality(
        saved=solution.worth / _MICROSECONDS,
        bound=solution.bound / _MICROSECONDS,
        method=solution.method,
        prices={profile.name: price / _MICROSECONDS for profile, price in prices},
    )


def knapsack_of(
    wanted: Iterable[UnitKey],
    always: AbstractSet[UnitKey],
    demand: Demand,
    graph: MergedGraph,
    tree: LayerTree,
    budgets: Mapping[str, int | None],
    total_budget: int,
) -> tuple[Knapsack, list[list[UnitKey]]]:
    """Return the problem of choosing among `wanted` and what is under them, and the units of each of its items."""
    relevant = sorted(graph.dependencies_first(wanted), key=lambda key: (graph.height[key], key))
    is_wanted = frozenset(wanted)
    carrier = _carriers(relevant, is_wanted, demand, graph)
    heads = [key for key in relevant if carrier[key] == key]
    number = {key: index for index, key in enumerate(heads)}
    groups: list[list[UnitKey]] = [[] for _ in heads]
    for key in relevant:
        groups[number[carrier[key]]].append(key)
    layers = {profile.name: index for index, profile in enumerate(tree.layers)}
    items = tuple(
        Item(
            worth=sum(max(1, round(demand.worth[key] * _MICROSECONDS)) for key in group),
            size=sum(demand.size[key] for key in group),
            layer=layers[demand.placements[heads[index]].layer],
            below=tuple(
                sorted({number[carrier[edge.key]] for key in group for edge in graph.units[key].dependencies} - {index})
            ),
            wanted=heads[index] in is_wanted,
        )
        for index, group in enumerate(groups)
    )
    problem = Knapsack(
        items=items,
        budgets=tuple(budgets[profile.name] for profile in tree.layers),
        total=total_budget,
        forced=frozenset(number[key] for key in always if key in number),
    )
    return problem, groups


def _carriers(
    relevant: list[UnitKey], wanted: AbstractSet[UnitKey], demand: Demand, graph: MergedGraph
) -> dict[UnitKey, UnitKey]:
    """Return for each unit the one that it comes and goes with: itself, or what alone stands on it.

    A unit that is not wanted for itself and has a single dependent is in exactly when that is: mostly a build script
    and its run under their library. Treating them as one makes the problem smaller and changes no answer.
    """
    among = frozenset(relevant)
    carrier: dict[UnitKey, UnitKey] = {}
    for key in reversed(relevant):
        above = {carrier[up] for up in graph.dependents[key] if up in among}
        only = min(above) if len(above) == 1 and key not in wanted else key
        same = demand.placements[only].layer == demand.placements[key].layer
        carrier[key] = only if same else key
    return carrier


def _barred(demand: Demand, graph: MergedGraph, tree: LayerTree) -> frozenset[UnitKey]:
    """Return the units of crates that a profile says never of, with all that stands on them."""
    never = {folded(crate) for profile in tree.layers for crate in profile.never}
    barred: set[UnitKey] = set()
    for key in graph.dependencies_first(demand.users):
        unit = graph.units[key]
        if folded(unit.package.name) in never or any(edge.key in barred for edge in unit.dependencies):
            barred.add(key)
    return frozenset(barred)


def _always(demand: Demand, graph: MergedGraph, tree: LayerTree) -> frozenset[UnitKey]:
    """Return the libraries of crates that the profile of their layer says always of."""
    always = {profile.name: {folded(crate) for crate in profile.always} for profile in tree.layers}
    return frozenset(
        key
        for key in demand.users
        if graph.units[key].is_library and folded(graph.units[key].package.name) in always[demand.placements[key].layer]
    )


def _too_rare(demand: Demand, tree: LayerTree) -> frozenset[UnitKey]:
    """Return the units with fewer repositories than their layer asks for."""
    least = {profile.name: profile.min_repos for profile in tree.layers}
    return frozenset(key for key, repos in demand.users.items() if len(repos) < least[demand.placements[key].layer])


def _refuse_contradictions(contradicted: AbstractSet[UnitKey], graph: MergedGraph) -> None:
    labels = sorted({graph.units[key].package.label for key in contradicted})
    if labels:
        raise ConfigurationError(
            f"profiles of layers say always of {', '.join(labels)}, and never of it or of a crate that it stands on",
            advice=f"Take the crate out of one of the lists. {ADVICE}",
        )


def _refuse_size(problem: Knapsack, tree: LayerTree, budgets: Mapping[str, int | None], total_budget: int) -> None:
    forced = problem.closure(problem.forced)
    sizes = [
        sum(problem.items[index].size for index in forced if problem.items[index].layer == layer)
        for layer in range(len(tree.layers))
    ]
    rows = [
        f"{profile.name}: {size / 1e6:.0f} MB, of {budget / 1e6:.0f} MB"
        for profile, size in zip(tree.layers, sizes, strict=True)
        if (budget := budgets[profile.name]) is not None and size > budget
    ]
    if sum(sizes) > total_budget:
        rows.append(f"all layers: {sum(sizes) / 1e6:.0f} MB, of {total_budget / 1e6:.0f} MB")
    raise ConfigurationError(
        f"what profiles of layers say always of does not fit, with all that it stands on: {'; '.join(rows)}",
        advice=f"Raise the budgets, or take crates out of `always`. {ADVICE}",
    )
