"""Remedies of the cargo profile: one that is warm, and only where the repository gains by it and loses nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import tomli
from hypothesis import given
from hypothesis import strategies as st

from factory.analysis.model import VariantUse
from factory.consumer.check.causes import Cause
from factory.consumer.check.forecast import Question, check
from factory.consumer.check.model import Amount
from factory.consumer.check.show import print_check, what
from factory.consumer.check.warm import warm_from_plan
from factory.costs.model import UnitCost
from factory.model import LtoDemand, Mode, Side
from factory.output import Output
from factory.scan.discover import find_workspaces
from tests.hostile import manifest, write_files
from tests.unit.builders import organisation, plan_for
from tests.unit.unit_builder import RELEASE, RELEASE_HOST, unit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from factory.consumer.check.model import CheckReport, Miss
    from factory.model import CargoProfile, Unit

HOST = (Side.HOST,)
FAT = replace(RELEASE, lto="true", codegen_units=1, strip="symbols")
FAT_HOST = replace(RELEASE_HOST, lto="true", strip="symbols")
"""With `lto = true`, `codegen-units = 1` and `strip = true`."""
TRACED = replace(FAT, debuginfo="1")
SPLIT_HOST = replace(FAT_HOST, codegen_units=1024, strip="debuginfo")
"""Of a `build-override`; beside `TRACED`, one that switches debug information off."""
SMALL = replace(FAT, opt_level="z", panic="abort")
FAT_TABLE = "[profile.release]\nlto = true\ncodegen-units = 1\nstrip = true\n"
NO_GAIN = "warm under profiles of others: by itself no one of them gains here"


def lib(name: str, *below: Unit, profile: CargoProfile = FAT, **changes: Any) -> Unit:  # noqa: ANN401 - any field
    demand = LtoDemand.ONLY_OBJECT if profile.lto == "false" else LtoDemand.ONLY_BITCODE
    return unit(name, *below, **dict[str, Any](profile=profile, lto=demand) | changes)


def macro(name: str, *below: Unit, profile: CargoProfile = FAT_HOST) -> Unit:
    return unit(name, *below, profile=profile, sides=HOST, target_kind="proc-macro")


def forecast(folder: Path, mine: Sequence[Unit], warm: Sequence[Unit], tables: str = FAT_TABLE) -> CheckReport:
    """Forecast a repository with these tables in its manifest; every unit takes one second."""
    write_files(folder, {"Cargo.toml": f"{manifest('app')}{tables}", "Cargo.lock": "version = 4\n", "src/main.rs": ""})
    found = find_workspaces([folder])
    known = organisation()
    use = VariantUse(keys=tuple(sorted(one.key for one in mine)), profile=None, rustflags=())
    (workspace,) = found.workspaces
    row = replace(known.workspaces[0], path=workspace.path, repo=workspace.repo, variants={"release": use}, reason="")
    analysis = replace(known, workspaces=(row,), units={one.key: one for one in mine})
    costs = {one.key: UnitCost(seconds=1.0, bytes=1, measured=True) for one in mine}
    plan = plan_for({"core": list({one.key: one for one in warm}.values())})
    return check(found, analysis, warm_from_plan(plan, name="plan.json"), Question(), costs=costs, jobs=1)


def of_profile(report: CheckReport) -> dict[str, Miss]:
    return {miss.root.subject: miss for miss in report.misses if miss.root.cause is Cause.CARGO_PROFILE}


def test_settings_of_several_profiles_are_never_one_remedy(tmp_path: Path) -> None:
    """What `fd` was told: `codegen-units` of a build-override, with `opt-level` and `panic` of a third repository."""
    shared = lib("shared"), macro("derive")
    others = [
        lib("traced", profile=TRACED),
        lib("small", profile=SMALL),
        macro("split", profile=SPLIT_HOST),
        lib("on-split", macro("split", profile=SPLIT_HOST), profile=TRACED),
    ]
    mine = [*shared, lib("traced"), lib("small"), macro("split")]
    misses = of_profile(forecast(tmp_path, mine, [*shared, *others]))
    assert set(misses) == {"profile.release", "profile.release.build-override"}
    base = {setting.key for setting in misses["profile.release"].settings}
    assert base in ({"debug"}, {"opt-level", "panic"}), "one profile's"
    assert {setting.key for setting in misses["profile.release.build-override"].settings} == {"codegen-units", "strip"}
    for miss in misses.values():
        assert miss.remedy.startswith(NO_GAIN)
        assert miss.alone == Amount()


def test_host_units_are_held_against_the_warm_build_override(tmp_path: Path) -> None:
    mine = [low := macro("low"), lib("top", low), lib("plain")]
    warm = [other := macro("low", profile=SPLIT_HOST), lib("top", other), lib("plain")]
    report = forecast(tmp_path, mine, warm)
    (miss,) = report.misses
    assert miss.root.subject == "profile.release.build-override"
    assert what(miss.root, miss) == "[profile.release.build-override] codegen-units (warm: 1024, here: default)"
    assert miss.remedy.startswith("set codegen-units = 1024 in [profile.release.build-override]; or ")
    assert miss.alone == Amount(2, 2.0)
    assert str(miss.place).partition(":")[2] == str(manifest("app").count("\n") + 1), "the profile that lacks the table"


def test_a_build_override_that_costs_a_warm_unit_is_not_advised(tmp_path: Path) -> None:
    mine = [macro("low"), macro("other"), kept := macro("kept")]
    warm = [macro("low", profile=SPLIT_HOST), macro("other", profile=SPLIT_HOST), kept]
    (miss,) = forecast(tmp_path, mine, warm).misses
    assert miss.remedy.startswith(NO_GAIN)
    assert miss.alone == Amount()


def test_a_whole_profile_is_taken_with_its_build_override(tmp_path: Path) -> None:
    """The debug information of build scripts has to be switched off by hand: else cargo strips otherwise."""
    mine = [low := macro("low"), lib("top", low), lib("plain")]
    warm = [other := macro("low", profile=SPLIT_HOST), lib("top", other, profile=TRACED), lib("plain", profile=TRACED)]
    misses = of_profile(forecast(tmp_path, mine, warm))
    base = misses["profile.release"]
    assert base.remedy.startswith(
        "set debug = 1 in [profile.release], and "
        "set codegen-units = 1024, debug = 0 in [profile.release.build-override]; or "
    )
    assert base.alone == Amount(3, 3.0)
    assert [setting.key for setting in base.settings] == ["debug"]


def test_of_two_profiles_the_one_that_warms_most_is_advised(tmp_path: Path) -> None:
    mine = [lib("a"), lib("b"), lib("c")]
    warm = [lib("a", profile=TRACED), lib("a", profile=SMALL), lib("b", profile=SMALL), lib("c", profile=SMALL)]
    (miss,) = of_profile(forecast(tmp_path, mine, warm)).values()
    assert miss.remedy.startswith('set opt-level = "z", panic = "abort" in [profile.release]; or ')
    assert miss.alone == Amount(3, 3.0)
    assert {setting.key for setting in miss.settings} == {"opt-level", "panic"}


def test_what_cargo_chooses_is_removed_and_link_time_optimisation_with_it(tmp_path: Path) -> None:
    mine = [lib("a"), macro("m")]
    warm = [lib("a", profile=RELEASE), macro("m", profile=RELEASE_HOST)]
    (miss,) = of_profile(forecast(tmp_path, mine, warm)).values()
    assert miss.remedy.startswith("remove codegen-units, lto, strip in [profile.release]; or ")
    assert miss.alone == Amount(2, 2.0)


def test_what_link_time_optimisation_would_gain_is_left_to_cargo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What else is linked, and as which kind of library, decides what objects must hold: no unit tells it."""
    report = forecast(tmp_path, [lib("a", profile=RELEASE)], [lib("a")], tables="")
    (miss,) = report.misses
    assert miss.remedy.startswith("warm with `lto`, under which cargo alone can say what is shared: `factory align")
    print_check(report, Output(), top=8)
    assert "by itself" not in capsys.readouterr().out


