"""Estimated costs, and measured ones in their place."""

from __future__ import annotations

from factory.costs.estimate import costs_of, estimated_cost
from factory.costs.model import UnitCost
from factory.model import Mode
from tests.unit.builders import unit


def test_units_have_sizes_of_their_kind() -> None:
    run = unit("a", target_kind="custom-build", mode=Mode.RUN_CUSTOM_BUILD)
    script = unit("a", target_kind="custom-build")
    ordered = [run, unit("a", mode=Mode.CHECK), script, unit("a"), unit("a", target_kind="proc-macro")]
    sizes = [estimated_cost(one).bytes for one in ordered]
    assert sizes == sorted(set(sizes))
    assert sizes[0] > 0


def test_what_was_measured_is_not_estimated() -> None:
    known, unknown = unit("a"), unit("b")
    measured = UnitCost(seconds=7.5, bytes=123, measured=True)
    costs = costs_of({one.key: one for one in (known, unknown)}, {known.key: measured})
    assert costs == {known.key: measured, unknown.key: estimated_cost(unknown)}
    assert not costs[unknown.key].measured
