"""The Docker backend around the engine: names and times, what a bake is told, and how its reports are judged."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from factory.config.model import (
    BaseSettings,
    BudgetSettings,
    ContractSettings,
    ImageSettings,
    LimitSettings,
    Settings,
    ToolSettings,
    UserSettings,
    WorthSettings,
)
from factory.cook.bake_file import bake_definition, made_by
from factory.cook.budgets import require_within_budgets
from factory.cook.image_build import ImageBuild, image_build
from factory.cook.images import build_commands, build_images
from factory.cook.report import LayerReport
from factory.epoch import DEFAULT_EPOCH
from factory.errors import BadAnswerError, BuildFailedError, ConfigurationError, EnvironmentFaultError
from factory.exclusive import exclusive
from factory.labels import Label
from factory.output import Output
from factory.resources import shipped
from tests.hostile import write_files
from tests.unit.builders import plan_for, unit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from factory.engine import Engine

PLAN = plan_for({"core": [unit("aa", name="serde")], "web": [unit("bb", "aa", name="axum"), unit("cc", name="ring")]})
SETTINGS = Settings(image=ImageSettings(name="org/rust", tags=("{layer}", "{layer}-{date}")))
COMPRESSED = {SETTINGS.base_image: 100, "org/rust:core": 400, "org/rust:web": 900}
ENGINE = cast(
    "Engine",
    SimpleNamespace(
        buildx_version=(0, 17),
        needs_host_network=False,
        require_image=lambda _name, _platform: None,
        compressed_bytes=COMPRESSED.get,
    ),
)
"""What the backend asks of an engine before the command `docker`."""


@pytest.fixture(autouse=True)
def _no_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)


@pytest.fixture
def build(tmp_path: Path) -> ImageBuild:
    return image_build(PLAN, SETTINGS, tmp_path / "bake" / "abc")


def described(definition: Mapping[str, Any], layer: str) -> str:
    return str(definition["target"][layer]["labels"]["org.opencontainers.image.description"])


# Names and times


def test_the_tag_has_the_day_of_the_build_and_the_files_the_epoch(build: ImageBuild) -> None:
    assert abs(time.time() - time.mktime(time.strptime(build.date, "%Y%m%d"))) < 3 * 86400
    assert build.tags("web") == ("org/rust:web", f"org/rust:web-{build.date}")
    assert build.epoch == DEFAULT_EPOCH
    labels = bake_definition(build, host_network=False)["target"]["core"]["labels"]
    assert labels["org.opencontainers.image.created"] == "1980-01-01T00:00:00Z"


def test_labels_say_what_the_image_was_made_from_as_far_as_it_is_known(tmp_path: Path) -> None:
    def labels(settings: Settings, digest: str) -> dict[str, str]:
        build = image_build(PLAN, settings, tmp_path, base_digest=digest)
        return dict(bake_definition(build, host_network=False)["target"]["core"]["labels"])

    image = ImageSettings(name="org/rust", source="https://example.com/images", revision="0123abc")
    known = labels(Settings(image=image), "sha256:ab")
    assert known["org.opencontainers.image.source"] == "https://example.com/images"
    assert known["org.opencontainers.image.revision"] == "0123abc"
    assert known["org.opencontainers.image.base.name"] == "rust:1.95.0-slim-bookworm"
    assert known["org.opencontainers.image.base.digest"] == "sha256:ab"
    assert known["io.rust-warm-factory.owner"] == "1001:1001"
    unknown = labels(SETTINGS, "")
    assert {name.rpartition(".")[2] for name in known.keys() - unknown.keys()} == {"source", "revision", "digest"}


def test_a_chosen_epoch_is_the_day_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1750000000")
    build = image_build(PLAN, SETTINGS, tmp_path)
    assert (build.epoch, build.date) == (1_750_000_000, "20250615")
    assert bake_definition(build, host_network=False)["target"]["web"]["args"]["SOURCE_DATE_EPOCH"] == "1750000000"


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "1_0", "²", "253402300800", " 1"])
def test_an_epoch_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    with pytest.raises(ConfigurationError, match="SOURCE_DATE_EPOCH="):
        image_build(PLAN, SETTINGS, tmp_path)


def test_the_settings_that_decide_bytes_are_told_and_no_others(tmp_path: Path) -> None:
    def label(**changes: object) -> str:
        its = SETTINGS.model_copy(update=changes)
        labels = bake_definition(image_build(PLAN, its, tmp_path), host_network=False)["target"]["web"]["labels"]
        assert labels[Label.SETTINGS] == made_by(its)
        return str(labels[Label.SETTINGS])

    image = SETTINGS.image
    others = (
        {"user": UserSettings(uid=2000)},
        {"tools": ToolSettings(sccache="0.19.0")},
        {"base": BaseSettings(image="rust:1.95.0-slim-trixie")},
        {"image": image.model_copy(update={"compression": "zstd"})},
        {"image": image.model_copy(update={"revision": "0123abc"})},
    )
    assert len({label(), *(label(**changes) for changes in others)}) == 1 + len(others)
    same = (
        {"limits": LimitSettings(jobs=1)},
        {"worth": WorthSettings(jobs=64)},
        {"image": image.model_copy(update={"registry": "registry.test"})},
        # That the base image stands on another digest now is told by a label of its own.
        {"base": BaseSettings(image=f"rust:1.95.0-slim-bookworm@sha256:{'a' * 64}")},
    )
    assert {label(**changes) for changes in same} == {label()}


# What a bake is told


def test_an_upgrade_that_makes_layers_in_other_steps_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = made_by(SETTINGS)
    monkeypatch.setattr("factory.cook.bake_file.shipped", lambda name: tmp_path / name)
    shutil.copytree(shipped("Dockerfiles"), tmp_path / "Dockerfiles")
    assert made_by(SETTINGS) == before
    (tmp_path / "Dockerfiles/base.Dockerfile").write_text("FROM scratch\n")
    assert made_by(SETTINGS) == before
    (tmp_path / "Dockerfiles/warm-doctor.sh").write_text("exit 0\n")
    assert made_by(SETTINGS) != before
    assert made_by(SETTINGS, images=False) not in {before, made_by(SETTINGS)}


def test_a_layer_that_adds_nothing_is_not_cooked_and_others_stand_on_what_it_stands_on(tmp_path: Path) -> None:
    plan = plan_for({"core": [unit("aa", name="serde")], "web": [], "db": [unit("bb", "aa", name="sqlx")], "end": []})
    build = image_build(plan, SETTINGS.model_copy(update={"image": ImageSettings(tags=("{layer}-{plan}",))}), tmp_path)
    targets = bake_definition(build, host_network=False)["target"]
    assert set(targets) == {"core-report", "core", "db-report", "db"}
    assert targets["db"]["contexts"]["parent"] == "target:core"
    assert build.shared == {"web": "core", "end": "db"}
    below, above = plan.layer_digest("core")[:12], plan.layer_digest("db")[:12]
    assert build.tags("web") == (f"org/rust-builder:web-{below}",)
    assert build.tags("end") == (f"org/rust-builder:end-{above}",)
    assert below != above


def test_flags_and_compiler_are_those_of_the_plan(tmp_path: Path) -> None:
    flags = ("--cfg", "factory_test")
    plan = replace(PLAN, contract=replace(PLAN.contract, rustflags=flags))
    settings = SETTINGS.model_copy(update={"contract": ContractSettings(rustflags=flags)})
    definition = bake_definition(image_build(plan, settings, tmp_path), host_network=False)
    arguments = definition["target"]["core"]["args"]
    assert json.loads(arguments["RUSTFLAGS_TOML"]) == list(flags)
    assert arguments["RUSTC_VERBOSE"] == "rustc 1.95.0\nLLVM: 21"
    with pytest.raises(ConfigurationError, match="factory_test"):
        image_build(plan, SETTINGS, tmp_path)


def test_the_description_counts_what_was_cooked_in_the_chain(build: ImageBuild) -> None:
    core = LayerReport(layer="core", cooked=PLAN.layers[0].keys, dropped=(), seconds=1)
    web = LayerReport(layer="web", cooked=PLAN.layers[1].keys[:1], dropped=(), seconds=1)
    before = bake_definition(build, host_network=False)
    half = bake_definition(build, host_network=False, reports=(core,))
    after = bake_definition(build, host_network=False, reports=(core, web))
    assert [described(each, "core") for each in (before, half, after)] == [
        "up to 1 units compiled ahead",
        *["1 units compiled ahead"] * 2,
    ]
    assert [described(each, "web") for each in (before, half, after)] == [
        *["up to 3 units compiled ahead"] * 2,
        "2 units compiled ahead",
    ]


# Tools


def test_tools_are_compiled_apart_and_children_stand_on_images_without_them(tmp_path: Path) -> None:
    tools = ToolSettings.model_validate({"sccache": "0.19.0", "cargo-chef": "0.1.77"})
    build = image_build(PLAN, SETTINGS.model_copy(update={"tools": tools}), tmp_path)
    targets = bake_definition(build, host_network=True)["target"]
    chef, sccache = targets["tool-cargo-chef"], targets["tool-sccache"]
    assert (chef["args"]["VERSION"], chef["args"]["FEATURES"]) == ("0.1.77", "default")
    assert (sccache["args"]["VERSION"], sccache["args"]["FEATURES"]) == ("0.19.0", "gha redis s3")
    assert chef["contexts"] == {"base": f"docker-image://{SETTINGS.base_image}"}
    assert sccache["contexts"] == {**chef["contexts"], "below": "target:tool-cargo-chef"}
    assert targets["core"]["contexts"]["tools"] == "target:tool-sccache"
    assert chef["network"] == "host"
    assert targets["web"]["contexts"]["parent"] == targets["web-bare"]["contexts"]["parent"] == "target:core-bare"
    assert [targets[name]["target"] for name in ("core", "core-bare")] == ["equipped", "layer"]
    assert "tags" not in targets["core-bare"]
    assert targets["core"]["labels"]["io.rust-warm-factory.tools"] == "cargo-chef 0.1.77, sccache 0.19.0"
    commands = [command[-1] for command in build_commands(build, ENGINE)]
    assert commands[:3] == ["tool-cargo-chef", "tool-sccache", "core-report"]


def test_without_tools_there_is_no_target_for_them(build: ImageBuild) -> None:
    targets = bake_definition(build, host_network=False)["target"]
    assert set(targets) == {"core", "core-report", "web", "web-report"}
    assert targets["core"]["target"] == "layer"
    assert "io.rust-warm-factory.tools" not in targets["core"]["labels"]


def test_packages_are_installed_where_the_plan_has_them_and_only_if_they_may(tmp_path: Path) -> None:
    core, web = PLAN.layers
    plan = replace(PLAN, layers=(core, replace(web, packages=("libpq-dev", "pkg-config"))))

    def arguments(**base: object) -> tuple[dict[str, str], dict[str, str], list[str]]:
        settings = SETTINGS.model_copy(update={"base": BaseSettings.model_validate(base)})
        targets = bake_definition(image_build(plan, settings, tmp_path), host_network=False)["target"]
        return targets["core"]["args"], targets["web"]["args"], targets["web"].get("secret", [])

    below, above, secrets = arguments(suite="trixie", apt_sources="/etc/company.sources")
    assert "COOK_ON" not in below
    assert (above["COOK_ON"], above["PACKAGES"], above["SUITE"]) == ("installed", "libpq-dev pkg-config", "trixie")
    assert f"id=apt,src={tmp_path / 'apt.conf'}" in secrets
    assert "id=apt-sources,src=/etc/company.sources" in secrets
    _, above, secrets = arguments(install_packages=False)
    assert "COOK_ON" not in above
    assert [secret for secret in secrets if "apt" in secret] == []


@pytest.mark.parametrize(
    ("image", "output"),
    [
        ({}, "type=docker"),
        ({"compression_level": 9}, "type=docker,compression=gzip,compression-level=9,oci-mediatypes=true"),
        ({"compression": "zstd"}, "type=docker,compression=zstd,oci-mediatypes=true"),
    ],
)
def test_layers_are_compressed_as_configured(tmp_path: Path, image: dict[str, Any], output: str) -> None:
    settings = SETTINGS.model_copy(update={"image": SETTINGS.image.model_copy(update=image)})
    definition = bake_definition(image_build(PLAN, settings, tmp_path), host_network=False)
    assert definition["target"]["web"]["output"] == [output]


# How reports are judged: `docker` delivers those that a test has prepared


@dataclass(frozen=True)
class Docker:
    """A `docker` that exports prepared reports and keeps the bake file of each call."""

    folder: Path

    def reports(self, layer: str, *recipes: Mapping[str, Any], log: str = "", size: int = 1000) -> None:
        lines = []
        for recipe in recipes:
            lines.append({"reason": "factory-recipe", "name": recipe["name"]})
            lines += [artifact(crate) for crate in recipe.get("made", ())]
            lines.append({"reason": "factory-recipe-finished", "name": recipe["name"], "exit": recipe["exit"]})
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        write_files(self.folder / f"{layer}-report" / layer, {"cook.jsonl": text, "errors.log": log})
        paths = (f"/build/deps/lib{layer}-0123456789abcdef.rlib", f"/build/deps/lib{layer}-0123456789abcdef.rmeta")
        files = "".join(f"{size} {number} {path}\n" for number, path in enumerate(paths))
        write_files(self.folder / f"{layer}-report", {"files.list": files})

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text(encoding="utf-8").split() if path.exists() else []

    def bake_file(self, target: str) -> Any:  # noqa: ANN401 - any JSON value
        return json.loads((self.folder / f"{target}.json").read_text(encoding="utf-8"))


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: ImageBuild) -> Docker:
    folder = tmp_path / "docker"
    lines = (
        "#!/bin/sh",
        "for target; do :; done",
        f"cd '{folder}' && echo $target >> calls && cp '{build.bake_file}' $target.json",
        "[ ! -e slow ] || sleep 30",
        f"[ ! -d $target ] || {{ mkdir -p '{build.folder}/reports' && "
        f"cp -R $target '{build.folder}/reports/'${{target%-report}}; }}",
        "",
    )
    (write_files(folder, {"bin/docker": "\n".join(lines)}) / "bin/docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)
    return Docker(folder)


def artifact(crate: str) -> dict[str, Any]:
    (identity,) = (one.identity for one in PLAN.units.values() if one.identity.package.name == crate)
    return {
        "reason": "compiler-artifact",
        "package_id": f"{identity.package.source}#{crate}@{identity.package.version}",
        "target": {"name": identity.target_name, "kind": [identity.target_kind]},
        "features": [],
        "fresh": False,
        "filenames": [],
        "profile": {"opt_level": "3", "debuginfo": 0, "debug_assertions": False, "overflow_checks": False},
    }


def cook(build: ImageBuild) -> tuple[LayerReport, ...]:
    return build_images(build, engine=ENGINE, output=Output())


CORE, WEB = (recipe.name for recipe in PLAN.recipes)


@pytest.mark.runs_programs
def test_a_crate_that_fails_is_dropped_and_the_image_says_so(build: ImageBuild, docker: Docker) -> None:
    docker.reports("core", {"name": CORE, "exit": 0, "made": ["serde"]})
    log = f"==== factory recipe {WEB}\nerror: could not compile `ring` (lib)\nno cc\n"
    docker.reports("web", {"name": WEB, "exit": 101, "made": ["axum"]}, log=log)
    core, web = cook(build)
    assert docker.calls == ["core-report", "web-report", "core", "web"]
    assert [each.weight.bytes for each in (core, web)] == [2000, 2000]
    assert (core.images, web.images) == (build.tags("core"), build.tags("web"))
    assert (core.pulled_bytes, web.pulled_bytes) == (300, 500)
    assert [(row.label, row.reason) for row in web.dropped] == [
        ("ring@1.0.0 (lib)", "error: could not compile `ring` (lib)\nno cc")
    ]
    assert described(docker.bake_file("web"), "web") == "2 units compiled ahead"
    assert described(docker.bake_file("web"), "core") == described(docker.bake_file("core"), "core")


@pytest.mark.runs_programs
def test_the_names_of_a_layer_that_adds_nothing_are_those_of_the_image_below(build: ImageBuild, docker: Docker) -> None:
    docker.reports("core", {"name": CORE, "exit": 0, "made": ["serde"]})
    docker.reports("web", {"name": WEB, "exit": 0, "made": ["axum", "ring"]})
    tagged: list[tuple[str, str]] = []
    engine = cast("Engine", SimpleNamespace(**vars(ENGINE), tag=lambda *names: tagged.append(names)))
    *_, db = build_images(replace(build, shared={"db": "web"}), engine=engine, output=Output())
    assert docker.calls == ["core-report", "web-report", "core", "web"]
    assert tagged == [("org/rust:web", name) for name in build.tags("web") for name in [name.replace("web", "db")]]
    assert (db.layer, db.cooked, db.pulled_bytes, db.images) == ("db", (), 0, tuple(name for _, name in tagged))


@pytest.mark.runs_programs
def test_how_many_jobs_run_at_once_is_told_to_the_cook_alone(build: ImageBuild, docker: Docker) -> None:
    """Not by an argument of the build, which the image's history would tell."""
    docker.reports("core")
    jobs = build.folder / "recipes" / "core" / "jobs"
    for limit in (None, 3):
        settings = SETTINGS.model_copy(update={"limits": LimitSettings(jobs=limit)})
        with pytest.raises(BuildFailedError):
            cook(replace(build, settings=settings))
        assert (jobs.read_text() if jobs.exists() else "") == ("" if limit is None else "3\n")
    assert "3" not in docker.bake_file("core-report")["target"]["core-report"]["args"].values()