def test_a_build_script_runs_under_few_settings(tmp_path: Path) -> None:
    def chain(target: CargoProfile, host: CargoProfile) -> list[Unit]:
        script = unit("sys", profile=host, sides=HOST, target_kind="custom-build", target_name="build-script-build")
        run_profile = replace(
            RELEASE, debuginfo=target.debuginfo, strip="none" if target.debuginfo != "0" else "debuginfo"
        )
        run = unit("sys", script, profile=run_profile, target_kind="custom-build", mode=Mode.RUN_CUSTOM_BUILD)
        return [script, run, lib("sys", run, profile=target)]

    host = replace(SPLIT_HOST, codegen_units=None)
    misses = of_profile(forecast(tmp_path, chain(FAT, FAT_HOST), chain(TRACED, replace(host, strip="symbols"))))
    assert misses["profile.release"].alone.units == 2, "the script itself is the same"
    assert misses["profile.release"].remedy.startswith("set debug = 1 in [profile.release]; or ")


PACKAGE_TABLE = FAT_TABLE + "[profile.release.package.a]\nopt-level = 1\n"


def test_the_settings_of_one_package_go_where_that_gains(tmp_path: Path) -> None:
    own = replace(FAT, opt_level="1", strip="debuginfo")
    mine = [low := lib("a", profile=own), lib("b", low)]
    warm = [there := lib("a"), lib("b", there)]
    (miss,) = forecast(tmp_path, mine, warm, PACKAGE_TABLE).misses
    assert miss.root.subject == "profile.release.package.a"
    assert miss.remedy.startswith("remove [profile.release.package.a]; or ")
    assert miss.alone == Amount(2, 2.0)
    warm = [there := lib("a", profile=replace(own, opt_level="2")), lib("b", there)]
    (miss,) = forecast(tmp_path, mine, warm, PACKAGE_TABLE).misses
    assert miss.remedy.startswith("set opt-level = 2 in [profile.release.package.a]; or ")


