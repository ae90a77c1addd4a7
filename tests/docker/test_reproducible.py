"""Two builds without a cache give one digest; where a crate makes that impossible, it is named, with the file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.engine import Engine
from factory.epoch import DEFAULT_EPOCH
from factory.proof.reproducible import NAME as AGAIN
from tests.docker.line import ROOT, Line
from tests.docker.listed import images_like
from tests.hostile import manifest, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NAME = "rust-warm-factory/reproducible-test"
STEADY = '[dependencies]\nitoa = "1"\npaste = "1"\n'
# Its source holds a number that a macro draws while it is compiled.
RANDOM = '[dependencies]\nahash = { version = "=0.8.11", default-features = false, features = ["compile-time-rng"] }\n'


@dataclass(frozen=True, kw_only=True)
class Built(Line):
    """The images of one small repository, and what the build said."""

    report: Mapping[str, Any]

    @property
    def tag(self) -> str:
        """The core image."""
        return f"{NAME}:core-{self.folder.name}"

    def reproduce(self) -> tuple[process.Completed, Mapping[str, Any]]:
        """Run `verify --reproducible` on the core image; return what it said, and the check."""
        done = self.factory("verify", self.tag, "--reproducible", "--json")
        assert done.returncode in {0, 1}, done.stderr
        checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
        return done, checks["reproducible"]


def built(folder: Path, dependencies: str, base_image: str, docker_env: Mapping[str, str]) -> Built:
    """Take a small repository through analyze, plan and build, into layers of which one has all units."""
    write_files(
        folder,
        {
            "app/Cargo.toml": manifest("app", dependencies),
            "app/src/main.rs": "fn main() {}\n",
            "profiles/core.toml": "",
            "profiles/empty.toml": 'parent = "core"\nanchors = ["sqlx"]\n',
        },
    )
    process.run(["cargo", "generate-lockfile"], cwd=folder / "app", timeout=120)
    environment = dict(docker_env) | {
        "FACTORY_CACHE_DIR": str(folder / "cache"),
        "FACTORY_BASE_IMAGE": base_image,
        "FACTORY_IMAGE_NAME": NAME,
        "FACTORY_IMAGE_TAGS": "{layer}-" + folder.name,
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("SOURCE_DATE_EPOCH", None)
    line = Line(folder=folder, environment=environment)
    line.succeed("analyze", "app")
    line.succeed("plan", "--profiles", "profiles")
    return Built(folder=folder, environment=environment, report=line.answer("build"))


@pytest.fixture(scope="module")
def steady(base_image: str, docker_env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    yield built(tmp_path_factory.mktemp("steady"), STEADY, base_image, docker_env)
    remove_images()


@pytest.fixture(scope="module")
def random(base_image: str, docker_env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    yield built(tmp_path_factory.mktemp("random"), RANDOM, base_image, docker_env)
    remove_images()


def remove_images() -> None:
    for name in images_like(NAME):
        process.run(["docker", "image", "rm", name], check=False)


def test_built_again_without_a_cache_the_digest_is_the_same(steady: Built) -> None:
    done, check = steady.reproduce()
    assert check["ok"], check
    assert Engine().image(steady.tag).id in check["detail"]
    assert [row["name"] for row in json.loads(done.stdout)["checks"] if not row["ok"]] == []
    assert images_like(AGAIN) == []


def test_a_crate_that_draws_a_number_is_named_with_its_file(random: Built) -> None:
    done, check = random.reproduce()
    assert done.returncode == 1
    assert not check["ok"]
    assert check["detail"].endswith("it begins with ahash@0.8.11")
    assert any(
        row.startswith("ahash@0.8.11: /usr/local/cargo-build/") and "libahash-" in row for row in check["findings"]
    )
    assert {row.partition("@")[0] for row in check["findings"]} == {"ahash"}


def test_the_environment_says_which_time_files_have(steady: Built) -> None:
    """Also one that is earlier than that of the base image, and of the layers that are there."""
    tag = steady.tag
    before = Engine().image(tag)
    for chosen in (DEFAULT_EPOCH - 86_400, DEFAULT_EPOCH + 86_400):
        done = steady.under(SOURCE_DATE_EPOCH=str(chosen)).factory("build")
        assert done.returncode == 0, done.stderr
        assert Engine().image(tag).layers != before.layers
        share = "/usr/local/share/rust-warm-factory"
        with Engine().container(tag, mounts={}) as container:
            times = container.run(["find", "/usr/local/cargo-build", share, "-type", "f", "-printf", "%Ts\\n"]).stdout
        assert set(times.split()) == {str(chosen)}
    assert steady.factory("build").returncode == 0
    assert Engine().image(tag).id == before.id


def test_a_plan_that_the_image_is_not_made_from_is_refused(steady: Built, random: Built) -> None:
    plan = str(random.folder / "plan.json")
    done = steady.factory("verify", steady.tag, "--reproducible", "--plan", plan)
    assert done.returncode == 2
    assert "was made from the plan" in done.stderr


# Size: on the same images


def test_every_layer_says_what_it_weighs_and_what_a_pull_transfers(steady: Built) -> None:
    core, empty = steady.report["layers"]
    assert core["layer"] == "core"
    assert 100_000 < core["bytes"]["pulled"] < core["bytes"]["unpacked"]
    assert core["saved_seconds"] > 0
    assert "paste" in {share["crate"] for share in core["bytes"]["heaviest"]}
    assert empty["bytes"]["unpacked"] == 0
    assert empty["bytes"]["pulled"] < 20_000


def test_an_image_is_verified_for_its_size(steady: Built) -> None:
    tag = steady.tag
    checks = {check["name"]: check for check in json.loads(steady.factory("verify", tag, "--json").stdout)["checks"]}
    assert checks["no leftovers"]["ok"], checks["no leftovers"]
    assert checks["within budget"]["ok"]
    left = "/usr/local/cargo-build/release/build/psm-0123456789abcdef/out"
    lines = f"FROM {tag}\nUSER 0\nRUN mkdir -p {left} && head -c 3000000 /dev/zero >{left}/a.o\nUSER 1001:1001\n"
    derived = f"{NAME}:derived"
    process.run(["docker", "build", "--network=none", "-q", "-t", derived, "-"], stdin=lines, timeout=300)
    try:
        done = steady.factory("verify", derived, "--json")
    finally:
        process.run(["docker", "image", "rm", derived])
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}["no leftovers"]
    assert done.returncode == 1
    assert found["findings"] == [f"{left}/a.o: 3000000 bytes"]


def test_over_budget_no_tag_moves(steady: Built) -> None:
    tag = steady.tag
    before = Engine().image(tag).id
    epoch = {"SOURCE_DATE_EPOCH": str(DEFAULT_EPOCH + 1), "FACTORY_BUDGET_TOTAL": "10 kB"}
    done = steady.under(**epoch).factory("build", "--json")
    assert done.returncode == 1
    assert "over the 10 kB of `budget.total`" in done.stderr
    assert json.loads(done.stdout)["layers"][-1]["over_budget"]
    assert Engine().image(tag).id == before


def test_layers_can_be_compressed_with_zstd(steady: Built, registry: str) -> None:
    """Cooked anew, as a layer that is there keeps its compression; and as a registry gets it."""
    more = {
        "SOURCE_DATE_EPOCH": str(DEFAULT_EPOCH + 2),
        "FACTORY_IMAGE_COMPRESSION": "zstd",
        "FACTORY_IMAGE_REGISTRY": registry,
    }
    done = steady.under(**more).factory("build", "--json")
    assert done.returncode == 0, done.stderr
    gzip, zstd = (report["layers"][0]["bytes"]["pulled"] for report in (steady.report, json.loads(done.stdout)))
    assert zstd < gzip
    tag = f"{registry}/{NAME}:core-{steady.folder.name}"
    process.run(["docker", "push", "-q", tag], timeout=300)
    raw = json.loads(process.run(["docker", "buildx", "imagetools", "inspect", "--raw", tag], timeout=60).stdout)
    base = len(Engine().image(steady.environment["FACTORY_BASE_IMAGE"]).layers)
    assert {layer["mediaType"].rpartition(".")[2] for layer in raw["layers"][base:]} == {"v1+zstd"} or {
        layer["mediaType"].rpartition("+")[2] for layer in raw["layers"][base:]
    } == {"zstd"}
    process.run(["docker", "image", "rm", tag, tag.replace(":core-", ":empty-")])
