"""`factory rebuild --push`: real images to a real registry, nothing where nothing changed, and core keeps its bytes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.cargo.toolchain import find_toolchain
from tests.hostile import manifest, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROFILES = {
    "core.toml": 'budget = "1 GB"\n',
    "web.toml": 'parent = "core"\nbudget = "1 GB"\nanchors = ["itoa"]\n',
}


class Team:
    """Two repositories, one of them with an anchor of the upper layer, and the images that are rebuilt for them."""

    def __init__(self, folder: Path, registry: str, base_image: str) -> None:
        self.folder = folder
        self.name = f"rebuild-test/{secrets.token_hex(4)}"
        self.repository = f"{registry}/{self.name}"
        self._environment = {
            **os.environ,
            "FACTORY_CACHE_DIR": str(folder / "cache"),
            "FACTORY_IMAGE_REGISTRY": registry,
            "FACTORY_IMAGE_NAME": self.name,
            "FACTORY_BASE_IMAGE": base_image,
            "FACTORY_TOOLCHAIN": find_toolchain().version,
        }
        write_files(folder / "profiles", PROFILES)
        self.write("tool", 'cfg-if = "=1.0.4"')
        self.write("shop", 'cfg-if = "=1.0.4"\nitoa = "=1.0.17"')

    def write(self, name: str, dependencies: str) -> None:
        write_files(
            self.folder / name,
            {"Cargo.toml": manifest(name, f"[dependencies]\n{dependencies}\n"), "src/main.rs": "fn main() {}\n"},
        )
        process.run(["cargo", "generate-lockfile", "--quiet"], cwd=self.folder / name, timeout=300)

    def rebuild(self, code: int = 0) -> dict[str, Any]:
        words = ["rebuild", "tool", "shop", "--profiles", "profiles", "--push", "--json"]
        done = process.run(
            [sys.executable, "-m", "factory", *words],
            cwd=self.folder,
            env=self._environment,
            check=False,
            timeout=600,
        )
        assert done.returncode == code, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def images(self) -> list[str]:
        listed = process.run(["docker", "images", "--format={{.Repository}}:{{.Tag}}"]).stdout.split()
        return [image for image in listed if f"/{self.name}" in image]

    def forget(self) -> None:
        process.run(["docker", "image", "rm", "--force", *self.images()])
        shutil.rmtree(self.folder / "rebuild")

    def digest(self, layer: str) -> str:
        words = [
            "docker",
            "buildx",
            "imagetools",
            "inspect",
            f"{self.repository}:{layer}",
            "--format={{json .Manifest}}",
        ]
        return str(json.loads(process.run(words).stdout)["digest"])


@pytest.fixture
def team(base_image: str, registry: str, tmp_path: Path) -> Iterator[Team]:
    made = Team(tmp_path, registry, base_image)
    yield made
    if ours := made.images():
        process.run(["docker", "image", "rm", "--force", *ours], check=False)


def test_only_what_changed_is_built_and_pushed(team: Team) -> None:
    first = team.rebuild()
    assert (first["built"], [row["cause"] for row in first["reasons"]]) == (True, ["first"])
    core, web = team.digest("core"), team.digest("web")

    assert team.rebuild(code=3)["built"] is False
    assert (team.digest("core"), team.digest("web")) == (core, web)

    # A machine that has neither the images nor the folder of the last rebuild.
    team.forget()
    assert team.rebuild(code=3)["built"] is False
    assert (team.digest("core"), team.digest("web")) == (core, web)

    team.write("shop", 'cfg-if = "=1.0.4"\nitoa = "=1.0.18"')
    moved = team.rebuild()
    assert ([row["cause"] for row in moved["reasons"]], moved["changed"]) == (["repositories"], ["web"])
    assert team.digest("core") == core
    assert team.digest("web") != web
