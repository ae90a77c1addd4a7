"""The stages, once, in the order in which the data passes them.

    repos -> scan -> analyze -> plan -> build -> verify
    a consumer's repo + a plan, directory or image -> check
    a consumer's repo + a plan -> align

Every stage is one function from frozen values to a frozen value; between them stand `analysis.json` and `plan.json`,
from which each can be restarted.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from factory.analysis import analyze as analysis_stage
from factory.analysis.model import Status, Workspace, analysis_from_json
from factory.analysis.uses import pin_conflict
from factory.base import PACKAGES
from factory.cargo.home import prepare_resolving_home, user_mirror
from factory.cargo.index_cache import CrateIndex
from factory.cargo.toolchain import find_toolchain, find_toolchain_in_image
from factory.cargo.variants import Variant
from factory.config.access import fetching
from factory.config.layers import load_layer_profiles
from factory.config.model import has_digest
from factory.consumer import check as check_stage
from factory.consumer import misses as miss_reports
from factory.consumer import recommend as recommend_stage
from factory.consumer.align.advisories import read_advisories
from factory.consumer.align.apply import require_clean, write_files
from factory.consumer.align.features import FeatureRules
from factory.consumer.align.steps import Aligner, Wishes, align_repository
from factory.consumer.align.versions import VersionRules
from factory.consumer.check import Question, default_variant
from factory.consumer.check_model import Amount
from factory.consumer.check_warm import warm_from_directory, warm_from_image, warm_from_plan
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
from factory.consumer.misses import read_misses
from factory.consumer.project import layer_by_anchors, read_project
from factory.consumer.recommend import Recommendation
from factory.cook import images, local
from factory.costs.estimate import costs_of, fit, how_sure
from factory.costs.record import records_of
from factory.costs.shipped import shipped_records
from factory.costs.sources import Sources
from factory.costs.store import open_store, store_url
from factory.engine import Engine
from factory.errors import BadAnswerError, ConfigurationError, EnvironmentFaultError, NothingToDoError
from factory.files import cache_directory, read_json
from factory.planning.agreement import agreement
from factory.planning.baseline_rules import BaselineRules, derive_baseline
from factory.planning.behaviour import read_behaviour_features
from factory.planning.choose import Policy, choose
from factory.planning.explain import explain_crate
from factory.planning.make_plan import RecipeCheck, make_plan
from factory.planning.plan import plan_from_json
from factory.planning.system_packages import PackageUse, Purpose, analysis_uses, read_table
from factory.process import ProgramFailedError
from factory.proof import second_build
from factory.proof.image import verify_image
from factory.proof.local import verify_directory
from factory.proof.model import ProofRequest
from factory.proof.reproducible import verify_reproducible
from factory.proof.target import cooked_directory
from factory.report.figures import figures
from factory.scan.cfg_expression import CfgSet
from factory.scan.discover import find_workspaces
from factory.scan.git_source import fetch, is_git_url, without_secret
from factory.scan.model import Scan, Skipped, SkipReason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.analysis.model import Analysis, ToolchainFacts
    from factory.cargo.toolchain import Toolchain
    from factory.config.model import Settings
    from factory.consumer.align.model import AlignReport, StepName
    from factory.consumer.check_model import CheckReport
    from factory.consumer.check_warm import Warm
    from factory.consumer.project import Project
    from factory.cook.report import LayerReport
    from factory.costs.model import UnitCost
    from factory.model import UnitKey
    from factory.output import Output
    from factory.planning.baseline import Baseline
    from factory.planning.choose import Choice
    from factory.planning.explain import Explanation
    from factory.planning.plan import Plan
    from factory.proof.model import Proof
    from factory.proof.second_build import SecondBuilds
    from factory.report.figures import Figures
    from factory.scan.model import FoundWorkspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What every stage needs: the settings, and where words go."""

    settings: Settings
    output: Output
    sources: tuple[str, ...] = ()
    """Paths and git URLs to analyse where the command line names none."""
    builds: Mapping[str, float] = field(default_factory=dict)
    """How often what is in a source is built, by the text that names the source; 1 for the others."""
    platforms: tuple[str, ...] = ()
    """The platforms that the user asks for; none for the engine's own, whatever it is."""
    cell: str = ""
    """The row of the matrix that the settings are of; empty where there is no matrix."""

    def file(self, path: Path) -> Path:
        """Return the row's own file for one such as `plan.json`: `plan-1.95.0-bookworm.json`."""
        return path.with_stem(f"{path.stem}-{self.cell}") if self.cell else path

    @property
    def jobs(self) -> int:
        """How many programs may run at once."""
        return self.settings.limits.jobs or os.cpu_count() or 1


