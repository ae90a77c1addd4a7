"""From a plan to images or a directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.base import is_home_made
from factory.cargo.home import user_mirror
from factory.cargo.toolchain import find_toolchain
from factory.config.access import fetching
from factory.config.model import has_digest
from factory.cook import images, local
from factory.cook.bake_file import bake_definition
from factory.cook.image_build import ImageBuild, image_build, require_planned_for
from factory.errors import ConfigurationError
from factory.files import cache_directory
from factory.pipeline.costing import record, require_store
from factory.pipeline.toolchains import engine_of
from factory.platforms import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from factory.cook.report import LayerReport
    from factory.engine import Engine
    from factory.pipeline.run import Run
    from factory.planning.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a build would do: its commands in order, and the bake file that they read (Docker only)."""

    commands: tuple[tuple[str, ...], ...]
    bake_file: Mapping[str, object] | None = None


def build_locally(run: Run, plan: Plan, folder: Path) -> tuple[LayerReport, ...]:
    """Cook the plan into a directory; raise `ConfigurationError` where it is for another platform than this machine."""
    toolchain = find_toolchain(plan.contract.toolchain.version)
    if toolchain.host != plan.contract.toolchain.host:
        raise ConfigurationError(
            f"the plan was made for {plan.contract.toolchain.host}, and this machine's rustc is for {toolchain.host}",
            advice="Build images of it, or put another --platform before the command.",
        )
    require_store(run)
    reports = local.cook_locally(
        plan,
        folder,
        toolchain=toolchain,
        output=run.output,
        timeout=run.settings.limits.cook_timeout,
        fetching=fetching(run.settings, user_mirror=user_mirror()),
        measure=run.settings.costs.record,
        jobs=run.settings.limits.jobs,
        budget=run.settings.budget,
    )
    record(run, plan, reports, homes=[folder / "cargo-home"])
    return reports


def dry_run_locally(plan: Plan) -> DryRun:
    """Return the commands that cook a plan into a directory, each run in the folder of its recipe."""
    return DryRun(commands=local.build_commands(plan))


def build_images(run: Run, plan: Plan) -> tuple[LayerReport, ...]:
    """Cook the plan into images of the Docker engine."""
    engine = engine_of(run)
    base = run.settings.base_image
    if not has_digest(base) and not is_home_made(base, engine):
        run.output.warn(f"{base} is a tag, which may stand for another image tomorrow: `factory base --pin {base}`")
    require_store(run)
    reports = images.build_images(_build_of(run, plan, engine), engine=engine, output=run.output)
    if run.platform in (None, engine.platform):
        record(run, plan, reports, homes=[])
    else:
        # Under emulation everything takes many times as long as it does for anybody who builds.
        run.output.detail(f"what units took is not kept: this engine's machine is {engine.platform}")
    return reports


def dry_run_images(run: Run, plan: Plan) -> DryRun:
    """Return the commands that cook a plan into images."""
    engine = engine_of(run)
    build = _build_of(run, plan, engine)
    return DryRun(
        commands=images.build_commands(build, engine),
        bake_file=bake_definition(build, host_network=engine.needs_host_network),
    )


def image_tags(run: Run, plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the names that every layer's image has in the engine, the first tag first."""
    build = image_build(plan, run.settings, cache_directory(), platform=run.platform, ending=run.tag_ending)
    return {layer.name: build.tags(layer.name) for layer in plan.layers}


def _build_of(run: Run, plan: Plan, engine: Engine) -> ImageBuild:
    """Return the build of a plan by the settings of a run, in the cache's folder for that plan.

    Raises `ConfigurationError` for the plan of another platform than the run's, or the engine's where it names none.
    """
    if run.platform is None and engine.platform in set(Platform):
        require_planned_for(plan, Platform(engine.platform))
    return image_build(
        plan,
        run.settings,
        cache_directory() / "bake" / plan.digest[:12],
        fetching=fetching(run.settings, user_mirror=user_mirror()),
        base_digest=engine.manifest_digest(run.settings.base_image),
        platform=run.platform,
        ending=run.tag_ending,
        cell=run.cell,
    )
