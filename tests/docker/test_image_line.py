"""The whole line into images: the samples, from analysis to verified layers, on a real engine."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.cook.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "tests" / "samples"
NAME = "rust-warm-factory/line-test"


@dataclass(frozen=True, kw_only=True)
class Line:
    """The images of the samples: the plan behind them, what the build said, and the environment of the CLI."""

    plan: Mapping[str, Any]
    built: Mapping[str, Any]
    environment: Mapping[str, str]
    folder: Path

    def factory(self, *args: str) -> process.Completed:
        return process.run(
            [sys.executable, "-m", "factory", *args], cwd=self.folder, env=self.environment, check=False, timeout=1500
        )


@pytest.fixture(scope="module")
def line(base_image: str, docker_env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Take the samples through analyze, plan and build once, for all tests of this module."""
    folder = tmp_path_factory.mktemp("line")
    environment = dict(docker_env) | {
        "FACTORY_CACHE_DIR": str(folder / "cache"),
        "FACTORY_BASE_IMAGE": base_image,
        "FACTORY_IMAGE_NAME": NAME,
        "PYTHONPATH": str(ROOT),
    }
    line = Line(plan={}, built={}, environment=environment, folder=folder)
    assert line.factory("analyze", str(SAMPLES), "--json").returncode == 0
    planned = line.factory("plan", "--json")
    assert planned.returncode == 0, planned.stderr
    built = line.factory("build", "--json")
    assert built.returncode == 0, built.stderr
    return Line(plan=json.loads(planned.stdout), built=json.loads(built.stdout), environment=environment, folder=folder)


def test_every_planned_unit_is_in_the_images(line: Line) -> None:
    planned = {layer["name"]: layer["keys"] for layer in line.plan["layers"]}
    assert {layer["layer"]: layer["cooked"] for layer in line.built["layers"]} == planned
    assert all(planned.values())


def test_a_child_has_its_parents_layers_as_a_prefix(line: Line) -> None:
    assert line.built
    engine = Engine()
    core, web, db = (engine.image(f"{NAME}:{layer}").layers for layer in ("core", "web", "db"))
    assert len(core) < len(web) < len(db)
    assert web[: len(core)] == core
    assert db[: len(web)] == web


def test_the_image_says_what_it_is(line: Line) -> None:
    facts = Engine().image(f"{NAME}:web")
    assert facts.user == "1001:1001"
    assert facts.environment["CARGO_HOME"] == "/usr/local/cargo"
    assert facts.labels["io.rust-warm-factory.layer"] == "web"
    assert facts.labels["io.rust-warm-factory.rustc"] == line.plan["contract"]["toolchain"]["version"]
    with Engine().container(f"{NAME}:web", mounts={}) as container:
        contents = container.run(["cat", "/usr/local/share/rust-warm-factory/web/contents.json"])
    keys = next(layer["keys"] for layer in line.plan["layers"] if layer["name"] == "web")
    assert [unit["key"] for unit in json.loads(contents.stdout)["units"]] == keys


@pytest.mark.parametrize("layer", ["core", "web", "db"])
def test_verify_finds_exactly_what_the_plan_foretold(line: Line, layer: str) -> None:
    """As uid 1001, on each of the three images, for each sample."""
    answer = line.factory("verify", f"{NAME}:{layer}", "--repo", str(SAMPLES), "--json")
    proof = json.loads(answer.stdout)
    assert [check["name"] for check in proof["checks"] if not check["ok"]] == []
    foretold = {row["path"]: row["units"] for row in line.plan["forecast"]}
    found = {repo["path"]: repo["units"] for repo in proof["repos"]}
    assert found == {path: {"total": units["total"], "fresh": units["hit"][layer]} for path, units in foretold.items()}
    assert any(units["fresh"] for units in found.values())
    assert answer.returncode == 0, answer.stderr


def test_everything_is_fresh_on_the_topmost_image_and_the_gate_holds(line: Line) -> None:
    passed = line.factory("verify", f"{NAME}:db", "--repo", str(SAMPLES / "ledger-db"), "--min-hit", "1", "--skeleton")
    refused = line.factory(
        "verify", f"{NAME}:core", "--repo", str(SAMPLES / "ledger-db"), "--min-hit", "1", "--skeleton"
    )
    assert passed.returncode == 0, passed.stderr
    assert refused.returncode == 1
    assert "does not pass" in refused.stderr


def test_a_second_build_of_the_same_plan_compiles_nothing_and_gives_the_same_images(line: Line) -> None:
    engine = Engine()
    before = [engine.image(f"{NAME}:{layer}").layers for layer in ("core", "web", "db")]
    again = line.factory("build", "--json")
    assert again.returncode == 0, again.stderr
    assert "cooking: " not in again.stderr
    cooked = [layer["cooked"] for layer in json.loads(again.stdout)["layers"]]
    assert cooked == [layer["cooked"] for layer in line.built["layers"]]
    assert [engine.image(f"{NAME}:{layer}").layers for layer in ("core", "web", "db")] == before


def test_dry_run_builds_nothing_and_shows_the_commands(line: Line) -> None:
    environment = dict(line.environment) | {"FACTORY_IMAGE_NAME": "rust-warm-factory/never-built"}
    shown = Line(plan={}, built={}, environment=environment, folder=line.folder).factory("build", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "docker buildx bake" in shown.stdout
    assert process.run(["docker", "images", "-q", "rust-warm-factory/never-built"]).stdout == ""
