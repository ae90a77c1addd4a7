"""When something is rebuilt, by which plan, and what is remembered of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from factory.analysis.model import Status
from factory.cargo.advisories import Advisories, Advisory
from factory.cargo.index_cache import CrateFacts
from factory.config.model import ImageSettings, PushSettings, Settings
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.labels import Label
from factory.model import CRATES_IO, PackageId
from factory.output import Output
from factory.pipeline.rebuilding import Publish, RebuildWishes, rebuild
from factory.pipeline.run import Run
from factory.publish.model import Published
from factory.scan.model import Skipped, SkipReason
from factory.upkeep.decide import (
    SECONDS_A_DAY,
    Cause,
    Reason,
    Rules,
    Yield,
    changed_layers,
    concern_reasons,
    concerns,
    decide,
    input_reasons,
    label_reasons,
    published_reasons,
    yield_of,
)
from factory.upkeep.missing import unreachable, unresolved
from factory.upkeep.state import FILE_NAME, Inputs, RebuildState, read_state
from tests.unit.builders import forecast_row, organisation, plan_for, unit

if TYPE_CHECKING:
    from pathlib import Path

    from factory.planning.plan import Plan

INPUTS = Inputs(repositories="r", toolchain="t", base="b", settings="s", made_by="m")
STATE = RebuildState(target="images of x", inputs=INPUTS, plan="p", layers={"core": "c"}, finished=1_000_000)
OLD = plan_for({"core": [unit("aa", name="serde")], "web": [unit("bb", "aa", name="axum")]})
NEW = plan_for({"core": [unit("aa", name="serde")], "web": [unit("cc", "aa", name="hyper")]})
DRIFT = (Reason(cause=Cause.REPOSITORIES, detail="other units"),)


def test_what_was_resolved_and_is_not_now_is_lost_and_what_was_removed_is_not() -> None:
    before = organisation()
    first, second, *_ = before.resolved
    skipped_now = replace(first, status=Status.SKIPPED, reason="cargo says no", variants={})
    now = replace(before, workspaces=tuple(skipped_now if row is first else row for row in before.workspaces))
    assert unresolved((), now, before) == (f"{first.path}: cargo says no",)
    malformed = Skipped(path=second.path, repo=second.repo, reason=SkipReason.MALFORMED_MANIFEST, detail="line 3")
    gone = replace(before, workspaces=tuple(row for row in before.workspaces if row is not second))
    assert unresolved((malformed,), gone, before) == (f"{second.path}: line 3",)
    assert unresolved((), gone, before) == ()
    assert unresolved((), before, now) == ()
    cut = Skipped(path="https://x/y.git", repo="", reason=SkipReason.SOURCE_UNREACHABLE, detail="401")
    assert unreachable((cut, malformed)) == ("https://x/y.git: 401",)


def test_a_state_comes_back_as_it_was_and_only_for_its_target(tmp_path: Path) -> None:
    assert read_state(tmp_path, target="images of x") is None
    STATE.write(tmp_path)
    assert read_state(tmp_path, target="images of x") == STATE
    with pytest.raises(ConfigurationError, match="of images of x, not of images of y"):
        read_state(tmp_path, target="images of y")


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": 2}', '{"schema": 1, "inputs": {"x": 1}}'])
def test_what_is_no_state_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ConfigurationError, match="not a state"):
        read_state(tmp_path, target="x")


@pytest.mark.parametrize(
    ("field", "cause"),
    [
        ("repositories", Cause.REPOSITORIES),
        ("toolchain", Cause.TOOLCHAIN),
        ("base", Cause.BASE),
        ("settings", Cause.POLICY),
        ("made_by", Cause.SETTINGS),
    ],
)
def test_every_input_is_a_cause(field: str, cause: Cause) -> None:
    now = replace(INPUTS, **{field: "other"})
    assert [row.cause for row in input_reasons(STATE, now, clock=1_000_000, rules=Rules())] == [cause]
    assert input_reasons(STATE, INPUTS, clock=1_000_000, rules=Rules()) == ()


def test_a_state_that_does_not_say_what_decided_the_bytes_is_no_cause() -> None:
    """That of an older version; where settings changed, it may have been any of them."""
    older = replace(STATE, inputs=replace(INPUTS, made_by=""))
    assert input_reasons(older, INPUTS, clock=0, rules=Rules()) == ()
    (reason,) = input_reasons(older, replace(INPUTS, settings="other"), clock=0, rules=Rules())
    assert reason.cause is Cause.SETTINGS


def test_a_base_image_that_nobody_knows_of_has_not_moved() -> None:
    unknown = replace(INPUTS, base="")
    assert input_reasons(STATE, unknown, clock=1_000_000, rules=Rules()) == ()
    assert input_reasons(replace(STATE, inputs=unknown), INPUTS, clock=1_000_000, rules=Rules()) == ()


def test_all_layers_change_with_the_base_image() -> None:
    (moved,) = input_reasons(STATE, replace(INPUTS, base="c"), clock=1_000_000, rules=Rules())
    assert str(moved.detail) == "base image moved from b to c"
    yields = (Yield(saved=100, hit=1), Yield(saved=100, hit=1))
    assert decide(OLD, OLD, (moved,), yields=yields, rules=Rules(), notes=()).changed == ("core", "web")


def test_age_is_a_cause_on_the_day_and_not_before() -> None:
    rules = Rules(max_age=7)
    day = STATE.finished + 7 * SECONDS_A_DAY
    assert input_reasons(STATE, INPUTS, clock=day - 1, rules=rules) == ()
    assert [row.cause for row in input_reasons(STATE, INPUTS, clock=day, rules=rules)] == [Cause.AGE]


@pytest.mark.parametrize(
    ("old", "rules", "stays"),
    [
        (Yield(saved=99, hit=0.5), Rules(), True),
        (Yield(saved=97, hit=0.9), Rules(), False),
        (Yield(saved=97, hit=0.9), Rules(tolerance=0.05), True),
        (Yield(saved=10, hit=0.81), Rules(if_hit_below=0.8), True),
        (Yield(saved=99, hit=0.79), Rules(if_hit_below=0.8), False),
    ],
)
def test_drift_changes_the_plan_only_where_that_pays(old: Yield, rules: Rules, stays: bool) -> None:
    yields = (old, Yield(saved=100, hit=1.0))
    decision = decide(OLD, NEW, DRIFT, yields=yields, rules=rules, notes=())
    assert (decision.plan == OLD, decision.reasons == ()) == (stays, stays)
    assert decision.changed == (() if stays else ("web",))


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.REPOSITORIES])
def test_any_other_cause_takes_the_new_plan(cause: Cause) -> None:
    reasons = (*DRIFT, Reason(cause=cause, detail=""))
    yields = (Yield(saved=100, hit=1), Yield(saved=100, hit=1))
    assert decide(OLD, NEW, reasons, yields=yields, rules=Rules(), notes=()).plan.digest == NEW.digest


def test_a_plan_that_comes_out_the_same_is_not_built_again() -> None:
    dearer = replace(OLD, units={key: replace(one, saves=one.saves * 2) for key, one in OLD.units.items()})
    yields = (Yield(saved=0, hit=0), Yield(saved=100, hit=1))
    assert decide(OLD, dearer, DRIFT, yields=yields, rules=Rules(), notes=()).reasons == ()
    policy = (Reason(cause=Cause.POLICY, detail=""),)
    stays = decide(OLD, dearer, policy, yields=yields, rules=Rules(), notes=())
    assert (stays.reasons, stays.notes) == ((), ("the configuration changed, and the plan did not",))
    core, web = OLD.layers
    packages = replace(OLD, layers=(core, replace(web, packages=("libpq-dev",))))
    assert packages.digest == OLD.digest
    built = decide(OLD, packages, policy, yields=yields, rules=Rules(), notes=())
    assert (built.reasons, built.changed) == (policy, ("web",))


def test_the_lower_layer_keeps_what_it_says_of_itself_when_only_the_upper_one_moves() -> None:
    dearer = replace(NEW, units={key: replace(one, saves=99.0, repos=("x",)) for key, one in NEW.units.items()})
    yields = (Yield(saved=0, hit=0), Yield(saved=100, hit=1))
    made = decide(OLD, dearer, DRIFT, yields=yields, rules=Rules(), notes=()).plan
    by_name = {one.unit.package.name: one for one in made.units.values()}
    assert by_name["serde"].saves == 3.0
    assert by_name["hyper"].saves == 99.0
    assert made.layer_digest("core") == OLD.layer_digest("core")
    assert made.layer_digest("web") != OLD.layer_digest("web")


def test_a_lock_that_moved_in_what_is_not_compiled_is_no_reason_to_cook() -> None:
    """Images keep the entries of the index that they have, until something else in the layer changes."""
    tester = PackageId("tester", "1.0.0", CRATES_IO)
    yields = (Yield(saved=0, hit=0), Yield(saved=100, hit=1))

    def with_tester(plan: Plan) -> Plan:
        return replace(plan, layers=tuple(replace(layer, index=(tester,)) for layer in plan.layers))

    assert changed_layers(OLD, with_tester(OLD)) == ("core", "web")
    assert decide(OLD, with_tester(OLD), DRIFT, yields=yields, rules=Rules(), notes=()).reasons == ()
    decision = decide(OLD, with_tester(NEW), DRIFT, yields=yields, rules=Rules(), notes=())
    assert decision.changed == ("web",)
    assert [layer.index for layer in decision.plan.layers] == [(), (tester,)]


def test_a_change_below_changes_all_that_stands_on_it() -> None:
    below = plan_for({"core": [unit("dd", name="libc")], "web": []})
    assert changed_layers(OLD, below) == ("core", "web")


def test_a_yield_counts_each_workspace_on_its_best_image_as_often_as_it_builds() -> None:
    rows = (forecast_row("a", 10, {"core": 2, "web": 8}), forecast_row("b", 10, {"core": 5, "web": 5}))
    found = yield_of(rows, {"a": 3.0})
    assert found == Yield(saved=3 * 8 + 5, hit=(3 * 16 + 10) / (3 * 20 + 20))


def test_crates_that_are_locked_are_told_and_others_are_a_cause() -> None:
    analysis = organisation()
    locked = analysis.resolved[0].lock.packages[0].package
    plan = plan_for({"core": [unit("aa", name=locked.name), unit("bb", name="gone")]})
    first, *_ = plan.units.values()
    moved = replace(first, unit=replace(first.unit, package=locked))
    plan = replace(plan, units={**plan.units, first.unit.key: moved})

    def facts(_package: PackageId) -> CrateFacts:
        return CrateFacts(yanked=True, rust_version=None, links=None, features=frozenset())

    advisories = Advisories({"gone": [Advisory(id="RUSTSEC-2026-0001", patched=(">=9",), unaffected=())]})
    found = concerns(plan, analysis, facts=facts, advisories=advisories)
    by_crate = {(row.package.split()[0], row.cause): bool(row.users) for row in found}
    assert by_crate == {
        (locked.name, Cause.YANKED): True,
        ("gone", Cause.YANKED): False,
        ("gone", Cause.ADVISORY): False,
    }
    assert {row.cause for row in concern_reasons(found)} == {Cause.YANKED, Cause.ADVISORY}
    assert all("gone" in row.detail for row in concern_reasons(found))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"plan": "another"}, (Cause.TARGET, "the registry's image of web is of another plan, or not there")),
        ({"base": "sha256:c"}, (Cause.BASE, "the registry's image of web stands on sha256:c, not on sha256:b")),
        ({"base": ""}, None),
        (
            {"settings": "n"},
            (Cause.SETTINGS, "the registry's image of web was made with other settings, or in other steps"),
        ),
        ({"settings": ""}, None),
        (
            {"whole": False},
            (Cause.TARGET, "some tags of web in the registry are not there, or stand for another image"),
        ),
    ],
)
def test_published_images_say_what_speaks_against_them(
    change: dict[str, Any], reason: tuple[Cause, str] | None
) -> None:
    there = {
        layer.name: Published(
            plan=OLD.layer_digest(layer.name), settings="m", base="sha256:b", day="20261129", whole=True
        )
        for layer in OLD.layers
    }
    there["web"] = replace(there["web"], **change)
    found = published_reasons(OLD, there, settings="m", base="sha256:b")
    assert {layer: (row.cause, row.detail) for layer, row in found.items()} == (
        {} if reason is None else {"web": reason}
    )
    del there["core"]
    assert [layer for layer in published_reasons(OLD, there, settings="m") if layer != "web"] == ["core"]


@pytest.mark.parametrize(("labels", "other"), [({Label.PLAN: "p"}, False), ({Label.PLAN: "q"}, True), ({}, True)])
def test_an_image_without_the_label_was_made_from_another_plan(labels: dict[str, str], other: bool) -> None:
    details = [row.detail for row in label_reasons("x:web", labels, plan="p")]
    assert details == (["x:web was made from another plan"] if other else [])


def test_what_could_not_be_signed_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "without-cosign"))
    run = Run(
        settings=Settings(image=ImageSettings(registry="registry.test"), push=PushSettings(sign="keyless")),
        output=Output(verbosity=-1),
    )
    wishes = RebuildWishes(
        paths=(),
        state=tmp_path / "state",
        folder=None,
        profiles=None,
        rules=Rules(),
        advisory_db=None,
        verify_on=(),
        offline=True,
        dry_run=False,
        publish=Publish.PUSHED,
    )
    with pytest.raises(EnvironmentFaultError, match="cosign") as caught:
        rebuild([(run, wishes)])
    assert "Install cosign 3" in caught.value.advice
    assert not (tmp_path / "state" / "analysis.json").exists()
