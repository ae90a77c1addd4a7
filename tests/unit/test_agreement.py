"""Tests of what agreeing would bring: who shares what, as it is and with crates settled at the bottom."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from factory.costs.model import UnitCost
from factory.model import Mode, Side
from factory.planning.agreement import Agreement, agreement, agreement_from_json, agreement_to_json
from factory.planning.baseline_rules import derive_baseline
from factory.planning.plan_file import plan_from_json, plan_to_json
from tests.unit.builders import plan_for
from tests.unit.test_baseline import analysis, rules
from tests.unit.unit_builder import RELEASE, unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.model import Unit

NAMES = ("as_is", "versions", "features", "profile")


def found(repos: Mapping[str, tuple[Unit, ...]], *, order: int = 1) -> Agreement:
    """What agreeing brings where every unit takes a second."""
    given = analysis(repos, order=order)
    costs = {key: UnitCost(seconds=1.0, bytes=1, measured=False) for key in given.units}
    return agreement(given, derive_baseline(given, rules()), costs)


def units_shared(answer: Agreement, repo: str) -> tuple[int, ...]:
    (row,) = (row for row in answer.workspaces if row.repo == repo)
    return tuple(getattr(row, name).units for name in NAMES)


def tower(version: str = "1.0.0", features: tuple[str, ...] = ("std",), **changes: Any) -> tuple[Unit, ...]:  # noqa: ANN401 - any field
    """A crate at the bottom with two above it."""
    bottom = unit("bottom", version=version, features=features, **changes)
    middle = unit("middle", bottom, **changes)
    return (bottom, middle, unit("top", middle, **changes))


def test_equal_closures_are_shared_as_they_are() -> None:
    answer = found({"a": tower(), "b": tower()})
    assert units_shared(answer, "a") == (3, 3, 3, 3)
    assert answer.crates == ()
    assert answer.workspaces[0].total.seconds == pytest.approx(3.0)


def test_another_version_below_blocks_all_above_until_versions_agree() -> None:
    answer = found({"a": tower("1.0.0"), "b": tower("1.0.1")})
    assert units_shared(answer, "a") == (0, 3, 3, 3)
    (row,) = answer.crates
    assert (row.crate, row.version, row.versions, row.add) == ("bottom", "1.0.1", 2, ())
    assert (row.blocked, row.alone, row.together) == (6.0, 6.0, 6.0)


def test_another_semver_range_is_no_matter_of_agreeing() -> None:
    answer = found({"a": tower("1.0.0"), "b": tower("2.0.0")})
    assert units_shared(answer, "a") == (0, 0, 0, 0)
    assert answer.crates == ()


def test_features_agree_at_the_second_step_and_are_named() -> None:
    plain, more = ("std",), ("derive", "std")
    answer = found({"a": tower(features=plain), "b": tower(features=more), "c": tower(features=more)})
    assert units_shared(answer, "a") == (0, 0, 3, 3)
    assert units_shared(answer, "b") == (3, 3, 3, 3)
    (row,) = answer.crates
    assert (row.add, row.feature_sets, row.blocked) == (("derive",), 2, 3.0)


def test_a_feature_that_one_repository_has_stays_its_own() -> None:
    answer = found({"a": tower(features=("full", "std")), "b": tower(), "c": tower()})
    assert units_shared(answer, "a") == (0, 0, 0, 0)
    assert units_shared(answer, "b") == (3, 3, 3, 3)


def test_another_cargo_profile_is_the_last_step() -> None:
    answer = found({"a": tower(), "b": tower(profile=replace(RELEASE, lto="thin"))})
    assert units_shared(answer, "a") == (0, 0, 0, 3)
    assert answer.crates == ()


def test_two_crates_at_the_bottom_block_together_what_neither_frees_alone() -> None:
    def both(one: str, other: str) -> tuple[Unit, ...]:
        first, second = unit("first", version=one), unit("second", version=other)
        return (first, second, unit("top", first, second))

    answer = found({"a": both("1.0.0", "1.0.0"), "b": both("1.0.1", "1.0.1")})
    assert [(row.crate, row.blocked, row.alone, row.together) for row in answer.crates] == [
        ("first", 4.0, 2.0, 2.0),
        ("second", 4.0, 2.0, 6.0),
    ]


def test_features_that_bring_a_dependency_bring_that_of_those_who_have_it() -> None:
    def with_parallel(name: str) -> tuple[Unit, ...]:
        helper = unit("jobserver")
        bottom = unit("cc", helper, features=("derive",))
        return (helper, bottom, unit("top", bottom), unit(name))

    bare = unit("cc")
    repos = {"a": (bare, unit("top", bare)), "b": with_parallel("x"), "c": with_parallel("y")}
    assert units_shared(found(repos), "a") == (0, 0, 2, 2)


def test_a_dependency_that_the_repository_has_stays_its_own_until_it_is_settled() -> None:
    def stack(libc: str, features: tuple[str, ...]) -> tuple[Unit, ...]:
        low = unit("libc", version=libc)
        return (low, unit("cc", low, features=features))

    answer = found({"a": stack("0.2.1", ()), "b": stack("0.2.2", ("derive",)), "c": stack("0.2.2", ("derive",))})
    by_name = {row.crate: row for row in answer.crates}
    # Settling cc alone gives a's nobody else's libc.
    assert by_name["cc"].alone == 0.0
    assert by_name["libc"].alone == 1.0
    assert by_name["libc"].blocked == 2.0
    assert units_shared(answer, "a") == (0, 1, 2, 2)


def test_build_scripts_take_the_features_of_the_library_they_run_for() -> None:
    def scripted(features: tuple[str, ...]) -> tuple[Unit, ...]:
        script = unit("bottom", features=features, sides=(Side.HOST,), target_kind="custom-build")
        run = unit("bottom", script, features=features, mode=Mode.RUN_CUSTOM_BUILD, target_kind="custom-build")
        return (script, run, unit("bottom", run, features=features))

    answer = found({"a": scripted(()), "b": scripted(("derive",)), "c": scripted(("derive",))})
    assert units_shared(answer, "a") == (0, 0, 3, 3)


def test_crates_that_come_to_stand_on_each_other_are_no_endless_circle() -> None:
    old_low = unit("x", version="1.0.0")
    new_low = unit("y", version="1.0.1")
    repos = {
        "a": (old_low, unit("y", old_low, version="1.0.0")),
        "b": (new_low, unit("x", new_low, version="1.0.1")),
    }
    answer = found(repos)
    assert {row.repo for row in answer.workspaces} == {"a", "b"}


def test_the_order_of_the_input_does_not_matter_and_json_gives_the_same_back() -> None:
    repos = {
        "a": tower("1.0.0", ("derive", "std")),
        "b": tower("1.0.1", ("derive",)),
        "c": tower("1.0.2", ("std",), profile=replace(RELEASE, lto="thin")),
    }
    one = found(repos)
    assert json.dumps(agreement_to_json(one)) == json.dumps(agreement_to_json(found(repos, order=-1)))
    assert one.crates
    assert agreement_from_json(json.loads(json.dumps(agreement_to_json(one)))) == one
    plan = replace(plan_for({"core": tower()}), agreement=one)
    assert plan_from_json(json.loads(json.dumps(plan_to_json(plan)))) == plan
