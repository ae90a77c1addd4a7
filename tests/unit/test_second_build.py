"""What second builds read out of cargo's log, and what they say of it."""

from __future__ import annotations

from factory.build_progress import Step
from factory.proof.bumps import needed_dependencies
from factory.proof.second_build import compiled_dependencies, plain_dockerfiles, without_tools
from factory.proof.second_build_model import Beside, Build, Change, SecondBuilds, second_builds_to_json


def test_packages_of_the_project_are_no_dependencies() -> None:
    log = (
        "    Updating crates.io index\n   Compiling serde v1.0.2\n   Compiling ours v0.1.0 (/src/ours)\n"
        "   Compiling forked v2.0.0 (https://example.org/forked#0123abcd)\n    Finished `release` profile\n"
    )
    assert compiled_dependencies(log) == ("forked v2.0.0", "serde v1.0.2")


def test_the_tools_are_no_part_of_a_build() -> None:
    steps = [Step(stage=stage, what="COPY . .", cached=True, seconds=0.0) for stage in ("warm", "planner", "builder")]
    assert [step.stage for step in without_tools(steps)] == ["planner", "builder"]


def build(dockerfile: str, change: Change, seconds: float, *compiled: str, problem: str = "") -> Build:
    return Build(
        dockerfile=dockerfile, change=change, seconds=seconds, steps=(), compiled=tuple(compiled), problem=problem
    )


def result(*builds: Build) -> SecondBuilds:
    return SecondBuilds(image="org/core", base="rust:slim", project="app", builds=builds, bumped={})


def test_claims_are_judged_by_the_first_build_and_the_one_after_a_change_of_sources() -> None:
    crates = [f"crate{number} v1.0.0" for number in range(40)]
    cold = build(Beside.COLD.value, Change.FIRST, 180, *crates)
    good = [build("plain", Change.FIRST, 59.9, *crates[:1]), build("plain", Change.SOURCE, 19.9, *crates[:1])]
    bad = [build("chef", Change.FIRST, 60, *crates), build("chef", Change.SOURCE, 20, *crates[:2])]
    both = result(cold, *good, *bad)
    assert list(both.claims("plain").values()) == [True, True, True]
    assert list(both.claims("chef").values()) == [False, False, False]
    assert list(both.claims(Beside.COLD.value).values()) == [False, None, None]
    rows = second_builds_to_json(both)
    assert [row["reuse"] for row in rows["builds"]] == [0.0, 0.975, 0.975, 0.0, 0.95]
    assert rows["ok"] is True


def test_without_the_cold_build_nobody_knows_what_was_reused_and_a_failed_one_claims_nothing() -> None:
    alone = result(build("plain", Change.FIRST, 5), build("plain", Change.SOURCE, 5, problem="error: no"))
    assert list(alone.claims("plain").values()) == [True, None, None]
    assert alone.reuse(alone.builds[0]) is None
    assert not alone.ok


def test_the_dockerfiles_beside_ours_stand_on_the_base_and_install_what_is_needed() -> None:
    texts = plain_dockerfiles("rust:slim", packages=("cmake", "nasm"), cargo_chef="0.1.78")
    for text in texts.values():
        assert text.startswith("FROM rust:slim AS warm\n")
        assert "install --yes --no-install-recommends cmake nasm\n" in text
        assert text.count("FROM warm AS builder\n") == 1
    assert "cargo-chef@0.1.78" in texts[Beside.CARGO_CHEF]
    assert "chef" not in texts[Beside.COLD]


def test_only_what_every_build_needs_is_bumped() -> None:
    rows = [
        {"name": "plain", "kind": None, "optional": False, "target": None},
        {"name": "scripts", "kind": "build", "optional": False, "target": None},
        {"name": "tests", "kind": "dev", "optional": False, "target": None},
        {"name": "switched", "kind": None, "optional": True, "target": None},
        {"name": "elsewhere", "kind": None, "optional": False, "target": "cfg(windows)"},
    ]
    packages = [{"dependencies": rows[:3]}, {"dependencies": rows[3:]}]
    assert needed_dependencies({"packages": packages}) == {"plain", "scripts"}
