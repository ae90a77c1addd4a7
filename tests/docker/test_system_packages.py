"""Debian packages in a layer: installed before the cook, nothing of apt's own left, the same bytes each time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.base import apt_settings
from factory.engine import certificates
from factory.planning.system_packages import missing_packages, read_table
from tests.docker.baking import (
    DOCKERFILES,
    EPOCH,
    SHARE,
    bake,
    bake_targets,
    in_container,
    layer_digests,
    read_report,
    write_recipe,
)
from tests.docker.crates import Crate, CrateRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "rust-warm-factory/system"
PACKAGE = "nasm"
"""A small one without dependencies, and not in the base image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """Two layers that install the same package, and the targets they were baked from."""

    core: str
    web: str
    folder: Path
    targets: dict[str, Any]


@pytest.fixture(scope="module")
def built(base_image: str, crate_registry: CrateRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("system")
    crate_registry.publish(
        Crate(
            name="tiny-assembled",
            source="",
            build_script='assert!(std::process::Command::new("nasm").arg("-v").status().expect("nasm").success());',
        )
    )
    write_recipe(folder / "core", "factory-recipe-assembled", ("tiny-assembled",), crate_registry)
    write_recipe(folder / "web", "factory-recipe-web", ("tiny-upper",), crate_registry)
    (folder / "apt.conf").write_text(apt_settings(), encoding="utf-8")
    targets = bake_targets(folder, base_image)
    secrets = [f"id=apt,src={folder / 'apt.conf'}"]
    secrets += [] if certificates() is None else [f"id=ca,src={certificates()}"]
    for name, target in targets.items():
        target["args"] |= {"COOK_ON": "installed", "PACKAGES": PACKAGE}
        target["secret"] = secrets
        target["tags"] = [f"{NAME}:{name}"]
    yield Built(core=baked(folder, targets, "core"), web=baked(folder, targets, "web"), folder=folder, targets=targets)
    process.run(["docker", "image", "rm", f"{NAME}:core", f"{NAME}:web"])


def baked(folder: Path, targets: dict[str, Any], name: str, *, file: str = "docker-bake.json") -> str:
    (folder / file).write_text(json.dumps({"target": targets}))
    trusted = certificates()
    bake(folder / file, name, readable=() if trusted is None else (trusted,))
    return str(targets[name]["tags"][0])


def test_a_build_script_finds_the_program_that_was_installed(built: Built) -> None:
    bake(built.folder / "docker-bake.json", "core-report", readable=(certificates() or DOCKERFILES,))
    finished = [line for line in read_report(built.folder / "core") if line["reason"] == "factory-recipe-finished"]
    assert [line["exit"] for line in finished] == [0]
    assert in_container(built.core, "nasm -v").startswith("NASM version")


def test_the_image_says_what_was_installed_in_which_version_and_a_child_installs_nothing_again(built: Built) -> None:
    version = in_container(built.web, f"dpkg-query --show --showformat '${{Version}}' {PACKAGE}")
    assert in_container(built.web, f"cat {SHARE}/core/packages.list") == f"{PACKAGE} {version}\n"
    assert in_container(built.web, f"cat {SHARE}/web/packages.list") == ""
    owners = in_container(built.web, f"stat -c '%u:%g %a' {SHARE}/core {SHARE}/core/packages.list")
    assert owners.splitlines() == ["1001:1001 2775", "1001:1001 664"]


def test_nothing_of_apt_and_nothing_of_the_machine_stays(built: Built) -> None:
    left = in_container(
        built.core,
        "find /var/lib/apt/lists /var/cache/apt /var/log/apt /var/log/dpkg.log /var/log/alternatives.log "
        "/var/cache/ldconfig/aux-cache /var/lib/dpkg/status-old /etc/apt/apt.conf.d/00machine "
        "/usr/share/doc/nasm /usr/share/man/man1/nasm.1.gz -type f ! -name lock 2>/dev/null || true",
        user="0:0",
    )
    assert left == ""
    assert (
        in_container(built.core, "stat -c %Y /usr/bin/nasm /var/lib/dpkg/status", user="0:0").split()
        == [str(EPOCH)] * 2
    )


def test_installing_again_gives_the_same_layers(built: Built) -> None:
    again = {"core": built.targets["core"] | {"tags": [f"{NAME}:again"], "no-cache": True}}
    tag = baked(built.folder, again, "core", file="again.json")
    try:
        assert layer_digests(tag) == layer_digests(built.core)
    finally:
        process.run(["docker", "image", "rm", tag])


def test_without_the_package_the_failure_names_it(built: Built) -> None:
    target = built.targets["core-report"]
    bare = {"core-report": target | {"args": target["args"] | {"COOK_ON": "ready"}}}
    (built.folder / "bare.json").write_text(json.dumps({"target": bare}))
    bake(built.folder / "bare.json", "core-report", readable=(certificates() or DOCKERFILES,))
    said = (built.folder / "core" / "report" / "core" / "errors.log").read_text(encoding="utf-8")
    assert "tiny-assembled" in said
    assert missing_packages("tiny-assembled", said, suite="bookworm", table=read_table()) == (PACKAGE,)


def test_a_package_that_the_suite_lacks_is_explained(built: Built) -> None:
    target = built.targets["core"]
    unknown = target | {"args": target["args"] | {"PACKAGES": "no-such-package", "SUITE": "trixie"}}
    (built.folder / "unknown.json").write_text(json.dumps({"target": {"core": unknown}}))
    with pytest.raises(process.ProgramFailedError) as caught:
        bake(built.folder / "unknown.json", "core", readable=(certificates() or DOCKERFILES,))
    said = str(caught.value)
    assert "cannot install no-such-package" in said
    assert "Debian GNU/Linux 12 (bookworm)" in said
    assert "trixie" in said
