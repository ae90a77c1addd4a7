"""The ground of the Docker side: a base image out of nothing, and layers of warm dependencies on it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.base import build_base, is_home_made
from factory.engine import Engine
from factory.errors import BuildFailedError, ConfigurationError, RegistryFaultError
from factory.files import write_text
from factory.labels import Label
from factory.output import Output
from factory.publish.attempts import Patience
from factory.publish.distribution import pinned
from tests.docker.baking import (
    DOCKERFILES,
    EPOCH,
    SHARE,
    bake,
    bake_targets,
    freshness,
    in_container,
    layer_digests,
    name_of,
    of_reason,
    read_output,
    read_report,
    rustc_verbose,
    write_recipe,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.docker.crates import CrateRegistry

BUILD_DIR = "/usr/local/cargo-build"
OTHER_RUSTC = (
    "rm /usr/local/cargo/bin/rustc && printf '#!/bin/sh\\necho rustc 1.95.0 of somebody else\\n' "
    "> /usr/local/cargo/bin/rustc && chmod +x /usr/local/cargo/bin/rustc"
)
WARM_PATHS = f"/usr/local/cargo {BUILD_DIR} {SHARE}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layers:
    """Two built layers: their tags, and what cargo reported while each was cooked."""

    core: str
    web: str
    core_report: tuple[dict[str, Any], ...]
    web_report: tuple[dict[str, Any], ...]


@pytest.fixture(scope="module")
def layers(
    base_image: str, crate_registry: CrateRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Layers]:
    folder = tmp_path_factory.mktemp("bake")
    write_recipe(folder / "core", "factory-recipe-core", ("tiny-scripted",), crate_registry)
    write_recipe(folder / "core", "factory-recipe-networked", ("tiny-leaf", "tiny-networked"), crate_registry)
    check = ("check", "--profile=bench")
    write_recipe(folder / "core", "factory-recipe-check", ("tiny-leaf",), crate_registry, cook=check)
    tests = ("test", "--no-run", "--profile", "dev")
    write_recipe(folder / "core", "factory-recipe-tests", ("tiny-scripted",), crate_registry, cook=tests)
    write_recipe(folder / "web", "factory-recipe-web", ("tiny-upper",), crate_registry)
    bake_file = folder / "docker-bake.json"
    bake_file.write_text(json.dumps({"target": bake_targets(folder, base_image)}))
    for layer in ("core", "web"):
        # A layer is reported before it is finished: its contents tell what was cooked.
        bake(bake_file, f"{layer}-report")
        (folder / layer / "contents" / "contents.json").write_text("{}\n")
        bake(bake_file, layer)
    yield Layers(
        core="rust-warm-factory/test:core",
        web="rust-warm-factory/test:web",
        core_report=read_report(folder / "core"),
        web_report=read_report(folder / "web"),
    )
    process.run(["docker", "image", "rm", "rust-warm-factory/test:core", "rust-warm-factory/test:web"])


def test_any_user_can_run_the_toolchain_of_the_base(base_image: str) -> None:
    says = in_container(base_image, "cargo --version && echo $CARGO_HOME $RUSTUP_HOME", user="4242:4242")
    assert says.splitlines() == [
        process.run(["cargo", "--version"]).stdout.strip(),
        "/usr/local/cargo /usr/local/rustup",
    ]


def test_any_user_can_compile_and_link_in_the_base(base_image: str) -> None:
    says = in_container(base_image, "cd /tmp && cargo new --quiet hello && cd hello && cargo run", user="4242:4242")
    assert says == "Hello, world!\n"


@pytest.mark.usefixtures("users_cache")
def test_the_base_gets_the_certificates_it_is_given(docker_env: Mapping[str, str], tmp_path: Path) -> None:
    assert docker_env
    bundle = tmp_path / "company.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n")
    sysroot = Path(process.run(["rustc", "--print", "sysroot"]).stdout.strip())
    tag = "rust-warm-factory/base:test-certificates"
    image = build_base(tag=tag, suite="bookworm", toolchain=sysroot, ca_bundle=bundle, output=Output())
    try:
        assert in_container(image, "cat /etc/ssl/certs/ca-certificates.crt", user="1:1") == bundle.read_text()
    finally:
        process.run(["docker", "image", "rm", tag])


@pytest.mark.parametrize("suite", ["Bookworm", "../x", "sid main\ndeb"])
def test_a_suite_that_is_none_is_refused(suite: str) -> None:
    with pytest.raises(ConfigurationError, match="not the name of a Debian suite"):
        build_base(tag="x", suite=suite, toolchain="debian", ca_bundle=None, output=Output())


def test_a_directory_without_a_toolchain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="it has no bin/cargo"):
        build_base(tag="x", suite="bookworm", toolchain=tmp_path, ca_bundle=None, output=Output())


def test_a_failed_base_leaves_nothing_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_CACHE_DIR", str(tmp_path))
    with pytest.raises(BuildFailedError, match="mmdebstrap"):
        build_base(tag="x", suite="no-such-suite", toolchain="debian", ca_bundle=None, output=Output())
    assert list((tmp_path / "base").iterdir()) == []


def test_a_tag_is_pinned_to_the_digest_its_registry_has(base_image: str, registry: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    metadata = tmp_path / "metadata.json"
    named = f"{registry}/pinned:1"
    output = f"--output=type=image,name={named},push=true"
    build = ["docker", "buildx", "build", "--provenance=false", output, f"--metadata-file={metadata}"]
    process.run([*build, str(tmp_path)])
    process.run(["docker", "image", "rm", named], check=False)
    found = pinned(named, patience=Patience(attempts=1), output=Output())
    assert found == f"{named}@{json.loads(metadata.read_text())['containerimage.digest']}"
    assert pinned(found, patience=Patience(attempts=1), output=Output()) == found
    assert base_image


def test_a_base_made_here_is_known_by_the_name_it_was_made_under(base_image: str, tmp_path: Path) -> None:
    engine, name, on_it = Engine(), "home-made-test/base:1", "home-made-test/on-it:1"
    write_text(tmp_path / "Dockerfile", f"FROM {base_image}\n")
    for tag, label in ((name, name), (on_it, name)):
        words = [
            "docker",
            "buildx",
            "build",
            "-q",
            "--provenance=false",
            "--load",
            f"--label={Label.HOME_MADE}={label}",
        ]
        process.run([*words, f"-t{tag}", str(tmp_path)])
    try:
        found = [is_home_made(each, engine) for each in (base_image, name, on_it)]
    finally:
        for each in (name, on_it):
            engine.remove_image(each)
    assert found == [True, True, False]
    assert not is_home_made(name, engine)


def test_a_missing_image_and_a_silent_registry_are_told_apart(registry: str) -> None:
    with pytest.raises(RegistryFaultError, match="no such image"):
        pinned(f"{registry}/nothing:1", patience=Patience(attempts=1), output=Output())
    with pytest.raises(RegistryFaultError, match="did not answer"):
        pinned("127.0.0.1:9/nothing:1", patience=Patience(attempts=1), output=Output())


def test_what_was_cooked_is_fresh_for_a_consumer(layers: Layers, crate_registry: CrateRegistry, tmp_path: Path) -> None:
    warm = freshness(layers.web, ("tiny-upper",), crate_registry, tmp_path)
    assert warm == {"tiny-leaf": True, "tiny-scripted": True, "tiny-upper": True, "consumer": False}


def test_the_layer_below_has_its_own_crates_only(layers: Layers, crate_registry: CrateRegistry, tmp_path: Path) -> None:
    below = in_container(layers.core, f"find {BUILD_DIR} /usr/local/cargo/registry", user="1001:1001")
    assert "tiny-upper" not in below.replace("_", "-")
    assert freshness(layers.core, ("tiny-scripted",), crate_registry, tmp_path)["tiny-scripted"]


def test_a_build_script_gets_no_network_and_the_rest_is_cooked_all_the_same(layers: Layers) -> None:
    finished = {line["name"]: line["exit"] for line in of_reason(layers.core_report, "factory-recipe-finished")}
    assert finished.pop("factory-recipe-networked") == 101
    assert finished == {"factory-recipe-core": 0, "factory-recipe-check": 0, "factory-recipe-tests": 0}
    said = in_container(layers.core, f"cat {SHARE}/core/errors.log").splitlines()
    assert [line for line in said if line.startswith("====")] == ["==== factory recipe factory-recipe-networked"]
    assert "tiny-networked" in said[1]
    assert [line for line in said if line.lstrip().startswith(("Compiling", "warning: build failed"))] == []
    cooked = {name_of(line) for line in of_reason(layers.core_report, "compiler-artifact")}
    assert {"tiny-leaf", "tiny-scripted"} <= cooked


def test_a_parents_units_are_fresh_when_the_next_layer_is_cooked(layers: Layers) -> None:
    fresh = {name_of(line): line["fresh"] for line in of_reason(layers.web_report, "compiler-artifact")}
    assert fresh["tiny-leaf"]
    assert fresh["tiny-scripted"]
    assert not fresh["tiny-upper"]


def test_every_warm_path_belongs_to_the_runner_and_is_open_to_its_group(layers: Layers) -> None:
    bare = f"find {WARM_PATHS} ! -path '/usr/local/cargo/bin/*'"
    foreign = in_container(layers.web, rf"{bare} ! \( -user 1001 -group 1001 \)", user="0:0")
    closed = in_container(layers.web, f"{bare} ! -type l ! -perm -g=rw", user="0:0")
    unmarked = in_container(layers.web, f"{bare} -type d ! -perm -g=rwxs", user="0:0")
    assert (foreign, closed, unmarked) == ("", "", "")


def test_the_image_holds_no_unit_of_a_recipe_and_no_rubbish(layers: Layers) -> None:
    rubbish = r"find / -xdev \( -iname '*factory*recipe*' -o -path '*/registry/src' -o -name incremental \
        -o -name .global-cache -o -path /run/factory -o -path '/tmp/*' \)"
    assert in_container(layers.web, rubbish, user="0:0") == ""


def test_every_file_of_a_layer_has_the_time_it_was_given(layers: Layers) -> None:
    cooked = f"find {WARM_PATHS} ! -path '/usr/local/cargo/bin/*' -printf '%T@\\n' | sort -u"
    times = in_container(layers.web, cooked, user="0:0")
    assert [float(time) for time in times.split()] == [EPOCH]


def test_another_member_of_the_group_can_build_too(
    layers: Layers, crate_registry: CrateRegistry, tmp_path: Path
) -> None:
    warm = freshness(layers.web, ("tiny-upper",), crate_registry, tmp_path, user="2002:1001")
    assert warm["tiny-upper"]


def test_a_childs_layers_begin_with_its_parents(layers: Layers, base_image: str) -> None:
    base, core, web = (layer_digests(image) for image in (base_image, layers.core, layers.web))
    assert core[: len(base)] == base
    assert web[: len(core)] == core
    assert len(base) < len(core) < len(web)


def test_the_image_runs_as_the_runner_and_brings_its_contents(layers: Layers) -> None:
    says = in_container(layers.web, f"id -un; id -gn; echo $HOME; ls {SHARE} {SHARE}/core; cat {SHARE}/web/*.json")
    assert says.split() == [
        *("runner", "runner", "/home/runner"),
        *(f"{SHARE}:", "core", "web", f"{SHARE}/core:", "contents.json", "cook.jsonl", "errors.log", "{}"),
    ]


def test_cooking_again_gives_the_same_layers(layers: Layers, base_image: str, tmp_path: Path) -> None:
    again = "rust-warm-factory/test:again"
    inspect = ["docker", "image", "inspect", "--format", '{{index .Config.Labels "from"}}', layers.core]
    folder = Path(read_output(inspect).strip())
    targets = bake_targets(folder, base_image)
    target = {"core": targets["core"] | {"tags": [again], "no-cache": True}}
    bake_file = tmp_path / "docker-bake.json"
    bake_file.write_text(json.dumps({"target": target}))
    bake(bake_file, "core")
    try:
        assert layer_digests(again) == layer_digests(layers.core)
    finally:
        process.run(["docker", "image", "rm", again])


@pytest.mark.parametrize(
    ("step", "complaint"),
    [
        ("printf '[build]\\njobs = 1\\n' > /usr/local/cargo/config.toml", "sets build.* or cache.* itself"),
        ("useradd --uid 1001 other", "1001 is other in the base image's /etc/passwd"),
        ("ln -s /tmp /usr/local/cargo-build", "/usr/local/cargo-build is a symbolic link"),
        ("rm /usr/local/cargo/bin/cargo", "no working cargo"),
        (OTHER_RUSTC, "another rustc than the plan was made for"),
    ],
)
def test_a_base_that_cannot_keep_the_contract_is_refused(
    base_image: str, tmp_path: Path, step: str, complaint: str
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\nRUN --network=none {step}\n")
    parent = "rust-warm-factory/test:parent"
    process.run(["docker", "buildx", "build", "--load", f"--tag={parent}", str(tmp_path)])
    context = f"--build-context=parent=docker-image://{parent}"
    layer = f"--file={DOCKERFILES / 'layer.Dockerfile'}"
    arguments = (f"--build-arg=SOURCE_DATE_EPOCH={EPOCH}", f"--build-arg=RUSTC_VERBOSE={rustc_verbose()}")
    build = ["docker", "buildx", "build", "--progress=plain", "--target=contract", *arguments]
    try:
        failed = process.run([*build, context, layer, DOCKERFILES], check=False)
    finally:
        process.run(["docker", "image", "rm", parent])
    assert not failed.ok
    assert complaint in failed.stderr
    if step == OTHER_RUSTC:
        assert "the base image: rustc 1.95.0 of somebody else" in failed.stderr
        assert f"the plan: {rustc_verbose().splitlines()[0]} " in failed.stderr


@pytest.mark.parametrize("hidden", ["temporary", "cache", ""])
def test_an_engine_that_does_not_see_this_machines_files_is_told(base_image: str, tmp_path: Path, hidden: str) -> None:
    """In a mount namespace of its own, a process has a folder that the engine finds empty."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root, and unshare")
    temporary, cache = tmp_path / "temporary", tmp_path / "cache"
    for folder in (temporary, cache):
        folder.mkdir()
    hide = f"mount -t tmpfs none '{tmp_path / hidden}' && " if hidden else ""
    look = f"from factory.engine import *\nEngine().require_shared({base_image!r}, [Path({str(cache)!r})])"
    done = process.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            f"{hide} touch '{cache}/file' && exec \"$@\"",
            "",
            sys.executable,
            "-c",
            look,
        ],
        env={**os.environ, "TMPDIR": str(temporary)},
        check=False,
        timeout=120,
    )
    assert done.ok == (not hidden), done.stderr
    named = re.findall("EnvironmentFaultError: the engine does not see this machine's files: (.*)", done.stderr)
    assert [Path(path).is_relative_to(tmp_path / hidden) for path in named] == ([True] if hidden else [])
