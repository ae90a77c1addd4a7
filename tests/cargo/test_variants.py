"""Variants on the local backend, with the real cargo: every build that is cooked for finds all of its units fresh."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from factory.cargo.events import EVENT_ARGS, parse_events
from factory.cargo.toolchain import find_toolchain
from factory.files import write_json, write_text
from tests.cargo.scenario import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from factory.cargo.events import BuildEvents
    from tests.cargo.conftest import Program

pytestmark = pytest.mark.cargo

HOST = find_toolchain().host
EVERYTHING = "release+workspace+all-features"
VARIANTS = (
    *("release", "dev", "check:dev", "check-all:dev", "test:dev", "dist", f"dev@{HOST}", f"check:release@{HOST}"),
    EVERYTHING,
)
DEPENDENCIES = ("itoa = '1'", "libc = '0.2'", "log = '0.4'")
MANY_SIDED = Workspace(
    name="many-sided",
    lib="",
    dependencies=(*DEPENDENCIES, "macros = { path = 'macros' }"),
    dev_dependencies=("anyhow = '1'", "log = { version = '0.4', features = ['std'] }"),
    tables="[profile.dev.package.'*']\nopt-level = 1\n[profile.dist]\ninherits = 'release'\ncodegen-units = 1\n",
    members={"macros": "[lib]\nproc-macro = true\n[dependencies]\nquote = '1'\ncfg-if = '1'\n"},
)
"""A library and a program beside a proc-macro, with dependencies of tests, overrides and a cargo profile of its own."""
PLAIN = Workspace(name="plain", dependencies=DEPENDENCIES)
WIDE = Workspace(
    name="wide",
    dependencies=("itoa = '1'", "anyhow = { version = '1', optional = true }"),
    members={"tool": "[dependencies]\ncfg-if = '1'\n"},
    default_members=(".",),
)
"""A root package, which cargo builds alone where nobody says `--workspace`, and without its optional dependency."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kitchenware:
    """The repositories, the plan for all variants, and the directory it was cooked into."""

    repos: Path
    plan: Mapping[str, Any]
    folder: Path
    report: Mapping[str, Any]

    def forecast(self, variant: str) -> dict[str, tuple[int, int]]:
        """Return for each repository that has the variant how many units will be fresh, and how many there are."""
        top = self.plan["layers"][-1]["name"]
        rows = [row for row in self.plan["forecast"] if row["variant"] == variant]
        return {row["path"]: (row["units"]["hit"][top], row["units"]["total"]) for row in rows}


@pytest.fixture(scope="module")
def repos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants") / "repos"
    for workspace in (MANY_SIDED, PLAIN, WIDE):
        workspace.write(folder / workspace.name, HOST)
        write_text(folder / workspace.name / ".git" / "HEAD", "")
        assert find_toolchain().cargo(["fetch"], cwd=folder / workspace.name).ok
    return folder


@pytest.fixture(scope="module")
def cooked(program: Program, repos: Path) -> Kitchenware:
    """Cook all variants side by side."""
    folder = repos.parent
    chosen = program.under({"FACTORY_COOK_VARIANTS": ",".join(VARIANTS)})
    chosen("analyze", repos, "--out", folder / "analysis.json")
    chosen("plan", "--analysis", folder / "analysis.json", "--out", folder / "plan.json")
    plan: Mapping[str, Any] = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    report = chosen.json("build", "--backend", "local", "--plan", folder / "plan.json", "--output", folder / "warm")
    return Kitchenware(repos=repos, plan=plan, folder=folder / "warm", report=report)


def build(cooked: Kitchenware, *words: str, repo: str = "many-sided") -> BuildEvents:
    """Run cargo in a repository as a developer does, with nothing but the CARGO_HOME set."""
    answer = find_toolchain().cargo(
        [*words, *EVENT_ARGS], cwd=cooked.repos / repo, cargo_home=cooked.folder / "cargo-home", timeout=300
    )
    assert answer.ok, answer.stderr
    return parse_events(answer.stdout, answer.stderr)


def test_a_workspace_is_left_out_of_a_variant_that_it_has_no_cargo_profile_for(cooked: Kitchenware) -> None:
    assert set(cooked.forecast("dist")) == {"repos/many-sided"}
    assert set(cooked.forecast("release")) == {"repos/many-sided", "repos/plain", "repos/wide"}
    analysis = json.loads((cooked.folder.parent / "analysis.json").read_text(encoding="utf-8"))
    remarks = {row["path"]: row["reason"] for row in analysis["workspaces"]}
    assert "without dist: there is no cargo profile `dist`" in remarks["repos/plain"]
    assert "dist" not in remarks["repos/many-sided"]


