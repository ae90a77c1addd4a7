"""Placement: the deepest anchor decides, else where all users meet, and every layer is closed over those below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.config.layers import LayerProfile, LayerTree
from factory.graph import MergedGraph
from factory.model import UnitKey
from factory.planning.layers import Placement, homes, place_units
from tests.unit.builders import World, chain, graph, shuffled, unit, worlds

if TYPE_CHECKING:
    from random import Random

CHAIN = chain("core", "web", "db", web="axum", db="sqlx")
SIBLINGS = LayerTree(
    layers=(
        LayerProfile(name="core"),
        LayerProfile(name="web", parent="core", anchors=frozenset({"axum"})),
        LayerProfile(name="embedded", parent="core", anchors=frozenset({"defmt"})),
        LayerProfile(name="db", parent="web", anchors=frozenset({"sqlx"})),
    )
)


def place(merged: MergedGraph, users: dict[str, set[str]], tree: LayerTree = CHAIN) -> dict[str, Placement]:
    """Place every unit; `users` are the repositories of the roots, and of all that is under them."""
    having: dict[UnitKey, set[str]] = {key: set() for key in merged.units}
    for root, repos in users.items():
        for key in merged.closure(UnitKey(root)):
            having[key] |= repos
    frozen = {key: frozenset(repos) for key, repos in having.items()}
    placed = place_units(merged.units, graph=merged, users=frozen, tree=tree)
    return {str(key): placement for key, placement in placed.items()}


def layers(merged: MergedGraph, users: dict[str, set[str]], tree: LayerTree = CHAIN) -> dict[str, str]:
    return {key: placement.layer for key, placement in place(merged, users, tree).items()}


# Anchors


def test_an_anchor_in_the_closure_decides() -> None:
    merged = graph(unit("app", "axum"), unit("axum", "serde"), unit("serde"))
    assert layers(merged, {"app": {"r"}, "serde": {"tool"}}) == {"app": "web", "axum": "web", "serde": "core"}


def test_the_deepest_anchor_decides() -> None:
    merged = graph(unit("app", "axum", "sqlx"), unit("axum"), unit("sqlx"))
    placed = place(merged, {"app": {"r"}})
    assert placed["app"] == Placement("db", "its closure holds sqlx, an anchor of db")
    assert placed["axum"] == Placement("web", "its closure holds axum, an anchor of web")


def test_an_anchor_is_found_however_its_name_is_written() -> None:
    tree = chain("core", "web", web="Tower_HTTP")
    assert layers(graph(unit("tower-http")), {"tower-http": {"r"}}, tree) == {"tower-http": "web"}


def test_every_unit_of_an_anchors_crate_is_one() -> None:
    merged = graph(unit("build", name="sqlx", target_kind="custom-build"), unit("sqlx", "build"))
    assert layers(merged, {"sqlx": {"r"}}) == {"build": "db", "sqlx": "db"}


# Users


def test_without_an_anchor_a_unit_goes_where_its_users_meet() -> None:
    merged = graph(unit("axum"), unit("sqlx"), unit("uuid"), unit("url"))
    users = {"axum": {"web"}, "sqlx": {"store"}, "uuid": {"web", "store"}, "url": {"store"}}
    assert layers(merged, users) == {"axum": "web", "sqlx": "db", "uuid": "web", "url": "db"}


def test_what_a_tool_uses_too_goes_to_the_root() -> None:
    placed = place(
        graph(unit("axum"), unit("uuid"), unit("clap")), {"axum": {"web"}, "uuid": {"web", "cli"}, "clap": {"cli"}}
    )
    assert {key: placement.layer for key, placement in placed.items()} == {
        "axum": "web",
        "uuid": "core",
        "clap": "core",
    }
    assert placed["uuid"].why == "no anchor below it; used by repositories of core, web"


def test_a_repository_belongs_to_its_deepest_anchor() -> None:
    users = {"axum": {"r"}, "sqlx": {"r"}, "uuid": {"r"}}
    assert layers(graph(unit("axum"), unit("sqlx"), unit("uuid")), users)["uuid"] == "db"


def test_users_of_sibling_layers_meet_at_their_parent() -> None:
    merged = graph(unit("sqlx"), unit("defmt"), unit("heapless"))
    users = {"sqlx": {"store"}, "defmt": {"chip"}, "heapless": {"store", "chip"}}
    assert layers(merged, users, SIBLINGS) == {"sqlx": "db", "defmt": "embedded", "heapless": "core"}


BRANCHES = LayerTree(
    layers=(
        LayerProfile(name="core"),
        LayerProfile(name="web", parent="core", anchors=frozenset({"axum"})),
        LayerProfile(name="db", parent="web", anchors=frozenset({"sqlx"})),
        LayerProfile(name="cli", parent="core", anchors=frozenset({"clap"})),
    )
)


def test_an_anchor_of_one_branch_that_a_repository_of_another_has_too_lies_under_both() -> None:
    merged = graph(unit("clap"), unit("sqlx"), unit("axum"))
    # `store` belongs to db by its deepest anchor: its image has nothing of cli.
    placed = place(merged, {"clap": {"tool", "store"}, "sqlx": {"store"}, "axum": {"store"}}, BRANCHES)
    assert placed["clap"] == Placement(
        "core", "its closure holds clap, an anchor of cli; used by repositories of db too"
    )
    assert (placed["sqlx"].layer, placed["axum"].layer) == ("db", "web")


def test_an_anchor_of_a_branch_stays_there_without_users_elsewhere() -> None:
    merged = graph(unit("clap"), unit("sqlx"))
    assert layers(merged, {"clap": {"tool"}, "sqlx": {"store"}}, BRANCHES) == {"clap": "cli", "sqlx": "db"}


# Layers that name repositories

TEAMS = LayerTree(
    layers=(
        *CHAIN.layers,
        LayerProfile(name="shop", parent="web", repos=frozenset({"orders", "bills"})),
        LayerProfile(name="tools", parent="core", repos=frozenset({"cli"})),
    )
)


def test_what_only_one_layers_repositories_have_is_there_whatever_its_anchors() -> None:
    merged = graph(unit("axum"), unit("h2", name="axum"), unit("uuid"), unit("sqlx"))
    users = {"axum": {"orders", "bills"}, "h2": {"orders", "other"}, "uuid": {"orders"}, "sqlx": {"bills"}}
    placed = place(merged, users, TEAMS)
    assert placed["axum"] == Placement("shop", "only repositories of shop have it")
    assert {key: placement.layer for key, placement in placed.items()} == {
        "axum": "shop",
        # `other` has it as well, and belongs to web.
        "h2": "web",
        "uuid": "shop",
        # An anchor of db, but `bills` is named by another layer: its image has nothing of db.
        "sqlx": "shop",
    }


def test_what_repositories_of_two_layers_have_lies_under_both() -> None:
    merged = graph(unit("axum"), unit("clap"))
    users = {"axum": {"orders", "cli"}, "clap": {"orders", "bills", "cli"}}
    assert layers(merged, users, TEAMS) == {"axum": "core", "clap": "core"}


def test_what_a_repository_has_is_in_the_image_of_the_layer_that_names_it() -> None:
    merged = graph(unit("axum"), unit("sqlx"), unit("clap"))
    users = {"axum": {"orders", "store"}, "sqlx": {"orders", "store"}, "clap": {"orders"}}
    placed = layers(merged, users, TEAMS)
    assert set(placed.values()) <= set(TEAMS.path_to_root("shop"))


@given(worlds())
def test_every_repository_finds_all_it_has_in_its_own_image(world: World) -> None:
    placed = place_units(world.used, graph=world.graph, users=world.users, tree=world.tree)
    belong = homes(world.used, graph=world.graph, users=world.users, tree=world.tree)
    for key, placement in placed.items():
        assert all(placement.layer in world.tree.path_to_root(belong[repo]) for repo in world.users[key])


# Closed


def test_a_unit_never_lies_deeper_than_what_stands_on_it() -> None:
    # `hyper` is of web by its own anchor's count, but `clap` in core needs it.
    merged = graph(unit("axum", "hyper"), unit("hyper"), unit("tool", "hyper"))
    placed = place(merged, {"axum": {"web"}, "tool": {"cli"}})
    assert (placed["hyper"].layer, placed["tool"].layer) == ("core", "core")


def test_what_units_of_sibling_layers_stand_on_is_told_why_it_moved() -> None:
    merged = graph(unit("app", "axum"), unit("both", "axum", "defmt"), unit("axum"), unit("defmt"))
    placed = place(merged, {"app": {"r"}, "both": {"s"}}, SIBLINGS)
    # One closure with anchors of two siblings: the last of them by name takes it, what is under it moves down.
    assert placed["both"].layer == "web"
    assert placed["axum"].layer == "web"
    assert placed["defmt"] == Placement(
        "core", "its closure holds defmt, an anchor of embedded; used by repositories of web too"
    )


@given(worlds())
def test_every_dependency_lies_in_the_units_layer_or_under_it(world: World) -> None:
    placed = place_units(world.used, graph=world.graph, users=world.users, tree=world.tree)
    assert placed.keys() == set(world.used)
    for key, placement in placed.items():
        under = world.tree.path_to_root(placement.layer)
        assert all(placed[edge.key].layer in under for edge in world.graph.units[key].dependencies)


@given(worlds(), st.randoms(use_true_random=False), st.data())
def test_the_order_of_the_input_decides_nothing(world: World, shuffle: Random, data: st.DataObject) -> None:
    placed = place_units(world.used, graph=world.graph, users=world.users, tree=world.tree)
    again = place_units(
        data.draw(st.permutations(world.used)),
        graph=MergedGraph(shuffled(world.graph.units, shuffle)),
        users=shuffled(world.users, shuffle),
        tree=LayerTree(layers=tuple(data.draw(st.permutations(world.tree.layers)))),
    )
    assert again == placed


@given(worlds())
def test_a_unit_moves_down_only_under_a_unit_that_needs_it(world: World) -> None:
    """Not lower than need be: each placement is its own wish, or the meeting of that with the units above."""
    placed = place_units(world.used, graph=world.graph, users=world.users, tree=world.tree)
    for key, placement in placed.items():
        above = [placed[up].layer for up in world.graph.dependents[key] if up in placed]
        if placement.why.startswith("stands under"):
            assert placement.why == f"stands under units of {placement.layer}"
            assert any(placement.layer in world.tree.path_to_root(layer) for layer in above)


def test_a_unit_without_users_is_no_candidate() -> None:
    with pytest.raises(ValueError, match="no layers given"):
        place(graph(unit("a")), {})
