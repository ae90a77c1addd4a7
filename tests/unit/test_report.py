"""What came out of a cook: units that are there, those that are not with the reason, and what images carry along."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from factory.cargo.events import BuildEvents, Failure, Identity, identity
from factory.cook.report import (
    Dropped,
    LayerReport,
    contents,
    contract,
    report_layer,
    report_to_json,
    require_cooked,
)
from factory.cook.sizes import CrateBytes, Weight
from factory.costs.observe import Observation
from factory.errors import BuildFailedError
from factory.model import Mode, Side, Unit
from factory.planning.recipe import Recipe
from factory.process import MEMORY_ADVICE
from tests.unit.builders import plan_for, unit

if TYPE_CHECKING:
    from factory.planning.plan import Plan

SERDE = unit("aa", name="serde", features=("std",))
# The same crate for build scripts: cargo's JSON does not tell the two apart.
SERDE_HOST = unit("ab", name="serde", features=("std",), sides=frozenset({Side.HOST}))
RING = unit("ba", name="ring")
RUN = unit("bb", name="ring", target_kind="custom-build", mode=Mode.RUN_CUSTOM_BUILD)
RUSTLS = unit("bc", "ba", name="rustls")
PLAN = plan_for({"core": [SERDE, SERDE_HOST], "web": [RING, RUN, RUSTLS]})


def said(*done: Unit, fresh: tuple[Unit, ...] = (), failures: tuple[Failure, ...] = ()) -> BuildEvents:
    """What cargo said of a recipe that compiled `done` and found others fresh."""
    return BuildEvents(
        fresh=Counter(identity(one) for one in fresh),
        compiled=Counter(identity(one) for one in done),
        path_packages=frozenset(),
        failures=failures,
        success=not failures,
    )


def report(layer: str, *events: BuildEvents, plan: Plan = PLAN) -> LayerReport:
    recipes: tuple[Recipe, ...] = plan.recipes_of(layer)
    return report_layer(plan, layer, [(recipes[0], each) for each in events], seconds=12.345)


def saved(plan: Plan, layer: str) -> float:
    return sum(each.cost.seconds for each in plan.units.values() if each.layer == layer)


# Cooked and dropped


def test_what_cargo_made_is_there() -> None:
    assert report("web", said(RUSTLS, RING, fresh=(RUN,))) == LayerReport(
        layer="web", cooked=(RING.key, RUN.key, RUSTLS.key), dropped=(), seconds=12.3, saved_seconds=saved(PLAN, "web")
    )


def test_units_that_look_alike_are_there_when_all_of_them_were_made() -> None:
    assert identity(SERDE) == identity(SERDE_HOST)
    assert report("core", said(SERDE, SERDE_HOST)).cooked == (SERDE.key, SERDE_HOST.key)
    short = report("core", said(SERDE))
    assert short.cooked == ()
    assert short.dropped == (
        Dropped(key=SERDE.key, label="serde@1.0.0 (lib)", reason="cargo did not report it"),
        Dropped(key=SERDE_HOST.key, label="serde@1.0.0 (lib)", reason="cargo did not report it"),
    )


def test_counts_of_two_recipes_are_not_added_up() -> None:
    # Each recipe compiles the same one of the two.
    assert report("core", said(SERDE), said(fresh=(SERDE,))).cooked == ()
    assert report("core", said(SERDE), said(SERDE, SERDE_HOST)).cooked == (SERDE.key, SERDE_HOST.key)


def test_units_of_other_layers_are_not_reported_again() -> None:
    plan = plan_for({"core": [SERDE], "web": [RING]})
    (own,) = plan.recipes_of("web")
    wider = Recipe(
        name=own.name,
        layer=own.layer,
        context=own.context,
        packages=own.packages,
        lock=own.lock,
        keys=(SERDE.key, RING.key),
    )
    cooked = report_layer(plan, "web", [(wider, said(RING, fresh=(SERDE,)))], seconds=0)
    assert (cooked.cooked, cooked.dropped) == ((RING.key,), ())


def test_the_failure_is_told_of_the_crate_itself_and_of_what_stands_on_it() -> None:
    failure = Failure("ring", "1.0.0", "error: failed to run custom build command for `ring v1.0.0`\nno cc")
    cooked = report("web", said(failures=(failure,)))
    assert cooked.cooked == ()
    assert {row.key: row.reason for row in cooked.dropped} == {
        RING.key: failure.detail,
        RUN.key: failure.detail,
        RUSTLS.key: "stands on what could not be compiled: ring",
    }
    assert [row.label for row in cooked.dropped] == [
        "ring@1.0.0 (lib)",
        "ring@1.0.0 (build script run)",
        "rustls@1.0.0 (lib)",
    ]


@pytest.mark.parametrize(("version", "own"), [(None, True), ("1.0.0", True), ("2.0.0", False)])
def test_another_version_of_the_crate_is_not_blamed_for_itself(version: str | None, own: bool) -> None:
    cooked = report("web", said(RUN, RUSTLS, failures=(Failure("ring", version, "why"),)))
    (row,) = cooked.dropped
    assert row.reason == ("why" if own else "stands on what could not be compiled: ring")


def test_a_layer_without_units_is_an_empty_report() -> None:
    plan = plan_for({"core": [SERDE], "db": []})
    assert report_layer(plan, "db", [], seconds=0) == LayerReport(layer="db", cooked=(), dropped=(), seconds=0)


@pytest.mark.parametrize("failures", [(), (Failure("ring", None, "no cc"),)])
def test_a_cook_that_ended_well_or_blames_a_crate_goes_on(failures: tuple[Failure, ...]) -> None:
    cook = said(RUN, failures=failures)
    require_cooked("web: recipe 1/1", cook, exit_code=101 if failures else 0, log="error: x")
    assert report("web", cook).cooked == (RUN.key,)


@pytest.mark.parametrize(
    "words",
    [
        "Caused by:\n  process didn't exit successfully: `rustc --crate-name ring` (signal: 9, SIGKILL: kill)",
        "memory allocation of 1073741824 bytes failed",
        "rustc-LLVM ERROR: out of memory",
        "error[E0080]: tried to allocate more memory than available to compiler",
        "collect2: fatal error: ld terminated with signal 9 [Killed]",
        "x86_64-linux-gnu-gcc: fatal error: Killed signal terminated program cc1plus",
        "could not execute process `rustc -vV`: Cannot allocate memory (os error 12)",
    ],
)
def test_no_crate_is_blamed_for_memory_that_was_not_there(words: str) -> None:
    failures = (Failure("ring", None, f"error: could not compile `ring` (lib)\n{words}"),)
    with pytest.raises(BuildFailedError, match="recipe 1/1: out of memory") as caught:
        require_cooked("web: recipe 1/1", said(RUN, failures=failures), exit_code=101, log=failures[0].detail)
    assert (caught.value.exit_code, caught.value.advice) == (5, MEMORY_ADVICE)
    assert "could not compile `ring`" in caught.value.what


@pytest.mark.parametrize("code", [137, -9])
def test_a_cargo_that_is_killed_itself_had_no_memory(code: int) -> None:
    with pytest.raises(BuildFailedError, match="out of memory"):
        require_cooked("web: recipe 1/1", said(RUN), exit_code=code, log="")


def test_a_cook_that_failed_with_nobody_to_blame_is_no_cook() -> None:
    with pytest.raises(BuildFailedError) as caught:
        require_cooked("web: recipe 1/1", said(), exit_code=101, log="error: the lock file needs to be updated\n")
    assert caught.value.what == (
        "web: recipe 1/1: cargo exited with 101 before compiling anything:\nerror: the lock file needs to be updated"
    )


# What images carry


def test_the_contents_say_what_each_unit_is_and_why_it_is_there() -> None:
    cooked = report("web", said(RUSTLS, RUN, failures=(Failure("ring", None, "no cc"),)))
    document = contents(PLAN, cooked)
    assert (document["schema"], document["layer"]) == (1, "web")
    assert document["units"][1] == {
        "key": "bc",
        "unit": "rustls@1.0.0 (lib)",
        "crate": "rustls",
        "version": "1.0.0",
        "source": "registry+https://github.com/rust-lang/crates.io-index",
        "features": [],
        "side": "target",
        "cargo_profiles": ["release"],
        "why": "its closure holds rustls, an anchor of web",
        "repos": 2,
        "seconds": 1.5,
        "bytes": 2_000_000,
        "measured": False,
    }
    assert [row["key"] for row in document["units"]] == ["bb", "bc"]
    assert document["dropped"] == [{"key": "ba", "unit": "ring@1.0.0 (lib)", "reason": "no cc"}]
    json.dumps(document)


def test_the_contract_says_in_which_surroundings_units_stay_fresh() -> None:
    assert contract(PLAN, "web") == {
        "schema": 1,
        "layer": "web",
        "cargo_home": "/usr/local/cargo",
        "build_dir": "/build",
        "layout": "build-dir",
        "rustc": ["rustc 1.95.0", "LLVM: 21"],
        "variants": ["release"],
        "rustflags": [],
        "plan": PLAN.layer_digest("web"),
    }


def test_the_report_of_a_build_as_json() -> None:
    cooked = report("web", said(RUSTLS, RUN, failures=(Failure("ring", None, "no cc"),)))
    seen = {key: Observation(seconds=1.26, bytes=40) for key in cooked.cooked}
    own = Weight(bytes=3_000_000, crates=(CrateBytes("ring", 2_000_000),))
    whole = replace(
        cooked,
        images=("org/rust:web",),
        observed=seen,
        weight=own,
        budget_bytes=4_000_000,
        pulled_bytes=1_000_000,
    )
    assert report_to_json([whole]) == {
        "schema": 1,
        "layers": [
            {
                "layer": "web",
                "cooked": ["bb", "bc"],
                "dropped": [{"key": "ba", "unit": "ring@1.0.0 (lib)", "reason": "no cc"}],
                "seconds": 12.3,
                "images": ["org/rust:web"],
                "measured": {"units": 2, "core_seconds": 2.5, "bytes": 80},
                "saved_seconds": sum(PLAN.units[key].cost.seconds for key in cooked.cooked),
                "bytes": {
                    "unpacked": 3_000_000,
                    "pulled": 1_000_000,
                    "budget": 4_000_000,
                    "heaviest": [{"crate": "ring", "bytes": 2_000_000}],
                },
                "over_budget": "",
            }
        ],
    }


def test_identities_are_of_the_planned_units() -> None:
    assert {one.identity for one in PLAN.units.values()} == {identity(one) for one in (SERDE, RING, RUN, RUSTLS)}
    assert all(isinstance(one.identity, Identity) for one in PLAN.units.values())
