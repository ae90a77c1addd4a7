"""Several platforms: their indexes, and amd64 beside an emulated arm64 from the analysis to a consumer's build."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.base import build_base
from factory.engine import Engine
from factory.errors import BuildFailedError
from factory.files import cache_directory, write_text
from factory.output import Output
from factory.platforms import Platform, machine_platform
from tests.cargo.scenario import Workspace
from tests.docker.conftest import ENGINE, use_users_cache
from tests.docker.line import Line, line_of
from tests.docker.shop import DATE, LAYERS, Shop

if TYPE_CHECKING:
    from collections.abc import Mapping

BOTH = tuple(Platform)


# Indexes, of images that run nothing


@pytest.fixture
def wide(shop: Shop) -> Shop:
    """A repository of its own for images of both platforms."""
    return shop.with_environment(FACTORY_PLATFORMS=",".join(BOTH))


def test_the_platforms_of_a_layer_are_joined_into_one_index(wide: Shop) -> None:
    wide.build_for(BOTH, "one")
    answer = wide.factory("push", "--json")
    assert answer.returncode == 0, answer.stderr
    for row in json.loads(answer.stdout)["layers"]:
        ids = {p: Engine().image(f"{wide.repository}:{row['layer']}-{p.architecture}").id for p in BOTH}
        assert row["platforms"] == ids
        index = wide.inspect(row["layer"])
        assert index is not None
        assert index["digest"] == row["index"]
        assert [f"linux/{each['platform']['architecture']}" for each in index["manifests"]] == sorted(BOTH)
    again = wide.factory("push")
    assert again.returncode == 3, again.stderr


def test_an_index_never_lacks_a_platform(wide: Shop) -> None:
    wide.build_for(BOTH[:1], "one")
    missing = wide.factory("push")
    assert missing.returncode == 2
    assert "plan-linux-arm64.json: no such file" in missing.stderr
    alone = wide.factory("--platform", BOTH[0], "push")
    assert alone.returncode == 2
    assert f"there is no image of core for {BOTH[1]}, web for {BOTH[1]}" in alone.stderr
    assert wide.tags() == {}


def test_what_machines_of_their_own_staged_is_joined(wide: Shop, tmp_path: Path) -> None:
    plans = wide.build_for(BOTH, "one")
    proofs: list[str] = []
    for platform in BOTH:
        staged = wide.factory("--platform", platform, "push", "--stage")
        assert staged.returncode == 0, staged.stderr
        names = [f"{wide.repository}:{layer}-{platform.architecture}" for layer in LAYERS]
        for layer, name in zip(LAYERS, names, strict=True):
            tag = f"{layer}-1.95.0-{DATE}-{Engine().image(name).id[7:19]}-{platform.architecture}"
            assert f"{wide.repository}:{tag}" in staged.stdout.split()
            carried = tmp_path / f"{layer}-{platform.architecture}.json"
            wide.record_of(name).rename(carried)
            proofs.append(f"--proof={carried}")
        # The machine that joins has none of the images.
        process.run(["docker", "image", "rm", *names])
    assert wide.tags() == {}
    assert wide.factory("--platform", BOTH[0], "push", "--stage").returncode == 2
    unproven = wide.factory("push", "--join", *proofs[1:])
    assert unproven.returncode == 1
    assert f"core for {BOTH[0]}" in unproven.stderr
    joined = wide.factory("push", "--join", *proofs, "--json")
    assert joined.returncode == 0, joined.stderr
    rows = json.loads(joined.stdout)["layers"]
    assert [sorted(row["platforms"]) for row in rows] == [sorted(BOTH)] * len(LAYERS)
    (stays,) = rows[0]["tags"]["immutable"]
    assert stays.startswith(f"core-1.95.0-{DATE}-")
    # Not that of either platform alone.
    assert not any(stays.endswith(plan.layer_digest("core")[:12]) for plan in plans.values())
    assert set(wide.tags()) == {"core", "core-1.95", "web", "web-1.95"}
    # An image that was joined is known by what its layer's tag stands for, without the tag that carried it.
    for proof in proofs:
        record = Path(proof.removeprefix("--proof="))
        write_text(record, record.read_text(encoding="utf-8").replace(DATE, "20200101"))
    assert wide.factory("push", "--join", *proofs).returncode == 3
    # Without records, what is published of the same plans stands.
    assert wide.factory("push", "--join").returncode == 3


def test_what_was_not_staged_is_not_joined(wide: Shop) -> None:
    wide.build_for(BOTH, "one")
    proofs = [
        f"--proof={wide.record_of(f'{wide.repository}:{layer}-{platform.architecture}')}"
        for platform in BOTH
        for layer in LAYERS
    ]
    answer = wide.factory("push", "--join", *proofs)
    assert answer.returncode == 2
    assert f"factory --platform {BOTH[0]} push --stage" in answer.stderr
    assert wide.tags() == {}


# Real ones: Debian's own compiler for both, one of them emulated

SUITE = "sid"
FRONT = Workspace(
    name="front",
    is_bin=True,
    # One crate with a build script, and one that only arm64 has.
    dependencies=("libc = '0.2'",),
    tables="[target.'cfg(target_arch = \"aarch64\")'.dependencies]\ncfg-if = '1'\n",
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The images of both platforms, and the line that made them."""

    repository: str
    line: Line

    def image(self, platform: Platform) -> str:
        return f"{self.repository}:core-{platform.architecture}"

    def plan(self, platform: Platform) -> Any:  # noqa: ANN401 - any JSON value
        return self.line.read(f"rebuild/{platform.file_ending}/plan.json")


