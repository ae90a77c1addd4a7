"""What people read: crates by repositories, cargo profiles, pins, layers, forecasts, checks and builds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from factory import tables
from factory.analysis.model import VariantUse
from factory.analysis.remarks import Remark, fold_remarks
from factory.analysis.uses import CrateUse, crate_uses, pin_conflict, pin_uses, profile_uses
from factory.cargo.profile_table import ProfileTable
from factory.cargo.variants import Variant
from factory.cook.report import Dropped, LayerReport
from factory.cook.sizes import Weight
from factory.model import CRATES_IO, PackageId, UnitKey
from factory.output import Output
from factory.planning.agreement import Agreement, CrateAgreement, Shared, SharedByWorkspace
from factory.planning.plan import Exclusion
from factory.planning.system_packages import PackageUse, Purpose
from factory.proof.model import Check, Miss, Proof, RepoProof
from tests.unit.builders import forecast_row, organisation, plan_for, skipped, unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from factory.analysis.model import Analysis


def use(*keys: str, table: ProfileTable | None = None, rustflags: tuple[str, ...] = ()) -> VariantUse:
    return VariantUse(keys=tuple(UnitKey(key) for key in keys), profile=table, rustflags=rustflags)


def profile(**settings: object) -> ProfileTable:
    base = tuple((name.replace("_", "-"), value) for name, value in settings.items())
    return ProfileTable(name="release", base=base, build_override=(), packages=())


def with_uses(*uses: tuple[str, VariantUse]) -> Analysis:
    """One workspace for each use, in repositories of the names given; units are named by their keys."""
    known = organisation()
    units = (
        unit("serde1", name="serde", features=("std",)),
        unit("serde2", name="serde", features=("derive", "std")),
        replace(unit("serde0", name="serde", features=("std",)), package=PackageId("serde", "0.9.0", CRATES_IO)),
        unit("clap", name="clap"),
        unit("script", name="clap", target_kind="custom-build"),
    )
    workspaces = tuple(
        replace(known.workspaces[0], path=f"{repo}/{number}", repo=repo, variants={"release": one})
        for number, (repo, one) in enumerate(uses)
    )
    return replace(known, workspaces=workspaces, units={one.key: one for one in units})


# Counting


def test_crates_are_counted_by_repositories_and_not_by_workspaces() -> None:
    analysis = with_uses(
        ("r1", use("serde1", "clap")), ("r1", use("serde2")), ("r2", use("serde1", "script")), ("r3", use("serde0"))
    )
    assert crate_uses(analysis) == (
        CrateUse(name="serde", repos=3, versions=(("1.0.0", 2), ("0.9.0", 1)), feature_sets=2, units=3),
        CrateUse(name="clap", repos=1, versions=(("1.0.0", 1),), feature_sets=1, units=1),
    )


def test_crates_of_as_many_repositories_are_in_order_of_their_names() -> None:
    analysis = with_uses(("r1", use("serde1", "clap")))
    assert [row.name for row in crate_uses(analysis)] == ["clap", "serde"]


def test_cargo_profiles_are_told_as_they_differ_from_the_defaults() -> None:
    odd = replace(profile(lto="fat"), build_override=(("opt-level", "3"),), packages=((unit("a").package, ()),))
    analysis = with_uses(
        ("r1", use("serde1", table=profile())),
        ("r2", use("serde1", table=profile())),
        ("r3", use("serde1", table=profile(codegen_units=1, lto="thin"))),
        ("r4", use("serde1", table=odd, rustflags=("--cfg", "loom"))),
        ("r5", use()),
    )
    assert profile_uses(analysis) == (
        ("release: defaults", 2),
        ("release: codegen-units=1, lto=thin", 1),
        ("release: lto=fat, build-override.opt-level=3, overrides of single packages, RUSTFLAGS=--cfg loom", 1),
    )


def test_pins_are_counted_where_a_workspace_was_resolved() -> None:
    analysis = organisation()
    first, *others = analysis.workspaces
    pinned = replace(
        analysis, workspaces=(replace(first, toolchain_pin="1.80.0"), *others, skipped("x", "no-lockfile"))
    )
    assert pin_uses(pinned) == (("no pin", 2), ("1.80.0", 1))


HOSTED = ["1.95.0-x86_64-unknown-linux-gnu", "1.95-x86_64-unknown-linux-gnu", "stable-aarch64-apple-darwin"]


@pytest.mark.parametrize("pin", [None, "stable", "1.95", "1.95.0", "1", *HOSTED])
def test_a_pin_that_means_the_images_toolchain_is_no_conflict(pin: str | None) -> None:
    assert pin_conflict(replace(organisation().workspaces[0], toolchain_pin=pin), "1.95.0") is None


OTHERS = ["1.94.0-x86_64-unknown-linux-gnu", "1.95.0-beta.1", "1.95.0-beta-x86_64-linux", "stable-2026-01-01"]


@pytest.mark.parametrize(
    "pin", ["1.9", "1.95.1", "1.80.0", "nightly", "nightly-2026-01-01", "beta", "path:../rust", *OTHERS]
)
def test_a_pin_to_another_toolchain_is_told(pin: str) -> None:
    told = pin_conflict(replace(organisation().workspaces[0], toolchain_pin=pin), "1.95.0")
    assert told == f"rust-toolchain pins {pin}: fresh only when it is built with 1.95.0"


# Printed


def printed(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each line of stdout; stderr must be empty."""
    out, err = capsys.readouterr()
    assert err == ""
    return [line.split() for line in out.splitlines()]


