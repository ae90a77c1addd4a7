"""Tools in the images: compiled without a network, on top of the cooked layers, which another version leaves alone.

The registry on loopback has a tiny crate that is called like a tool.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.cook.tools import tool_targets
from tests.docker.baking import DOCKERFILES, EPOCH, bake, bake_targets, in_container, layer_digests, write_recipe
from tests.docker.crates import Crate, CrateRegistry
from tests.docker.listed import images_like

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "rust-warm-factory/tools"
BASE = f"{NAME}:base"
TOOL = "cargo-chef"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kitchen:
    """A base image whose cargo knows the registry on loopback, and a folder with the recipes of two layers."""

    folder: Path

    def bake(self, version: str) -> tuple[str, str]:
        """Build both layers with one version of the tool; return their tags."""
        common = {"context": str(DOCKERFILES), "network": "host"}
        targets: dict[str, Any] = tool_targets({TOOL: version}, common, base=BASE, epoch=EPOCH)
        for name, target in bake_targets(self.folder, BASE).items():
            bare = {key: value for key, value in target.items() if key not in ("tags", "output")}
            contexts = {
                key: value.replace("target:core", "target:core-bare") for key, value in bare["contexts"].items()
            }
            targets[f"{name}-bare"] = bare | {"contexts": contexts}
            targets[name] = target | {
                "target": "equipped",
                "contexts": contexts | {"tools": f"target:tool-{TOOL}"},
                "tags": [f"{NAME}:{name}-{version}"],
            }
        file = self.folder / version / "docker-bake.json"
        file.parent.mkdir()
        file.write_text(json.dumps({"target": targets}))
        for layer in ("core", "web"):
            bake(file, layer, readable=(self.folder,))
        return f"{NAME}:core-{version}", f"{NAME}:web-{version}"


@pytest.fixture(scope="module")
def kitchen(
    base_image: str, crate_registry: CrateRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kitchen]:
    folder = tmp_path_factory.mktemp("tools")
    for version in ("1.0.0", "1.0.1"):
        program = 'fn main() { println!("chef {} {}", env!("CARGO_PKG_VERSION"), tiny_leaf::leaf()); }'
        crate_registry.publish(Crate(name=TOOL, version=version, program=program, dependencies=("tiny-leaf",)))
    for layer, crate in (("core", "tiny-leaf"), ("web", "tiny-scripted")):
        write_recipe(folder / layer, f"factory-recipe-{layer}", (crate,), crate_registry)
        (folder / layer / "contents").mkdir()
        (folder / layer / "contents" / "contents.json").write_text("{}\n")
    (folder / "base").mkdir()
    (folder / "base" / "config.toml").write_text(crate_registry.cargo_config)
    (folder / "base" / "Dockerfile").write_text(f"FROM {base_image}\nCOPY config.toml /usr/local/cargo/\n")
    process.run(["docker", "buildx", "build", "--load", f"--tag={BASE}", str(folder / "base")])
    yield Kitchen(folder=folder)
    process.run(["docker", "image", "rm", *images_like(NAME)])


@pytest.fixture(scope="module")
def images(kitchen: Kitchen) -> tuple[str, str]:
    return kitchen.bake("1.0.0")


def test_the_tool_runs_in_every_image_and_belongs_to_root(images: tuple[str, str]) -> None:
    for image in images:
        look = (
            f"stat -c '%u:%g %a %Y' /usr/local/bin/{TOOL}; stat -c '%u:%g %a' /usr/local/bin; ls /usr/local/cargo/bin"
        )
        says = in_container(image, f"{TOOL}; {look}")
        program, facts, folder, *cargo_home = says.splitlines()
        assert program == "chef 1.0.0 1"
        assert facts == f"0:0 755 {EPOCH}"
        assert folder == "0:0 755"
        assert TOOL not in cargo_home


def test_nothing_of_the_tools_compilation_is_in_the_image(images: tuple[str, str]) -> None:
    left = "find / -xdev \\( -path '/opt/*' -o -iname '*.crates*' -o -path '/usr/local/cargo-build/*chef*' \\)"
    assert in_container(images[1], left, user="0:0") == ""


def test_a_child_stands_on_its_parent_without_the_tools_and_has_the_same_layer_on_top(images: tuple[str, str]) -> None:
    core, web = (layer_digests(image) for image in images)
    assert web[: len(core) - 1] == core[:-1]
    assert web[-1] == core[-1]


def test_another_version_changes_the_topmost_layer_and_cooks_nothing(kitchen: Kitchen, images: tuple[str, str]) -> None:
    newer = kitchen.bake("1.0.1")
    assert in_container(newer[0], TOOL) == "chef 1.0.1 1\n"
    for before, after in zip(images, newer, strict=True):
        assert layer_digests(after)[:-1] == layer_digests(before)[:-1]
        assert layer_digests(after)[-1] != layer_digests(before)[-1]


def test_a_version_that_does_not_exist_is_explained(kitchen: Kitchen) -> None:
    with pytest.raises(process.ProgramFailedError) as caught:
        kitchen.bake("9.9.9")
    assert f"{TOOL} 9.9.9 cannot be fetched" in str(caught.value)
