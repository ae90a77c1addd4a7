"""A project is built on an image change after change, by the Dockerfiles that `init` writes, with real builds.

cargo-chef is the machine's own, where it has one: to compile it would take longer than all the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.engine import Engine
from tests.docker.baking import bake, in_container, layer_targets, write_recipe
from tests.docker.crates import Crate, CrateRegistry
from tests.docker.listed import images_like

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "rust-warm-factory/second"
LONG_AGO = 1_000_000_000
STAND_IN = "0.0.1"
"""The version that cargo-chef gives the project's packages while it cooks: what it leaves behind comes nearest to them
where it is their own too."""
CHEF = shutil.which("cargo-chef")
needs_chef = pytest.mark.skipif(CHEF is None, reason="no cargo-chef on PATH")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """An image with warm units, the base below it, and a project whose program says what its library says."""

    image: str
    base: str
    project: Path


@pytest.fixture(scope="module")
def ground(
    base_image: str, crate_registry: CrateRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    if not Engine().needs_host_network:
        pytest.skip("the engine's containers have a network of their own, and the crates are served on loopback")
    folder = tmp_path_factory.mktemp("second")
    crates = [
        Crate(name="second-leaf", source="pub fn leaf() -> u8 { 1 }"),
        Crate(
            name="second-upper", source="pub fn upper() -> u8 { second_leaf::leaf() }", dependencies=("second-leaf",)
        ),
    ]
    for crate in crates:
        crate_registry.publish(crate)
    write_recipe(folder / "core", "factory-recipe-second", ("second-leaf", "second-upper"), crate_registry)
    (folder / "core" / "contents").mkdir()
    (folder / "core" / "contents" / "contents.json").write_text("{}\n")
    target = layer_targets(folder, "core", start="contract", parent=f"docker-image://{base_image}")["core"]
    bake_file = folder / "docker-bake.json"
    bake_file.write_text(json.dumps({"target": {"core": target | {"tags": [f"{NAME}:warm"]}}}))
    bake(bake_file, "core")
    for tag, parent in (("core", f"{NAME}:warm"), ("base", base_image)):
        _with_chef(folder / tag / "chef", parent, f"{NAME}:{tag}")
    project = _write_project(folder / "project", crate_registry)
    for crate in crates:
        # Only now, so that the lock has the versions that are warm.
        newer = Crate(name=crate.name, source=crate.source, version="1.0.1", dependencies=crate.dependencies)
        crate_registry.publish(newer)
    yield Ground(image=f"{NAME}:core", base=f"{NAME}:base", project=project)
    process.run(["docker", "image", "rm", *images_like(NAME)])


def test_each_change_compiles_what_it_touched_and_no_more(ground: Ground) -> None:
    before = _contents(ground.project)
    result = _second_builds(ground, "plain", "--beside=cold")
    assert result["dependencies"] == 2
    assert result["bumped"] == {"one": ["second-leaf 1.0.1"], "several": ["second-upper 1.0.1"]}
    assert {build["change"]: build["compiled"] for build in _of(result, "init plain")} == {
        "first": [],
        "unchanged": [],
        "source": [],
        "one": ["second-leaf v1.0.1", "second-upper v1.0.0"],
        "several": ["second-leaf v1.0.1", "second-upper v1.0.1"],
    }
    assert [build["reuse"] for build in _of(result, "init plain")] == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert _contents(ground.project) == before


def test_a_step_is_cached_exactly_when_nothing_above_it_changed(ground: Ground) -> None:
    # A second time: what an earlier run left behind is not taken for a first build.
    result = _second_builds(ground, "plain", "--beside=cold")
    cached = {build["change"]: _cached(build, "cargo build") for build in _of(result, "init plain")}
    assert cached == {"first": False, "unchanged": True, "source": False, "one": False, "several": False}
    assert all(step["cached"] for build in _of(result, "init plain")[1:2] for step in build["steps"])


@needs_chef
def test_chef_keeps_its_step_until_a_dependency_changes(ground: Ground) -> None:
    result = _second_builds(ground, "chef")
    for name in ("init chef", "cargo-chef"):
        cooked = {build["change"]: _cached(build, "cargo chef cook") for build in _of(result, name)}
        assert cooked == {"first": False, "unchanged": True, "source": True, "one": False, "several": False}
    compiled = {build["change"]: len(build["compiled"]) for build in _of(result, "init chef")}
    assert compiled == {"first": 0, "unchanged": 0, "source": 0, "one": 2, "several": 2}
    alone = {build["change"]: len(build["compiled"]) for build in _of(result, "cargo-chef")}
    assert alone == {"first": 2, "unchanged": 0, "source": 0, "one": 2, "several": 2}


@needs_chef
def test_sources_older_than_the_cook_are_compiled(ground: Ground, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ground.project, project)
    _factory("init", str(project), "--image", ground.image, "--flavour", "chef", "--runtime", "slim")
    dockerfile = project / "Dockerfile"
    text = dockerfile.read_text()
    # Each run's own, so that nothing comes from an earlier one.
    dockerfile.write_text(text.replace("FROM warm AS builder\n", f"FROM warm AS builder\nENV RUN_OF={tmp_path}\n"))
    # Of what differs from run to run, Docker would take the old content where size and time are the same.
    for path in project.rglob("*.rs"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    tag = f"{NAME}:old"
    process.run(
        ["docker", "buildx", "build", "--network=host", "--target=builder", "--load", f"--tag={tag}", project],
        timeout=300,
    )
    assert in_container(tag, "target/release/app") == "the library says 1\n"


def test_a_version_that_is_not_there_is_refused_before_anything_is_built(ground: Ground) -> None:
    answer = _run(ground, "plain", "--bump", "second-leaf@9.9.9")
    assert answer.returncode == 2
    assert "--bump second-leaf@9.9.9" in answer.stderr
    assert "preparing" not in answer.stderr


def _second_builds(ground: Ground, flavour: str, *more: str) -> dict[str, Any]:
    answer = _run(ground, flavour, *more)
    assert answer.returncode == 0, answer.stderr
    result: dict[str, Any] = json.loads(answer.stdout)
    return result


def _run(ground: Ground, flavour: str, *more: str) -> process.Completed:
    words = ("verify", ground.image, "--second-build", str(ground.project), "--base", ground.base, "--json")
    return _factory(*words, "--flavour", flavour, *more, check=False)


def _factory(*words: str, check: bool = True) -> process.Completed:
    return process.run([sys.executable, "-m", "factory", *words], check=check, timeout=600)


def _of(result: dict[str, Any], dockerfile: str) -> list[dict[str, Any]]:
    return [build for build in result["builds"] if build["dockerfile"] == dockerfile]


def _cached(build: dict[str, Any], command: str) -> bool:
    (step,) = (step for step in build["steps"] if command in step["what"])
    return bool(step["cached"])


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _with_chef(folder: Path, parent: str, tag: str) -> None:
    """Put the machine's cargo-chef on an image, where it has one."""
    folder.mkdir(parents=True)
    copy = ""
    if CHEF is not None:
        shutil.copyfile(CHEF, folder / "cargo-chef")
        copy = "COPY --chmod=755 cargo-chef /usr/local/bin/cargo-chef\n"
    (folder / "Dockerfile").write_text(f"FROM {parent}\nLABEL of=test\n{copy}")
    process.run(["docker", "buildx", "build", "--load", f"--tag={tag}", folder])


def _write_project(folder: Path, crates: CrateRegistry) -> Path:
    """Write a workspace of a program and its library, with its lock."""
    files = {
        "Cargo.toml": '[workspace]\nmembers = ["app", "says"]\nresolver = "2"\n',
        "app/Cargo.toml": (
            f'[package]\nname = "app"\nversion = "{STAND_IN}"\nedition = "2021"\n\n'
            '[dependencies]\nsays.path = "../says"\n'
        ),
        "app/src/main.rs": 'fn main() { println!("the library says {}", says::number()); }\n',
        "says/Cargo.toml": (
            f'[package]\nname = "says"\nversion = "{STAND_IN}"\nedition = "2021"\n\n'
            '[dependencies]\nsecond-leaf = "1"\nsecond-upper = "1"\n'
        ),
        "says/src/lib.rs": "pub fn number() -> u8 { second_upper::upper() * second_leaf::leaf() }\n",
        ".cargo/config.toml": crates.cargo_config,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    process.run(["cargo", "generate-lockfile"], cwd=folder)
    return folder