def scan(run: Run, paths: Sequence[str]) -> Scan:
    """Find the workspaces below paths and git URLs; a git source that cannot be had becomes an explained row."""
    if not paths:
        raise ConfigurationError(
            "no repositories named", advice="Name PATHs, or list `sources` in registry-config.yaml."
        )
    for text in paths:
        if not is_git_url(text) and not Path(text).is_dir():
            raise ConfigurationError(f"{text}: no such directory", advice="Name directories or git URLs.")
    with ThreadPoolExecutor(run.jobs) as pool:
        folders = list(pool.map(lambda text: _folder(run, text), paths))
    found = find_workspaces([folder for folder in folders if isinstance(folder, Path)])
    builds = {
        folder.resolve(): run.builds.get(text, 1.0)
        for folder, text in zip(folders, paths, strict=True)
        if isinstance(folder, Path)
    }
    found = replace(
        found, workspaces=tuple(replace(row, builds=builds[row.scan_root.resolve()]) for row in found.workspaces)
    )
    unreachable = tuple(row for row in folders if isinstance(row, Skipped))
    return replace(found, skipped=tuple(sorted((*found.skipped, *unreachable))))


def analyze(run: Run, found: Scan, *, offline: bool) -> Analysis:
    """Resolve every workspace; raise `NothingToDoError` where there is none at all."""
    _require_manifests(found)
    cache = cache_directory()
    cargo_home, toolchain = _resolving(run, run.settings.toolchain)
    variants = run.settings.cook.parsed_variants
    _require_targets(toolchain, variants)
    resolver = analysis_stage.Resolver(
        toolchain=toolchain,
        variants=variants,
        cargo_home=cargo_home,
        cache=cache / "resolved",
        jobs=run.jobs,
        offline=offline,
        timeout=run.settings.limits.resolve_timeout,
        rustflags=run.settings.contract.rustflags,
    )
    with run.output.progress("resolving", len(found.workspaces)) as advance:
        analysis = analysis_stage.analyze(found, resolver, advance=advance)
    version = analysis.toolchain.version
    builds = {workspace.path: workspace.builds for workspace in found.workspaces}
    workspaces = (replace(row, builds=builds.get(row.path, 1.0)) for row in analysis.workspaces)
    return replace(analysis, workspaces=tuple(_tell_pin(workspace, version) for workspace in workspaces))


def weigh_in(run: Run, analysis: Analysis, misses: Sequence[Path]) -> Analysis:
    """Return an analysis that counts those who reported misses as users too; say what cannot be helped by a plan."""
    if not misses:
        return analysis
    reports = read_misses(misses)
    weighed = miss_reports.weigh_in(reports, analysis)
    run.output.say(f"weighing in {len(reports)} miss reports")
    for row in weighed.unknown:
        run.output.say(
            f"{row.crate}@{row.version}: missed by {', '.join(row.repos)}, and no analysed repository has it"
        )
    return weighed.analysis


