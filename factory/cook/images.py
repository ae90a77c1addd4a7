"""The Docker backend: cooks a plan into a chain of images, one layer after the other, with `docker buildx bake`."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.cargo.events import BuildEvents, parse_events
from factory.cook.engine import Engine, bake, bake_command, certificates
from factory.cook.progress import crate_counter, crates_of
from factory.cook.report import LayerReport, contents, contract, report_layer
from factory.errors import BuildFailedError
from factory.files import write_json, write_text
from factory.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from factory.config.model import Settings
    from factory.output import Output
    from factory.planning.plan import Plan, PlannedLayer

SHARE = "/usr/local/share/rust-warm-factory"
"""Where images keep what they say of themselves."""

DEFAULT_EPOCH = 315532800
"""1980-01-01: the time of every file in a layer unless SOURCE_DATE_EPOCH says otherwise, so that equal plans give
equal bytes. Nothing earlier can be kept in a zip file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBuild:
    """One run of the backend: what is built, and the directory with its bake file, recipes and reports."""

    plan: Plan
    settings: Settings
    folder: Path
    epoch: int

    @property
    def bake_file(self) -> Path:
        """The bake file."""
        return self.folder / "docker-bake.json"

    def tags(self, layer: str) -> tuple[str, ...]:
        """Return the full names of a layer's image."""
        image = self.settings.image
        date = time.strftime("%Y%m%d", time.gmtime(self.epoch))
        tags = image.tags_of(layer=layer, rust=self.settings.toolchain, date=date, plan=self.plan.digest[:12])
        return tuple(f"{image.repository}:{tag}" for tag in tags)


def image_build(plan: Plan, settings: Settings, folder: Path) -> ImageBuild:
    """Return the build of a plan; the instant of its files comes from SOURCE_DATE_EPOCH."""
    return ImageBuild(
        plan=plan,
        settings=settings,
        folder=folder,
        epoch=int(os.environ.get("SOURCE_DATE_EPOCH", DEFAULT_EPOCH)),
    )


def build_images(build: ImageBuild, *, engine: Engine, output: Output) -> tuple[LayerReport, ...]:
    """Cook every layer and load its image into the engine; return what came out."""
    _write_inputs(build, engine)
    reports = []
    for layer in build.plan.layers:
        reports.append(_build_layer(build, layer, engine, output))
        output.say(f"loaded {', '.join(build.tags(layer.name))}")
    return tuple(reports)


def build_commands(build: ImageBuild, engine: Engine) -> tuple[tuple[str, ...], ...]:
    """Return the commands that `build_images` runs, in order."""
    return tuple(
        bake_command(build.bake_file, target, engine=engine, folders=_folders(build))
        for layer in build.plan.layers
        for target in (f"{layer.name}-report", layer.name)
    )


def bake_definition(build: ImageBuild, *, host_network: bool) -> dict[str, Any]:
    """Return the bake file: for each layer one target that exports cargo's report, and one that is the image."""
    targets: dict[str, Any] = {}
    for layer in build.plan.layers:
        common = _common_target(build, layer, host_network=host_network)
        report = f"type=local,dest={build.folder / 'reports' / layer.name}"
        targets[f"{layer.name}-report"] = common | {"target": "report", "output": [report]}
        contexts = common["contexts"] | {"contents": str(build.folder / "contents" / layer.name)}
        targets[layer.name] = common | {
            "target": "layer",
            "contexts": contexts,
            "tags": list(build.tags(layer.name)),
            "labels": _labels(build, layer),
            "output": ["type=docker"],
        }
    return {"group": {"default": {"targets": [layer.name for layer in build.plan.layers]}}, "target": targets}


