"""The stage `plan`, first half: from an analysis and the layers' policies to the units that are worth their bytes."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from factory.cargo.sources import CookableSources
from factory.errors import BadAnswerError
from factory.graph import MergedGraph
from factory.planning.build_scripts import with_their_libraries
from factory.planning.layers import place_units
from factory.planning.selection import Demand, LeftOut, Selection, select
from factory.planning.worth import Savings, savings, worth_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.analysis.model import Analysis
    from factory.config.layers import LayerTree
    from factory.costs.model import UnitCost
    from factory.model import UnitKey
    from factory.planning.layers import Placement


_MOST_ATTEMPTS = 24
"""How often is chosen anew, at most, where build scripts make a layer too heavy."""


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
    unseen: float = 0.0
    """What part of the builds, 0 to 1, is of repositories that nobody analysed: see `factory.planning.worth`."""
    suite: str = "bookworm"
    """The Debian suite whose packages the images install."""
    sources: CookableSources = field(default_factory=CookableSources)
    """Where packages may come from, besides crates.io."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was chosen, with all that it was chosen by; `costs`, `users` and `savings` have every registry unit."""

    analysis: Analysis
    policy: Policy
    graph: MergedGraph
    users: Mapping[UnitKey, frozenset[str]]
    costs: Mapping[UnitKey, UnitCost]
    savings: Savings
    demand: Demand
    selection: Selection

    def why_left_out(self, key: UnitKey) -> str | None:
        """Say why a registry unit was not chosen; `None` for one that was, and for build scripts."""
        if key not in self.demand.users:
            return self.graph.why_not_cookable(key) or self._what_is_below(key)
        reason = self.selection.left_out.get(key)
        return None if reason is None else str(reason)

    def _what_is_below(self, key: UnitKey) -> str:
        graph = self.graph
        culprits = sorted(
            graph.units[below].package.label for below in graph.closure(key) if graph.why_not_cookable(below)
        )
        return f"{LeftOut.NOT_COOKABLE}: {culprits[0]}" if culprits else str(LeftOut.NOT_COOKABLE)


def choose(analysis: Analysis, policy: Policy) -> Choice:
    """Weigh every unit that can be cooked, place it in a layer, and choose within the budgets."""
    users = _users(analysis)
    graph = MergedGraph(analysis.units, replace(policy.sources, commits=_commits(analysis, users)))
    cookable = sorted(key for key in graph.cookable if users[key])
    saved = savings(analysis, costs=policy.costs, jobs=policy.jobs)
    worth = worth_of(saved, repos=len({workspace.repo for workspace in analysis.resolved}), unseen=policy.unseen)
    demand = Demand(
        users={key: users[key] for key in cookable},
        worth={key: worth[key] for key in cookable},
        size={key: policy.costs[key].bytes for key in cookable},
        placements=place_units(cookable, graph=graph, users=users, tree=policy.tree),
    )
    selection, placements = select_and_place(
        demand, graph=graph, tree=policy.tree, budgets=policy.layer_budgets, total_budget=policy.total_budget
    )
    return Choice(
        analysis=analysis,
        policy=policy,
        graph=graph,
        users=users,
        costs=policy.costs,
        savings=saved,
        demand=replace(demand, placements=placements),
        selection=selection,
    )


def select_and_place(
    demand: Demand,
    *,
    graph: MergedGraph,
    tree: LayerTree,
    budgets: Mapping[str, int | None],
    total_budget: int,
) -> tuple[Selection, dict[UnitKey, Placement]]:
    """Return what is chosen, with the layers in which cargo makes it: build scripts go with their libraries.

    Where that is more than the budget of a layer, as much room is left there, and chosen again. Raises `BadAnswerError`
    where no choice within the budgets is found so.
    """
    room, first = dict(budgets), None
    for attempt in range(_MOST_ATTEMPTS):
        selection = select(demand, graph=graph, tree=tree, budgets=room, total_budget=total_budget)
        first = first or selection.quality
        placements = with_their_libraries(demand.placements, selection.chosen, graph=graph, size=demand.size, tree=tree)
        weights = Counter[str]()
        for key in selection.chosen:
            weights[placements[key].layer] += demand.size[key]
        over = {layer: weights[layer] - most for layer, most in budgets.items() if most is not None}
        if all(excess <= 0 for excess in over.values()):
            return replace(selection, quality=replace(selection.quality, bound=first.bound)), placements
        # Each attempt takes seconds: the later ones leave twice the room, and so on.
        room |= {layer: (room[layer] or 0) - (excess << attempt) for layer, excess in over.items() if excess > 0}
    raise BadAnswerError(
        "no choice of units keeps every layer within its budget, as build scripts lie with their libraries",
        advice="Give layers larger budgets, or fewer of them one of their own.",
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