def plan(run: Run, analysis: Analysis, profiles: Path | None, *, baseline: bool = True) -> Plan:
    """Choose what to cook; raise `NothingToDoError` where no registry unit is left to choose.

    With `baseline`, the plan says also what the repositories could agree on.
    """
    choice = _choose(run, analysis, profiles)
    cargo_home, toolchain = _resolving(run, analysis.toolchain.version)
    if toolchain.rustc_verbose != analysis.toolchain.rustc_verbose:
        raise EnvironmentFaultError(
            "the analysis was made with another build of rustc than the one found now",
            advice="Run `factory analyze` again.",
        )
    check = RecipeCheck(toolchain=toolchain, cargo_home=cargo_home, jobs=run.jobs)
    with run.output.counter("confirming recipes") as progress:
        made = make_plan(choice, check, progress=progress)
    if not made.units:
        reasons = "; ".join(sorted({row.reason for row in made.excluded})[:5])
        raise NothingToDoError(f"no unit can be planned: {reasons}", advice="Look at budgets and `min_repos`.")
    if not baseline:
        return made
    meeting = _baseline(run, analysis, cargo_home)
    return replace(made, baseline=meeting, agreement=agreement(analysis, meeting, choice.costs))


def _baseline(run: Run, analysis: Analysis, cargo_home: Path) -> Baseline:
    settings = run.settings.baseline
    rules = BaselineRules(
        min_repos=settings.min_repos,
        msrv_share=settings.msrv_percent / 100,
        never=read_behaviour_features(),
        facts=CrateIndex(cargo_home),
    )
    return derive_baseline(analysis, rules)


def explain(run: Run, analysis: Analysis, profiles: Path | None, crate: str, made: Plan | None) -> Explanation:
    """Explain every unit of a crate (`NAME` or `NAME@VERSION`): what is planned, and what kept the rest out.

    `made` is the plan of this analysis, where there is one: it knows what cargo did not confirm. Raises
    `NothingToDoError` where no repository uses the crate.
    """
    return explain_crate(_choose(run, analysis, profiles), crate, made)


def report(
    run: Run, analysis: Path, plan: Path, *, earlier: Sequence[Path], profiles: Path | None, most_crates: int
) -> Figures:
    """Compute the figures of a report on a plan; raise `ConfigurationError` where it is for another compiler."""
    now, made = read_analysis(analysis), read_plan(plan)
    if made.contract.toolchain != now.toolchain:
        raise ConfigurationError(
            f"{plan} is for rustc {made.contract.toolchain.version}, {analysis} for {now.toolchain.version} or another "
            "build of it",
            advice="Run `factory plan` on this analysis.",
        )
    others = [(path.stem, read_analysis(path)) for path in earlier]
    return figures(_choose(run, now, profiles), made, others, name=analysis.stem, most_crates=most_crates)


