"""The file that `docker buildx bake` is given: how each layer of a plan becomes an image. Nothing is run for it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.cargo.variants import Variant
from factory.cook.build_cache import cache_folders, cache_name, cook_cache, image_cache
from factory.cook.fetch_secrets import VARIABLES, secret_ids
from factory.cook.tools import tool_targets, wanted_tools
from factory.engine import certificates
from factory.files import digest
from factory.labels import Label
from factory.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.config.model import ImageSettings, Settings
    from factory.cook.image_build import ImageBuild
    from factory.cook.report import LayerReport
    from factory.planning.plan import Plan, PlannedLayer


def bake_definition(build: ImageBuild, *, host_network: bool, reports: Sequence[LayerReport] = ()) -> dict[str, Any]:
    """Return the bake file: for each layer one target that exports cargo's report, and one that is the image.

    With tools, each has a target too, and a layer one more: the image without them, which its children stand on.
    `reports` are those of the layers that have been cooked: they say how many units an image holds.
    """
    settings = build.settings
    tools = wanted_tools(settings.tools)
    targets = _tool_targets(build, tools, host_network=host_network)
    for layer in build.plan.layers:
        common = _common_target(build, layer, host_network=host_network)
        report = f"type=local,dest={build.folder / 'reports' / layer.name}"
        output = ",".join(("type=docker", *_compression(settings.image)))
        cache = _cache(build, layer.name)
        targets[f"{layer.name}-report"] = common | {"target": "report", "output": [report]} | cache
        contexts = common["contexts"] | {"contents": str(build.folder / "contents" / layer.name)}
        bare = common | {"target": "layer", "contexts": contexts, "labels": _labels(build, layer, reports)}
        image = {"tags": list(build.tags(layer.name)), "output": [output]} | image_cache(settings)
        targets[layer.name] = bare | image
        if tools:
            targets[f"{layer.name}-bare"] = bare
            targets[layer.name] |= {
                "target": "equipped",
                "contexts": contexts | {"tools": f"target:tool-{list(tools)[-1]}"},
            }
    return {"group": {"default": {"targets": [layer.name for layer in build.plan.layers]}}, "target": targets}


def uncached_definition(
    build: ImageBuild, layer: str, *, host_network: bool, tag: str, labels: Mapping[str, str]
) -> dict[str, Any]:
    """Return the bake file that makes the image of a layer, and those below it, without reading or writing a cache.

    The image has the one tag, and `labels` in place of those that say how many units were cooked.
    """
    targets = bake_definition(build, host_network=host_network)["target"]
    reports = {f"{each.name}-report" for each in build.plan.layers}
    chosen = {name: _uncached(target) for name, target in targets.items() if name not in reports}
    chosen[layer] |= {"tags": [tag], "labels": dict(labels)}
    return {"target": chosen}


def made_by(settings: Settings, *, images: bool = True) -> str:
    """Return a digest of what decides the bytes of every image, beside the plan and the base image.

    These are some settings, and the steps that make an image, which an upgrade of factory may change. All other
    settings decide the plan, or nothing that is in an image. Equal ones give equal digests on every machine. Without
    `images` those steps are left out: none of them makes a directory.
    """
    base, image = settings.base, settings.image
    return digest(
        {
            "base": settings.base_image.partition("@")[0],
            "packages": [base.install_packages, base.suite],
            "user": settings.user.model_dump(mode="json"),
            "tools": wanted_tools(settings.tools),
            "compression": [image.compression, image.compression_level],
            "origin": [image.source, image.revision],
            "steps": {path.name: path.read_text(encoding="utf-8") for path in (_steps() if images else ())},
        }
    )


def _steps() -> list[Path]:
    """Return the files that make layers; base images are made by one of their own."""
    return sorted(path for path in _dockerfiles().iterdir() if path.is_file() and path.name != "base.Dockerfile")


def secret_files(build: ImageBuild) -> dict[str, Path]:
    """Return the files that the steps with a network get as secrets, by id."""
    trusted, sources = build.fetching.ca_bundle or certificates(), build.settings.base.apt_sources
    secrets = {} if trusted is None else {"ca": trusted}
    if any(_package_arguments(build, layer) for layer in build.plan.layers):
        secrets["apt"] = build.folder / "apt.conf"
        secrets |= {} if sources is None else {"apt-sources": Path(sources).absolute()}
    return secrets


def allowed_paths(build: ImageBuild) -> tuple[Path, ...]:
    """Return the folders and files that a bake of the file has to be allowed to read and write."""
    return (build.folder, _dockerfiles(), *secret_files(build).values(), *cache_folders(build.settings.build_cache))


def _common_target(build: ImageBuild, layer: PlannedLayer, *, host_network: bool) -> dict[str, Any]:
    settings = build.settings
    parent = f"docker-image://{settings.base_image}"
    if layer.parent is not None:
        parent = f"target:{layer.parent}{'-bare' if wanted_tools(settings.tools) else ''}"
    target: dict[str, Any] = {
        "context": str(_dockerfiles()),
        "dockerfile": "layer.Dockerfile",
        "contexts": {"parent": parent, "recipes": str(build.folder / "recipes" / layer.name)},
        "args": {
            "START": "contract" if layer.parent is None else "parent",
            **_package_arguments(build, layer),
            "LAYER": layer.name,
            "RUNNER_NAME": settings.user.name,
            "RUNNER_UID": str(settings.user.uid),
            "RUNNER_GID": str(settings.user.gid),
            "CARGO_HOME": build.plan.contract.cargo_home,
            "BUILD_DIR": build.plan.contract.build_dir,
            "LAYOUT": build.plan.contract.layout.value,
            **_targets(build.plan),
            "RUSTFLAGS_TOML": json.dumps(list(build.plan.contract.rustflags)),
            "RUSTC_VERBOSE": build.plan.contract.toolchain.rustc_verbose.strip(),
            "SOURCE_DATE_EPOCH": str(build.epoch),
        },
    }
    return target | _platforms(build) | _network(build, host_network=host_network)


def _platforms(build: ImageBuild) -> dict[str, Any]:
    return {} if build.platform is None else {"platforms": [str(build.platform)]}


def _compression(image: ImageSettings) -> tuple[str, ...]:
    """Return what an output of BuildKit is told, so that new layers are compressed as the settings say.

    Nothing for gzip at its own level, which is BuildKit's default. Layers that are there already stay as they are:
    those of the base image would no longer be the ones that everybody has.
    """
    if image.compression == "gzip" and image.compression_level is None:
        return ()
    level = () if image.compression_level is None else (f"compression-level={image.compression_level}",)
    return (f"compression={image.compression}", *level, "oci-mediatypes=true")


def _cache(build: ImageBuild, layer: str) -> dict[str, list[str]]:
    """Return from where, and to where, what a layer cooks is cached."""
    moving = build.settings.image.moving_tags_of(layer=layer, rust=build.settings.toolchain)
    name = _cache_name(build, layer)
    return cook_cache(build.settings, name, tag=next(iter(moving), ""), compression=_compression(build.settings.image))


def _cache_name(build: ImageBuild, what: str) -> str:
    toolchain = build.plan.contract.toolchain
    return cache_name(what, toolchain=toolchain.version, host=toolchain.host, cell=build.cell)


def _network(build: ImageBuild, *, host_network: bool) -> dict[str, Any]:
    """Return what a target's steps with a network need: which network, and secrets."""
    network: dict[str, Any] = {"network": "host"} if host_network else {}
    # What this machine trusts when it downloads, from where and with what; a secret leaves no trace in the image.
    secrets = [f"id={name},src={path}" for name, path in secret_files(build).items()]
    secrets += [f"id={name},env={VARIABLES[name]}" for name in secret_ids(build.fetching)]
    return network | ({"secret": secrets} if secrets else {})