PACKAGES = (
    PackageUse(package="libpq-dev", purpose=Purpose.LIBRARY, crates=("pq-sys",), repos=("orders", "web")),
    PackageUse(
        package="libssl3", purpose=Purpose.RUNTIME, crates=tuple(f"{letter}-sys" for letter in "abcdef"), repos=("web",)
    ),
)


def test_an_analysis_is_printed_with_everything_that_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    analysis = organisation()
    first, *others = analysis.workspaces
    ignored = ("repos/cli/.cargo/config.toml:3: build.rustc-wrapper: names a program",)
    analysis = replace(
        analysis,
        workspaces=(replace(first, ignored=ignored), *others, skipped("repos/old", "no-lockfile: [repos/old]")),
    )
    tables.print_analysis(analysis, PACKAGES, Output(), top=3)
    lines = printed(capsys)
    assert ["Crates", "by", "repositories", "(the", "first", "3", "of", "6)"] in lines
    assert ["serde", "3", "1", "1", "1.0.0", "(3)"] in lines
    assert ["clap", "1", "1", "1", "1.0.0", "(1)"] not in lines
    assert ["release:", "defaults", "3"] in lines
    assert ["no", "pin", "3"] in lines
    assert ["repos/old", "skipped", "no-lockfile:", "[repos/old]"] in lines
    assert ignored[0].split() in lines
    assert ["libpq-dev", "compiling", "pq-sys", "2"] in lines
    assert ["libssl3", "running", "a-sys,", "b-sys,", "c-sys,", "d-sys,", "e-sys", "and", "1", "more", "1"] in lines
    summary = (
        "3 repositories, 3 workspaces resolved with rustc 1.95.0, 1 skipped (no-lockfile 1); 6 distinct registry units"
    )
    assert lines[-1] == summary.split()


def skipped_in(repo: str, reason: str, paths: Sequence[str]) -> Analysis:
    """An analysis in which these workspaces of a repository were skipped; `reason` may hold `{path}`."""
    rows = (replace(skipped(path, reason.format(path=path)), repo=repo) for path in paths)
    return replace(organisation(), workspaces=tuple(rows))