def _choose(run: Run, analysis: Analysis, profiles: Path | None) -> Choice:
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
        rustflags=settings.contract.rustflags,
        costs=_costs(run, analysis),
        jobs=settings.worth.jobs,
        suite=settings.base.suite,
        sources=fetching(settings).cookable,
    )
    choice = choose(analysis, policy)
    if find_spec("scipy") is None:
        run.output.say("selection: greedy, as scipy is not installed: pip install 'rust-warm-factory[exact]'")
    return choice


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a build would do: its commands in order, and the bake file that they read (Docker only)."""

    commands: tuple[tuple[str, ...], ...]
    bake_file: Mapping[str, object] | None = None


def build_locally(run: Run, plan: Plan, folder: Path) -> tuple[LayerReport, ...]:
    """Cook the plan into a directory."""
    toolchain = find_toolchain(plan.contract.toolchain.version)
    _require_store(run)
    reports = local.cook_locally(
        plan,
        folder,
        toolchain=toolchain,
        output=run.output,
        timeout=run.settings.limits.cook_timeout,
        fetching=fetching(run.settings, user_mirror=user_mirror()),
        measure=run.settings.costs.record,
        budget=run.settings.budget,
    )
    _record(run, plan, reports, homes=[folder / "cargo-home"])
    return reports


def dry_run_locally(plan: Plan) -> DryRun:
    """Return the commands that cook a plan into a directory, each run in the folder of its recipe."""
    return DryRun(commands=local.build_commands(plan))


def build_images(run: Run, plan: Plan) -> tuple[LayerReport, ...]:
    """Cook the plan into images of the Docker engine."""
    engine = _engine(run)
    base = run.settings.base_image
    if not has_digest(base):
        run.output.warn(f"{base} is a tag, which may stand for another image tomorrow: `factory base --pin {base}`")
    _require_store(run)
    reports = images.build_images(_image_build(run, plan, engine), engine=engine, output=run.output)
    _record(run, plan, reports, homes=[])
    return reports


def dry_run_images(run: Run, plan: Plan) -> DryRun:
    """Return the commands that cook a plan into images."""
    engine = _engine(run)
    build = _image_build(run, plan, engine)
    return DryRun(
        commands=images.build_commands(build, engine),
        bake_file=images.bake_definition(build, host_network=engine.needs_host_network),
    )


def verify(run: Run, target: str, repos: Sequence[str], *, variant: str, skeleton: bool, cold: bool) -> Proof:
    """Verify an image or a cooked directory, building the given repositories on it."""
    try:
        chosen = Variant.parse(variant)
    except ValueError as error:
        raise ConfigurationError(str(error), advice="It names one of `cook.variants`.") from error
    found = Scan(workspaces=(), skipped=())
    if repos:
        found = scan(run, repos)
        _require_manifests(found)
    for row in found.skipped:
        run.output.warn(f"{row.path}: {row.reason}: {row.detail}")
    timeout = run.settings.limits.cook_timeout
    request = ProofRequest(
        variant=chosen, skeleton=skeleton, cold=cold, timeout=timeout, tokens=_tokens_here(run.settings)
    )
    folder = cooked_directory(target)
    if folder is not None:
        return verify_directory(folder, found, request, output=run.output)
    return verify_image(target, found, request, engine=Engine(), output=run.output)


def _tokens_here(settings: Settings) -> Mapping[str, str]:
    """Return the tokens that the configuration names, as far as they are here: verifying takes none of them."""
    found = {}
    for token in fetching(settings).tokens:
        with contextlib.suppress(ConfigurationError, OSError):
            found[token.label] = token.read()
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class InitWishes:
    """What the user of `init` named; `None` leaves it to what the project and the configuration suggest."""

    layer: str | None
    image: str | None
    flavour: Flavour
    runtime: Runtime | None
    ci: Ci
    layer_cache: LayerCache | None
    compiler_cache: CompilerCache
    program: str | None
    branch: str


def init(run: Run, folder: Path, wishes: InitWishes, profiles: Path | None) -> ProjectFiles:
    """Return the files with which a project builds on the images; nothing is written."""
    project = read_project(folder)
    packages = _packages_of(run, project)
    choices = Choices(
        builder=wishes.image or _image_for(run, project, wishes.layer, profiles),
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
    beside: Sequence[second_build.Beside],
    base: str | None,
    bumps: Sequence[str],
) -> SecondBuilds:
    """Build a project on an image change after change, by the Dockerfiles of `init`, and on the base beside it."""
    engine = Engine()
    engine.image(image)
    project = read_project(folder)
    packages = _to_build(_packages_of(run, project))
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
    )
    return second_build.second_builds(project.workspace, request, engine=engine, output=run.output)


def _to_build(packages: Sequence[PackageUse]) -> tuple[str, ...]:
    # Programs and libraries alike: what is there already costs nothing.
    return tuple(sorted({use.package for use in packages if use.purpose is not Purpose.RUNTIME} - set(PACKAGES)))


def _packages_of(run: Run, project: Project) -> tuple[PackageUse, ...]:
    """Return the Debian packages that a project needs; where it cannot be resolved here, say so and return none."""
    try:
        analysis = analyze(run, Scan(workspaces=(project.workspace,), skipped=()), offline=False)
        problem = "; ".join(row.reason for row in analysis.workspaces if row.status is Status.SKIPPED)
    except (EnvironmentFaultError, NothingToDoError) as error:
        problem, analysis = error.what, None
    if problem or analysis is None:
        run.output.warn(
            f"{project.name} cannot be resolved here, so the Debian packages it needs are not known: {problem}"
        )
        return ()
    return analysis_uses(analysis, suite=run.settings.base.suite, table=read_table())


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmSource:
    """What a forecast is for: an image, a cooked directory, or else a plan."""

    plan: Path
    image: str | None = None
    folder: Path | None = None

    def read(self) -> Warm:
        """Return the warm units; raise `ConfigurationError` where an image and a directory are named."""
        if self.image is not None and self.folder is not None:
            raise ConfigurationError("an image and a directory are named", advice="Give --image or --dir, not both.")
        if self.image is not None:
            return warm_from_image(Engine(), self.image)
        if self.folder is not None:
            return warm_from_directory(self.folder)
        return warm_from_plan(read_plan(self.plan), name=str(self.plan))


def check(run: Run, repo: str, source: WarmSource, question: Question, *, offline: bool) -> CheckReport:
    """Forecast what a repository will find warm; raise `NothingToDoError` where none of it can be resolved."""
    return _check(run, repo, source, source.read(), question, offline=offline)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignWishes:
    """What the user of `align` named."""

    steps: frozenset[StepName]
    paying: bool
    edit_requirements: bool
    allow_downgrade: bool
    advisory_db: Path | None
    variant: str | None


def align(run: Run, repo: Path, plan: Path, wishes: AlignWishes, *, offline: bool) -> AlignReport:
    """Return the steps that move a repository onto a plan's baseline; nothing is written."""
    source = WarmSource(plan=plan)
    made = read_plan(plan)
    if made.baseline is None:
        raise ConfigurationError(f"{plan}: has no baseline", advice="Run `factory plan` without --no-baseline.")
    warm = warm_from_plan(made, name=str(plan))
    variant = wishes.variant or default_variant(warm)
    warm.require_variant(variant)
    found = scan(run, [str(repo)])
    _require_manifests(found)
    for row in found.skipped:
        run.output.warn(f"{row.path}: {row.reason}: {row.detail}")
    aligner = _aligner(run, made.baseline, warm, _forecaster(run, warm, source, offline=offline), wishes)
    steps = Wishes(variant=variant, steps=wishes.steps, paying=wishes.paying)
    return align_repository(found, aligner, steps, warm=warm.name, advisories=str(wishes.advisory_db or ""))


