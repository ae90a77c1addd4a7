"""Predicted wall seconds: by hand on small graphs, and between their bounds on all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.costs.model import UnitCost
from factory.model import Mode, UnitKey
from factory.planning.wall import METADATA_SHARE, BuildModel, wall_shares
from tests.unit.builders import graph, graphs, keys, shuffled, unit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from factory.graph import MergedGraph


def costs(seconds: Mapping[Any, float]) -> dict[UnitKey, UnitCost]:
    return {UnitKey(key): UnitCost(seconds=value, bytes=1, measured=True) for key, value in seconds.items()}


def wall(merged: MergedGraph, seconds: Mapping[Any, float], jobs: int, *warm: str) -> float:
    model = BuildModel(list(merged.units), units=merged.units, costs=costs(seconds))
    return model.wall_seconds(jobs, warm=keys(*warm))


def test_what_stands_on_nothing_shares_the_jobs() -> None:
    merged = graph(*(unit(key, mode=Mode.CHECK) for key in "abc"))
    seconds = {"a": 2.0, "b": 2.0, "c": 2.0}
    assert [wall(merged, seconds, jobs) for jobs in (1, 2, 3, 9)] == [6, 4, 2, 2]


def test_a_library_starts_on_the_metadata_of_another() -> None:
    assert METADATA_SHARE == 0.5
    merged = graph(unit("top", "low"), unit("low"))
    # 2 s until the metadata; beside each other until `low` ends at 4 s, then the last second of `top` on both jobs.
    assert wall(merged, {"low": 4.0, "top": 3.0}, 2) == 4.5
    # With one job there is nobody to start it.
    assert wall(merged, {"low": 4.0, "top": 3.0}, 1) == 7


@pytest.mark.parametrize(
    ("low", "top"),
    [({"target_kind": "proc-macro"}, {}), ({}, {"target_kind": "proc-macro"}), ({}, {"target_kind": "custom-build"})],
)
def test_what_is_linked_or_links_waits_for_the_end(low: dict[str, str], top: dict[str, str]) -> None:
    merged = graph(unit("top", "low", **top), unit("low", **low))
    # Each generates code on both jobs: 2 + 1 s, then 1.5 + 0.75 s.
    assert wall(merged, {"low": 4.0, "top": 3.0}, 2) == 5.25


def test_a_build_script_runs_between_its_compilation_and_the_library() -> None:
    merged = graph(
        unit("script", target_kind="custom-build"),
        unit("run", "script", target_kind="custom-build", mode=Mode.RUN_CUSTOM_BUILD),
        unit("lib", "run"),
    )
    assert wall(merged, {"script": 1.0, "run": 5.0, "lib": 2.0}, 4) == 0.625 + 5 + 1.25


def test_the_unit_with_most_above_it_goes_first() -> None:
    # By key `a` would be first; `z` has two units above it, and one job has to choose.
    merged = graph(
        unit("a"), unit("z", target_kind="proc-macro"), unit("y", "z", target_kind="proc-macro"), unit("x", "y")
    )
    model = BuildModel(list(merged.units), units=merged.units, costs=costs(dict.fromkeys("axyz", 1.0)))
    order = [key for row in model.stretches(1) for key in row.units]
    assert list(dict.fromkeys(order)) == ["z", "y", "a", "x"]


def test_warm_units_take_no_time() -> None:
    merged = graph(unit("top", "low"), unit("low"), unit("other"))
    seconds = {"low": 4.0, "top": 3.0, "other": 1.0}
    assert wall(merged, seconds, 2, "low", "other") == 2.25
    assert wall(merged, seconds, 2, "low", "top", "other") == 0


def test_a_second_is_shared_by_those_who_run_in_it() -> None:
    merged = graph(unit("long"), unit("short"))
    model = BuildModel(list(merged.units), units=merged.units, costs=costs({"long": 3.0, "short": 1.0}))
    assert wall_shares(list(model.stretches(2))) == {"long": 1.75, "short": 0.5}


@given(graphs(), st.integers(1, 4), st.data())
def test_the_wall_lies_between_the_work_divided_and_the_sum(
    merged: MergedGraph, jobs: int, data: st.DataObject
) -> None:
    seconds = {key: float(data.draw(st.integers(0, 8))) for key in merged.units}
    model = BuildModel(list(merged.units), units=merged.units, costs=costs(seconds))
    found = model.wall_seconds(jobs)
    assert max(sum(seconds.values()) / jobs, max(seconds.values()) * METADATA_SHARE) <= found + 1e-9
    assert found <= sum(seconds.values()) + 1e-9
    assert sum(wall_shares(list(model.stretches(jobs))).values()) == pytest.approx(found)
    assert model.wall_seconds(jobs, warm=merged.units.keys()) == 0


@given(graphs(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_order_of_the_input_decides_nothing(merged: MergedGraph, jobs: int, random: Random) -> None:
    seconds = {key: 1.0 + number % 3 for number, key in enumerate(sorted(merged.units))}
    mixed = shuffled(merged.units, random)
    again = BuildModel(list(mixed), units=mixed, costs=costs(seconds))
    assert again.wall_seconds(jobs) == wall(merged, seconds, jobs)
