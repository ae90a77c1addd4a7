"""The stages, once, in the order in which the data passes them.

    repos -> scan -> analyze -> plan -> build -> verify

Every stage is one function from frozen values to a frozen value; between them stand `analysis.json` and `plan.json`,
from which each can be restarted.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.analysis import analyze as analysis_stage
from factory.analysis.model import Status, Workspace, analysis_from_json
from factory.analysis.tables import pin_conflict
from factory.cargo.home import prepare_resolving_home
from factory.cargo.toolchain import find_toolchain, find_toolchain_in_image
from factory.cargo.variants import Variant
from factory.config.layers import load_layer_profiles
from factory.cook import images
from factory.cook.engine import Engine
from factory.cook.local import cook_locally
from factory.errors import ConfigurationError, EnvironmentFaultError, FactoryError, NothingToDoError
from factory.files import cache_directory, canonical_json, read_json
from factory.planning.make_plan import Policy, RecipeCheck, make_plan
from factory.planning.plan import plan_from_json
from factory.proof.image import verify_image
from factory.proof.local import verify_directory
from factory.proof.model import Proof
from factory.resources import shipped
from factory.scan.discover import find_workspaces
from factory.scan.git_source import fetch, is_git_url
from factory.scan.model import Scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from factory.analysis.model import Analysis
    from factory.cargo.toolchain import Toolchain
    from factory.config.model import Settings
    from factory.cook.report import LayerReport
    from factory.output import Output
    from factory.planning.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What every stage needs: the settings, and where words go."""

    settings: Settings
    output: Output
    sources: tuple[str, ...] = ()
    """Paths and git URLs to analyse where the command line names none."""

    @property
    def jobs(self) -> int:
        """How many programs may run at once."""
        return self.settings.limits.jobs or os.cpu_count() or 1


def scan(run: Run, paths: Sequence[str]) -> Scan:
    """Find the workspaces below paths and git URLs; git sources are brought into the cache first."""
    if not paths:
        raise ConfigurationError(
            "no repositories named", advice="Name PATHs, or list `sources` in registry-config.yaml."
        )
    folders = []
    for text in paths:
        if is_git_url(text):
            url, _, ref = text.partition("#")
            folders.append(fetch(url, ref or None, cache_directory() / "git", output=run.output))
        elif Path(text).is_dir():
            folders.append(Path(text))
        else:
            raise ConfigurationError(f"{text}: no such directory", advice="Name directories or git URLs.")
    return find_workspaces(folders)


def analyze(run: Run, found: Scan, *, offline: bool) -> Analysis:
    """Resolve every workspace; raise `NothingToDoError` where there is none at all."""
    if not found.workspaces and not found.skipped:
        raise NothingToDoError(
            "no Cargo.toml below these paths", advice="Name directories that hold Rust repositories."
        )
    cache = cache_directory()
    resolver = analysis_stage.Resolver(
        toolchain=_resolving_toolchain(run, run.settings.toolchain),
        variants=tuple(Variant.parse(name) for name in run.settings.cook.cargo_profiles),
        cargo_home=prepare_resolving_home(cache / "cargo-home"),
        cache=cache / "resolved",
        jobs=run.jobs,
        offline=offline,
        timeout=run.settings.limits.resolve_timeout,
        rustflags=run.settings.contract.rustflags,
    )
    with run.output.progress("resolving", len(found.workspaces)) as advance:
        analysis = analysis_stage.analyze(found, resolver, advance=advance)
    version = analysis.toolchain.version
    return replace(analysis, workspaces=tuple(_tell_pin(workspace, version) for workspace in analysis.workspaces))


def plan(run: Run, analysis: Analysis, profiles: Path | None) -> Plan:
    """Choose what to cook; raise `NothingToDoError` where no registry unit is left to choose."""
    if not analysis.units:
        raise NothingToDoError("the analysis holds no registry unit", advice="See what `factory analyze` skipped.")
    settings = run.settings
    tree = load_layer_profiles(profiles)
    budgets = {profile.name: profile.budget_bytes for profile in tree.layers}
    policy = Policy(
        tree=tree,
        # Sizes are estimates until something was cooked: part of every budget stays free.
        total_budget=settings.budget.plannable(settings.budget.total),
        layer_budgets={name: size and settings.budget.plannable(size) for name, size in budgets.items()},
        cargo_home=settings.contract.cargo_home,
        build_dir=settings.contract.build_dir,
    )
    check = RecipeCheck(
        toolchain=_resolving_toolchain(run, analysis.toolchain.version),
        cargo_home=prepare_resolving_home(cache_directory() / "cargo-home"),
        jobs=run.jobs,
    )
    with run.output.counter("confirming recipes") as progress:
        return make_plan(analysis, policy, check, progress=progress)


def build_locally(run: Run, plan: Plan, folder: Path, *, dry_run: bool) -> tuple[LayerReport, ...]:
    """Cook the plan into a directory; with `dry_run`, only say how."""
    toolchain = find_toolchain(plan.contract.toolchain.version)
    if dry_run:
        for recipe in plan.recipes:
            run.output.answer(shlex.join(["cargo", *recipe.cargo_args, "--locked", "--offline", "--keep-going"]))
        run.output.say(f"{len(plan.recipes)} recipes, {len(plan.units)} units would be cooked into {folder}")
        return ()
    return cook_locally(plan, folder, toolchain=toolchain, output=run.output, timeout=run.settings.limits.cook_timeout)