def apply_alignment(run: Run, repo: Path, report: AlignReport, *, force: bool) -> None:
    """Write what aligning a repository found; raise `BadAnswerError` where a workspace could not be aligned."""
    problems = [f"{workspace.path}: {workspace.problem}" for workspace in report.workspaces if workspace.problem]
    if problems:
        raise BadAnswerError("; ".join(problems), advice=f"Nothing was written. Mend {repo}, or name a part of it.")
    changed = [workspace for workspace in report.workspaces if workspace.files]
    if not changed:
        run.output.say("aligned: nothing to write")
        return
    if not force:
        for folder in sorted({workspace.folder for workspace in changed}):
            require_clean(folder)
    for workspace in changed:
        write_files(workspace.folder, workspace.files)
        for path in sorted(workspace.files):
            run.output.say(f"wrote {workspace.folder / path}")
    run.output.say("next: build and test it as ever, look at `git diff`, and commit it")


def _aligner(
    run: Run, baseline: Baseline, warm: Warm, resolver: analysis_stage.Resolver, wishes: AlignWishes
) -> Aligner:
    sources, estimator = _sources([]), fit(shipped_records())
    known = {key: unit.cost for key, unit in warm.units.items()}
    facts = CrateIndex(resolver.cargo_home)
    host = warm.toolchain.host

    def measure(workspace: FoundWorkspace, analysis: Analysis) -> CheckReport:
        costs = costs_of(analysis.units, known, estimator, sources)
        return check_stage.check(
            Scan(workspaces=(workspace,), skipped=()),
            analysis,
            warm,
            Question(variant=wishes.variant or default_variant(warm), ignore_pin=True),
            costs=costs,
            jobs=run.settings.worth.jobs,
        )

    return Aligner(
        resolver=resolver,
        versions=VersionRules(
            baseline=baseline,
            facts=facts,
            advisories=None if wishes.advisory_db is None else read_advisories(wishes.advisory_db),
            allow_downgrade=wishes.allow_downgrade,
            edit_requirements=wishes.edit_requirements,
        ),
        features=FeatureRules(
            baseline=baseline,
            facts=facts,
            never=read_behaviour_features(),
            cfgs=CfgSet.parse(resolver.toolchain.print_cfg(host)),
            triple=host,
        ),
        measure=measure,
    )