@pytest.fixture(scope="module")
def pair(docker_env: Mapping[str, str], registry: str, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Let a rebuild take one tiny repository from the analysis to the registry, for both platforms."""
    for platform in BOTH:
        _require_installed(platform)
    release = {_release(_base(platform), platform) for platform in BOTH}
    assert len(release) == 1
    name = f"platforms-test/{secrets.token_hex(4)}"
    settings = {
        "image": {"registry": registry, "name": name, "tags": ["{layer}"]},
        "base": {"image": "rust-warm-factory/base:test-sid-{arch}", "suite": SUITE},
        "platforms": list(BOTH),
        "toolchain": release.pop(),
    }
    line = line_of(tmp_path_factory.mktemp("platforms"), FRONT, settings, docker_env)
    line.succeed("rebuild", "front", "--verify-on", "front", "--push")
    return Pair(repository=f"{registry}/{name}", line=line)


def _base(platform: Platform) -> str:
    """Return the tag of a base with Debian's rustc; for an emulated platform it must have been made before."""
    tag = f"rust-warm-factory/base:test-{SUITE}-{platform.architecture}"
    with pytest.MonkeyPatch.context() as patch:
        use_users_cache(patch)
        try:
            build_base(tag=tag, suite=SUITE, toolchain="debian", ca_bundle=None, platform=platform, output=Output())
        except BuildFailedError as error:
            # sid changes all day, and there are hours in which it cannot be installed.
            pytest.skip(f"Debian {SUITE} cannot be installed now: {error.what.splitlines()[-1]}")
    return tag


def _require_installed(platform: Platform) -> None:
    """Skip where another platform cannot run here, or its Debian would have to be installed under emulation first."""
    if platform is machine_platform():
        return
    with pytest.MonkeyPatch.context() as patch:
        use_users_cache(patch)
        installed = any((cache_directory() / "base").glob(f"{SUITE}-{platform.architecture}-*/root.tar"))
    if not installed:
        pytest.skip(
            f"Debian {SUITE} for {platform} is not installed here, which takes minutes under emulation: "
            "docs/platforms.md has the commands"
        )
    up = process.run([sys.executable, ENGINE, "emulation", "up"], check=False)
    if not up.ok:
        pytest.skip(f"no emulation: {up.stderr.strip()}")


def _release(base: str, platform: Platform) -> str:
    command = ["docker", "run", "--rm", "--network=none", f"--platform={platform}", base, "rustc", "--version"]
    return process.run(command, timeout=300).stdout.split()[1]


def test_every_platform_has_the_graph_that_its_own_cargo_resolves(pair: Pair) -> None:
    crates = {platform: {row["package"][0] for row in pair.plan(platform)["units"].values()} for platform in BOTH}
    assert crates == {Platform.LINUX_AMD64: {"libc"}, Platform.LINUX_ARM64: {"libc", "cfg-if"}}
    for platform in BOTH:
        assert pair.plan(platform)["contract"]["toolchain"]["host"] == platform.rust_target
        assert Engine().image(pair.image(platform)).platform == platform


def test_a_rebuild_pushes_one_index_and_has_nothing_to_do_afterwards(pair: Pair) -> None:
    command = ["docker", "buildx", "imagetools", "inspect", f"{pair.repository}:core", "--format={{json .Manifest}}"]
    index = json.loads(process.run(command).stdout)
    found = {f"linux/{row['platform']['architecture']}": row["digest"] for row in index["manifests"]}
    assert found == {platform: Engine().image(pair.image(platform)).id for platform in BOTH}
    again = pair.line.factory("rebuild", "front", "--push")
    assert again.returncode == 3, again.stderr


@pytest.mark.parametrize("platform", BOTH)
def test_a_consumer_pulls_its_platform_and_finds_everything_fresh(pair: Pair, platform: Platform) -> None:
    for mine in (pair.image(platform), f"{pair.repository}:core"):
        # What was built here must not stand in for what the registry has.
        process.run(["docker", "image", "rm", "--force", mine], check=False)
    dockerfile = (
        f"FROM {pair.repository}:core AS build\n"
        "COPY --chown=1001:1001 . /tmp/front\nWORKDIR /tmp/front\n"
        "RUN --network=none cargo build --release --locked --offline --message-format=json >/tmp/said.json\n"
        "FROM scratch\nCOPY --from=build /tmp/said.json /\n"
    )
    write_text(pair.line.folder / "Dockerfile", dockerfile)
    out = pair.line.folder / f"said-{platform.architecture}"
    command = ["docker", "buildx", "build", f"--platform={platform}", "-q", f"--output=type=local,dest={out}"]
    command += [f"--file={pair.line.folder / 'Dockerfile'}", str(pair.line.folder / "front")]
    process.run(command, timeout=900)
    rows = [json.loads(line) for line in (out / "said.json").read_text(encoding="utf-8").splitlines()]
    fresh = {row["target"]["name"]: row["fresh"] for row in rows if row["reason"] == "compiler-artifact"}
    assert fresh.pop("front") is False
    assert set(fresh) >= {"libc"}
    assert ("cfg_if" in fresh) == (platform is Platform.LINUX_ARM64)
    assert all(fresh.values())


def test_a_plan_is_not_built_for_another_platform(pair: Pair) -> None:
    other = pair.line.folder / "rebuild" / BOTH[0].file_ending / "plan.json"
    write_text(pair.line.folder / f"plan-{BOTH[1].file_ending}.json", other.read_text(encoding="utf-8"))
    answer = pair.line.factory("--platform", BOTH[1], "build")
    assert answer.returncode == 2
    assert f"the plan was made for {BOTH[0].rust_target}, and {BOTH[1]} is built" in answer.stderr
