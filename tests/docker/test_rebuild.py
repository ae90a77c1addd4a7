"""`factory rebuild --push`: real images to a real registry, nothing where nothing changed, and core keeps its bytes."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.cargo.toolchain import find_toolchain
from factory.engine import Engine
from factory.files import write_text
from factory.output import Output
from factory.publish.attempts import Patience
from factory.publish.contents import said_by
from factory.publish.distribution import Distribution
from tests.docker.listed import images_like
from tests.docker.shop import DAY
from tests.fault_proxy import FaultProxy, Trouble
from tests.hostile import manifest, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from factory.publish.distribution import Manifest

SECONDS = 1800
"""Each rebuild cooks, verifies and pushes, which takes half a minute where nothing else runs."""

PROFILES = {
    "core.toml": 'budget = "1 GB"\n',
    "web.toml": 'parent = "core"\nbudget = "1 GB"\nanchors = ["itoa"]\n',
    "db.toml": 'parent = "web"\nbudget = "1 GB"\nanchors = ["sqlx"]\n',
}


class Base:
    """A base image in a registry, to which a proxy leads: what moves its name there is not seen in the engine."""

    def __init__(self, proxy: FaultProxy, base_image: str) -> None:
        # Always the same repository: the layers of the base go up once, and lie there for the next run.
        name = f"factory-test/base:{secrets.token_hex(4)}"
        self.reference = f"{proxy.address}/{name}"
        self._behind = f"{proxy.upstream}/{name}"
        process.run(["docker", "tag", base_image, self._behind])
        process.run(["docker", "push", "--quiet", self._behind], timeout=600)
        process.run(["docker", "pull", "--quiet", self.reference], timeout=600)

    def move(self, folder: Path) -> tuple[str, ...]:
        """Let its name stand for an image with one more file; return the layers of that."""
        write_text(folder / "Dockerfile", f"FROM {self._behind}\nCOPY Dockerfile /moved\n")
        process.run(
            ["docker", "buildx", "build", "-q", "--provenance=false", "--load", f"-t{self._behind}", str(folder)]
        )
        process.run(["docker", "push", "--quiet", self._behind], timeout=600)
        return Engine().image(self._behind).layers

    def forget(self) -> None:
        process.run(["docker", "image", "rm", "--force", self.reference, self._behind], check=False)


class Team:
    """Two repositories, one of them with an anchor of the middle layer, and the images that are rebuilt for them.

    For the upper layer there is nothing, so that its tags stand for the middle one's image.
    """

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
            "FACTORY_COSTS_URL": f"sqlite:///{folder}/costs.sqlite",
            "SOURCE_DATE_EPOCH": str(DAY),
        }
        self.said = ""
        write_files(folder / "profiles", PROFILES)
        self.write("tool", 'cfg-if = "=1.0.4"')
        self.write("shop", 'cfg-if = "=1.0.4"\nitoa = "=1.0.17"')

    def write(self, name: str, dependencies: str) -> None:
        write_files(
            self.folder / name,
            {"Cargo.toml": manifest(name, f"[dependencies]\n{dependencies}\n"), "src/main.rs": "fn main() {}\n"},
        )
        process.run(["cargo", "generate-lockfile", "--quiet"], cwd=self.folder / name, timeout=300)

    def rebuild(self, *options: str, code: int = 0, **variables: str) -> dict[str, Any]:
        words = ["rebuild", "tool", "shop", "--profiles", "profiles", "--push", "--json", *options]
        done = process.run(
            [sys.executable, "-m", "factory", *words],
            cwd=self.folder,
            env={**self._environment, **variables},
            check=False,
            timeout=600,
        )
        assert done.returncode == code, done.stderr
        self.said = done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def forget(self) -> None:
        if ours := images_like(f"{self.repository}*"):
            process.run(["docker", "image", "rm", "--force", *ours])
        shutil.rmtree(self.folder / "rebuild")
        # What was measured is in the images: another machine has estimates, as the first one had.
        (self.folder / "costs.sqlite").unlink(missing_ok=True)

    def digest(self, layer: str) -> str:
        return self.pushed(layer).digest

    def pushed(self, layer: str) -> Manifest:
        found = self.registry.manifest(layer)
        assert found is not None
        return found

    @property
    def registry(self) -> Distribution:
        host = self.repository.partition("/")[0]
        return Distribution(host, self.name, patience=Patience(attempts=1), output=Output())


@pytest.fixture
def base(base_image: str, registry: str) -> Iterator[tuple[Base, FaultProxy]]:
    with FaultProxy(registry) as proxy:
        made = Base(proxy, base_image)
        yield made, proxy
        made.forget()


@pytest.fixture
def team(base: tuple[Base, FaultProxy], registry: str, tmp_path: Path) -> Iterator[Team]:
    made = Team(tmp_path, registry, base[0].reference)
    yield made
    if ours := images_like(f"{made.repository}*"):
        process.run(["docker", "image", "rm", "--force", *ours], check=False)


@pytest.mark.timeout(SECONDS)
def test_only_what_changed_is_built_and_pushed(team: Team, base: tuple[Base, FaultProxy], tmp_path: Path) -> None:
    first = team.rebuild()
    assert (first["built"], [row["cause"] for row in first["reasons"]]) == (True, ["first"])
    core, web = team.digest("core"), team.digest("web")
    assert core != web == team.digest("db")
    assert "db: nothing is planned for it alone" in team.said
    # What leads back here is told while it is known.
    assert re.search(r"pushed: core, core-\S+-[0-9a-f]{12}, sha256:", team.said)
    # Without pulling any of it, an image says what it was made from.
    (image,) = team.pushed("db").images.values()
    said = said_by(team.registry, image)
    assert {package.name for package in said.cooked} == {"cfg-if", "itoa"}
    assert (said.base, said.base_digest) == (base[0].reference, Engine().image(base[0].reference).digest)

    assert team.rebuild(code=3)["built"] is False
    assert (team.digest("core"), team.digest("web")) == (core, web)

    # A machine that has neither the images nor the folder of the last rebuild, nor what it measured.
    team.forget()
    assert team.rebuild(code=3)["built"] is False
    assert (team.digest("core"), team.digest("web")) == (core, web)

    team.write("shop", 'cfg-if = "=1.0.4"\nitoa = "=1.0.18"')
    moved = team.rebuild()
    assert ([row["cause"] for row in moved["reasons"]], moved["changed"]) == (["repositories"], ["web", "db"])
    assert team.digest("core") == core
    assert team.digest("web") != web

    below, proxy = base
    layers = below.move(tmp_path / "base")
    # The next day: on the same one, the tags that never move would stand for two images.
    tomorrow = str(DAY + 86_400)
    on_top = team.rebuild(SOURCE_DATE_EPOCH=tomorrow)
    assert ([row["cause"] for row in on_top["reasons"]], on_top["changed"]) == (["base-image"], ["core", "web", "db"])
    assert on_top["reasons"][0]["detail"].startswith("base image moved from sha256:")
    assert Engine().image(f"{team.repository}:core").layers[: len(layers)] == layers
    assert team.digest("core") != core

    # Without an answer, what is here is taken, and that is told.
    proxy.meet(("", "factory-test/base"), Trouble(wait=60))
    started = time.monotonic()
    assert team.rebuild(code=3, SOURCE_DATE_EPOCH=tomorrow)["built"] is False
    assert "warning: whether the base image moved is not known" in team.said
    assert time.monotonic() - started < 60


@pytest.mark.timeout(SECONDS)
def test_a_machine_that_keeps_nothing_sees_settings_and_age_by_what_is_published(team: Team) -> None:
    def causes(code: int = 0, **variables: str) -> set[str]:
        team.forget()
        answer = team.rebuild("--max-age", "30", code=code, **variables)
        assert answer["built"] is (code == 0)
        return {row["cause"] for row in answer["reasons"]}

    team.rebuild()
    source = {"FACTORY_IMAGE_SOURCE": "https://example.org/images"}
    assert causes(0, **source) == {"settings"}
    later = {**source, "SOURCE_DATE_EPOCH": str(DAY + 31 * 86_400)}
    assert causes(0, **later) == {"age"}
    assert "31 days old, and 30 are allowed" in team.said
    assert causes(3, **later) == set()
    # Nor is the age forgotten that the state has from then on.
    state = json.loads((team.folder / "rebuild/rebuild-state.json").read_text(encoding="utf-8"))
    assert state["finished"] == DAY + 31 * 86_400
    assert causes(0, **later, FACTORY_IMAGE_TAGS="{layer},{layer}-new") == {"target"}
    assert team.digest("web-new") == team.digest("web")