def recommend(
    run: Run, repos: Sequence[str], plan: Path, *, bandwidth: int, offline: bool
) -> tuple[Recommendation, ...]:
    """Weigh the plan's images for every repository; one that cannot be forecast is a row that says why."""
    if not repos:
        raise ConfigurationError(
            "no repositories named", advice="Name PATHs, or list `sources` in registry-config.yaml."
        )
    source = WarmSource(plan=plan)
    warm = source.read()
    rows: list[Recommendation] = []
    for repo in repos:
        try:
            report = _check(run, repo, source, warm, Question(), offline=offline)
        except NothingToDoError as error:
            row = Recommendation(repo=without_secret(repo), variant="", total=Amount(), offers=(), problem=error.what)
            rows.append(row)
        else:
            rows += recommend_stage.recommend(report, warm, bandwidth=bandwidth)
    return tuple(rows)


def _check(run: Run, repo: str, source: WarmSource, warm: Warm, question: Question, *, offline: bool) -> CheckReport:
    image = question.image or (warm.topmost if source.image is not None else None)
    if image is not None:
        warm.require_layer(image)
    variant = question.variant or default_variant(warm)
    warm.require_variant(variant)
    found = scan(run, [repo])
    _require_manifests(found)
    analysis = analysis_stage.analyze(
        found, _forecaster(run, warm, source, offline=offline), advance=lambda _path: None
    )
    if not analysis.resolved:
        reasons = "; ".join(f"{workspace.path}: {workspace.reason}" for workspace in analysis.workspaces)
        raise NothingToDoError(f"no workspace could be resolved: {reasons}", advice="Mend it, or name another folder.")
    # A consumer's machine keeps no measurements: what is warm has its costs with it.
    sources = _sources([])
    known = {key: unit.cost for key, unit in warm.units.items()}
    costs = costs_of(analysis.units, known, fit(shipped_records()), sources)
    sources.remember()
    return check_stage.check(
        found,
        analysis,
        warm,
        replace(question, variant=variant, image=image),
        costs=costs,
        jobs=run.settings.worth.jobs,
    )


def _forecaster(run: Run, warm: Warm, source: WarmSource, *, offline: bool) -> analysis_stage.Resolver:
    """Return what resolves a consumer as the toolchain of the warm units would."""
    cache = cache_directory()
    toolchain = _toolchain_of(run, warm, source)
    return analysis_stage.Resolver(
        # Cargo hashes the whole text of the compiler that cooked, be it another build of the same version.
        toolchain=replace(toolchain, rustc_verbose=warm.toolchain.rustc_verbose),
        variants=tuple(Variant.parse(name) for name in warm.variants),
        cargo_home=prepare_resolving_home(cache / "cargo-home"),
        cache=cache / "resolved",
        jobs=run.jobs,
        offline=offline,
        timeout=run.settings.limits.resolve_timeout,
        rustflags=warm.rustflags,
    )


