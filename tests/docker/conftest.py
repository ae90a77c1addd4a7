"""What the Docker ring stands on: an engine, a base image, a container registry, a crate registry."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from factory import process
from factory.base import build_base
from factory.files import CACHEDIR_TAG, write_text
from factory.output import Output
from tests.docker.crates import Crate, CrateRegistry
from tests.docker.engines import own_engine
from tests.docker.listed import images_like
from tests.docker.private_line import PrivateLine, cooked_line
from tests.docker.shop import DAY, ROOT, Shop
from tests.order import bring_forward

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xdist.remote import Producer  # type: ignore[import-untyped]

ENGINE = Path(__file__).resolve().parents[2] / "scripts" / "engine.py"
OLDEST_USABLE_MAJOR = 23
SUITE = "bookworm"
USERS_CACHE = os.environ.get("FACTORY_CACHE_DIR")
"""Read before any fixture gives the tests a cache of their own."""

ONE_WORKER = frozenset({"test_hermetic.py", "test_build_cache.py", "test_builders.py"})
"""Modules that look at one image, which takes longer to cook than to look at."""

LONGEST = [
    Path(__file__).with_name(f"test_{name}.py")
    for name in ("image_line", "second_build", "hermetic", "push", "owners", "reproducible")
]


class ByImage(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """Gives each worker whole modules, and to one worker those that look at one image."""

    def _split_scope(self, nodeid: str) -> str:
        module: str = super()._split_scope(nodeid)
        return "the private line" if module.rpartition("/")[2] in ONE_WORKER else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Take the place of `--dist loadfile`."""
    return ByImage(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests here, and begin with what takes longest."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.docker)
    bring_forward(items, LONGEST)


@pytest.fixture(scope="session")
def docker_env() -> Iterator[Mapping[str, str]]:
    """Point this process at a usable Docker: the current one, else a private engine, which stays up."""
    with pytest.MonkeyPatch.context() as patch:
        if not _usable():
            up = process.run([sys.executable, ENGINE, "up"], check=False)
            if not up.ok:
                pytest.skip(f"no usable Docker, and no private one: {up.stderr.strip()}")
            lines = process.run([sys.executable, ENGINE, "env"]).stdout
            for name, value in _evaluated(lines).items():
                patch.setenv(name, value)
        yield dict(os.environ)


@pytest.fixture
def users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the user's cache for this test: to install a Debian system takes half a minute."""
    use_users_cache(monkeypatch)


@pytest.fixture(scope="session")
def base_image(docker_env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the tag of a base with the local toolchain; made once, then a matter of seconds."""
    assert docker_env
    sysroot = Path(process.run(["rustc", "--print", "sysroot"]).stdout.strip())
    tag = f"rust-warm-factory/base:test-{SUITE}"
    lock = tmp_path_factory.getbasetemp().parent / "base.lock"
    with pytest.MonkeyPatch.context() as patch, lock.open("a") as held:
        # Two workers would install the same Debian system.
        fcntl.flock(held, fcntl.LOCK_EX)
        use_users_cache(patch)
        build_base(tag=tag, suite=SUITE, toolchain=sysroot, ca_bundle=None, output=Output())
    return tag


@pytest.fixture(scope="session")
def registry(docker_env: Mapping[str, str]) -> str:
    """Return the address, `127.0.0.1:PORT`, of a container registry, which stays up afterwards."""
    assert docker_env
    up = process.run([sys.executable, ENGINE, "registry", "up"], check=False)
    if not up.ok:
        pytest.skip(f"no container registry: {up.stderr.strip()}")
    return up.stdout.strip()


@pytest.fixture(scope="session")
def fresh_engine(docker_env: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Start an engine that has neither images nor a build cache; return the environment of its clients."""
    with own_engine(docker_env) as engine:
        yield engine.environment


@pytest.fixture(scope="session")
def published_base(base_image: str, registry: str) -> Iterator[str]:
    """Return the base image's name in the registry, from where any engine can take it."""
    name = f"{registry}/fresh-test/base:{secrets.token_hex(4)}"
    process.run(["docker", "tag", base_image, name])
    process.run(["docker", "push", "--quiet", name], timeout=600)
    yield name
    process.run(["docker", "image", "rm", name], check=False)


@pytest.fixture(scope="session")
def crate_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrateRegistry]:
    """Serve a handful of tiny crates in the place of crates.io, on loopback."""
    with CrateRegistry(tmp_path_factory.mktemp("crates")) as crates:
        crates.publish(Crate(name="tiny-leaf", source="pub fn leaf() -> u8 { 1 }"))
        crates.publish(
            Crate(
                name="tiny-scripted",
                source='pub fn scripted() -> u8 { tiny_leaf::leaf() + env!("NUMBER").len() as u8 }',
                build_script='println!("cargo:rerun-if-changed=src/lib.rs\\ncargo:rustc-env=NUMBER=1");',
                dependencies=("tiny-leaf",),
            )
        )
        crates.publish(
            Crate(
                name="tiny-upper",
                source="pub fn upper() -> u8 { tiny_scripted::scripted() }",
                dependencies=("tiny-scripted",),
            )
        )
        crates.publish(
            Crate(
                name="tiny-networked",
                source="",
                build_script=f'std::net::TcpStream::connect("{crates.address}").expect("no network");',
            )
        )
        yield crates


@pytest.fixture(scope="module")
def shops(registry: str, docker_env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    name = f"push-test/{secrets.token_hex(4)}"
    folder = tmp_path_factory.mktemp("push")
    environment = {
        **docker_env,
        "FACTORY_CACHE_DIR": str(folder / "cache"),
        "FACTORY_IMAGE_REGISTRY": registry,
        "FACTORY_IMAGE_NAME": name,
        "FACTORY_IMAGE_TAGS": "{layer},{layer}-{minor}",
        "FACTORY_PUSH_ATTEMPTS": "2",
        "SOURCE_DATE_EPOCH": str(DAY),
        "PYTHONPATH": str(ROOT),
    }
    write_text(folder / "cache" / "CACHEDIR.TAG", CACHEDIR_TAG)
    yield Shop(registry=registry, name=name, environment=environment, folder=folder)
    if ours := images_like(f"*/{name}*"):
        process.run(["docker", "image", "rm", "--force", *ours], check=False)


@pytest.fixture
def shop(shops: Shop) -> Shop:
    """A repository that nothing was pushed to."""
    name = f"{shops.name}-{secrets.token_hex(4)}"
    return replace(shops, name=name, environment={**shops.environment, "FACTORY_IMAGE_NAME": name})


@pytest.fixture(scope="session")
def private_line(
    base_image: str, docker_env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivateLine]:
    """Cook an image from private sources, once for all tests that look at it."""
    with cooked_line(tmp_path_factory.mktemp("private"), base_image, docker_env) as line:
        yield line


def use_users_cache(patch: pytest.MonkeyPatch) -> None:
    """Let systems that were installed for base images be found again, whatever cache the tests have."""
    if USERS_CACHE is None:
        patch.delenv("FACTORY_CACHE_DIR", raising=False)
    else:
        patch.setenv("FACTORY_CACHE_DIR", USERS_CACHE)


def _usable() -> bool:
    version = process.run(["docker", "version", "--format", "{{.Server.Version}}"], check=False)
    major = re.match(r"\d+", version.stdout)
    if not version.ok or major is None or int(major[0]) < OLDEST_USABLE_MAJOR:
        return False
    return process.run(["docker", "buildx", "version"], check=False).ok


def _evaluated(exports: str) -> dict[str, str]:
    """Return what a shell makes of `export` lines."""
    names = re.findall(r"^export (\w+)=", exports, re.MULTILINE)
    script = exports + "".join(f'printf "%s\\0" "${name}"\n' for name in names)
    values = process.run(["sh", "-euc", script]).stdout.split("\0")
    return dict(zip(names, values, strict=False))
