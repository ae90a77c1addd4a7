"""Which units the images hold: a closed set, the most used first, under the budget of each layer and of all."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.config.layers import folded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.config.layers import LayerTree
    from factory.graph import MergedGraph
    from factory.model import UnitKey
    from factory.planning.layers import Placement


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
    size: Mapping[UnitKey, int]
    """Bytes in the image."""
    placements: Mapping[UnitKey, Placement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The chosen closed set, and why each other candidate was left out."""

    chosen: frozenset[UnitKey]
    left_out: Mapping[UnitKey, LeftOut]


def select(
    demand: Demand, *, graph: MergedGraph, tree: LayerTree, budgets: Mapping[str, int | None], total_budget: int
) -> Selection:
    """Choose greedily: units of most repositories first, each with what is still missing under it.

    A unit's dependencies are used by at least as many repositories as the unit, so they come first anyway. Ties are
    broken by height and key: the result does not depend on the order of the input.
    """
    barred, rare = _barred(demand, graph, tree), _too_rare(demand, graph, tree)
    left_out: dict[UnitKey, LeftOut] = {}
    chosen: set[UnitKey] = set()
    spent: dict[str, int] = {profile.name: 0 for profile in tree.layers}
    room = _Room(budgets, total_budget)
    for key in sorted(demand.users, key=lambda key: (-len(demand.users[key]), graph.height[key], key)):
        if not graph.units[key].is_library:
            # Build scripts and their runs are of use only under the library that needs them.
            continue
        missing = graph.closure(key) - chosen
        if key in barred:
            left_out[key] = LeftOut.NEVER
        elif key in rare:
            left_out[key] = LeftOut.TOO_RARE
        elif not room.admits(missing, spent, demand):
            left_out[key] = LeftOut.OVER_BUDGET
        else:
            for needed in missing:
                spent[demand.placements[needed].layer] += demand.size[needed]
            chosen |= missing
    return Selection(
        chosen=frozenset(chosen),
        left_out={key: reason for key, reason in left_out.items() if key not in chosen},
    )


class _Room:
    def __init__(self, budgets: Mapping[str, int | None], total: int) -> None:
        self._budgets = budgets
        self._total = total

    def admits(self, missing: frozenset[UnitKey], spent: Mapping[str, int], demand: Demand) -> bool:
        more: dict[str, int] = {}
        for key in missing:
            layer = demand.placements[key].layer
            more[layer] = more.get(layer, 0) + demand.size[key]
        if sum(spent.values()) + sum(more.values()) > self._total:
            return False
        limits = ((self._budgets[layer], spent[layer] + extra) for layer, extra in more.items())
        return all(budget is None or wanted <= budget for budget, wanted in limits)


def _barred(demand: Demand, graph: MergedGraph, tree: LayerTree) -> frozenset[UnitKey]:
    """Return the units of crates that a profile says never of, with all that stands on them."""
    never = {folded(crate) for profile in tree.layers for crate in profile.never}
    barred: set[UnitKey] = set()
    for key in graph.dependencies_first(demand.users):
        unit = graph.units[key]
        if folded(unit.package.name) in never or any(edge.key in barred for edge in unit.dependencies):
            barred.add(key)
    return frozenset(barred)


def _too_rare(demand: Demand, graph: MergedGraph, tree: LayerTree) -> frozenset[UnitKey]:
    """Return the units with fewer repositories than their layer asks for, unless it says always of their crate."""
    least = {profile.name: profile.min_repos for profile in tree.layers}
    always = {profile.name: {folded(crate) for crate in profile.always} for profile in tree.layers}
    return frozenset(
        key
        for key, repos in demand.users.items()
        if len(repos) < least[layer := demand.placements[key].layer]
        and folded(graph.units[key].package.name) not in always[layer]
    )
