"""The stage `plan`, second half: from what was chosen to recipes that cargo confirms, and the plan."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.cargo.layout import Layout
from factory.cargo.variants import Variant
from factory.planning.contract import Contract
from factory.planning.forecast import forecast
from factory.planning.index_entries import index_entries
from factory.planning.plan import Exclusion, Plan, PlannedLayer, PlannedUnit
from factory.planning.recipes import Usage, group_into_recipes, split_recipe
from factory.planning.resolution import OTHER_UNITS, Resolved, resolve_recipes
from factory.planning.system_packages import layer_packages, needs, read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from factory.analysis.model import Analysis
    from factory.cargo.toolchain import Toolchain
    from factory.config.layers import LayerTree
    from factory.model import PackageId, UnitKey
    from factory.planning.choose import Choice, Policy
    from factory.planning.recipe import Recipe
    from factory.planning.selection import Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeCheck:
    """What having cargo resolve the recipes takes."""

    toolchain: Toolchain
    cargo_home: Path
    jobs: int


def make_plan(choice: Choice, check: RecipeCheck, *, progress: Callable[[int], Callable[[str], None]]) -> Plan:
    """Make recipes for what was chosen and have cargo confirm them; forecast the hits of every workspace."""
    analysis, policy, graph, demand = choice.analysis, choice.policy, choice.graph, choice.demand
    resolved = _confirmed_recipes(choice, check, progress)
    lost = _lost(resolved, choice)
    chosen = choice.selection.chosen - lost.keys()
    placed = {key: demand.placements[key].layer for key in chosen}
    packages = layer_packages(
        needs(
            {key: graph.units[key] for key in sorted(chosen)},
            choice.users,
            host=analysis.toolchain.host,
            suite=policy.suite,
            table=read_table(),
        ),
        {key: placement.layer for key, placement in demand.placements.items()},
        policy.tree,
    )
    return Plan(
        contract=Contract(
            cargo_home=policy.cargo_home,
            build_dir=policy.build_dir,
            layout=Layout.of(analysis.toolchain.version),
            toolchain=analysis.toolchain,
            variants=analysis.variants,
            rustflags=policy.rustflags,
        ),
        layers=_layers(
            chosen, demand, policy, packages, index_entries(analysis, placed, resolved.recipes, policy.tree)
        ),
        units={key: _planned_unit(key, choice) for key in sorted(chosen)},
        recipes=_in_cooking_order(resolved.recipes, policy.tree),
        excluded=_exclusions(choice, lost),
        forecast=forecast(
            analysis,
            placed,
            costs=choice.costs,
            tree=policy.tree,
            jobs=policy.jobs,
        ),
        quality=choice.selection.quality,
    )


def _confirmed_recipes(
    choice: Choice, check: RecipeCheck, progress: Callable[[int], Callable[[str], None]]
) -> Resolved:
    usages, graph, links = _usages(choice.analysis), choice.graph, choice.analysis.links
    recipes = [
        recipe
        for profile in choice.policy.tree.layers
        for recipe in group_into_recipes(
            profile.name,
            [key for key in choice.selection.chosen if choice.demand.placements[key].layer == profile.name],
            graph=graph,
            usages=usages,
            links=links,
        )
    ]
    return resolve_recipes(
        recipes,
        split=lambda recipe: split_recipe(recipe, graph=graph, usages=usages, links=links),
        toolchain=check.toolchain,
        cargo_home=check.cargo_home,
        jobs=check.jobs,
        advance=progress(len(recipes)),
    )


def _usages(analysis: Analysis) -> tuple[Usage, ...]:
    return tuple(
        Usage(
            keys=frozenset(use.all_keys),
            command=Variant.parse(name).cooked_by,
            profile=use.profile,
            lock={entry.package: entry for entry in workspace.lock.packages},
        )
        for workspace in analysis.resolved
        for name, use in sorted(workspace.variants.items())
        if use.profile is not None
    )


def _lost(resolved: Resolved, choice: Choice) -> dict[UnitKey, str]:
    """Return what no recipe of its own layer reproduces, and everything that stands on it, each with the reason."""
    made = {(recipe.layer, key) for recipe in resolved.recipes for key in recipe.keys}
    reasons = {key: loss.reason for loss in resolved.unreproduced for key in loss.keys}
    lost: dict[UnitKey, str] = {}
    for key in choice.graph.dependencies_first(choice.selection.chosen):
        below = next((lost[edge.key] for edge in choice.graph.units[key].dependencies if edge.key in lost), None)
        is_made = (choice.demand.placements[key].layer, key) in made
        reason = below if is_made else reasons.get(key, below or OTHER_UNITS)
        if reason is not None:
            lost[key] = reason
    return lost


def _in_cooking_order(recipes: tuple[Recipe, ...], tree: LayerTree) -> tuple[Recipe, ...]:
    """Sort by layer, then largest first: what the first recipe compiles, the others find fresh."""
    order = {profile.name: number for number, profile in enumerate(tree.layers)}
    return tuple(sorted(recipes, key=lambda recipe: (order[recipe.layer], -len(recipe.keys), recipe.name)))


def _layers(
    chosen: frozenset[UnitKey],
    demand: Demand,
    policy: Policy,
    packages: Mapping[str, tuple[str, ...]],
    index: Mapping[str, tuple[PackageId, ...]],
) -> tuple[PlannedLayer, ...]:
    by_layer: dict[str, list[UnitKey]] = defaultdict(list)
    for key in sorted(chosen):
        by_layer[demand.placements[key].layer].append(key)
    return tuple(
        PlannedLayer(
            name=profile.name,
            parent=profile.parent,
            budget_bytes=policy.layer_budgets[profile.name],
            estimated_bytes=sum(demand.size[key] for key in by_layer[profile.name]),
            keys=tuple(by_layer[profile.name]),
            packages=packages[profile.name],
            index=index[profile.name],
        )
        for profile in policy.tree.layers
    )


def _planned_unit(key: UnitKey, choice: Choice) -> PlannedUnit:
    placement = choice.demand.placements[key]
    return PlannedUnit(
        unit=choice.graph.units[key],
        layer=placement.layer,
        why=placement.why,
        repos=tuple(sorted(choice.users[key])),
        saves=round(choice.demand.worth[key], 3),
        cost=choice.costs[key],
    )


def _exclusions(choice: Choice, lost: Mapping[UnitKey, str]) -> tuple[Exclusion, ...]:
    """Return why the remaining registry libraries are not in the plan, one row for a crate version and reason."""
    rows: dict[tuple[str, str], list[UnitKey]] = defaultdict(list)
    for key, unit in choice.graph.units.items():
        if (unit.is_registry or unit.is_git) and unit.is_library and choice.users[key]:
            reason = lost.get(key) or choice.why_left_out(key)
            if reason is not None:
                rows[unit.package.label, reason].append(key)
    return tuple(
        Exclusion(
            package=package,
            reason=reason,
            units=len(keys),
            repos=len(frozenset().union(*(choice.users[key] for key in keys))),
        )
        for (package, reason), keys in sorted(rows.items())
    )
