"""The whole line on the local backend: analyze, plan, build, verify, as a user starts them, with the real cargo."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest

from factory.cargo.toolchain import find_toolchain
from factory.config.layers import load_layer_profiles
from factory.cook.local import MARKER
from factory.exclusive import exclusive
from tests.cargo.cooked import Cooked, cook, found_fresh, lock_up, planned
from tests.hostile import manifest, write_files
from tests.quick_samples import quick_samples

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cargo.conftest import Program

pytestmark = pytest.mark.cargo

TIGHT = "80 MB"
"""A total budget for which roughly half of the units fit."""


def listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return every path below `folder` with its mode, time and size."""
    facts = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return {str(path): (fact.st_mode, fact.st_mtime_ns, fact.st_size) for path, fact in facts.items()}


@pytest.fixture(scope="module")
def cooked(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Cooked:
    """Cook all that the samples need."""
    folder = tmp_path_factory.mktemp("line")
    return cook(program, quick_samples(folder), folder)


@pytest.fixture(scope="module")
def proof(program: Program, cooked: Cooked) -> Mapping[str, Any]:
    """Verify the directory on the samples, asking for everything; the directory must come out as it went in."""
    before = listing(cooked.folder)
    answer: Mapping[str, Any] = program.json("verify", cooked.folder, "--repo", cooked.repos, "--min-hit", "1")
    assert listing(cooked.folder) == before
    return answer


def test_everything_is_fresh_where_the_budget_allows_everything(
    samples: Path, cooked: Cooked, proof: Mapping[str, Any]
) -> None:
    assert set(found_fresh(proof)) == {f"samples/{folder.name}" for folder in samples.iterdir()}
    assert all(fresh == total > 0 for fresh, total in found_fresh(proof).values())
    assert found_fresh(proof) == cooked.forecast
    assert proof["ok"]
    assert [row["misses"] for row in proof["repos"]] == [[]] * len(proof["repos"])
    assert all(check["ok"] for check in proof["checks"])


def test_every_repository_finds_all_it_has_in_the_layer_of_its_group(
    program: Program, samples: Path, tmp_path: Path
) -> None:
    """The same units, and cargo confirms them, in layers that each hold what only some repositories have."""
    chain = planned(program, samples, tmp_path)
    known, groups = ("--analysis", tmp_path / "analysis.json"), len(list(samples.iterdir()))
    program("layers", *known, "--groups", str(groups), "--out", tmp_path / "profiles")
    program("plan", *known, "--no-baseline", "--profiles", tmp_path / "profiles", "--out", tmp_path / "groups.json")
    plan = json.loads((tmp_path / "groups.json").read_text(encoding="utf-8"))
    keys = {layer["name"]: set(layer["keys"]) for layer in plan["layers"]}
    assert set().union(*keys.values()) == chain["units"].keys()
    assert sum(len(row) for row in keys.values()) == len(plan["units"])
    made = {(recipe["layer"], key) for recipe in plan["recipes"] for key in recipe["keys"]}
    assert {(layer, key) for layer, row in keys.items() for key in row} <= made
    tree = load_layer_profiles(tmp_path / "profiles")
    homes = {row["path"]: tree.layer_naming(row["path"]) for row in plan["forecast"]}
    assert len(set(homes.values())) == groups
    for row in plan["forecast"]:
        assert row["units"]["hit"][homes[row["path"]]] == row["units"]["total"]


def test_the_report_is_of_the_plan_and_tells_of_what_the_analysis_has_not(
    program: Program, samples: Path, tmp_path: Path
) -> None:
    plan = planned(program, samples, tmp_path)
    words = ("report", "--plan", tmp_path / "plan.json", "--out", tmp_path / "report.html")
    told = program(*words, "--analysis", tmp_path / "analysis.json").stderr
    assert "the page shows figures of both" not in told
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(row["path"] in page for row in plan["forecast"])

    program("analyze", samples / "greeter-cli", "--out", tmp_path / "one.json")
    told = program(*words, "--analysis", tmp_path / "one.json").stderr
    assert f"forecasts {len(plan['forecast'])} workspaces that {tmp_path / 'one.json'} has not, " in told


def test_the_contents_list_exactly_what_was_cooked(cooked: Cooked) -> None:
    assert all(cooked.keys.values())
    assert {row["layer"]: set(row["cooked"]) for row in cooked.report["layers"]} == cooked.keys
    for layer, keys in cooked.keys.items():
        contents = json.loads((cooked.folder / "share" / layer / "contents.json").read_text(encoding="utf-8"))
        assert {unit["key"] for unit in contents["units"]} == keys
        assert contents["dropped"] == []


def test_the_contract_is_that_of_the_directory(cooked: Cooked) -> None:
    for layer in cooked.keys:
        contract = json.loads((cooked.folder / "share" / layer / "contract.json").read_text(encoding="utf-8"))
        assert contract["cargo_home"] == str(cooked.folder / "cargo-home")
        assert contract["build_dir"] == str(cooked.folder / "build")
        assert contract["rustc"] == find_toolchain().rustc_verbose.splitlines()


def test_nothing_of_a_recipe_is_left(cooked: Cooked) -> None:
    names = {recipe["name"] for recipe in cooked.plan["recipes"]}
    assert names
    spelt = {name.replace("-", "_") for name in names} | names
    inside = list((cooked.folder / "build").rglob("*"))
    assert inside
    assert [path for path in inside if any(name in path.name for name in spelt)] == []
    # rustc's dep-info files name the sources of each unit.
    sources = {path: path.read_text(encoding="utf-8", errors="replace") for path in inside if path.suffix == ".d"}
    assert sources
    assert [path for path, text in sources.items() if "factory-cook-" in text] == []
    assert not (cooked.folder / "INCOMPLETE").exists()
    assert not (cooked.folder / "cargo-home" / "registry" / "src").exists()


def test_verify_finds_units_that_should_not_be_there(program: Program, cooked: Cooked, tmp_path: Path) -> None:
    spoiled = shutil.copytree(cooked.folder, tmp_path / "spoiled", symlinks=True)
    (spoiled / "build/release/incremental/own-1").mkdir(parents=True)
    (spoiled / "build/release/own.d").write_text("own: /home/somebody/own/src/main.rs\n")
    (spoiled / "cargo-home/registry/src/index/itoa-1.0.0").mkdir(parents=True)
    answer = program.json("verify", spoiled, code=1)
    assert not answer["ok"]
    broken = {check["name"]: check["findings"] for check in answer["checks"] if not check["ok"]}
    assert set(broken) == {"no incremental state", "no path units", "no unpacked sources"}
    assert all(str(spoiled) in findings[0] for findings in broken.values())


@pytest.fixture(scope="module")
def tight(program: Program, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Cooked:
    """Cook what fits into a small budget, with layers of one's own; the dev profile compiles in half the time."""
    folder = tmp_path_factory.mktemp("tight")
    for name in ("greeter-cli", "notes-web"):
        shutil.copytree(samples / name, folder / "repos" / name)
    profiles = {
        "everyone.toml": 'description = "What all use"\nanchors = []\nbudget = "1 GB"\n',
        "service.toml": 'parent = "everyone"\ndescription = "Services"\nanchors = ["axum"]\nbudget = "30 MB"\n',
    }
    write_files(folder / "profiles", profiles)
    variables = {
        "FACTORY_COOK_VARIANTS": "dev",
        "FACTORY_PROFILES": str(folder / "profiles"),
        "FACTORY_BUDGET_TOTAL": TIGHT,
        # Sizes in the dev profile are estimates where only release was measured.
        "FACTORY_BUDGET_SAFETY_PERCENT": "30",
    }
    return cook(program.under(variables), folder / "repos", folder)


def test_a_small_budget_gives_the_forecast_hits_and_no_others(program: Program, tight: Cooked) -> None:
    assert list(tight.keys) == ["everyone", "service"]
    share = sum(hits for hits, _ in tight.forecast.values()) / sum(total for _, total in tight.forecast.values())
    assert 0.3 < share < 0.7
    assert all(0 < hits < total for hits, total in tight.forecast.values())
    before = listing(tight.folder)

    words = ("verify", tight.folder, "--repo", tight.repos, "--variant", "dev", "--min-hit", "1")
    answer = program.json(*words, code=1)

    assert found_fresh(answer) == tight.forecast
    assert not answer["ok"]
    assert [row["problem"] for row in answer["repos"]] == [""] * len(answer["repos"])
    for row in answer["repos"]:
        assert len(row["misses"]) == row["units"]["total"] - row["units"]["fresh"]
    assert all(check["ok"] for check in answer["checks"])
    assert listing(tight.folder) == before


@pytest.fixture(scope="module")
def without_library(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Cooked:
    """Cook a service, one of whose crates needs a system library that cannot be found."""
    folder = tmp_path_factory.mktemp("library")
    root = write_files(
        folder / "scanner",
        {
            "Cargo.toml": manifest("scanner", '[dependencies]\nitoa = "1"\nudev = "=0.6.3"\n'),
            "src/main.rs": "fn main() {}\n",
        },
    )
    lock_up(root)
    return cook(program.under(NO_LIBRARIES), root, folder)


NO_LIBRARIES = {"PKG_CONFIG_LIBDIR": "/nonexistent", "PKG_CONFIG_PATH": ""}


def test_what_cannot_be_cooked_is_dropped_with_all_above_it(program: Program, without_library: Cooked) -> None:
    (core, *others) = without_library.report["layers"]
    dropped = {row["unit"]: row["reason"] for row in core["dropped"]}
    assert {name.partition("@")[0] for name in dropped} == {"libudev-sys", "udev"}
    assert all("pkg-config" in reason for name, reason in dropped.items() if name.startswith("libudev-sys@"))
    (above,) = (reason for name, reason in dropped.items() if name.startswith("udev@") and "(lib)" in name)
    assert above == "stands on what could not be compiled: libudev-sys"
    planned_keys = set().union(*without_library.keys.values())
    cooked_keys = {key for layer in (core, *others) for key in layer["cooked"]}
    assert cooked_keys == planned_keys - {row["key"] for row in core["dropped"]}

    contents = json.loads((without_library.folder / "share/core/contents.json").read_text(encoding="utf-8"))
    assert contents["dropped"] == core["dropped"]
    crates = {unit["crate"] for unit in contents["units"]}
    assert {"itoa", "libc", "pkg-config"} <= crates

    answer = program.under(NO_LIBRARIES).json("verify", without_library.folder, "--repo", without_library.repos, code=1)
    (row,) = answer["repos"]
    assert row["units"]["fresh"] == len(cooked_keys)
    assert row["misses"] == []
    assert "libudev-sys" in row["problem"]


def test_a_folder_of_somebody_else_is_left_alone(program: Program, without_library: Cooked, tmp_path: Path) -> None:
    write_files(tmp_path / "theirs", {"build/keep": "", "notes": ""})
    before = listing(tmp_path / "theirs")
    plan = without_library.folder.parent / "plan.json"
    words = ("build", "--backend", "local", "--plan", plan, "--output", tmp_path / "theirs")
    done = program(*words, code=2)
    assert f"{tmp_path / 'theirs'}: holds something that factory did not put there" in done.stderr
    assert "Name a new or an empty directory." in done.stderr
    assert listing(tmp_path / "theirs") == before
    done = program("verify", tmp_path / "theirs", code=2)
    assert "not a completely cooked directory" in done.stderr


def test_a_dry_run_writes_nothing(program: Program, without_library: Cooked, tmp_path: Path) -> None:
    plan = without_library.folder.parent / "plan.json"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    words = ("build", "--backend", "local", "--plan", plan, "--output", tmp_path / "new", "--dry-run")
    before = listing(tmp_path)
    done = program.under({"TMPDIR": str(temporary)})(*words, cwd=temporary)
    assert listing(tmp_path) == before
    assert "cargo build --workspace --profile release --locked --offline --keep-going" in done.stdout.splitlines()


def test_an_interrupted_cook_is_told_apart_and_can_be_repeated(
    program: Program, without_library: Cooked, tmp_path: Path
) -> None:
    plan = without_library.folder.parent / "plan.json"
    words = ("build", "--backend", "local", "--plan", plan, "--output", tmp_path / "warm")
    (tmp_path / "tmp").mkdir()
    pid = tmp_path / "pid"
    # `exec` keeps the number of the process and of its group.
    before = ("sh", "-c", f"echo $$ > '{pid}'; exec \"$@\"", "sh")

    def interrupt(line: str) -> None:
        if "recipe 1/1: 1/" in line:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(pid.read_text(encoding="utf-8")), signal.SIGINT)

    own = program.under({**NO_LIBRARIES, "TMPDIR": str(tmp_path / "tmp")})
    stopped = own(*words, code=130, before=before, on_stderr=interrupt)
    assert "interrupted" in stopped.stderr
    assert (tmp_path / "warm/INCOMPLETE").is_file()
    assert list((tmp_path / "tmp").iterdir()) == []
    refused = program("verify", tmp_path / "warm", "--repo", without_library.repos, code=2)
    assert "not a completely cooked directory" in refused.stderr

    report = own.json(*words)
    assert not (tmp_path / "warm/INCOMPLETE").exists()
    assert [layer["cooked"] for layer in report["layers"]] == [
        layer["cooked"] for layer in without_library.report["layers"]
    ]


REVEALING = 'fn main() { println!("{}", itoa::Buffer::new().format(WHICH)); }\nconst WHICH: u32 = NUMBER;\n'


def test_repositories_that_pass_for_cooked_crates_or_each_other_run_their_own_code(
    program: Program, without_library: Cooked, tmp_path: Path
) -> None:
    """Cargo takes two path packages of one name and version in one build directory for the same."""
    (itoa,) = (unit for unit in without_library.plan["units"].values() if unit["package"][0] == "itoa")
    version = itoa["package"][1]
    for folder, (name, own_version, number) in {
        "first": ("twin", "0.1.0", "1"),
        "second": ("twin", "0.1.0", "2"),
        "third": ("itoa", version, "3"),
    }.items():
        text = manifest(name).replace("0.1.0", own_version)
        text += '[[bin]]\nname = "twin"\npath = "main.rs"\n'
        text += '[dependencies]\nother = { package = "itoa", version = "1" }\n'
        source = REVEALING.replace("NUMBER", number).replace("itoa::", "other::")
        lock_up(write_files(tmp_path / "twins" / folder, {"Cargo.toml": text, "main.rs": source}))
    # The last one does not compile: it would pass if it were given what the others compiled.
    broken = shutil.copytree(tmp_path / "twins/first", tmp_path / "twins/zzz-broken")
    (broken / "main.rs").write_text('compile_error!("these are its own sources");\nfn main() {}\n')

    answer = program.json("verify", without_library.folder, "--repo", tmp_path / "twins", code=1)

    assert found_fresh(answer) == {f"twins/{name}": (1, 1) for name in ("first", "second", "third", "zzz-broken")}
    problems = {row["path"]: row["problem"] for row in answer["repos"] if row["problem"]}
    assert list(problems) == ["twins/zzz-broken"]
    assert "these are its own sources" in problems["twins/zzz-broken"]

    for folder, number in (("first", "1"), ("third", "3")):
        assert run_on_copy(without_library, tmp_path / "twins" / folder, tmp_path / f"build-{folder}") == number


def test_a_repository_finds_no_unit_of_the_one_built_before_it(
    program: Program, without_library: Cooked, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        text = manifest(name, '[dependencies]\nitoa = "1"\ncfg-if = "1"\n')
        lock_up(write_files(tmp_path / "pair" / name, {"Cargo.toml": text, "src/lib.rs": ""}))
    answer = program.json("verify", without_library.folder, "--repo", tmp_path / "pair", "--cold")
    assert found_fresh(answer) == {"pair/one": (1, 2), "pair/two": (1, 2)}
    assert [[miss["crate"] for miss in row["misses"]] for row in answer["repos"]] == [["cfg-if"], ["cfg-if"]]
    assert all(row["seconds"]["cold"] > 0 for row in answer["repos"])


def test_a_directory_is_verified_by_one_at_a_time(program: Program, without_library: Cooked) -> None:
    with exclusive(without_library.folder / MARKER, using=without_library.folder):
        refused = program("verify", without_library.folder, "--repo", without_library.repos, code=4)
    assert f"another factory is using {without_library.folder}" in refused.stderr
    assert "Wait for its end" in refused.stderr


def run_on_copy(cooked: Cooked, repo: Path, build_dir: Path) -> str:
    """Build a repository with plain cargo on a copy of the warm units, and return what its program prints."""
    shutil.copytree(cooked.folder / "build", build_dir, symlinks=True)
    toolchain = find_toolchain()
    words = ("run", "--release", "--locked", "--config", f'build.build-dir="{build_dir}"', "--target-dir")
    try:
        done = toolchain.cargo(
            [*words, str(build_dir / "target")], cwd=repo, cargo_home=cooked.folder / "cargo-home", timeout=120
        )
        assert done.ok, done.stderr
        return done.stdout.strip()
    finally:
        shutil.rmtree(cooked.folder / "cargo-home/registry/src", ignore_errors=True)