def _tool_targets(build: ImageBuild, tools: Mapping[str, str], *, host_network: bool) -> dict[str, Any]:
    common = {"context": str(_dockerfiles()), **_platforms(build), **_network(build, host_network=host_network)}
    targets = tool_targets(tools, common, base=build.settings.base_image, epoch=build.epoch)
    return {name: target | _tool_cache(build, name) for name, target in targets.items()}


def _tool_cache(build: ImageBuild, target: str) -> dict[str, list[str]]:
    return cook_cache(
        build.settings, _cache_name(build, target), tag="", compression=_compression(build.settings.image)
    )


def _targets(plan: Plan) -> dict[str, str]:
    """Return the build arguments that see to the standard libraries of the variants' targets, none without any."""
    variants = [Variant.parse(name) for name in plan.contract.variants]
    targets = sorted({variant.target for variant in variants if variant.target is not None})
    return {"PREPARED": "targets", "TARGETS": " ".join(targets)} if targets else {}


def _package_arguments(build: ImageBuild, layer: PlannedLayer) -> dict[str, str]:
    if not layer.packages or not build.settings.base.install_packages:
        return {}
    return {"COOK_ON": "installed", "PACKAGES": " ".join(layer.packages), "SUITE": build.settings.base.suite}


def _uncached(target: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in target.items() if not key.startswith("cache-")} | {"no-cache": True}


def _labels(build: ImageBuild, layer: PlannedLayer, reports: Sequence[LayerReport]) -> dict[str, str]:
    plan = build.plan
    planned = plan.keys_with_parents(layer.name)
    cooked = planned & {key for report in reports for key in report.cooked}
    known = any(report.layer == layer.name for report in reports)
    tools = ", ".join(f"{name} {version}" for name, version in wanted_tools(build.settings.tools).items())
    return {
        **_origin(build),
        **({Label.TOOLS: tools} if tools else {}),
        "org.opencontainers.image.title": f"Rust builder, layer {layer.name}",
        "org.opencontainers.image.description": (
            f"{len(cooked)} units compiled ahead" if known else f"up to {len(planned)} units compiled ahead"
        ),
        "org.opencontainers.image.created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(build.epoch)),
        "org.opencontainers.image.version": plan.layer_digest(layer.name)[:12],
        Label.BASE_NAME: build.settings.base_image.partition("@")[0],
        Label.LAYER: layer.name,
        Label.PLAN: plan.layer_digest(layer.name),
        Label.SETTINGS: made_by(build.settings),
        Label.RUSTC: plan.contract.toolchain.version,
        Label.CARGO_HOME: plan.contract.cargo_home,
        Label.BUILD_DIR: plan.contract.build_dir,
        Label.LAYOUT: plan.contract.layout.value,
        Label.OWNER: f"{build.settings.user.uid}:{build.settings.user.gid}",
    }


def _origin(build: ImageBuild) -> dict[str, str]:
    """Return the labels that say what an image was made from, as far as it is known."""
    image = build.settings.image
    known = {
        "org.opencontainers.image.source": image.source,
        "org.opencontainers.image.revision": image.revision,
        Label.BASE_DIGEST: build.base_digest,
    }
    return {name: value for name, value in known.items() if value}


def _dockerfiles() -> Path:
    return shipped("Dockerfiles")
