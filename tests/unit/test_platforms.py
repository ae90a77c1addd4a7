"""Several platforms: the runs that a command line stands for, names of their own, and what is kept apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from factory.base import build_base
from factory.cli.app import Globals
from factory.cli.runs import run_of, runs_of
from factory.config.model import BaseSettings, ImageSettings, Settings
from factory.cook.bake_file import bake_definition
from factory.cook.image_build import image_build
from factory.errors import BadAnswerError, ConfigurationError
from factory.output import Output
from factory.pipeline.run import Run
from factory.platforms import Platform, machine_platform
from factory.publish.model import BuiltImage
from factory.publish.record import ProofRecord, passed_record
from tests.unit.builders import plan_for, unit

if TYPE_CHECKING:
    import typer

BOTH = tuple(Platform)
AMD64, ARM64 = Platform.LINUX_AMD64, Platform.LINUX_ARM64
OTHER = next(platform for platform in Platform if platform is not machine_platform())
PLAN = plan_for({"core": [unit("aa")]})


def context(folder: Path, text: str, *, platform: Platform | None = None, cell: str | None = None) -> typer.Context:
    """Return the context of a command with these options before it and this configuration."""
    config = folder / "registry-config.yaml"
    config.write_text(text)
    given = Globals(config=config, cell=cell, platform=platform, output=Output())
    return cast("typer.Context", SimpleNamespace(obj=given))


def names(runs: tuple[Run, ...]) -> list[str]:
    return [run.name for run in runs]


# What runs


def test_every_row_is_run_for_every_platform_and_the_platforms_of_a_row_follow_each_other(tmp_path: Path) -> None:
    text = 'platforms: [linux/amd64, linux/arm64]\nmatrix: [{toolchain: "1.95.0"}, {suite: trixie}]\n'
    text += "image: {tags: ['{layer}-{suite}']}\n"
    assert names(runs_of(context(tmp_path, text))) == [
        "1.95.0-bookworm-linux-amd64",
        "1.95.0-bookworm-linux-arm64",
        "1.95.0-trixie-linux-amd64",
        "1.95.0-trixie-linux-arm64",
    ]
    assert names(runs_of(context(tmp_path, text, platform=ARM64, cell="1.95.0-trixie"))) == [
        "1.95.0-trixie-linux-arm64"
    ]
    one = run_of(context(tmp_path, text, cell="1.95.0-trixie"))
    assert (one.cell, one.platform) == ("1.95.0-trixie", machine_platform() or AMD64)


def test_where_nobody_names_a_platform_it_is_this_machines_without_a_name(tmp_path: Path) -> None:
    (run,) = runs_of(context(tmp_path, "schema: 1\n"))
    assert (run.platform, run.name, run.tag_ending) == (None, "", "")
    (named,) = runs_of(context(tmp_path, "schema: 1\n", platform=ARM64))
    assert (named.platform, named.name, named.tag_ending) == (ARM64, "", "")


def test_a_platform_that_is_not_listed_is_not_built(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--platform linux/arm64: `platforms` lists linux/amd64"):
        runs_of(context(tmp_path, "platforms: [linux/amd64]\n", platform=ARM64))


def test_what_only_one_platform_can_give_is_not_given_by_two(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--json is for one platform, and `platforms` lists 2"):
        runs_of(context(tmp_path, "platforms: [linux/amd64, linux/arm64]\n"), single="--json")


# Names


def test_platforms_side_by_side_have_files_folders_and_tags_of_their_own() -> None:
    run = Run(settings=Settings(), output=Output(), platforms=BOTH, platform=ARM64)
    assert run.file(Path("out/plan.json")) == Path("out/plan-linux-arm64.json")
    assert run.folder(Path("rebuild")) == Path("rebuild/linux-arm64")
    assert run.tag_ending == "-arm64"
    alone = replace(run, platforms=(ARM64,))
    assert (alone.file(Path("plan.json")), alone.folder(Path("rebuild"))) == (Path("plan.json"), Path("rebuild"))
    assert alone.tag_ending == ""


def test_of_the_files_to_read_the_runs_own_goes_before_the_one_that_is_named(tmp_path: Path) -> None:
    run = Run(settings=Settings(), output=Output(), platforms=BOTH, platform=ARM64)
    named, own = tmp_path / "plan.json", tmp_path / "plan-linux-arm64.json"
    assert run.file_to_read(named) == own
    named.touch()
    assert run.file_to_read(named) == named
    own.touch()
    assert run.file_to_read(named) == own


def test_a_base_image_of_each_platform_is_named_by_its_architecture(tmp_path: Path) -> None:
    settings = Settings(base=BaseSettings(image="ours/base:1-{arch}"))
    assert [settings.of_platform(platform).base_image for platform in BOTH] == [
        "ours/base:1-amd64",
        "ours/base:1-arm64",
    ]
    text = f"platforms: [linux/amd64]\nbase:\n  image: 'ours/base:1-{{arch}}@sha256:{'a' * 64}'\n"
    with pytest.raises(ConfigurationError, match=r"3:3: base\.image: .* is pinned to one image; leave out \{arch\}"):
        runs_of(context(tmp_path, text))


# Building


def test_a_build_names_its_platform_and_takes_plans_of_no_other(tmp_path: Path) -> None:
    settings = Settings(image=ImageSettings(name="org/rust", tags=("{layer}",)))
    own = next(platform for platform in Platform if platform.rust_target == PLAN.contract.toolchain.host)
    other = next(platform for platform in Platform if platform is not own)
    build = image_build(PLAN, settings, tmp_path, platform=own, ending=f"-{own.architecture}")
    targets = bake_definition(build, host_network=False)["target"]
    assert {tuple(target["platforms"]) for target in targets.values()} == {(own,)}
    assert targets["core"]["tags"] == [f"org/rust:core-{own.architecture}"]
    with pytest.raises(ConfigurationError, match=f"made for {own.rust_target}, and {other} is built"):
        image_build(PLAN, settings, tmp_path, platform=other)
    unnamed = bake_definition(image_build(PLAN, settings, tmp_path), host_network=False)["target"]
    assert not any("platforms" in target for target in unnamed.values())


def test_a_toolchain_of_this_machine_makes_no_base_for_another(tmp_path: Path) -> None:
    for part in ("bin/cargo", "bin/rustc", "lib/rustlib"):
        (tmp_path / part).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=f"this machine's toolchain does not run on {OTHER}"):
        build_base(tag="x", suite="sid", toolchain=tmp_path, ca_bundle=None, platform=OTHER, output=Output())


# Joining what other machines built

IMAGE = BuiltImage(layer="web", image_layer="web", platform=ARM64, reference="r:web-arm64", plan_digest="ab")
RECORD = ProofRecord(image="sha256:1", day="20261129", platform=ARM64, layer="web", plan="ab", ok=True, failed=())


def given(*records: ProofRecord) -> dict[str, ProofRecord]:
    return {record.image: record for record in records}


def test_a_record_is_of_one_layer_platform_and_plan() -> None:
    others = [
        replace(RECORD, image="sha256:2", layer="core"),
        replace(RECORD, image="sha256:3", platform=AMD64),
        replace(RECORD, image="sha256:4", plan="cd"),
    ]
    assert passed_record(IMAGE, given(*others)) is None
    assert passed_record(IMAGE, given(*others, RECORD)) == RECORD


def test_of_two_records_nobody_knows_which_is_meant() -> None:
    with pytest.raises(BadAnswerError, match="web for linux/arm64, plan ab: 2 images have records"):
        passed_record(IMAGE, given(RECORD, replace(RECORD, image="sha256:2")))


def test_an_image_that_did_not_pass_elsewhere_is_not_joined() -> None:
    failed = replace(RECORD, ok=False, failed=("owners and modes",))
    with pytest.raises(BadAnswerError, match="did not pass its last verification: owners and modes"):
        passed_record(IMAGE, given(failed))