def _toolchain_of(run: Run, warm: Warm, source: WarmSource) -> Toolchain:
    version = warm.toolchain.version
    try:
        toolchain = find_toolchain(version)
    except EnvironmentFaultError as here:
        image = source.image or run.settings.base_image
        run.output.say(f"{here.what}: asking the image {image}")
        Engine().require_image(image)
        toolchain = find_toolchain_in_image(image)
    if (toolchain.version, toolchain.host) != (version, warm.toolchain.host):
        raise EnvironmentFaultError(
            f"{warm.name} is for rustc {version} on {warm.toolchain.host}, and only {toolchain.version} on "
            f"{toolchain.host} is here",
            advice=f"Run `rustup toolchain install {version}` on a machine of that platform.",
        )
    return toolchain


def reproduce(run: Run, proof: Proof, plan: Plan) -> Proof:
    """Add to the proof of an image whether building its plan again, without a cache, gives the same digest."""
    if cooked_directory(proof.target) is not None:
        raise ConfigurationError(
            f"{proof.target}: a directory has no digest to compare", advice="Leave out --reproducible."
        )
    check = verify_reproducible(
        proof.target,
        plan,
        run.settings,
        folder=cache_directory() / "bake" / f"{plan.digest[:12]}-again",
        engine=_engine(run),
        output=run.output,
    )
    return replace(proof, checks=(*proof.checks, check))


def read_analysis(path: Path) -> Analysis:
    """Read `analysis.json`."""
    return analysis_from_json(read_json(path, made_by="factory analyze"))


def read_plan(path: Path) -> Plan:
    """Read `plan.json`."""
    return plan_from_json(read_json(path, made_by="factory plan"))


def _image_for(run: Run, project: Project, layer: str | None, profiles: Path | None) -> str:
    tree = load_layer_profiles(profiles)
    if layer is None:
        layer, anchor = layer_by_anchors(project, tree)
        run.output.say(f"building on {layer}" + (f", as Cargo.lock has {anchor}" if anchor else ""))
    image = run.settings.image
    tags = image.moving_tags_of(layer=tree.layer(layer).name, rust=run.settings.toolchain)
    if not tags:
        raise ConfigurationError(
            "every tag of `image.tags` has a date or a digest in it, so none stands for the newest image",
            advice="Name one with --image.",
        )
    return f"{image.repository}:{tags[0]}"


def _costs(run: Run, analysis: Analysis) -> Mapping[UnitKey, UnitCost]:
    """Return what every unit costs, by what was measured so far, and say how sure that is."""
    with open_store(store_url(run.settings.costs.url)) as store:
        records = store.records()
    sources = _sources([])
    rustc, platform = _compiler(analysis.toolchain)
    measured = {r.key: r.cost for r in records if (r.rustc, r.platform) == (rustc, platform)}
    estimator = fit([*shipped_records(), *records])
    costs = costs_of(analysis.units, measured, estimator, sources)
    sources.remember()
    run.output.say(how_sure(costs, estimator))
    return costs


def _require_store(run: Run) -> None:
    """Raise the store's own error before a cook that could not be recorded."""
    if run.settings.costs.record:
        with open_store(store_url(run.settings.costs.url)):
            pass


def _record(run: Run, plan: Plan, reports: Sequence[LayerReport], *, homes: Sequence[Path]) -> None:
    """Keep what a cook measured; a store that is gone by now must not make a good build a failed one."""
    observed = {key: seen for report in reports for key, seen in report.observed.items()}
    if not observed:
        return
    url = store_url(run.settings.costs.url)
    sources = _sources(homes)
    rustc, platform = _compiler(plan.contract.toolchain)
    units = {key: planned.unit for key, planned in plan.units.items()}
    records = records_of(observed, units, rustc=rustc, platform=platform, sources=sources)
    sources.remember()
    try:
        with open_store(url) as store:
            store.add(records)
    except EnvironmentFaultError as error:
        run.output.warn(f"what this cook measured is lost: {error}")
        return
    seconds = sum(seen.seconds for seen in observed.values())
    run.output.say(f"measured {len(observed)} units, {seconds:.0f} core seconds: kept in {url.text}")