def test_nothing_is_left_out_of_the_plan(cooked: Kitchenware) -> None:
    assert cooked.plan["contract"]["variants"] == list(VARIANTS)
    assert cooked.plan["excluded"] == []
    assert [row["dropped"] for row in cooked.report["layers"]] == [[]] * len(cooked.report["layers"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_finds_all_of_its_units_fresh(program: Program, cooked: Kitchenware, variant: str) -> None:
    repos = [word for path in cooked.forecast(variant) for word in ("--repo", str(cooked.repos.parent / path))]
    proof = program.json("verify", cooked.folder, *repos, "--variant", variant)
    found = {row["path"]: (row["units"]["fresh"], row["units"]["total"]) for row in proof["repos"]}
    foretold = {path.rpartition("/")[2]: units for path, units in cooked.forecast(variant).items()}
    assert {path.rpartition("/")[2]: units for path, units in found.items()} == foretold
    assert all(fresh == total > 0 for fresh, total in found.values())
    assert proof["ok"]


def test_members_and_features_that_only_some_builds_select_are_cooked_for_those(
    program: Program, cooked: Kitchenware
) -> None:
    alone, everything = (cooked.forecast(variant)["repos/wide"] for variant in ("release", EVERYTHING))
    # anyhow's library, and the program and the run of its build script; cfg-if of the other member.
    assert (alone, everything) == ((1, 1), (5, 5))
    words = ("--dir", cooked.folder, "--variant", "release+all-features+workspace")
    assert program.json("check", cooked.repos / "wide", *words)["units"] == {"total": 5, "hit": 5}
    events = build(cooked, "build", "--release", "--workspace", "--all-features", "--locked", repo="wide")
    assert (events.fresh.total(), events.compiled.total()) == (5, 0)


@pytest.mark.parametrize("more", [(), ("--all-targets",)], ids=["check", "check-all"])
def test_clippy_uses_what_was_cooked_for_check(cooked: Kitchenware, more: tuple[str, ...]) -> None:
    events = build(cooked, "clippy", "--locked", *more)
    assert events.fresh.total() > 0
    assert {unit.label for unit in events.compiled} == set()


def test_overrides_of_all_packages_are_in_the_units(cooked: Kitchenware) -> None:
    events = build(cooked, "build", "--locked")
    levels = {unit.opt_level for unit in events.fresh if unit.target_kind == "lib"}
    assert "1" in levels
    assert events.compiled.total() == 0


# Before cargo 1.91


@pytest.fixture(scope="module")
def shared_target(program: Program, cooked: Kitchenware) -> Kitchenware:
    """Cook the plan for `release` alone as for an older cargo, which has no build directory."""
    folder = cooked.repos.parent / "older"
    chosen = program.under({"FACTORY_COOK_VARIANTS": "release"})
    chosen("analyze", cooked.repos / "plain", "--out", folder / "analysis.json")
    chosen("plan", "--analysis", folder / "analysis.json", "--out", folder / "plan.json")
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert plan["contract"]["layout"] == "build-dir"
    plan["contract"]["layout"] = "target-dir"
    write_json(folder / "plan.json", plan)
    report = chosen.json("build", "--backend", "local", "--plan", folder / "plan.json", "--output", folder / "warm")
    return Kitchenware(repos=cooked.repos, plan=plan, folder=folder / "warm", report=report)


def test_a_shared_target_directory_holds_units_that_are_fresh_too(program: Program, shared_target: Kitchenware) -> None:
    proof = program.json("verify", shared_target.folder, "--repo", shared_target.repos / "plain", "--min-hit", "1")
    assert proof["ok"]
    (row,) = proof["repos"]
    assert row["units"]["fresh"] == row["units"]["total"] > 0
    contract = json.loads((shared_target.folder / "share/core/contract.json").read_text(encoding="utf-8"))
    assert contract["layout"] == "target-dir"


def test_nothing_of_a_recipe_stays_in_a_shared_target_directory(shared_target: Kitchenware) -> None:
    left = list((shared_target.folder / "build").rglob("*factory*"))
    assert left == []


def test_a_consumers_binary_gets_into_the_shared_target_directory(shared_target: Kitchenware) -> None:
    """The difference that docs/variants.md tells of."""
    events = build(shared_target, "build", "--release", "--locked", repo="plain")
    assert events.compiled.total() == 0
    assert not (shared_target.repos / "plain" / "target").exists()
    assert os.access(shared_target.folder / "build" / "release" / "plain", os.X_OK)
