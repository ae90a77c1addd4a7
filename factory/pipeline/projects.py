"""A consumer's project on the images: the files it builds by, and its builds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.analysis.model import Status
from factory.base import PACKAGES
from factory.cargo.resolve import Trouble
from factory.config.layers import load_layer_profiles
from factory.consumer.init import (
    CARGO_CHEF,
    Choices,
    Ci,
    CompilerCache,
    Flavour,
    LayerCache,
    ProjectFiles,
    Runtime,
    make_files,
)
from factory.consumer.project import layer_by_anchors, read_project
from factory.engine import Engine
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.pipeline.analyzing import analyze
from factory.pipeline.forecasting import BANDWIDTH, recommend
from factory.planning.system_packages import PackageUse, Purpose, analysis_uses, read_table
from factory.proof import second_build
from factory.scan.model import Scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from factory.config.layers import LayerTree
    from factory.consumer.project import Project
    from factory.pipeline.run import Run
    from factory.proof.second_build_model import Beside, SecondBuilds


_NOT_FOR_THIS_TOOLCHAIN = frozenset({Trouble.MSRV, Trouble.NIGHTLY})


@dataclass(frozen=True, slots=True, kw_only=True)
class InitWishes:
    """What the user of `init` named; `None` leaves it to what the project and the configuration suggest."""

    layer: str | None
    plan: Path | None
    """By which the layer is chosen that saves most; by what the lock holds without one."""
    image: str | None
    flavour: Flavour
    runtime: Runtime | None
    ci: Ci
    layer_cache: LayerCache | None
    compiler_cache: CompilerCache
    program: str | None
    branch: str


def init(run: Run, folder: Path, wishes: InitWishes, profiles: Path | None) -> ProjectFiles:
    """Return the files with which a project builds on the images; nothing is written.

    Raises `ConfigurationError` where the images' toolchain cannot compile it, unless an image is named.
    """
    project = read_project(folder)
    packages, problem = _packages_of(run, project)
    if wishes.image is None and problem.partition(":")[0] in _NOT_FOR_THIS_TOOLCHAIN:
        raise ConfigurationError(
            f"images with Rust {run.settings.toolchain} cannot build {project.name}: {problem}",
            advice="Set `toolchain` and rebuild the images, or name an image with a newer one by --image.",
        )
    choices = Choices(
        builder=wishes.image or _image_for(run, project, wishes, profiles),
        build_packages=_to_build(packages),
        runtime_packages=tuple({use.package for use in packages if use.purpose is Purpose.RUNTIME}),
        flavour=wishes.flavour,
        runtime=wishes.runtime,
        ci=wishes.ci,
        layer_cache=wishes.layer_cache or (LayerCache.REGISTRY if wishes.ci is Ci.GITLAB else LayerCache.GHA),
        compiler_cache=wishes.compiler_cache,
        program=wishes.program,
        branch=wishes.branch,
    )
    return make_files(project, choices, run.settings)


def second_builds(
    run: Run,
    image: str,
    folder: Path,
    flavours: Sequence[Flavour],
    *,
    beside: Sequence[Beside],
    base: str | None,
    bumps: Sequence[str],
) -> SecondBuilds:
    """Build a project on an image change after change, by the Dockerfiles of `init`, and on the base beside it."""
    engine = Engine()
    platform = engine.image(image).platform
    project = read_project(folder)
    packages = _to_build(_packages_of(run, project)[0])
    plain = base or run.settings.base_image
    compared = second_build.plain_dockerfiles(
        plain, packages=packages, cargo_chef=run.settings.tools.cargo_chef or CARGO_CHEF
    )
    dockerfiles = {name.value: text for name, text in compared.items() if name in beside}
    for flavour in flavours:
        choices = Choices(
            builder=image,
            flavour=flavour,
            # Nothing of it is built: only the stage with the compiler is.
            runtime=Runtime.SLIM,
            ci=Ci.NONE,
            layer_cache=LayerCache.INLINE,
            compiler_cache=CompilerCache.LOCAL,
            program=None,
            branch="main",
            build_packages=packages,
        )
        dockerfiles[f"init {flavour}"] = make_files(project, choices, run.settings).texts["Dockerfile"]
    request = second_build.Request(
        image=image,
        base=plain,
        dockerfiles=dockerfiles,
        bumps=tuple(bumps),
        timeout=run.settings.limits.cook_timeout,
        platform="" if platform == engine.platform else platform,
    )
    return second_build.second_builds(project.workspace, request, engine=engine, output=run.output)


def _image_for(run: Run, project: Project, wishes: InitWishes, profiles: Path | None) -> str:
    layer = wishes.layer or (None if wishes.plan is None else _layer_by_plan(run, project, wishes.plan))
    if wishes.layer is not None or layer is None:
        layer = _layer_by_lock(run, project, wishes.layer, load_layer_profiles(profiles))
    image = run.settings.image
    tags = image.moving_tags_of(layer=layer, rust=run.settings.toolchain)
    if not tags:
        raise ConfigurationError(
            "every tag of `image.tags` has a date or a digest in it, so none stands for the newest image",
            advice="Name one with --image.",
        )
    return f"{image.repository}:{tags[0]}"


def _layer_by_plan(run: Run, project: Project, plan: Path) -> str | None:
    """Return the layer of a plan that gains most for a project, as `factory recommend` does; `None` where none does."""
    (*_, found) = recommend(run, [str(project.workspace.root)], plan, bandwidth=BANDWIDTH, offline=False)
    if found.best is None:
        run.output.say(f"no image of {plan} gains anything: {found.problem or 'see `factory check`'}")
        return None
    best, units = found.best, found.total.units
    run.output.say(f"building on {best.image}, which gains most by {plan}: {best.hit.units} of {units} units are warm")
    return best.image


def _layer_by_lock(run: Run, project: Project, named: str | None, tree: LayerTree) -> str:
    """Return the layer that is named, or else the deepest one with an anchor in the lock."""
    if named is not None:
        return tree.layer(named).name
    layer, anchor = layer_by_anchors(project, tree)
    run.output.say(f"building on {layer}" + (f", as Cargo.lock has {anchor}" if anchor else ""))
    return layer


def _to_build(packages: Sequence[PackageUse]) -> tuple[str, ...]:
    # Programs and libraries alike: what is there already costs nothing.
    return tuple(sorted({use.package for use in packages if use.purpose is not Purpose.RUNTIME} - set(PACKAGES)))


def _packages_of(run: Run, project: Project) -> tuple[tuple[PackageUse, ...], str]:
    """Return the Debian packages that a project needs; where it cannot be resolved here, say so, and return why."""
    try:
        analysis = analyze(run, Scan(workspaces=(project.workspace,), skipped=()), offline=False)
        problem = "; ".join(row.reason for row in analysis.workspaces if row.status is Status.SKIPPED)
    except EnvironmentFaultError as error:
        problem, analysis = error.what, None
    if problem or analysis is None:
        run.output.warn(
            f"{project.name} cannot be resolved here, so the Debian packages it needs are not known: {problem}"
        )
        return (), problem
    return analysis_uses(analysis, suite=run.settings.base.suite, table=read_table()), ""
