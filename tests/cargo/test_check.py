"""`factory check` against the real cargo: what it forecasts is what cargo then does, unit for unit."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.cargo.toolchain import find_toolchain
from tests.cargo.scenario import HOST, Workspace
from tests.hostile import manifest, write_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.cargo.conftest import Program

pytestmark = pytest.mark.cargo

BASE = Workspace(
    name="base",
    dependencies=(
        'serde = { version = "1", features = ["std"] }',
        'itoa = "1"',
        'proc-macro-error-attr2 = "2"',
    ),
    build_dependencies=('cfg-if = "1"',),
)
"""What is in the plan: a chain of crates down to unicode-ident, build scripts, and both sides; all quick to compile."""

IDENT_MANIFEST = '[package]\nname = "unicode-ident"\nversion = "1.0.22"\nedition = "2021"\n[workspace]\n'
IDENT = "pub fn is_xid_start(_: char) -> bool { true }\npub fn is_xid_continue(_: char) -> bool { true }\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Consumer:
    """A repository that differs from `BASE` in one thing; `lines` are what its causes point at, `files` are more."""

    workspace: Workspace
    causes: frozenset[tuple[str, str]]
    lines: tuple[str, ...] = ()
    hits: bool = True
    files: Mapping[str, str] = field(default_factory=dict)


CONSUMERS = {
    "same": Consumer(workspace=BASE, causes=frozenset()),
    "feature": Consumer(
        workspace=replace(
            BASE, dependencies=('serde = { version = "1", features = ["std", "rc"] }', *BASE.dependencies[1:])
        ),
        causes=frozenset({("features", "serde@1.0.228"), ("features", "serde_core@1.0.228")}),
        lines=('serde = { version = "1", features = ["std", "rc"] }', 'name = "serde_core"'),
    ),
    "version": Consumer(
        workspace=replace(BASE, versions={"unicode-ident": "1.0.24"}),
        causes=frozenset({("version", "unicode-ident@1.0.24")}),
        lines=('name = "unicode-ident"',),
    ),
    "profile": Consumer(
        workspace=replace(BASE, tables="[profile.release]\nopt-level = 2\n"),
        causes=frozenset({("cargo-profile", "profile.release")}),
        lines=("opt-level = 2",),
    ),
    "build-override": Consumer(
        workspace=replace(BASE, tables="[profile.release.build-override]\nopt-level = 1\n"),
        causes=frozenset({("cargo-profile", "profile.release.build-override")}),
        lines=("opt-level = 1",),
    ),
    "package-override": Consumer(
        workspace=replace(BASE, tables="[profile.release.package.itoa]\nopt-level = 1\n"),
        causes=frozenset({("cargo-profile", "profile.release.package.itoa")}),
        lines=("opt-level = 1",),
    ),
    "lto": Consumer(
        workspace=replace(BASE, tables='[profile.release]\nlto = "thin"\n'),
        causes=frozenset({("cargo-profile", "profile.release")}),
        lines=('lto = "thin"',),
        hits=False,
    ),
    "flags": Consumer(
        workspace=replace(BASE, config='[build]\nrustflags = ["--cfg", "mine"]\n'),
        causes=frozenset({("rustflags", "RUSTFLAGS")}),
        lines=('rustflags = ["--cfg", "mine"]',),
        hits=False,
    ),
    "target": Consumer(
        workspace=replace(BASE, config=f'[build]\ntarget = "{HOST}"\n'),
        causes=frozenset({("target", "--target")}),
        lines=("target = ",),
    ),
    "linker": Consumer(
        workspace=replace(BASE, config=f'[target.{HOST}]\nlinker = "cc"\n'),
        causes=frozenset({("linker", "linker")}),
        lines=('linker = "cc"',),
        hits=False,
    ),
    "linker-and-flags": Consumer(
        workspace=replace(BASE, config=f'[target.{HOST}]\nlinker = "cc"\nrustflags = ["--cfg", "mine"]\n'),
        causes=frozenset({("linker", "linker"), ("rustflags", "RUSTFLAGS")}),
        lines=('linker = "cc"', 'rustflags = ["--cfg", "mine"]'),
        hits=False,
    ),
    "path-below": Consumer(
        workspace=replace(BASE, tables='[patch.crates-io]\nunicode-ident = { path = "ident" }\n'),
        files={"ident/Cargo.toml": IDENT_MANIFEST, "ident/src/lib.rs": IDENT},
        causes=frozenset({("foreign-source", "unicode-ident@1.0.22")}),
        lines=('unicode-ident = { path = "ident" }',),
    ),
    "unplanned": Consumer(
        workspace=replace(BASE, dependencies=(*BASE.dependencies, 'log = "0.4"')),
        causes=frozenset({("not-planned", "no repository of the plan has this crate")}),
        lines=('name = "log"',),
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Kitchen:
    """A folder with the plan, the directory cooked by it, and the consumers; and the forecast of all of these."""

    folder: Path
    forecast: Mapping[str, Any]


@pytest.fixture(scope="module")
def kitchen(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    """Cook `BASE` and forecast every consumer."""
    folder = tmp_path_factory.mktemp("check")
    write(folder / "repos/base", BASE)
    for name, consumer in CONSUMERS.items():
        write_files(folder / "consumers" / name, consumer.files)
        write(folder / "consumers" / name, replace(consumer.workspace, name=name))
    program("analyze", folder / "repos", "--out", folder / "analysis.json")
    program("plan", "--analysis", folder / "analysis.json", "--out", folder / "plan.json")
    program("build", "--backend", "local", "--plan", folder / "plan.json", "--output", folder / "warm")
    forecast = program.json("check", folder / "consumers", "--plan", folder / "plan.json")
    return Kitchen(folder=folder, forecast=forecast)


def write(folder: Path, workspace: Workspace) -> None:
    """Write a workspace, and have cargo bring its lock into line with the manifest."""
    toolchain = find_toolchain()
    workspace.write(folder, toolchain.host)
    done = toolchain.cargo(["fetch"], cwd=folder, timeout=120)
    assert done.ok, done.stderr


def forecast_of(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the forecast of one consumer."""
    (row,) = (row for row in answer["workspaces"] if row["path"] == f"consumers/{name}")
    forecast: Mapping[str, Any] = row["variants"]["release"]
    return forecast