def test_a_build_override_that_nobody_has_goes_as_a_whole(tmp_path: Path) -> None:
    tables = FAT_TABLE + "[profile.release.build-override]\nopt-level = 0\ncodegen-units = 1024\n"
    mine = [low := macro("low", profile=SPLIT_HOST), lib("top", low)]
    warm = [there := macro("low"), lib("top", there)]
    (miss,) = forecast(tmp_path, mine, warm, tables).misses
    assert miss.remedy.startswith("remove [profile.release.build-override]; or ")
    assert miss.alone == Amount(2, 2.0)


PROFILES = ((RELEASE, RELEASE_HOST), (FAT, FAT_HOST), (SMALL, replace(FAT_HOST)), (FAT, SPLIT_HOST))
NAMES = tuple("abcd")


def graph(profile: tuple[CargoProfile, CargoProfile], chosen: frozenset[str], newer: frozenset[str]) -> list[Unit]:
    """Of some crates a macro and a library on it; each stands on the one before."""
    made: list[Unit] = []
    for name in sorted(chosen):
        version = "1.0.1" if name in newer else "1.0.0"
        derive = unit(f"{name}-derive", profile=profile[1], sides=HOST, target_kind="proc-macro", version=version)
        made += [derive, lib(name, derive, *made[-1:], profile=profile[0])]
    return made


@given(
    st.lists(
        st.tuples(
            st.sampled_from(PROFILES), st.frozensets(st.sampled_from(NAMES)), st.frozensets(st.sampled_from(NAMES))
        )
    )
)
def test_what_a_remedy_brings_is_what_is_warm_after_it(
    tmp_path_factory: pytest.TempPathFactory,
    others: list[tuple[tuple[CargoProfile, CargoProfile], frozenset[str], frozenset[str]]],
) -> None:
    """The same crates under the profile of the remedy: nothing that was warm misses, and as much more is warm."""
    mine = graph((FAT, FAT_HOST), frozenset(NAMES), frozenset())
    warm = [lib("something"), *(one for other in others for one in graph(*other))]
    report = forecast(tmp_path_factory.mktemp("repo"), mine, warm)
    hits = {one.label for one in mine if one.key in {each.key for each in warm}}
    for miss in of_profile(report).values():
        if miss.remedy.startswith(NO_GAIN):
            assert miss.alone == Amount()
            continue
        after = [graph(profile, frozenset(NAMES), frozenset()) for profile in PROFILES]
        there = [{one.label for one in units if one.key in {each.key for each in warm}} for units in after]
        assert any(labels >= hits and len(labels) == len(hits) + miss.alone.units for labels in there)
        assert miss.alone.units > 0


def test_the_tables_of_these_tests_are_what_their_units_have() -> None:
    table = tomli.loads(FAT_TABLE)["profile"]["release"]
    assert table == {"lto": True, "codegen-units": FAT.codegen_units, "strip": True}