def build_images(run: Run, plan: Plan, *, dry_run: bool) -> tuple[LayerReport, ...]:
    """Cook the plan into images of the Docker engine; with `dry_run`, only say how."""
    engine = Engine()
    others = [str(platform) for platform in run.settings.platforms if platform != engine.platform]
    if others:
        raise ConfigurationError(
            f"this engine builds for {engine.platform}, and `platforms` lists {', '.join(others)}",
            advice="A platform's units are resolved and cooked on a machine of that platform: build them there.",
        )
    build = images.image_build(plan, run.settings, cache_directory() / "bake" / plan.digest[:12])
    if dry_run:
        definition = images.bake_definition(build, host_network=engine.needs_host_network)
        run.output.answer(canonical_json(definition, depth=9).rstrip())
        for command in images.build_commands(build, engine):
            run.output.answer(shlex.join(command))
        return ()
    return images.build_images(build, engine=engine, output=run.output)


def verify(run: Run, target: str, repos: Sequence[str], *, variant: str, skeleton: bool, cold: bool) -> Proof:
    """Verify an image or a cooked directory, building the given repositories on it."""
    try:
        chosen = Variant.parse(variant)
    except ValueError as error:
        raise ConfigurationError(str(error), advice="Write a cargo profile such as `release`.") from error
    found = scan(run, repos) if repos else Scan(workspaces=(), skipped=())
    for row in found.skipped:
        run.output.warn(f"{row.path}: {row.reason}: {row.detail}")
    if repos and not found.workspaces:
        raise NothingToDoError("no workspace below these paths can be built", advice="See the warnings above.")
    folder = Path(target)
    if folder.is_dir():
        return verify_directory(
            folder.absolute(),
            found.workspaces,
            chosen,
            toolchain=find_toolchain(run.settings.toolchain),
            output=run.output,
            skeleton=skeleton,
            cold=cold,
            timeout=run.settings.limits.cook_timeout,
        )
    return verify_image(
        target, found.workspaces, chosen, engine=Engine(), output=run.output, skeleton=skeleton, cold=cold
    )


def demo(run: Run, *, use_docker: bool | None) -> Proof:
    """Take the shipped samples through all stages; `use_docker`: `None` takes Docker where it is usable."""
    if use_docker is None:
        use_docker = _docker_is_usable(run)
    run.output.say(f"backend: {'docker' if use_docker else 'local'}")
    samples = scan(run, [str(shipped("samples"))])
    made = plan(run, analyze(run, samples, offline=False), None)
    release = Variant.parse("release")
    if not use_docker:
        folder = cache_directory() / "demo"
        build_locally(run, made, folder, dry_run=False)
        return verify(run, str(folder), [str(shipped("samples"))], variant="release", skeleton=False, cold=True)
    build_images(run, made, dry_run=False)
    build = images.image_build(made, run.settings, cache_directory())
    proofs = [
        verify_image(
            build.tags(_smallest_image(made, found.path))[0],
            [found],
            release,
            engine=Engine(),
            output=run.output,
            skeleton=False,
            cold=True,
        )
        for found in samples.workspaces
    ]
    return Proof(
        target="images",
        repos=tuple(repo for proof in proofs for repo in proof.repos),
        checks=tuple(check for proof in proofs for check in proof.checks),
    )


def read_analysis(path: Path) -> Analysis:
    """Read `analysis.json`."""
    return analysis_from_json(read_json(path, made_by="factory analyze"))


def read_plan(path: Path) -> Plan:
    """Read `plan.json`."""
    return plan_from_json(read_json(path, made_by="factory plan"))


def _resolving_toolchain(run: Run, version: str) -> Toolchain:
    """Return the toolchain that the images will have: this machine's when it is the same, else the base image's."""
    try:
        return find_toolchain(version)
    except EnvironmentFaultError as here:
        run.output.say(f"{here.what}: asking the base image {run.settings.base_image}")
        Engine().require_image(run.settings.base_image)
        found = find_toolchain_in_image(run.settings.base_image)
        if found.version != version:
            raise EnvironmentFaultError(
                f"{run.settings.base_image} has rustc {found.version}, not {version}",
                advice="Let `toolchain` and `base.image` say the same.",
            ) from here
        return found


def _docker_is_usable(run: Run) -> bool:
    try:
        Engine().require_image(run.settings.base_image)
    except FactoryError as error:
        run.output.say(f"Docker is not used: {error.what}")
        return False
    return True


def _smallest_image(made: Plan, path: str) -> str:
    """Return the lowest layer whose image has the most hits for a workspace."""
    hits = next(row.hits for row in made.forecast if row.path == path)
    return next(layer.name for layer in made.layers if hits[layer.name] == max(hits.values()))


def _tell_pin(workspace: Workspace, version: str) -> Workspace:
    """A pin to another toolchain does not keep a workspace out of the analysis, but its reader has to know."""
    conflict = pin_conflict(workspace, version)
    if workspace.status is Status.SKIPPED or conflict is None:
        return workspace
    return replace(workspace, reason=conflict)