def unit_of(row: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return what both cargo's events and a forecast say of a unit; of a build-script run they do not say features."""
    return row["unit"], () if row["unit"].endswith("(build script run)") else tuple(row["features"])


@pytest.fixture(scope="module")
def proven(program: Program, kitchen: Kitchen) -> Mapping[str, Any]:
    """Build every consumer on the directory, each on what was cooked alone; return what was found by their names."""
    repos = [word for name in CONSUMERS for word in ("--repo", kitchen.folder / "consumers" / name)]
    return {row["path"]: row for row in program.json("verify", kitchen.folder / "warm", *repos)["repos"]}


@pytest.mark.parametrize("name", CONSUMERS)
def test_the_forecast_is_what_cargo_then_does(kitchen: Kitchen, proven: Mapping[str, Any], name: str) -> None:
    forecast, built = forecast_of(kitchen.forecast, name), proven[name]
    assert not built["problem"]
    assert forecast["units"] == {"total": built["units"]["total"], "hit": built["units"]["fresh"]}
    assert Counter(map(unit_of, forecast["missed"])) == Counter(map(unit_of, built["misses"]))
    assert (forecast["units"]["hit"] > 0) == CONSUMERS[name].hits


@pytest.mark.parametrize("name", CONSUMERS)
def test_every_miss_has_its_root_cause_with_the_line_to_look_at(kitchen: Kitchen, name: str) -> None:
    forecast, consumer = forecast_of(kitchen.forecast, name), CONSUMERS[name]
    assert {(miss["cause"], miss["subject"]) for miss in forecast["misses"]} == consumer.causes
    root = kitchen.folder / "consumers" / name
    shown = [(root / miss["file"]).read_text("utf-8").splitlines()[miss["line"] - 1] for miss in forecast["misses"]]
    assert len(shown) == len(consumer.lines)
    assert all(any(expected in line for line in shown) for expected in consumer.lines), shown
    assert all(row["causes"] for row in forecast["missed"])
    lost = forecast["seconds"]["total"] - forecast["seconds"]["hit"]
    assert sum(miss["seconds"]["lost"] for miss in forecast["misses"]) == pytest.approx(lost, abs=0.01)


def test_a_version_below_names_itself_and_not_what_stands_on_it(kitchen: Kitchen) -> None:
    (miss,) = forecast_of(kitchen.forecast, "version")["misses"]
    assert (miss["warm"], miss["yours"]) == ("1.0.22", "1.0.24")
    assert miss["crates"] == ["unicode-ident@1.0.24"]
    above = {"proc-macro2", "quote", "proc-macro-error-attr2"}
    assert {label.partition("@")[0] for label in miss["dependents"]} == above
    assert "cargo update -p unicode-ident@1.0.24 --precise 1.0.22" in miss["remedy"]


def test_the_remedy_of_a_version_brings_everything_back(program: Program, kitchen: Kitchen, tmp_path: Path) -> None:
    write(tmp_path / "version", CONSUMERS["version"].workspace)
    (miss,) = forecast_of(kitchen.forecast, "version")["misses"]
    command = miss["remedy"].rpartition("cargo ")[2].split()
    done = find_toolchain().cargo(command, cwd=tmp_path / "version", timeout=120)
    assert done.ok, done.stderr
    after = program.json("check", tmp_path / "version", "--plan", kitchen.folder / "plan.json", "--min-hit", "1")
    assert after["units"]["hit"] == after["units"]["total"] > 0
    assert after["misses"] == []


REMOVED = {
    "profile": "remove opt-level in [profile.release]; or ",
    "build-override": "remove [profile.release.build-override]; or ",
    "package-override": "remove [profile.release.package.itoa]; or ",
    "lto": "remove lto in [profile.release]; or ",
}


@pytest.mark.parametrize("name", REMOVED)
def test_without_the_settings_that_nobody_has_all_comes_back(kitchen: Kitchen, name: str) -> None:
    """The consumer without them is `same`, of which everything is warm."""
    forecast = forecast_of(kitchen.forecast, name)
    (miss,) = forecast["misses"]
    assert miss["remedy"].startswith(REMOVED[name])
    assert miss["units"]["alone"] == forecast["units"]["total"] - forecast["units"]["hit"]


TRACED = {
    "profile.release": ("lto = true", "codegen-units = 1", "debug = 1", 'strip = "symbols"'),
    "profile.release.build-override": ("codegen-units = 1024", "debug = false"),
}
SMALL = {"profile.release": ("lto = true", "codegen-units = 1", 'opt-level = "z"', 'panic = "abort"', "strip = true")}
PLAIN = {"profile.release": ("lto = true", "codegen-units = 1", "strip = true")}


def with_tables(workspace: Workspace, tables: Mapping[str, Sequence[str]]) -> Workspace:
    """Return a workspace with settings of cargo profiles."""
    text = "".join(f"[{name}]\n" + "".join(f"{line}\n" for line in lines) for name, lines in tables.items())
    return replace(workspace, tables=text)


def followed(remedy: str, tables: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the tables after a remedy such as `set a = 1, b = 2 in [t], and set c = 3 in [u]; or ...`."""
    made = dict(tables)
    for lines, table in re.findall(r"set ([^\[;]*) in \[([^\]]*)\]", remedy.partition("; or ")[0]):
        keys = {line.partition(" = ")[0] for line in lines.split(", ")}
        kept = [line for line in made.get(table, ()) if line.partition(" = ")[0] not in keys]
        made[table] = (*kept, *lines.split(", "))
    return made


@pytest.mark.parametrize("others", [{"traced": TRACED}, {"small": SMALL}, {"traced": TRACED, "small": SMALL}])
def test_a_remedy_of_the_cargo_profile_brings_as_much_as_it_says(
    program: Program, tmp_path: Path, others: Mapping[str, Mapping[str, Sequence[str]]]
) -> None:
    for name, tables in others.items():
        write(tmp_path / "repos" / name, replace(with_tables(BASE, tables), name=name))
    program("analyze", tmp_path / "repos", "--out", tmp_path / "analysis.json")
    program("plan", "--analysis", tmp_path / "analysis.json", "--out", tmp_path / "plan.json")
    words = ("check", tmp_path / "mine", "--plan", tmp_path / "plan.json")
    write(tmp_path / "mine", with_tables(BASE, PLAIN))
    before = program.json(*words)
    miss = next(miss for miss in before["misses"] if miss["subject"] == "profile.release")
    write(tmp_path / "mine", with_tables(BASE, followed(miss["remedy"], PLAIN)))
    after = program.json(*words)
    assert after["units"]["hit"] - before["units"]["hit"] == miss["units"]["alone"] > 0
    # Seconds are those that compiling takes under the profile that it has now.
    missed = {name: forecast_of_one(answer)["missed"] for name, answer in (("before", before), ("after", after))}
    still = Counter(map(unit_of, missed["after"]))
    back = [row for row in missed["before"] if not still[unit_of(row)]]
    assert sum(row["seconds"] for row in back) == pytest.approx(miss["seconds"]["alone"], abs=0.05)


def forecast_of_one(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the forecast of the only workspace."""
    (row,) = answer["workspaces"]
    forecast: Mapping[str, Any] = row["variants"]["release"]
    return forecast


def test_a_cargo_profile_that_would_lose_what_is_warm_is_not_advised(program: Program, tmp_path: Path) -> None:
    """One repository has the same profile, the other, under its own, what the first has not got."""
    write(tmp_path / "repos/plain", replace(with_tables(BASE, PLAIN), name="plain"))
    with_log = replace(BASE, name="traced", dependencies=(*BASE.dependencies, 'log = "0.4"'))
    write(tmp_path / "repos/traced", with_tables(with_log, TRACED))
    mine = replace(BASE, dependencies=(*BASE.dependencies, 'log = "0.4"', 'fnv = "1"'))
    write(tmp_path / "repos/fnv", replace(with_tables(mine, PLAIN), name="fnv", dependencies=('fnv = "1"',)))
    program("analyze", tmp_path / "repos", "--out", tmp_path / "analysis.json")
    program("plan", "--analysis", tmp_path / "analysis.json", "--out", tmp_path / "plan.json")
    write(tmp_path / "mine", with_tables(mine, PLAIN))
    answer = program.json("check", tmp_path / "mine", "--plan", tmp_path / "plan.json")
    (miss,) = answer["misses"]
    assert (miss["cause"], miss["subject"], miss["crates"]) == ("cargo-profile", "profile.release", ["log@0.4.29"])
    assert "no one of them gains here" in miss["remedy"]
    assert miss["units"]["alone"] == 0


def test_a_cooked_directory_says_the_same_as_its_plan(program: Program, kitchen: Kitchen) -> None:
    answer = program.json("check", kitchen.folder / "consumers", "--dir", kitchen.folder / "warm")
    topmost = json.loads((kitchen.folder / "plan.json").read_text("utf-8"))["layers"][-1]["name"]
    contract = json.loads((kitchen.folder / f"warm/share/{topmost}/contract.json").read_text("utf-8"))
    assert answer["plan"] == contract["plan"]
    assert [row["path"] for row in answer["workspaces"]] == [row["path"] for row in kitchen.forecast["workspaces"]]
    for name in CONSUMERS:
        mine, theirs = forecast_of(answer, name), forecast_of(kitchen.forecast, name)
        assert mine["missed"] == theirs["missed"]
        assert [miss["cause"] for miss in mine["misses"]] == [miss["cause"] for miss in theirs["misses"]]


def test_of_vendored_sources_nothing_is_fresh(program: Program, kitchen: Kitchen, tmp_path: Path) -> None:
    folder = tmp_path / "vendored"
    write(folder, BASE)
    done = find_toolchain().cargo(["vendor", "--locked", "vendor"], cwd=folder, timeout=120)
    assert done.ok, done.stderr
    config = '[source.crates-io]\nreplace-with = "mine"\n[source.mine]\ndirectory = "vendor"\n'
    write_files(folder, {".cargo/config.toml": config})
    (built,) = program.json("verify", kitchen.folder / "warm", "--repo", folder)["repos"]
    assert not built["problem"]
    assert built["units"]["fresh"] == 0
    answer = program.json("check", folder, "--plan", kitchen.folder / "plan.json")
    assert answer["units"] == {"total": built["units"]["total"], "hit": 0}
    (miss,) = answer["misses"]
    assert (miss["cause"], miss["file"], miss["line"]) == ("sources", ".cargo/config.toml", 2)
    program("analyze", folder, "--out", tmp_path / "analysis.json")
    program("plan", "--analysis", tmp_path / "analysis.json", "--out", tmp_path / "plan.json")
    (row,) = json.loads((tmp_path / "plan.json").read_text("utf-8"))["forecast"]
    assert row["remark"] == (
        "forecasts may be too good: `source.crates-io` (vendored/.cargo/config.toml:1) takes crates from vendored "
        "sources: nothing is fresh"
    )


def test_under_a_pin_nothing_is_fresh(program: Program, kitchen: Kitchen, tmp_path: Path) -> None:
    write(tmp_path / "pinned", BASE)
    write_files(tmp_path / "pinned", {"rust-toolchain.toml": '[toolchain]\nchannel = "1.80.0"\n'})
    words = ("check", tmp_path / "pinned", "--plan", kitchen.folder / "plan.json")
    answer = program.json(*words)
    assert answer["units"]["hit"] == 0
    (miss,) = answer["misses"]
    assert (miss["cause"], miss["file"], miss["line"]) == ("toolchain", "rust-toolchain.toml", 2)
    assert (miss["warm"], miss["yours"]) == (find_toolchain().version, "1.80.0")
    without = program.json(*words, "--ignore-pin")
    assert without["units"]["hit"] == without["units"]["total"] == answer["units"]["total"]


def test_the_gate_counts_units_or_seconds_and_no_half_answers(
    program: Program, kitchen: Kitchen, tmp_path: Path
) -> None:
    consumer = kitchen.folder / "consumers/feature"
    words = ("check", consumer, "--plan", kitchen.folder / "plan.json", "--ignore-pin")
    share = program.json(*words)["units"]
    least = share["hit"] / share["total"]
    program(*words, "--min-hit", f"{least - 0.01:.3f}")
    refused = program(*words, "--min-hit", f"{least + 0.01:.3f}", code=1)
    assert "of the units are warm" in refused.stderr
    assert "of the seconds are warm" in program(*words, "--min-hit", "1", "--by", "seconds", code=1).stderr
    write(tmp_path / "two/whole", BASE)
    write_files(tmp_path / "two/broken", {"Cargo.toml": '[package]\nname = "broken"\n', "Cargo.lock": "version = 4\n"})
    program("check", tmp_path / "two", "--plan", kitchen.folder / "plan.json")
    half = program("check", tmp_path / "two", "--plan", kitchen.folder / "plan.json", "--min-hit", "0.1", code=1)
    assert "no forecast for two/broken" in half.stderr


def test_a_project_builds_on_the_layer_that_is_recommended(
    program: Program, kitchen: Kitchen, samples: Path, tmp_path: Path
) -> None:
    program("analyze", samples / "notes-web", "--top", "0", cwd=tmp_path)
    program("plan", cwd=tmp_path)
    repo = shutil.copytree(samples / "notes-web", tmp_path / "notes")
    (found,) = program.json("recommend", repo, "--plan", tmp_path / "plan.json")["repos"]
    total = found["units"]["total"]
    best = next(offer for offer in found["offers"] if offer["image"] == found["best"])
    said = program("init", repo, cwd=tmp_path).stderr
    shown = f"building on {best['image']}, which gains most by plan.json: {best['units']['hit']} of {total} units"
    assert shown in said
    assert f":{best['image']}" in (repo / "Dockerfile").read_text(encoding="utf-8")
    small = ("init", kitchen.folder / "consumers/feature", "--dry-run", "--plan")
    assert "gains anything" in program(*small, kitchen.folder / "plan.json").stderr
    assert "missing.json" in program(*small, tmp_path / "missing.json", code=2).stderr


@pytest.mark.parametrize(
    "needs", ['[package]\nrust-version = "1.999"', 'cargo-features = ["profile-rustflags"]\n[package]']
)
def test_no_dockerfile_is_written_that_the_images_toolchain_cannot_build(
    program: Program, tmp_path: Path, needs: str
) -> None:
    text = manifest("modern").replace("[package]", needs, 1)
    write_files(tmp_path / "modern", {"Cargo.toml": text, "src/main.rs": "fn main() {}\n"})
    process.run(["cargo", "generate-lockfile"], cwd=tmp_path / "modern", env=os.environ | {"RUSTC_BOOTSTRAP": "1"})
    said = program("init", tmp_path / "modern", code=2).stderr
    assert "cannot build modern" in said
    assert "--image" in said
    assert not (tmp_path / "modern/Dockerfile").exists()
    program("init", tmp_path / "modern", "--image", "rust:nightly")
    assert "BUILDER=rust:nightly" in (tmp_path / "modern/Dockerfile").read_text(encoding="utf-8")


def test_where_nothing_resolves_the_document_says_why(program: Program, kitchen: Kitchen, tmp_path: Path) -> None:
    """CI that parses it got nothing to parse."""
    write_files(tmp_path / "bare", {"Cargo.toml": manifest("bare"), "src/main.rs": "fn main() {}\n"})
    words = ("check", tmp_path / "bare", "--plan", kitchen.folder / "plan.json")
    answer = program.json(*words, code=1)
    assert (answer["schema"], answer["units"], answer["misses"]) == (1, {"total": 0, "hit": 0}, [])
    (row,) = answer["workspaces"]
    assert (row["path"], row["variants"]) == ("bare", {})
    assert row["skipped"].startswith("no-lockfile: ")
    told = program(*words, "--sarif", tmp_path / "bare.sarif", code=1)
    assert told.stdout == ""
    assert json.loads((tmp_path / "bare.sarif").read_text("utf-8"))["runs"][0]["results"] == []
    assert "no workspace could be resolved:\n  bare: no-lockfile: " in told.stderr
    (found,) = program.json("recommend", *words[1:], code=1)["repos"]
    assert found["problem"].startswith("no workspace could be resolved")


def test_nothing_is_written_into_the_repository(program: Program, kitchen: Kitchen, tmp_path: Path) -> None:
    write(tmp_path / "version", CONSUMERS["version"].workspace)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    sarif = tmp_path.with_suffix(".sarif")
    done = program(
        "check",
        tmp_path / "version",
        "--plan",
        kitchen.folder / "plan.json",
        "--sarif",
        sarif,
        "--annotations",
        "github",
    )
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    (result,) = json.loads(sarif.read_text("utf-8"))["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    line = place["region"]["startLine"]
    assert (tmp_path / "version/Cargo.lock").read_text("utf-8").splitlines()[line - 1] == 'name = "unicode-ident"'
    (annotation,) = (text for text in done.stderr.splitlines() if text.startswith("::warning "))
    assert annotation.startswith(f"::warning file={place['artifactLocation']['uri']},line={line},title=")
    assert "version: unicode-ident (warm: 1.0.22, locked: 1.0.24)" in done.stdout


def test_reported_misses_bring_units_into_the_plan(program: Program, kitchen: Kitchen, tmp_path: Path) -> None:
    """What one repository alone has is too rare here, until another one reports that it misses it."""
    write_files(tmp_path / "profiles", {"all.toml": 'description = "all"\nanchors = []\nmin_repos = 2\n'})
    words = ("plan", "--analysis", kitchen.folder / "analysis.json", "--profiles", tmp_path / "profiles")
    assert "no unit can be planned" in program(*words, "--out", tmp_path / "plan.json", code=1).stderr
    # A plan without serde, of which a consumer like `BASE` reports what it lacks.
    write(tmp_path / "small", replace(BASE, name="small", dependencies=BASE.dependencies[1:]))
    program("analyze", tmp_path / "small", "--out", tmp_path / "small.json")
    program("plan", "--analysis", tmp_path / "small.json", "--out", tmp_path / "small-plan.json")
    reporter = ("check", kitchen.folder / "consumers/same", "--plan", tmp_path / "small-plan.json")
    answer = program.json(*reporter, "--report-to", tmp_path / "misses", "--report-as", "org/shop")
    (file,) = (tmp_path / "misses").iterdir()
    report = json.loads(file.read_text("utf-8"))
    assert {missed["crate"] for missed in report["misses"]} == {"serde", "serde_core"}
    assert len(report["hits"]) == answer["units"]["hit"] > 0
    assert str(tmp_path) not in file.read_text("utf-8")
    program(*words, "--misses", tmp_path / "misses", "--out", tmp_path / "plan.json")
    plan = json.loads((tmp_path / "plan.json").read_text("utf-8"))
    assert set(plan["units"]) == set(report["hits"]) | {missed["key"] for missed in report["misses"]}
    assert all("reported:org/shop" in unit["repos"] for unit in plan["units"].values())