def _sources(homes: Sequence[Path]) -> Sources:
    cache = cache_directory()
    return Sources([*homes, cache / "cargo-home"], cache / "crate-sizes.json")


def _compiler(toolchain: ToolchainFacts) -> tuple[str, str]:
    """Return what measurements are kept by beside the key: the compiler, and where it runs."""
    return toolchain.rustc_verbose.partition("\n")[0], toolchain.host


def _require_manifests(found: Scan) -> None:
    if not found.workspaces and not found.skipped:
        raise NothingToDoError(
            "no Cargo.toml below these paths", advice="Name directories that hold Rust repositories."
        )


def _require_targets(toolchain: Toolchain, variants: Sequence[Variant]) -> None:
    """Raise `ConfigurationError` for a target of ours that rustc does not know: no workspace is to blame for it."""
    for variant in variants:
        if variant.target is None:
            continue
        try:
            toolchain.print_cfg(variant.target)
        except ProgramFailedError as error:
            raise ConfigurationError(
                f"cook.variants: {variant}: rustc {toolchain.version} has no target {variant.target}",
                advice="`rustc --print target-list` lists those that it has.",
            ) from error


def _resolving(run: Run, version: str) -> tuple[Path, Toolchain]:
    """Return the CARGO_HOME and the toolchain that resolve: they reach the registries and git hosts as configured."""
    access = fetching(run.settings)
    for fault in access.missing_tokens():
        run.output.warn(f"{fault}: what needs it cannot be resolved")
    cargo_home = prepare_resolving_home(cache_directory() / "cargo-home", access.cargo_settings())
    variables = access.configured_environment() | access.write_git_configuration(cargo_home / "fetch")
    toolchain = _resolving_toolchain(run, version)
    return cargo_home, replace(toolchain, variables=tuple(sorted(variables.items())), tokens=access.tokens)


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


def _folder(run: Run, text: str) -> Path | Skipped:
    if not is_git_url(text):
        return Path(text)
    url, _, ref = text.partition("#")
    try:
        return fetch(url, ref or None, cache_directory() / "git", output=run.output)
    except EnvironmentFaultError as error:
        shown = without_secret(text)
        return Skipped(
            path=shown, repo=shown, reason=SkipReason.SOURCE_UNREACHABLE, detail=str(error).replace("\n", "; ")
        )


def _engine(run: Run) -> Engine:
    """Return the engine; raise `ConfigurationError` where the configuration wants what is not built here."""
    engine = Engine()
    others = [platform for platform in run.platforms if platform != engine.platform]
    if others:
        raise ConfigurationError(
            f"this engine builds for {engine.platform}, and `platforms` lists {', '.join(others)}",
            advice="A platform's units are resolved and cooked on a machine of that platform: build them there.",
        )
    return engine


def _image_build(run: Run, plan: Plan, engine: Engine) -> images.ImageBuild:
    return images.image_build(
        plan,
        run.settings,
        cache_directory() / "bake" / plan.digest[:12],
        fetching=fetching(run.settings, user_mirror=user_mirror()),
        base_digest=engine.manifest_digest(run.settings.base_image),
    )


def _tell_pin(workspace: Workspace, version: str) -> Workspace:
    """A pin to another toolchain does not keep a workspace out of the analysis, but its reader has to know."""
    conflict = pin_conflict(workspace, version)
    if workspace.status is Status.SKIPPED or conflict is None:
        return workspace
    return replace(workspace, reason="; ".join(filter(None, (conflict, workspace.reason))))
