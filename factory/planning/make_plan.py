"""The stage `plan`: from an analysis and the layers' policies to a plan."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from factory.cargo.layout import Layout
from factory.cargo.sources import CookableSources
from factory.cargo.variants import Variant
from factory.graph import MergedGraph
from factory.planning.forecast import forecast
from factory.planning.layers import place_units
from factory.planning.plan import Contract, Exclusion, Plan, PlannedLayer, PlannedUnit
from factory.planning.recipes import Usage, group_into_recipes, split_recipe
from factory.planning.resolution import Resolved, resolve_recipes
from factory.planning.selection import Demand, LeftOut, Selection, select
from factory.planning.system_packages import layer_packages, needs, read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from factory.analysis.model import Analysis
    from factory.cargo.toolchain import Toolchain
    from factory.config.layers import LayerTree
    from factory.costs.model import UnitCost
    from factory.model import UnitKey
    from factory.planning.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the plan is made for: the layers, budgets in bytes (`None`: no own one), where the images keep things.

    `rustflags` are those that the images set for everybody, with which the analysis was made; `costs` are those of
    every unit of the analysis.
    """

    tree: LayerTree
    total_budget: int
    layer_budgets: Mapping[str, int | None]
    cargo_home: str
    build_dir: str
    rustflags: tuple[str, ...]
    costs: Mapping[UnitKey, UnitCost]
    jobs: int
    """How many jobs the machines run that will build on the images."""
    suite: str = "bookworm"
    """The Debian suite whose packages the images install."""
    sources: CookableSources = field(default_factory=CookableSources)
    """Where packages may come from, besides crates.io."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeCheck:
    """What having cargo resolve the recipes takes."""

    toolchain: Toolchain
    cargo_home: Path
    jobs: int


def make_plan(
    analysis: Analysis,
    policy: Policy,
    check: RecipeCheck,
    *,
    progress: Callable[[int], Callable[[str], None]],
) -> Plan:
    """Choose units, place them, make recipes and have cargo confirm them; forecast the hits of every workspace."""
    users = _users(analysis)
    graph = MergedGraph(analysis.units, replace(policy.sources, commits=_commits(analysis, users)))
    cookable = sorted(key for key in graph.cookable if users[key])
    placements = place_units(cookable, graph=graph, users=users, tree=policy.tree)
    costs = policy.costs
    demand = Demand(
        users={key: users[key] for key in cookable},
        size={key: costs[key].bytes for key in cookable},
        placements=placements,
    )
    selection = select(
        demand, graph=graph, tree=policy.tree, budgets=policy.layer_budgets, total_budget=policy.total_budget
    )
    resolved = _confirmed_recipes(analysis, selection, demand, graph, policy, check, progress)
    lost = _lost(resolved, graph, selection)
    chosen = selection.chosen - lost.keys()
    packages = layer_packages(
        needs(
            {key: graph.units[key] for key in sorted(chosen)},
            users,
            host=analysis.toolchain.host,
            suite=policy.suite,
            table=read_table(),
        ),
        {key: placement.layer for key, placement in placements.items()},
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
        layers=_layers(chosen, demand, policy, packages),
        units={key: _planned_unit(key, graph, demand, costs[key]) for key in sorted(chosen)},
        recipes=_in_cooking_order(resolved.recipes, policy.tree),
        excluded=_exclusions(graph, users, selection, lost),
        forecast=forecast(
            analysis,
            {key: placements[key].layer for key in chosen},
            costs=costs,
            tree=policy.tree,
            jobs=policy.jobs,
        ),
    )


def _users(analysis: Analysis) -> dict[UnitKey, frozenset[str]]:
    found: dict[UnitKey, set[str]] = {key: set() for key in analysis.units}
    for workspace in analysis.resolved:
        for use in workspace.variants.values():
            for key in use.all_keys:
                found[key].add(workspace.repo)
    return {key: frozenset(repos) for key, repos in found.items()}


def _commits(analysis: Analysis, users: Mapping[UnitKey, frozenset[str]]) -> dict[str, str]:
    """Return for each branch, tag or rev the commit that most repositories have.

    Cargo names the files of a git package's units by all but the commit: of two in one build directory, one is gone.
    """
    repos: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for key, unit in analysis.units.items():
        if unit.package.commit:
            repos[unit.package.without_commit.source][unit.package.commit].update(users[key])
    return {
        source: max(commits, key=lambda commit: (len(commits[commit]), commit)) for source, commits in repos.items()
    }


def _confirmed_recipes(
    analysis: Analysis,
    selection: Selection,
    demand: Demand,
    graph: MergedGraph,
    policy: Policy,
    check: RecipeCheck,
    progress: Callable[[int], Callable[[str], None]],
) -> Resolved:
    usages = _usages(analysis)
    recipes = [
        recipe
        for profile in policy.tree.layers
        for recipe in group_into_recipes(
            profile.name,
            [key for key in selection.chosen if demand.placements[key].layer == profile.name],
            graph=graph,
            usages=usages,
            links=analysis.links,
        )
    ]
    return resolve_recipes(
        recipes,
        split=lambda recipe: split_recipe(recipe, graph=graph, usages=usages, links=analysis.links),
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


def _lost(resolved: Resolved, graph: MergedGraph, selection: Selection) -> dict[UnitKey, str]:
    """Return what no recipe reproduces, and everything that stands on it, each with the reason."""
    made = frozenset(key for recipe in resolved.recipes for key in recipe.keys)
    reasons = {key: loss.reason for loss in resolved.unreproduced for key in loss.keys if key not in made}
    lost: dict[UnitKey, str] = {}
    for key in graph.dependencies_first(selection.chosen):
        below = next((lost[edge.key] for edge in graph.units[key].dependencies if edge.key in lost), None)
        reason = reasons.get(key, below)
        if reason is not None:
            lost[key] = reason
    return lost


def _in_cooking_order(recipes: tuple[Recipe, ...], tree: LayerTree) -> tuple[Recipe, ...]:
    """Sort by layer, then largest first: what the first recipe compiles, the others find fresh."""
    order = {profile.name: number for number, profile in enumerate(tree.layers)}
    return tuple(sorted(recipes, key=lambda recipe: (order[recipe.layer], -len(recipe.keys), recipe.name)))


def _layers(
    chosen: frozenset[UnitKey], demand: Demand, policy: Policy, packages: Mapping[str, tuple[str, ...]]
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
        )
        for profile in policy.tree.layers
    )


def _planned_unit(key: UnitKey, graph: MergedGraph, demand: Demand, cost: UnitCost) -> PlannedUnit:
    placement = demand.placements[key]
    return PlannedUnit(
        unit=graph.units[key],
        layer=placement.layer,
        why=placement.why,
        repos=tuple(sorted(demand.users[key])),
        cost=cost,
    )


def _exclusions(
    graph: MergedGraph,
    users: Mapping[UnitKey, frozenset[str]],
    selection: Selection,
    lost: Mapping[UnitKey, str],
) -> tuple[Exclusion, ...]:
    """Return why the remaining registry libraries are not in the plan, one row for a crate version and reason."""
    rows: dict[tuple[str, str], list[UnitKey]] = defaultdict(list)
    for key, unit in graph.units.items():
        if not (unit.is_registry or unit.is_git) or not unit.is_library or not users[key]:
            continue
        reason: str | None = lost.get(key)
        if key not in graph.cookable:
            reason = graph.why_not_cookable(key) or _below(key, graph)
        elif reason is None and key not in selection.chosen:
            reason = selection.left_out.get(key, LeftOut.OVER_BUDGET)
        if reason is not None:
            rows[unit.package.label, str(reason)].append(key)
    return tuple(
        Exclusion(
            package=package,
            reason=reason,
            units=len(keys),
            repos=len(frozenset().union(*(users[key] for key in keys))),
        )
        for (package, reason), keys in sorted(rows.items())
    )


def _below(key: UnitKey, graph: MergedGraph) -> str:
    culprits = sorted(graph.units[below].package.label for below in graph.closure(key) if graph.why_not_cookable(below))
    return f"{LeftOut.NOT_COOKABLE}: {culprits[0]}" if culprits else str(LeftOut.NOT_COOKABLE)
