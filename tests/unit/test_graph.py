"""The merged unit graph: closures, who stands on whom, an order for everything, and what can be cooked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.graph import MergedGraph
from factory.model import Mode, Side, Unit, UnitKey
from tests.unit.builders import graph, graphs, keys, unit

DIAMOND = graph(unit("top", "left", "right"), unit("left", "base"), unit("right", "base"), unit("base"), unit("alone"))


def reachable(merged: MergedGraph, key: UnitKey) -> frozenset[UnitKey]:
    below = (reachable(merged, edge.key) for edge in merged.units[key].dependencies)
    return frozenset({key}).union(*below)


# Closures and neighbours


def test_a_closure_is_the_unit_with_everything_under_it() -> None:
    assert DIAMOND.closure(UnitKey("top")) == keys("top", "left", "right", "base")
    assert DIAMOND.closure(UnitKey("left")) == keys("left", "base")
    assert DIAMOND.closure(UnitKey("alone")) == keys("alone")


@given(graphs())
def test_every_closure_is_what_can_be_reached(merged: MergedGraph) -> None:
    assert {key: merged.closure(key) for key in merged.units} == {key: reachable(merged, key) for key in merged.units}


def test_a_deep_graph_needs_no_deep_stack() -> None:
    depth = 5_000
    deep = graph(unit("u0"), *(unit(f"u{number}", f"u{number - 1}") for number in range(1, depth)))
    assert deep.dependencies_first(keys(f"u{depth - 1}"))[-1] == f"u{depth - 1}"
    assert deep.height[UnitKey(f"u{depth - 1}")] == depth - 1
    assert len(deep.closure(UnitKey("u900"))) == 901


def test_dependents_are_the_units_directly_above() -> None:
    assert DIAMOND.dependents[UnitKey("base")] == keys("left", "right")
    assert DIAMOND.dependents[UnitKey("left")] == keys("top")
    assert DIAMOND.dependents[UnitKey("top")] == frozenset()


@given(graphs())
def test_dependents_are_the_edges_turned_round(merged: MergedGraph) -> None:
    down = {(key, edge.key) for key, one in merged.units.items() for edge in one.dependencies}
    assert {(above, key) for key, dependents in merged.dependents.items() for above in dependents} == down


def test_height_is_the_longest_way_down() -> None:
    tall = graph(unit("top", "short", "long"), unit("short"), unit("long", "middle"), unit("middle"))
    assert tall.height == {"top": 2, "short": 0, "long": 1, "middle": 0}


@given(graphs())
def test_dependencies_are_lower(merged: MergedGraph) -> None:
    for key, one in merged.units.items():
        assert merged.height[key] == max((merged.height[edge.key] for edge in one.dependencies), default=-1) + 1


# The order


@given(graphs(), st.data())
def test_dependencies_come_first_and_everything_comes_once(merged: MergedGraph, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(sorted(merged.units)), unique=True))
    order = merged.dependencies_first(chosen)
    assert len(order) == len(set(order))
    assert set(order) == frozenset().union(*(merged.closure(key) for key in chosen))
    place = {key: number for number, key in enumerate(order)}
    for key in order:
        assert all(place[edge.key] < place[key] for edge in merged.units[key].dependencies)


@given(graphs(), st.data())
def test_the_order_depends_on_the_sets_alone(merged: MergedGraph, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(sorted(merged.units)), unique=True))
    again = MergedGraph({key: merged.units[key] for key in data.draw(st.permutations(list(merged.units)))})
    assert again.dependencies_first(data.draw(st.permutations(chosen))) == merged.dependencies_first(chosen)


# What can be cooked


@pytest.mark.parametrize("source", ["path+file:///repo/base", "git+https://git.example.org/base?rev=1#1"])
def test_what_stands_on_a_path_or_git_package_cannot_be_cooked(source: str) -> None:
    merged = graph(
        unit("top", "left", "right"),
        unit("left", "base"),
        unit("right"),
        unit("base", "leaf", source=source),
        unit("leaf"),
    )
    assert merged.cookable == keys("right", "leaf")


@given(graphs(), st.data())
def test_whatever_can_be_cooked_is_closed(merged: MergedGraph, data: st.DataObject) -> None:
    bad = data.draw(st.frozensets(st.sampled_from(sorted(merged.units))))
    merged = MergedGraph({key: unit(key, linker="ld") if key in bad else one for key, one in merged.units.items()})
    for key in merged.units:
        assert (key in merged.cookable) == merged.closure(key).isdisjoint(bad)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (unit("a", source="path+file:///repos/a"), "a path package"),
        (unit("a", source="git+https://git.example.org/a#1"), "from https://git.example.org/a, which `git` in"),
        (unit("a", source="sparse+https://r.example.org/i/"), "sparse+https://r.example.org/i/, which `registries` in"),
        (
            unit("a", source="registry+https://r.example.org/i"),
            "registry https://r.example.org/i, which `registries` in",
        ),
        (unit("a", mode=Mode.TEST), "`test` is nothing that others use"),
        (unit("a", mode=Mode.DOC), "`doc` is nothing that others use"),
        (unit("a", linker="mold"), "the repository sets the linker 'mold'"),
        (unit("a", rustflags=("-Clinker=evil",)), "`-Clinker=evil`"),
        (unit("a", rustflags=("-Ctarget-cpu=native",)), "another processor"),
    ],
)
def test_the_reason_is_told(one: Unit, words: str) -> None:
    assert words in (graph(one).why_not_cookable(one.key) or "")
    assert graph(one).cookable == frozenset()


@pytest.mark.parametrize(
    "one",
    [
        unit("a"),
        unit("a", mode=Mode.CHECK),
        unit("a", target_kind="custom-build", mode=Mode.RUN_CUSTOM_BUILD),
        unit("a", sides=frozenset({Side.HOST}), target_kind="proc-macro"),
        unit("a", rustflags=("--cfg", "tokio_unstable")),
    ],
)
def test_registry_units_can_be_cooked(one: Unit) -> None:
    assert graph(one).why_not_cookable(one.key) is None
    assert graph(one).cookable == {one.key}
