"""What second builds read out of BuildKit's events and cargo's log, and what they say of it."""

from __future__ import annotations

import base64
import json

from factory.proof.second_build import (
    Beside,
    Build,
    Change,
    SecondBuilds,
    Step,
    compiled_dependencies,
    needed_dependencies,
    plain_dockerfiles,
    read_progress,
    second_builds_to_json,
)

RUN = "[builder 3/4] RUN cargo build --release --locked"


def event(**content: object) -> str:
    return json.dumps(content) + "\n"


def test_the_events_of_a_step_are_put_together() -> None:
    started, completed = "2026-11-21T10:00:00.123456789Z", "2026-11-21T10:00:02.623456789Z"
    text = (
        event(vertexes=[{"digest": "a", "name": RUN}])
        + event(vertexes=[{"digest": "a", "name": RUN, "started": started}])
        + event(vertexes=[{"digest": "a", "name": RUN, "started": started, "completed": completed}])
        + event(vertexes=[{"digest": "b", "name": "[linux/amd64 planner 2/2] COPY . .", "cached": True}])
        + event(vertexes=[{"digest": "c", "name": "[internal] load build context"}])
        + event(vertexes=[{"digest": "d", "name": "[warm 1/2] FROM org/core", "cached": True}])
    )
    assert read_progress(text).steps == (
        Step(stage="builder", what="RUN cargo build --release --locked", cached=False, seconds=2.5),
        Step(stage="planner", what="COPY . .", cached=True, seconds=0.0),
    )


def test_a_line_of_the_log_may_come_in_pieces_and_words_between_the_events_are_left_out() -> None:
    pieces = ["   Compi", "ling \x1b[1mserde v1.0.2\n"]
    logs = [event(logs=[{"vertex": "a", "data": base64.b64encode(piece.encode()).decode()}]) for piece in pieces]
    text = logs[0] + "WARN: something\n{not json\n" + logs[1]
    assert compiled_dependencies(read_progress(text).log) == ("serde v1.0.2",)


def test_packages_of_the_project_are_no_dependencies() -> None:
    log = (
        "    Updating crates.io index\n   Compiling serde v1.0.2\n   Compiling ours v0.1.0 (/src/ours)\n"
        "   Compiling forked v2.0.0 (https://example.org/forked#0123abcd)\n    Finished `release` profile\n"
    )
    assert compiled_dependencies(log) == ("forked v2.0.0", "serde v1.0.2")


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