def _common_target(build: ImageBuild, layer: PlannedLayer, *, host_network: bool) -> dict[str, Any]:
    settings = build.settings
    parent = f"docker-image://{settings.base_image}" if layer.parent is None else f"target:{layer.parent}"
    target: dict[str, Any] = {
        "context": str(_dockerfiles()),
        "dockerfile": "layer.Dockerfile",
        "contexts": {"parent": parent, "recipes": str(build.folder / "recipes" / layer.name)},
        "args": {
            "START": "contract" if layer.parent is None else "parent",
            "LAYER": layer.name,
            "RUNNER_NAME": settings.user.name,
            "RUNNER_UID": str(settings.user.uid),
            "RUNNER_GID": str(settings.user.gid),
            "CARGO_HOME": build.plan.contract.cargo_home,
            "BUILD_DIR": build.plan.contract.build_dir,
            "RUSTFLAGS_TOML": json.dumps(list(settings.contract.rustflags)),
            "SOURCE_DATE_EPOCH": str(build.epoch),
        },
    }
    if host_network:
        target["network"] = "host"
    trusted = certificates()
    if trusted is not None:
        # What this machine trusts when it downloads; a secret leaves no trace in the image.
        target["secret"] = [f"id=ca,src={trusted}"]
    return target


def _labels(build: ImageBuild, layer: PlannedLayer) -> dict[str, str]:
    plan = build.plan
    return {
        "org.opencontainers.image.title": f"Rust builder, layer {layer.name}",
        "org.opencontainers.image.description": f"{len(plan.keys_with_parents(layer.name))} units compiled ahead",
        "org.opencontainers.image.created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(build.epoch)),
        "org.opencontainers.image.version": plan.digest[:12],
        "org.opencontainers.image.base.name": build.settings.base_image,
        "io.rust-warm-factory.layer": layer.name,
        "io.rust-warm-factory.plan": plan.digest,
        "io.rust-warm-factory.rustc": plan.contract.toolchain.version,
        "io.rust-warm-factory.cargo-home": plan.contract.cargo_home,
        "io.rust-warm-factory.build-dir": plan.contract.build_dir,
    }


def _write_inputs(build: ImageBuild, engine: Engine) -> None:
    if build.folder.exists():
        shutil.rmtree(build.folder)
    for layer in build.plan.layers:
        recipes = build.plan.recipes_of(layer.name)
        folder = build.folder / "recipes" / layer.name
        for recipe in recipes:
            recipe.write(folder / recipe.name)
        write_text(folder / "recipes.list", "".join(f"{recipe.name}\n" for recipe in recipes))
    write_json(build.bake_file, bake_definition(build, host_network=engine.needs_host_network))


def _build_layer(build: ImageBuild, layer: PlannedLayer, engine: Engine, output: Output) -> LayerReport:
    started = time.monotonic()
    recipes = build.plan.recipes_of(layer.name)
    crates = crates_of(recipes)
    with output.progress(f"{layer.name}: cooking", len(crates)) as advance:
        bake(
            build.bake_file,
            f"{layer.name}-report",
            engine=engine,
            folders=_folders(build),
            on_line=crate_counter(crates, advance),
        )
    events = _events(build, layer.name)
    report = report_layer(
        build.plan,
        layer.name,
        [(recipe, events[recipe.name]) for recipe in recipes],
        seconds=time.monotonic() - started,
    )
    share = build.folder / "contents" / layer.name
    write_json(share / "contents.json", contents(build.plan, report))
    write_json(share / "contract.json", contract(build.plan, layer.name))
    bake(build.bake_file, layer.name, engine=engine, folders=_folders(build), on_line=output.detail)
    return report


def _events(build: ImageBuild, layer: str) -> Mapping[str, BuildEvents]:
    """Split the layer's `cook.jsonl` by recipe; why something failed stands in `errors.log`, which all share."""
    folder = build.folder / "reports" / layer / layer
    path, errors = folder / "cook.jsonl", folder / "errors.log"
    log = errors.read_text(encoding="utf-8") if errors.exists() else ""
    events: dict[str, BuildEvents] = {}
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith('{"reason":"factory-recipe",'):
            lines = []
        elif line.startswith('{"reason":"factory-recipe-finished"'):
            events[json.loads(line)["name"]] = parse_events("\n".join(lines), log)
        else:
            lines.append(line)
    missing = {recipe.name for recipe in build.plan.recipes_of(layer)} - events.keys()
    if missing:
        raise BuildFailedError(f"layer {layer}: the report lacks {', '.join(sorted(missing))}")
    return events


def _folders(build: ImageBuild) -> tuple[Path, ...]:
    trusted = certificates()
    return (build.folder, _dockerfiles(), *(() if trusted is None else (trusted,)))


def _dockerfiles() -> Path:
    return shipped("Dockerfiles")