@pytest.mark.runs_programs
def test_a_recipe_that_cargo_refuses_is_a_failed_build(build: ImageBuild, docker: Docker) -> None:
    """Although another recipe of the same layer failed with a crate to blame."""
    recipes = [replace(build.plan.recipes[0], name=name) for name in ("factory-recipe-1", "factory-recipe-2")]
    build = replace(build, plan=replace(PLAN, recipes=tuple(recipes)))
    log = (
        "==== factory recipe factory-recipe-1\nerror: could not compile `serde` (lib)\n"
        "==== factory recipe factory-recipe-2\nerror: the lock file needs to be updated\n"
    )
    docker.reports(
        "core", {"name": "factory-recipe-1", "exit": 101}, {"name": "factory-recipe-2", "exit": 101}, log=log
    )
    with pytest.raises(BuildFailedError, match="core: factory-recipe-2: cargo exited with 101") as caught:
        cook(build)
    assert caught.value.what.endswith("error: the lock file needs to be updated")
    assert docker.calls == ["core-report"]


@pytest.mark.runs_programs
@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        ({"web": 1600}, "layer web weighs 0.0 MB, 0.0 MB over the 2 kB of its budget"),
        ({"core": 1600}, ""),
        ({"total": 4999}, "the layers core, web weigh 0.0 MB together, 0.0 MB over the 4.999 kB of `budget.total`"),
    ],
)
def test_over_budget_nothing_is_tagged(build: ImageBuild, docker: Docker, budgets: dict[str, int], words: str) -> None:
    docker.reports("core", {"name": CORE, "exit": 0, "made": ["serde"]})
    docker.reports("web", {"name": WEB, "exit": 0, "made": ["axum", "ring"]}, size=1500)
    layers = tuple(replace(layer, budget_bytes=budgets.get(layer.name)) for layer in PLAN.layers)
    settings = SETTINGS.model_copy(update={"budget": BudgetSettings(total=budgets.get("total", 10_000))})
    reports = cook(replace(build, plan=replace(PLAN, layers=layers), settings=settings))
    assert reports[-1].over_budget == words
    assert docker.calls == ["core-report", "web-report", *([] if words else ["core", "web"])]
    if words:
        assert [report.images for report in reports] == [(), ()]
        with pytest.raises(BadAnswerError, match="the heaviest crates of web"):
            require_within_budgets(reports)


@pytest.mark.runs_programs
def test_a_recipe_without_a_report_is_a_failed_build(build: ImageBuild, docker: Docker) -> None:
    docker.reports("core")
    with pytest.raises(BuildFailedError, match=f"layer core: the report lacks {CORE}"):
        cook(build)


@pytest.mark.runs_programs
def test_a_bake_does_not_take_longer_than_it_may(build: ImageBuild, docker: Docker) -> None:
    (docker.folder / "slow").write_text("")
    settings = SETTINGS.model_copy(update={"limits": LimitSettings(cook_timeout=1)})
    with pytest.raises(EnvironmentFaultError, match="did not finish within 1 s"):
        cook(replace(build, settings=settings))


@pytest.mark.runs_programs
def test_two_builds_of_one_plan_do_not_share_a_folder(build: ImageBuild, docker: Docker) -> None:
    (build.folder / "reports").mkdir(parents=True)
    with (
        exclusive(build.folder.with_name("abc.lock"), using=build.folder),
        pytest.raises(EnvironmentFaultError, match="another factory is using"),
    ):
        cook(build)
    assert (build.folder / "reports").is_dir()
    assert docker.calls == []
