"""Builders that are other machines' BuildKit: buildx's remote driver, with a node for each platform."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest

from factory import process
from factory.engine import Engine
from factory.platforms import Platform, machine_platform
from tests.docker.buildkit_bridge import BuildKitBridge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.docker.private_line import PrivateLine


@pytest.fixture(scope="module")
def nodes(
    docker_env: Mapping[str, str], fresh_engine: Mapping[str, str]
) -> Iterator[tuple[str, Mapping[Platform, BuildKitBridge]]]:
    """Make a builder of two nodes, one a platform, in an engine that is not the client's; return its name and nodes."""
    name = f"factory-test-{secrets.token_hex(4)}"
    with BuildKitBridge(fresh_engine["DOCKER_HOST"]) as amd64, BuildKitBridge(fresh_engine["DOCKER_HOST"]) as arm64:
        bridges = {Platform.LINUX_AMD64: amd64, Platform.LINUX_ARM64: arm64}
        for platform, bridge in bridges.items():
            create = ["docker", "buildx", "create", "--driver=remote", f"--name={name}", f"--platform={platform}"]
            append = [] if bridge is amd64 else ["--append"]
            process.run([*create, *append, bridge.address], env=docker_env)
        try:
            yield name, bridges
        finally:
            process.run(["docker", "buildx", "rm", name], env=docker_env)


def test_layers_are_cooked_by_the_node_of_their_platform_and_loaded_here(
    private_line: PrivateLine, published_base: str, nodes: tuple[str, Mapping[Platform, BuildKitBridge]]
) -> None:
    builder, bridges = nodes
    image = f"rust-warm-factory/builders-test-{secrets.token_hex(4)}"
    before = {platform: bridge.calls for platform, bridge in bridges.items()}
    variables = {"BUILDX_BUILDER": builder, "FACTORY_BASE_IMAGE": published_base, "FACTORY_IMAGE_NAME": image}
    built = private_line.factory("build", "--json", **variables)
    assert built.returncode == 0, built.stderr
    try:
        (core,) = json.loads(built.stdout)["layers"]
        (here,) = private_line.built["layers"]
        assert core["cooked"] == here["cooked"]
        facts = Engine().image(f"{image}:core")
        assert facts.platform == machine_platform()
        used = {platform for platform, bridge in bridges.items() if bridge.calls > before[platform]}
        assert machine_platform() in used
    finally:
        process.run(["docker", "image", "rm", f"{image}:core"], check=False)


def test_each_platform_of_a_build_goes_to_its_node(
    nodes: tuple[str, Mapping[Platform, BuildKitBridge]], docker_env: Mapping[str, str], tmp_path: Path
) -> None:
    builder, bridges = nodes
    (tmp_path / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n")
    for platform, bridge in bridges.items():
        before = {other: each.calls for other, each in bridges.items()}
        out = tmp_path / platform.architecture
        words = ["docker", "buildx", "build", f"--builder={builder}", f"--platform={platform}"]
        process.run([*words, f"--output=type=local,dest={out}", str(tmp_path)], env=docker_env, timeout=120)
        assert (out / platform.architecture).is_file()
        assert bridge.calls > before[platform]
