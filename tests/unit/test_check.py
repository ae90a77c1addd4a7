"""The forecast as a whole: totals of every image, seconds that add up, and the answers for people and machines."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from factory.analysis.model import Analysis, ToolchainFacts, VariantUse
from factory.consumer.align.model import State
from factory.consumer.align.steps import why_idle
from factory.consumer.check.causes import Cause
from factory.consumer.check.forecast import Question, check, default_variant
from factory.consumer.check.model import Amount, CheckReport, check_to_json
from factory.consumer.check.sarif import github_annotations, sarif
from factory.consumer.check.show import print_check
from factory.consumer.check.warm import Warm, warm_from_directory, warm_from_plan
from factory.cook.facts import facts_from_json, facts_to_json, planned_facts
from factory.cook.local import MARKER, MARKER_TEXT
from factory.cook.report import contents, contract, report_layer
from factory.costs.model import UnitCost
from factory.errors import ConfigurationError
from factory.files import write_json
from factory.output import Output
from factory.planning.plan import Exclusion
from factory.scan.discover import find_workspaces
from tests.hostile import manifest, write_files
from tests.unit.builders import organisation, plan_for
from tests.unit.unit_builder import unit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from factory.model import Unit
    from factory.scan.model import Scan

WHOLE_FACTS = ToolchainFacts(
    version="1.95.0",
    host="x86_64-unknown-linux-gnu",
    rustc_verbose="rustc 1.95.0\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\n",
)
LOCK = "version = 4\n" + "".join(
    f'\n[[package]]\nname = "{name}"\nversion = "{version}"\n'
    for name, version in (("app", "0.1.0"), ("base", "1.0.1"), ("web", "1.0.0"), ("big,50%", "1.0.0"))
)


PROJECT = {"Cargo.toml": manifest("app"), "Cargo.lock": LOCK, "src/main.rs": ""}


@pytest.fixture
def found(tmp_path: Path) -> Scan:
    write_files(tmp_path / "repos/app", PROJECT)
    return find_workspaces([tmp_path / "repos/app"])


def analysed(found: Scan, units: Sequence[Unit], **changes: Any) -> Analysis:  # noqa: ANN401 - any field
    """The analysis of the one workspace of a scan, with these registry units."""
    known = organisation()
    use = VariantUse(keys=tuple(sorted(one.key for one in units)), profile=None, rustflags=())
    (workspace,) = found.workspaces
    row = replace(
        known.workspaces[0], path=workspace.path, repo=workspace.repo, variants={"release": use}, reason="", **changes
    )
    return replace(known, workspaces=(row,), units={one.key: one for one in units})


def costs(units: Sequence[Unit]) -> dict[Any, UnitCost]:
    """The first unit takes one second, the second two, and so on."""
    return {
        one.key: UnitCost(seconds=float(number), bytes=1, measured=True) for number, one in enumerate(units, start=1)
    }


@pytest.fixture
def report(found: Scan) -> CheckReport:
    """Base misses by its version, `on` because of it, `web` by its features and because of it; `hit` is warm."""
    hit, warm_base = unit("hit"), unit("base")
    plan = plan_for({"core": [hit, warm_base, unit("on", warm_base)], "web": [unit("web", warm_base, features=("x",))]})
    base = unit("base", version="1.0.1")
    mine = [hit, base, unit("on", base), unit("web", base)]
    warm = warm_from_plan(plan, name="plan.json")
    return check(found, analysed(found, mine), warm, Question(), costs=costs(mine), jobs=1)


def test_every_image_has_its_own_totals_and_the_best_is_chosen(report: CheckReport) -> None:
    assert report.total == Amount(4, 10.0)
    assert {name: report.on(name) for name in report.images} == {"core": Amount(1, 1.0), "web": Amount(1, 1.0)}
    assert report.image == "core", "of images that save the same the smaller one"
    assert (report.wall_cold, report.wall_on("core")) == (10.0, 9.0)


@pytest.mark.parametrize(("hit", "shown"), [(0, "0 %"), (20, "28 %"), (68, "98 %"), (69, "100 %")])
def test_shares_are_rounded_down(hit: int, shown: str) -> None:
    """20 of 69 are 28.99 %: as few as are surely warm, and never all while one misses."""
    assert Amount(hit).percent_of(Amount(69), by="units") == shown
    assert Amount().percent_of(Amount(), by="seconds") == "100 %"


def test_seconds_of_several_causes_are_shared_and_add_up(report: CheckReport) -> None:
    version, other = report.misses
    assert (version.root.cause, version.root.subject) == (Cause.VERSION, "base@1.0.1")
    assert (other.root.cause, other.crates) == (Cause.NOT_PLANNED, ("web@1.0.0",))
    assert sum(miss.lost for miss in report.misses) == pytest.approx(9.0)
    assert (version.units, version.alone) == (2, Amount(2, 5.0))
    assert version.crates == ("base@1.0.1",)
    assert version.dependents == ("on@1.0.0",)


def test_on_the_image_that_has_the_crate_it_misses_for_two_reasons(found: Scan) -> None:
    hit, warm_base = unit("hit"), unit("base")
    plan = plan_for({"core": [hit, warm_base], "web": [unit("web", warm_base, features=("x",))]})
    base = unit("base", version="1.0.1")
    mine = [hit, base, unit("web", base)]
    warm = warm_from_plan(plan, name="plan.json")
    asked = Question(image="web")
    answer = check(found, analysed(found, mine), warm, asked, costs=costs(mine), jobs=1)
    assert answer.image == "web"
    by_cause = {miss.root.cause: miss for miss in answer.misses}
    assert by_cause[Cause.VERSION].lost == pytest.approx(2.0 + 3.0 / 2)
    assert by_cause[Cause.FEATURES].lost == pytest.approx(3.0 / 2)
    assert by_cause[Cause.FEATURES].alone == Amount(0, 0.0)
    assert by_cause[Cause.FEATURES].remedy.startswith(
        'add to [dependencies]: web = { version = "=1.0.0", default-features = false, features = ["x"] }'
    )
    assert (by_cause[Cause.FEATURES].place.file, by_cause[Cause.FEATURES].place.line) == ("Cargo.lock", 12)


def test_the_document_has_totals_at_its_top_and_every_missing_unit_below(report: CheckReport) -> None:
    document = json.loads(json.dumps(check_to_json(report)))
    assert document["schema"] == 1
    assert document["units"] == {"total": 4, "hit": 1}
    assert document["seconds"] == {"total": 10.0, "hit": 1.0}
    assert [miss["cause"] for miss in document["misses"]] == ["version", "not-planned"]
    variant = document["workspaces"][0]["variants"]["release"]
    assert [row["crate"] for row in variant["missed"] if row["causes"] == [0]] == sorted(
        ("base", "on"), key=lambda name: next(row["key"] for row in variant["missed"] if row["crate"] == name)
    )
    assert document["wall"] == {"jobs": 1, "cold": 10.0, "warm": 9.0}


def test_people_read_cause_place_and_remedy(report: CheckReport, capsys: pytest.CaptureFixture[str]) -> None:
    print_check(report, Output(), top=1)
    said, hint = capsys.readouterr()
    assert "5.0 s are for versions, features or cargo profile: `factory align`" in hint
    assert "1/4 (25 %)" in said
    assert "version: base (warm: 1.0.0, locked: 1.0.1)" in said
    assert "Cargo.lock:8  2 units, under on@1.0.0" in said
    assert "-> plan again, if the plan is older than this lock; or cargo update -p base@1.0.1 --precise 1.0.0" in said
    assert "4.0 s  in 1 more: --top 2, or --json" in said
    assert len(said.splitlines()) < 15


def test_without_causes_none_is_announced(report: CheckReport, capsys: pytest.CaptureFixture[str]) -> None:
    print_check(report, Output(), top=0)
    assert "3 units miss, 9.0 s to compile, for 2 reasons:\n" in capsys.readouterr().out


def test_where_nothing_misses_it_says_so(found: Scan, capsys: pytest.CaptureFixture[str]) -> None:
    hit = unit("hit")
    warm = warm_from_plan(plan_for({"core": [hit]}), name="plan.json")
    answer = check(found, analysed(found, [hit]), warm, Question(), costs=costs([hit]), jobs=1)
    print_check(answer, Output(), top=8)
    assert "Nothing misses" in capsys.readouterr().out


def test_sarif_and_annotations_name_the_line(report: CheckReport) -> None:
    log = sarif(report)
    (run,) = log["runs"]
    ids = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert sorted(ids) == sorted(Cause)
    assert [ids[result["ruleIndex"]] for result in run["results"]] == [result["ruleId"] for result in run["results"]]
    region = run["results"][0]["locations"][0]["physicalLocation"]
    assert region == {"artifactLocation": {"uri": "Cargo.lock"}, "region": {"startLine": 8}}
    first, _ = github_annotations(report)
    assert first.startswith("::warning file=Cargo.lock,line=8,title=Another version of a crate is warm::base (warm: ")


def test_annotations_cannot_be_ended_by_a_name(found: Scan) -> None:
    big = unit("big,50%")
    warm = warm_from_plan(plan_for({"core": [unit("hit")]}), name="plan.json")
    answer = check(found, analysed(found, [big]), warm, Question(), costs=costs([big]), jobs=1)
    (place,) = (replace(miss, place=miss.place._replace(file="a,b:c\n.toml")) for miss in answer.misses)
    (workspace,) = answer.workspaces
    odd = replace(workspace, variants={"release": replace(workspace.variants["release"], misses=(place,))})
    (line,) = github_annotations(replace(answer, workspaces=(odd,)))
    assert "file=a%2Cb%3Ac%0A.toml,line=" in line
    assert "big,50%25" in line
    assert "\n" not in line


def test_a_pin_is_the_only_cause_unless_it_is_ignored(found: Scan) -> None:
    hit = unit("hit")
    warm = warm_from_plan(plan_for({"core": [hit]}), name="plan.json")
    pinned = analysed(found, [hit], toolchain_pin="1.80.0")
    answer = check(found, pinned, warm, Question(), costs=costs([hit]), jobs=1)
    assert answer.hit == Amount(0, 0.0)
    assert [(miss.root.cause, miss.root.yours) for miss in answer.misses] == [(Cause.TOOLCHAIN, "1.80.0")]
    ignored = check(found, pinned, warm, Question(ignore_pin=True), costs=costs([hit]), jobs=1)
    assert ignored.hit == ignored.total == Amount(1, 1.0)


def test_a_pin_of_several_workspaces_is_one_cause(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = ("app/a", "app/b")
    files = {f"{path}/{name}": text for path in paths for name, text in PROJECT.items()}
    write_files(tmp_path, {**files, "app/rust-toolchain": "1.80.0\n", "app/.git/HEAD": ""})
    found = find_workspaces([tmp_path / "app"])
    units = [unit("x"), unit("y")]
    known = analysed(replace(found, workspaces=found.workspaces[:1]), units, toolchain_pin="1.80.0")
    both = replace(known, workspaces=tuple(replace(known.workspaces[0], path=path) for path in paths))
    warm = warm_from_plan(plan_for({"core": [unit("x")]}), name="plan.json")
    answer = check(found, both, warm, Question(), costs=costs(units), jobs=1)
    (miss,) = answer.misses
    assert (str(miss.place), miss.workspaces) == ("rust-toolchain:1", paths)
    assert (miss.units, miss.alone) == (4, Amount(4, 6.0))
    assert miss.lost == pytest.approx(6.0)
    assert miss.crates == ("y@1.0.0", "x@1.0.0")
    assert len(sarif(answer)["runs"][0]["results"]) == len(list(github_annotations(answer))) == 1
    assert [row["misses"][0]["workspaces"] for row in _variants(check_to_json(answer))] == [["app/a"], ["app/b"]]
    print_check(answer, Output(), top=8)
    assert "4 units miss, 6.0 s to compile, for 1 reason:" in (said := capsys.readouterr().out)
    assert "rust-toolchain:1  4 units in 2 workspaces" in said


def _variants(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [workspace["variants"]["release"] for workspace in document["workspaces"]]


VENDORED = '[source.crates-io]\nreplace-with = "mine"\n[source.mine]\ndirectory = "vendor"\n'
MIRRORED = '[source.crates-io]\nreplace-with = "mine"\n[source.mine]\nregistry = "sparse+https://mirror.example/"\n'


@pytest.mark.parametrize(("config", "fresh"), [(VENDORED, 0), (MIRRORED, 1), ('[source.mine]\ndirectory = "x"\n', 1)])
def test_of_vendored_sources_nothing_is_fresh(found: Scan, config: str, fresh: int) -> None:
    (workspace,) = found.workspaces
    write_files(workspace.root, {".cargo/config.toml": config})
    hit = unit("hit")
    warm = warm_from_plan(plan_for({"core": [hit]}), name="plan.json")
    answer = check(found, analysed(found, [hit]), warm, Question(), costs=costs([hit]), jobs=1)
    assert answer.hit.units == fresh
    assert [(miss.root.cause, miss.root.yours, str(miss.place)) for miss in answer.misses] == [
        (Cause.SOURCES, "vendored sources", ".cargo/config.toml:2")
    ] * (1 - fresh)


def test_a_version_that_the_plan_left_out_is_no_reason_to_plan_again(found: Scan) -> None:
    base = unit("base", version="1.0.1")
    plan = plan_for({"core": [unit("base")]})
    left_out = Exclusion(package="base@1.0.1", reason="over the budget", units=1, repos=2)
    warm = warm_from_plan(replace(plan, excluded=(left_out,)), name="plan.json")
    (miss,) = check(found, analysed(found, [base]), warm, Question(), costs=costs([base]), jobs=1).misses
    assert miss.root.cause is Cause.VERSION
    assert miss.remedy == (
        "over the budget: raise the budget, or report the miss so that it weighs more: --report-to; "
        "or cargo update -p base@1.0.1 --precise 1.0.0"
    )


def test_an_unresolved_workspace_is_told_and_not_counted(found: Scan, capsys: pytest.CaptureFixture[str]) -> None:
    hit = unit("hit")
    known = analysed(found, [hit])
    broken = replace(known.workspaces[0], path="app/broken", variants={}, reason="malformed-manifest: Cargo.toml:3")
    both = replace(known, workspaces=(*known.workspaces, broken))
    warm = warm_from_plan(plan_for({"core": [hit]}), name="plan.json")
    answer = check(found, both, warm, Question(), costs=costs([hit]), jobs=1)
    assert [workspace.path for workspace in answer.skipped] == ["app/broken"]
    assert answer.total == Amount(1, 1.0)
    print_check(answer, Output(), top=8)
    assert "app/broken: no forecast: malformed-manifest: Cargo.toml:3" in capsys.readouterr().err


def test_many_unresolved_workspaces_are_one_warning(found: Scan, capsys: pytest.CaptureFixture[str]) -> None:
    hit = unit("hit")
    known = analysed(found, [hit])
    example = replace(known.workspaces[0], variants={})
    examples = [
        replace(example, path=path, reason=f"no-lockfile: {path}: no Cargo.lock")
        for path in (f"app/examples/{number:02}" for number in range(45))
    ]
    warm = warm_from_plan(plan_for({"core": [hit]}), name="plan.json")
    many = replace(known, workspaces=(*known.workspaces, *examples))
    answer = check(found, many, warm, Question(), costs=costs([hit]), jobs=1)
    print_check(answer, Output(), top=8)
    (warning, hint) = capsys.readouterr().err.splitlines()
    paths = "app/examples/00, app/examples/01, app/examples/02 and 42 more"
    assert warning == f"warning: {paths}: no forecast: no-lockfile: no Cargo.lock"
    assert hint.startswith("-v warns of each")
    print_check(answer, Output(verbosity=1), top=8)
    assert capsys.readouterr().err.count("no forecast: no-lockfile") == len(examples)
    assert sum(bool(row["skipped"]) for row in check_to_json(answer)["workspaces"]) == len(examples)


# What is warm


def warm_plan() -> Warm:
    low = unit("low")
    return warm_from_plan(plan_for({"core": [low], "web": [unit("web", low)]}), name="plan.json")


def test_layers_and_variants_must_exist() -> None:
    warm = warm_plan()
    warm.require_layer("web")
    with pytest.raises(ConfigurationError, match=r"no layer 'db'\nName one of: core, web\."):
        warm.require_layer("db")
    with pytest.raises(ConfigurationError, match=r"no variant 'dev'\nName one of: release\."):
        warm.require_variant("dev")
    assert default_variant(warm) == "release"
    assert default_variant(replace(warm, variants=("dev", "check:dev"))) == "dev"
    assert warm.held_by("web") == {"core", "web"}


def test_facts_survive_json_without_the_names_of_repositories() -> None:
    low = unit("low", features=("b", "a"))
    plan = plan_for({"core": [low, unit("top", low)]})
    text = json.dumps(facts_to_json(plan, plan.units))
    assert facts_from_json(json.loads(text), "core") == planned_facts(plan)
    assert "cli" not in text


def test_a_cooked_directory_knows_what_its_plan_knew(tmp_path: Path) -> None:
    low = unit("low")
    plan = plan_for({"core": [low], "web": [unit("web", low)]})
    plan = replace(plan, contract=replace(plan.contract, toolchain=WHOLE_FACTS))
    write_files(tmp_path, {MARKER: MARKER_TEXT})
    for layer in plan.layers:
        empty = report_layer(plan, layer.name, [], seconds=1.0)
        cooked = replace(empty, cooked=layer.keys, dropped=())
        write_json(tmp_path / "share" / layer.name / "contents.json", contents(plan, cooked))
        write_json(tmp_path / "share" / layer.name / "contract.json", contract(plan, layer.name))
    warm = warm_from_directory(tmp_path)
    expected = warm_from_plan(plan, name=str(tmp_path))
    assert warm == replace(expected, excluded=None)
    assert warm.topmost == "web"
    assert warm.toolchain == WHOLE_FACTS


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"layer": "core"}', '{"facts": {}, "layer": "core", "parent": "nowhere", "dropped": []}']
)
def test_a_directory_that_does_not_say_what_is_warm_is_refused(tmp_path: Path, text: str) -> None:
    plan = plan_for({"core": [unit("low")]})
    write_files(tmp_path, {MARKER: MARKER_TEXT, "share/core/contents.json": text})
    write_json(tmp_path / "share/core/contract.json", contract(plan, "core"))
    with pytest.raises(ConfigurationError, match="does not say what is warm in it"):
        warm_from_directory(tmp_path)


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a completely cooked directory"):
        warm_from_directory(tmp_path)


def test_a_patch_after_which_more_is_compiled_is_idle_though_more_is_warm(found: Scan) -> None:
    """The newer versions of what it has take longer to compile: their warm part too."""
    small, large, other = unit("small"), unit("large"), unit("other")
    warm = warm_from_plan(plan_for({"core": [small, large]}), name="plan.json")
    seconds = {
        one.key: UnitCost(seconds=number, bytes=1, measured=True)
        for one, number in ((small, 1.0), (large, 5.0), (other, 2.0))
    }

    def state(*units: Unit) -> State:
        return State(report=check(found, analysed(found, units), warm, Question(), costs=seconds, jobs=1))

    assert why_idle(state(small), state(large, other)) == (
        "only proposed: with this plan 2.0 s more would have to be compiled"
    )
    assert why_idle(state(small, other), state(large, other)) == ""
    assert "nothing more would be warm" in why_idle(state(small), state(small))
