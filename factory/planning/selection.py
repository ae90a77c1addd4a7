"""Which units the images hold: a closed set, the most used first, under the budget of each layer and of all."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.config.layers import LayerTree
    from factory.model import UnitKey
    from factory.planning.graph import MergedGraph
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
    left_out: dict[UnitKey, LeftOut] = {}
    chosen: set[UnitKey] = set()
    spent: dict[str, int] = {profile.name: 0 for profile in tree.layers}
    room = _Room(budgets, total_budget)
    for key in sorted(demand.users, key=lambda key: (-len(demand.users[key]), graph.height[key], key)):
        if not graph.units[key].is_library:
            # Build scripts and their runs are of use only under the library that needs them.
            continue
        reason = _refusal(key, demand, graph, tree)
        missing = graph.closure(key) - chosen
        if reason is None and not room.admits(missing, spent, demand):
            reason = LeftOut.OVER_BUDGET
        if reason is not None:
            left_out[key] = reason
            continue
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


def _refusal(key: UnitKey, demand: Demand, graph: MergedGraph, tree: LayerTree) -> LeftOut | None:
    profiles = {profile.name: profile for profile in tree.layers}
    closure = graph.closure(key)
    never = frozenset().union(*(profile.never for profile in tree.layers))
    if any(graph.units[below].package.name in never for below in closure):
        return LeftOut.NEVER
    profile = profiles[demand.placements[key].layer]
    if graph.units[key].package.name in profile.always:
        return None
    return LeftOut.TOO_RARE if len(demand.users[key]) < profile.min_repos else None
