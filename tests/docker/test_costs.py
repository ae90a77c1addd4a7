"""Measuring in images: every unit is measured, and nothing of it is in the image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory import process
from factory.engine import Engine
from factory.labels import SHARE
from tests.docker.line import ROOT, Line

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "rust-warm-factory/costs-test"
MANIFEST = """[package]
name = "small"
version = "0.1.0"
edition = "2021"

[dependencies]
itoa = "=1.0.15"
portable-atomic = "=1.13.1"
proc-macro-error-attr2 = "=2.0.0"
"""


@pytest.fixture(scope="module")
def small(base_image: str, docker_env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Cook for a small repository, and keep what was measured."""
    folder = tmp_path_factory.mktemp("costs")
    environment = dict(docker_env) | {
        "FACTORY_CACHE_DIR": str(folder / "cache"),
        "FACTORY_BASE_IMAGE": base_image,
        "FACTORY_IMAGE_NAME": NAME,
        "FACTORY_COSTS_URL": f"sqlite:///{folder / 'costs.sqlite'}",
        # Files of another time are other layers: nothing comes from the build cache of an earlier run.
        "SOURCE_DATE_EPOCH": str(400_000_000 + folder.stat().st_ino % 100_000_000),
        "PYTHONPATH": str(ROOT),
    }
    repo = folder / "repo"
    (repo / "src").mkdir(parents=True)
    (repo / "src" / "main.rs").write_text("fn main() {}\n")
    (repo / "Cargo.toml").write_text(MANIFEST)
    process.run(["cargo", "generate-lockfile"], cwd=repo, timeout=300)
    made = Line(folder=folder, environment=environment)
    made.succeed("analyze", str(repo))
    made.succeed("plan")
    made.succeed("build")
    return made


def test_every_unit_is_measured(small: Line) -> None:
    plan = small.read("plan.json")
    units = small.answer("costs", "show")["units"]
    assert {unit["key"] for unit in units} == plan["units"].keys()
    assert {unit["kind"] for unit in units} >= {"lib", "proc-macro", "build script", "build script run"}
    for unit in units:
        assert unit["measured"]
        assert len(unit["samples"]) == 1
        assert 0 <= unit["seconds"] < 60
        assert unit["bytes"] > (100 if unit["kind"] == "build script run" else 10_000)
        assert unit["source_bytes"] is not None


def test_the_next_plan_goes_by_what_was_measured_and_cooks_the_same(small: Line) -> None:
    before = small.read("plan.json")
    assert not any(unit["measured"] for unit in before["units"].values())
    known = {unit["key"]: unit for unit in small.answer("costs", "show")["units"]}
    said = small.succeed("plan", "--out", "next.json").stderr
    after = small.read("next.json")
    for key, unit in after["units"].items():
        assert unit["measured"]
        assert (unit["seconds"], unit["bytes"]) == (known[key]["seconds"], known[key]["bytes"])
    assert after["recipes"] == before["recipes"]
    assert "costs: 100 % of the seconds and 100 % of the bytes are measured" in said


def test_two_cooks_that_take_another_time_give_the_same_image(small: Line) -> None:
    engine = Engine()
    before = engine.image(f"{NAME}:core").layers
    commands = small.answer("build", "--dry-run")["commands"]
    (core,) = [command for command in commands if command[-1] == "core"]
    bake_file = Path(core[core.index("-f") + 1])
    assert bake_file.exists()
    process.run([*core[:-1], "--no-cache", "core"], env=small.environment, timeout=1500)
    assert engine.image(f"{NAME}:core").layers == before


def test_nothing_of_the_measuring_is_in_the_image(small: Line) -> None:
    run = ["docker", "run", "--rm", "--network=none", f"{NAME}:core"]
    places = ["/usr/local/cargo", "/usr/local/cargo-build", SHARE, "/tmp"]  # noqa: S108 - in the image
    found = process.run([*run, "find", *places, "-name", "*timing*"], env=small.environment, timeout=300)
    assert found.stdout == ""
    contents = process.run([*run, "cat", f"{SHARE}/core/contents.json"], env=small.environment, timeout=300)
    plan = small.read("plan.json")
    for unit in json.loads(contents.stdout)["units"]:
        assert {what: unit[what] for what in ("seconds", "bytes", "measured")} == {
            what: plan["units"][unit["key"]][what] for what in ("seconds", "bytes", "measured")
        }


def test_a_build_from_the_cache_measures_nothing_again(small: Line) -> None:
    before = small.succeed("costs", "export").stdout
    again = small.succeed("build")
    assert "measured " not in again.stderr
    assert small.succeed("costs", "export").stdout == before