def test_what_is_said_of_many_workspaces_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Hundreds of examples without a lockfile hid the few workspaces that something was the matter with."""
    no_lock = skipped_in("r", "no-lockfile: {path}: no Cargo.lock; commit it", [f"r/ex{n:03}" for n in range(220)])
    broken = skipped_in("r", "malformed-manifest: {path}/Cargo.toml:3: bad", ["r/z"])
    both = replace(no_lock, workspaces=(*no_lock.workspaces, *broken.workspaces))
    tables.print_analysis(both, (), Output(), top=0)
    said, hint = capsys.readouterr()
    rows = said[said.index("Skipped, or with a remark") :]
    assert rows.index("malformed-manifest: r/z/Cargo.toml:3: bad") < rows.index("no-lockfile: no Cargo.lock; commit it")
    assert "r/ex000, r/ex001, r/ex002 and 217 more" in " ".join(rows.split())
    assert "skipped (220)" in rows
    assert "221 skipped (no-lockfile 220, malformed-manifest 1); " in rows
    assert len(rows.splitlines()) < 12
    assert "221 workspaces in 2 rows: -v shows each" in hint
    tables.print_analysis(both, (), Output(verbosity=1), top=0)
    assert capsys.readouterr().out.count("no-lockfile: r/ex") == 220


def test_few_different_things_are_told_each_and_many_by_the_first() -> None:
    def folded(*paths: str) -> list[tuple[str, str]]:
        analysis = skipped_in("r", "unreadable: {path}/Cargo.toml: gone", paths)
        remarks = [Remark(path=w.path, repo=w.repo, skipped=True, text=w.remark) for w in analysis.workspaces]
        return [(row.where, row.text) for row in fold_remarks(remarks)]

    assert folded("r/a", "r/b") == [(f"r/{name}", f"unreadable: r/{name}/Cargo.toml: gone") for name in "ab"]
    assert folded("r/a", "r/b", "r/c", "r/d") == [
        ("r/a, r/b, r/c and 1 more", "unreadable: r/a/Cargo.toml: gone (the first of 4)")
    ]


def test_repositories_and_remarks_of_what_was_resolved_are_kept_apart() -> None:
    rows = [
        Remark(path=path, repo=path[0], skipped=skip, text=text)
        for path, skip, text in [
            ("a/1", True, "no-lockfile: a/1: none"),
            ("b/1", True, "no-lockfile: b/1: none"),
            ("c/1", False, "rust-toolchain pins 1.80"),
            ("c/2", False, "rust-toolchain pins 1.80"),
            ("c/3", False, "rust-toolchain pins 1.81"),
        ]
    ]
    assert [row.paths for row in fold_remarks(rows)] == [("c/1", "c/2"), ("c/3",), ("a/1",), ("b/1",)]


def test_top_0_prints_no_crates(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_analysis(organisation(), (), Output(), top=0)
    lines = printed(capsys)
    assert not any(line[:1] == ["Crates"] for line in lines)
    assert ["System", "packages"] not in lines


def test_versions_beyond_the_first_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    units = [replace(unit(f"u{n}"), package=PackageId("syn", f"1.0.{n}", CRATES_IO)) for n in range(6)]
    analysis = with_uses(("r", use(*(one.key for one in units))))
    tables.print_analysis(replace(analysis, units={one.key: one for one in units}), (), Output(), top=1)
    versions = "1.0.0 (1), 1.0.1 (1), 1.0.2 (1), 1.0.3 (1), 2 more"
    assert ["syn", "1", "6", "1", *versions.split()] in printed(capsys)


def test_a_plan_is_printed_with_its_forecast(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_for({"core": [unit("a"), unit("b")], "web": [unit("c")]})
    rows = (
        forecast_row("repos/web", 1000, {"core": 333, "web": 999}, remark="rust-toolchain pins 1.80.0"),
        forecast_row("repos/none", 0, {"core": 0, "web": 0}),
    )
    tables.print_plan(replace(plan, forecast=rows), Output())
    lines = printed(capsys)
    assert ["core", "base", "image", "2", "1", "4", "10"] in lines
    assert ["web", "core", "1", "1", "2", "-"] in lines
    assert ["ring@0.17.0", "2", "3", "over", "the", "budget"] in lines
    # Rounded down: what is nearly all must not read as all.
    assert ["repos/web", "release", "1000", "333/1000", "(33", "%)", "667", "999/1000", "(99", "%)", "1"] in lines
    assert ["repos/none", "release", "0", "0/0", "(100", "%)", "0", "0/0", "(100", "%)", "0"] in lines
    # Once, however many variants it has.
    assert lines.count(["repos/web", "rust-toolchain", "pins", "1.80.0"]) == 1


def test_the_forecast_says_once_that_it_is_by_image(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_for({"core": [unit("a")]})
    tables.print_plan(replace(plan, forecast=(forecast_row("repos/web", 10, {"core": 3}),)), Output())
    assert capsys.readouterr().out.count("by image") == 1


@pytest.mark.parametrize(("gap", "shown"), [(0.0, "0 %"), (4.1e-8, "0.001 %"), (0.0123, "1.2 %")])
def test_what_a_solver_rounds_is_no_power_of_ten(capsys: pytest.CaptureFixture[str], gap: float, shown: str) -> None:
    plan = plan_for({"core": [unit("a")]})
    tables.print_plan(replace(plan, quality=replace(plan.quality, saved=1 - gap, bound=1.0)), Output())
    assert f"is worth more than {shown} above this one" in capsys.readouterr().out


def test_of_many_images_each_workspace_has_the_one_that_is_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_for({"core": [unit("a")], **{f"web-{number}": [] for number in range(1, 6)}})
    hits = {layer.name: 100 for layer in plan.layers}
    rows = (forecast_row("repos/web", 1000, hits | {"web-4": 999}), forecast_row("repos/cli", 1000, hits))
    tables.print_plan(replace(plan, forecast=rows), Output())
    lines = printed(capsys)
    assert ["repos/web", "release", "1000", "web-4", "999/1000", "(99", "%)", "1"] in lines
    # All hold as much of it: the smallest is enough.
    assert ["repos/cli", "release", "1000", "core", "100/1000", "(10", "%)", "900"] in lines


def test_what_many_repositories_miss_comes_first_and_the_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_for({"core": []})
    excluded = tuple(Exclusion(package=f"p{n:02}@1.0.0", reason="why", units=1, repos=n) for n in range(40))
    tables.print_plan(replace(plan, excluded=excluded), Output())
    lines = printed(capsys)
    assert ["Left", "out", "(25", "of", "40;", "all", "are", "in", "the", "plan)"] in lines
    shown = [line[0] for line in lines if line and line[0].startswith("p")]
    assert shown == [f"p{n:02}@1.0.0" for n in range(39, 14, -1)]


def test_reports_are_printed_with_what_could_not_be_cooked(capsys: pytest.CaptureFixture[str]) -> None:
    dropped = Dropped(
        key=UnitKey("a"),
        label="ring@0.17.0 (build script run)",
        reason="error: failed to run `x`\n  --- stderr\n  no cc",
    )
    reports = [
        LayerReport(
            layer="core",
            cooked=(UnitKey("b"), UnitKey("c")),
            dropped=(),
            seconds=61.5,
            saved_seconds=50.0,
            weight=Weight(bytes=20_000_000, crates=()),
            budget_bytes=30_000_000,
            pulled_bytes=8_000_000,
        ),
        LayerReport(layer="web", cooked=(), dropped=(dropped,), seconds=3.0, pulled_bytes=2_000_000),
    ]
    tables.print_reports(reports, Output())
    lines = printed(capsys)
    assert ["core", "2", "0", "61.5", "20.0", "30", "8.0", "50.0", "6.2"] in lines
    assert ["web", "0", "1", "3.0", "0.0", "-", "2.0", "0.0", "0.0"] in lines
    assert ["all", "2", "1", "64.5", "20.0", "-", "10.0", "50.0", "5.0"] in lines
    assert ["web", "ring@0.17.0", "failed", "to", "run", "`x`;", "no", "cc"] in lines
    tables.print_reports([], Output())
    assert printed(capsys) == []


def proof(repos: Sequence[RepoProof] = (), checks: Sequence[Check] = ()) -> Proof:
    return Proof(target="org/rust-builder:web", repos=tuple(repos), checks=tuple(checks))


def miss(crate: str, *features: str) -> Miss:
    return Miss(unit=f"{crate}@1.0.0 (lib)", crate=crate, version="1.0.0", features=features, kind="lib")


def test_a_proof_is_printed_with_its_findings_and_misses(capsys: pytest.CaptureFixture[str]) -> None:
    repo = RepoProof(
        path="repos/web", variant="release", total=300, fresh=299, misses=(miss("tokio", "net", "rt"),), seconds=2.5
    )
    checks = [
        Check(name="owners and modes", ok=False, detail="1 of 9 paths", findings=("/usr/local/cargo/x: owned by 0:0",)),
        Check(name="no path units", ok=True, detail="every unit comes from a registry"),
    ]
    tables.print_proof(
        proof([repo, replace(repo, path="r2", cold_seconds=20.0, problem="no compiler")], checks), Output()
    )
    lines = printed(capsys)
    assert ["owners", "and", "modes", "FAILED", "1", "of", "9", "paths"] in lines
    assert ["/usr/local/cargo/x:", "owned", "by", "0:0"] in lines
    assert ["no", "path", "units", "ok", "every", "unit", "comes", "from", "a", "registry"] in lines
    assert ["repos/web", "-", "2.5", "299/300", "(99", "%)"] in lines
    assert ["r2", "20.0", "2.5", "299/300", "(99", "%)", "no", "compiler"] in lines
    assert ["repos/web", "tokio@1.0.0", "(lib)", "net,", "rt"] in lines


def test_a_build_that_failed_at_once_has_no_share(capsys: pytest.CaptureFixture[str]) -> None:
    """It read `0/0 (100 %)`."""
    nothing = RepoProof.not_built("r/broken", Variant.parse("release"), "no such linker")
    alone = replace(nothing, path="r/alone", problem="")
    proof = Proof(target="image", checks=(), repos=(nothing, alone))
    tables.print_builds(proof, Output())
    broken, empty = (line for line in printed(capsys) if line[:1] in (["r/broken"], ["r/alone"]))
    assert broken[-4:] == ["-", "no", "such", "linker"]
    assert empty[-3:] == ["0/0", "(100", "%)"]


def test_without_repositories_there_is_no_table_of_builds(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_builds(proof(), Output())
    assert printed(capsys) == []


def test_many_misses_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    misses = tuple(miss(f"m{n:02}") for n in range(40))
    repo = RepoProof(path="r", variant="release", total=40, fresh=0, misses=misses, seconds=1.0)
    tables.print_proof(proof([repo]), Output())
    lines = printed(capsys)
    assert ["Misses", "(25", "of", "40;", "--json", "has", "all)"] in lines
    assert sum(line[1:2] != [] and line[1].startswith("m") for line in lines) == 25


def test_a_plan_tells_what_to_agree_on_and_what_each_step_shares(capsys: pytest.CaptureFixture[str]) -> None:
    def share(seconds: float) -> Shared:
        return Shared(units=int(seconds), seconds=seconds)

    crate = CrateAgreement(
        crate="cc",
        range="1",
        version="1.2.30",
        versions=3,
        feature_sets=2,
        repos=9,
        add=("parallel",),
        blocked=120.4,
        alone=7.6,
        together=7.6,
    )
    row = SharedByWorkspace(
        path="repos/web",
        repo="web",
        total=share(200.0),
        as_is=share(20.0),
        versions=share(50.0),
        features=share(100.0),
        profile=share(200.0),
    )
    nothing = replace(row, path="repos/none", total=share(0.0), as_is=share(0.0))
    plan = plan_for({"core": [unit("a")]})
    tables.print_plan(replace(plan, agreement=Agreement(crates=(crate,), workspaces=(row, nothing))), Output())
    lines = printed(capsys)
    assert ["cc", "1", "3", "2", "1.2.30", "parallel", "120", "8", "8"] in lines
    assert ["repos/web", "200", "10", "%", "25", "%", "50", "%", "100", "%"] in lines
    assert not any(line[:1] == ["repos/none"] for line in lines)
    summary = (
        "On the mean: 10 % as it is, 25 % with the baseline's versions, 50 % and features, 100 % and cargo profile"
    )
    assert lines[-1] == summary.split()
