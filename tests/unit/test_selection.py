"""Selection: a closed set within every budget, the most used first, whatever order the input has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from factory.config.layers import LayerProfile, LayerTree, folded
from factory.errors import ConfigurationError
from factory.graph import MergedGraph
from factory.model import UnitKey
from factory.planning.layers import place_units
from factory.planning.selection import Demand, LeftOut, Selection, select
from tests.unit.builders import World, chain, graph, keys, shuffled, unit, worlds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

PLENTY = 10**12
ANY = mock.ANY
"""How good a selection is does not matter everywhere."""

Case = tuple[World, Demand, dict[str, int | None], int]
"""A world with sizes, a budget for each layer or none, and one for all."""


def demand_of(
    world: World, size: Mapping[UnitKey, int] | None = None, worth: Mapping[UnitKey, float] | None = None
) -> Demand:
    """The demand of a world; without `worth`, every unit saves a second in each repository that has it."""
    return Demand(
        users={key: world.users[key] for key in world.used},
        worth={key: float(len(world.users[key])) for key in world.used} if worth is None else worth,
        size=dict.fromkeys(world.used, 10) if size is None else size,
        placements=place_units(world.used, graph=world.graph, users=world.users, tree=world.tree),
    )


def lenient(tree: LayerTree) -> LayerTree:
    return LayerTree(layers=tuple(replace(p, min_repos=1, always=frozenset(), never=frozenset()) for p in tree.layers))


def libraries(world: World) -> frozenset[UnitKey]:
    """Every used library with what is under it."""
    used = (key for key in world.used if world.graph.units[key].is_library)
    return frozenset().union(*(world.graph.closure(key) for key in used))


def without_always(world: World) -> World:
    """What has to be in may not fit, which is an error: the tests by hand see to it."""
    return replace(world, tree=LayerTree(layers=tuple(replace(p, always=frozenset()) for p in world.tree.layers)))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    world = without_always(draw(worlds()))
    sizes = st.integers(1, 20)
    demand = demand_of(world, {key: draw(sizes) for key in world.used}, {key: float(draw(sizes)) for key in world.used})
    budgets = {profile.name: draw(st.none() | st.integers(0, 80)) for profile in world.tree.layers}
    return world, demand, budgets, draw(st.integers(0, 150))


def choose(merged: MergedGraph, users: dict[str, int], total: int = PLENTY, **profile: object) -> Selection:
    """Select from one layer; every unit weighs 10, `users` are numbers of repositories of roots."""
    having: dict[UnitKey, set[str]] = {key: set() for key in merged.units}
    for root, count in users.items():
        for key in merged.closure(UnitKey(root)):
            having[key] |= {f"r{number}" for number in range(count)}
    tree = LayerTree(layers=(LayerProfile(name="core", **profile),))  # type: ignore[arg-type]
    world = World(graph=merged, tree=tree, users={key: frozenset(repos) for key, repos in having.items()})
    return select(demand_of(world), graph=merged, tree=tree, budgets={"core": None}, total_budget=total)


# By hand


def test_the_most_used_come_first() -> None:
    selection = choose(
        graph(unit("rare"), unit("common"), unit("usual")), {"rare": 1, "common": 3, "usual": 2}, total=20
    )
    assert selection == Selection(
        chosen=keys("common", "usual"), left_out={UnitKey("rare"): LeftOut.OVER_BUDGET}, quality=ANY
    )


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a"), ("b", "c", "a")])
def test_among_equals_the_first_key_goes_first_whatever_the_order(order: tuple[str, ...]) -> None:
    merged = graph(*(unit(key) for key in order))
    assert choose(merged, dict.fromkeys(order, 1), total=20).chosen == keys("a", "b")


def test_a_unit_comes_with_all_that_is_under_it_or_not_at_all() -> None:
    merged = graph(unit("top", "a", "b"), unit("a"), unit("b"))
    assert choose(merged, {"top": 1}, total=30).chosen == keys("top", "a", "b")
    assert choose(merged, {"top": 1}, total=29) == Selection(
        chosen=keys("a", "b"), left_out={UnitKey("top"): LeftOut.OVER_BUDGET}, quality=ANY
    )


def test_a_unit_that_does_not_fit_does_not_end_the_selection() -> None:
    merged = graph(unit("large", "x", "y"), unit("x"), unit("y"), unit("z"))
    assert choose(merged, {"large": 3, "z": 1}, total=20).chosen == keys("x", "y")
    assert choose(merged, {"large": 3, "z": 1}, total=40).chosen == keys("large", "x", "y", "z")


def test_build_scripts_come_only_with_their_library() -> None:
    merged = graph(
        unit("run", "script", name="ring", target_kind="custom-build"),
        unit("script", name="ring", target_kind="custom-build"),
        unit("ring", "run"),
    )
    assert choose(merged, {"ring": 2}).chosen == keys("run", "script", "ring")
    assert choose(merged, {"ring": 2}, total=20) == Selection(
        chosen=frozenset(), left_out={UnitKey("ring"): LeftOut.OVER_BUDGET}, quality=ANY
    )


def test_never_takes_all_that_stands_on_it_along() -> None:
    merged = graph(unit("app", "rocksdb", "serde"), unit("rocksdb", "sys"), unit("sys"), unit("serde"))
    selection = choose(merged, {"app": 3}, never=frozenset({"rocksdb"}))
    assert selection.chosen == keys("sys", "serde")
    assert selection.left_out == dict.fromkeys(keys("app", "rocksdb"), LeftOut.NEVER)


def test_min_repos_leaves_out_what_is_too_rare() -> None:
    selection = choose(graph(unit("rare"), unit("common")), {"rare": 1, "common": 2}, min_repos=2)
    assert selection == Selection(chosen=keys("common"), left_out={UnitKey("rare"): LeftOut.TOO_RARE}, quality=ANY)


def test_always_outweighs_min_repos_with_all_that_is_under_it() -> None:
    merged = graph(unit("sqlx", "url"), unit("url"), unit("rare"))
    selection = choose(merged, {"sqlx": 1, "rare": 1}, min_repos=2, always=frozenset({"sqlx"}))
    assert selection == Selection(chosen=keys("sqlx", "url"), left_out={UnitKey("rare"): LeftOut.TOO_RARE}, quality=ANY)


def test_always_goes_before_what_saves_more() -> None:
    merged = graph(unit("little"), unit("much"))
    assert choose(merged, {"little": 1, "much": 9}, total=10, always=frozenset({"little"})).chosen == keys("little")


def test_always_is_refused_where_it_does_not_fit() -> None:
    merged = graph(unit("a", "b"), unit("b"))
    with pytest.raises(ConfigurationError, match="does not fit, with all that it stands on: all layers") as caught:
        choose(merged, {"a": 1}, total=19, always=frozenset({"a"}))
    assert "Raise the budgets" in caught.value.advice


def test_always_and_never_of_one_closure_are_refused() -> None:
    merged = graph(unit("app", "rocksdb"), unit("rocksdb"))
    with pytest.raises(ConfigurationError, match=r"say always of app@1\.0\.0, and never of it or of a crate"):
        choose(merged, {"app": 1}, always=frozenset({"app"}), never=frozenset({"rocksdb"}))


@pytest.mark.parametrize("written", ["tower_http", "Tower-HTTP", "tower-http"])
def test_crates_are_found_however_their_names_are_written(written: str) -> None:
    merged = graph(unit("tower-http"))
    assert choose(merged, {"tower-http": 5}, never=frozenset({written})).chosen == frozenset()
    assert choose(merged, {"tower-http": 1}, min_repos=2, always=frozenset({written})).chosen == keys("tower-http")


def test_a_layers_budget_holds_for_the_layer_alone() -> None:
    merged = graph(unit("axum"), unit("clap"), unit("uuid"))
    users = {key: frozenset({"cli" if key == "clap" else "web"}) for key in merged.units}
    world = World(graph=merged, tree=chain("core", "web", web="axum"), users=users)
    selection = select(
        demand_of(world), graph=merged, tree=world.tree, budgets={"core": None, "web": 10}, total_budget=PLENTY
    )
    # `axum` and `uuid` are both of web and of one repository: the key decides.
    assert selection == Selection(
        chosen=keys("axum", "clap"), left_out={UnitKey("uuid"): LeftOut.OVER_BUDGET}, quality=ANY
    )


# Whatever the world


@given(cases())
def test_the_chosen_set_is_closed_and_within_every_budget(case: Case) -> None:
    world, demand, budgets, total = case
    chosen = select(demand, graph=world.graph, tree=world.tree, budgets=budgets, total_budget=total).chosen
    assert chosen <= set(world.used)
    assert all(world.graph.closure(key) <= chosen for key in chosen)
    assert sum(demand.size[key] for key in chosen) <= total
    for layer, budget in budgets.items():
        weight = sum(demand.size[key] for key in chosen if demand.placements[key].layer == layer)
        assert budget is None or weight <= budget


@given(cases())
def test_every_library_is_chosen_or_left_out_with_a_reason_that_holds(case: Case) -> None:
    world, demand, budgets, total = case
    selection = select(demand, graph=world.graph, tree=world.tree, budgets=budgets, total_budget=total)
    candidates = {key for key in world.used if world.graph.units[key].is_library}
    assert selection.chosen.isdisjoint(selection.left_out)
    assert candidates == (selection.chosen & candidates) | selection.left_out.keys()
    never = {folded(crate) for profile in world.tree.layers for crate in profile.never}
    for key in candidates:
        barred = any(folded(world.graph.units[below].package.name) in never for below in world.graph.closure(key))
        assert (selection.left_out.get(key) is LeftOut.NEVER) == barred
    for key, reason in selection.left_out.items():
        profile = world.tree.layer(demand.placements[key].layer)
        rare = len(world.users[key]) < profile.min_repos
        assert reason is LeftOut.NEVER or (reason is LeftOut.TOO_RARE) == rare


@given(cases())
def test_what_is_too_rare_is_chosen_only_under_something_that_is_not(case: Case) -> None:
    world, demand, budgets, total = case
    chosen = select(demand, graph=world.graph, tree=world.tree, budgets=budgets, total_budget=total).chosen
    admissible = {key for key in chosen if world.graph.units[key].is_library and _wanted(key, world, demand)}
    assert frozenset().union(*(world.graph.closure(key) for key in admissible)) == chosen


def _wanted(key: UnitKey, world: World, demand: Demand) -> bool:
    profile = world.tree.layer(demand.placements[key].layer)
    return len(world.users[key]) >= profile.min_repos


@given(cases(), st.randoms(use_true_random=False), st.data())
def test_the_order_of_the_input_decides_nothing(case: Case, shuffle: Random, data: st.DataObject) -> None:
    world, demand, budgets, total = case
    mixed = Demand(
        users=shuffled(demand.users, shuffle),
        worth=shuffled(demand.worth, shuffle),
        size=shuffled(demand.size, shuffle),
        placements=shuffled(demand.placements, shuffle),
    )
    again = select(
        mixed,
        graph=MergedGraph(shuffled(world.graph.units, shuffle)),
        tree=LayerTree(layers=tuple(data.draw(st.permutations(world.tree.layers)))),
        budgets=shuffled(budgets, shuffle),
        total_budget=total,
    )
    assert again == select(demand, graph=world.graph, tree=world.tree, budgets=budgets, total_budget=total)


@given(worlds())
def test_without_limits_everything_is_chosen(world: World) -> None:
    tree = lenient(world.tree)
    budgets: dict[str, int | None] = dict.fromkeys((profile.name for profile in tree.layers), None)
    selection = select(demand_of(world), graph=world.graph, tree=tree, budgets=budgets, total_budget=PLENTY)
    assert selection == Selection(chosen=libraries(world), left_out={}, quality=ANY)


@given(cases())
def test_a_budget_that_all_fits_into_is_no_limit(case: Case) -> None:
    world, demand, budgets, _ = case
    free = select(demand, graph=world.graph, tree=world.tree, budgets=dict.fromkeys(budgets), total_budget=PLENTY)
    assume(free.chosen)
    weight = sum(demand.size[key] for key in free.chosen)
    exact = select(
        demand, graph=world.graph, tree=world.tree, budgets=dict.fromkeys(budgets, weight), total_budget=weight
    )
    less = select(demand, graph=world.graph, tree=world.tree, budgets=dict.fromkeys(budgets), total_budget=weight - 1)
    assert (exact.chosen, exact.left_out) == (free.chosen, free.left_out)
    assert less.chosen < free.chosen
