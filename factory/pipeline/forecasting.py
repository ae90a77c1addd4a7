"""What a consumer's repository will find warm, and how it finds more."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from factory.analysis import analyze as analysis_stage
from factory.analysis.remarks import Remark, fold_remarks
from factory.cargo.advisories import read_advisories
from factory.cargo.index_cache import CrateIndex
from factory.cargo.variants import Variant
from factory.config.access import fetching
from factory.consumer import recommend as recommend_stage
from factory.consumer.align.apply import require_clean, write_files
from factory.consumer.align.features import FeatureRules, FeaturesBy
from factory.consumer.align.show import UNPIN
from factory.consumer.align.steps import Aligner, Wishes, align_repository
from factory.consumer.align.versions import VersionRules
from factory.consumer.check import forecast as check_stage
from factory.consumer.check.forecast import Question, default_variant
from factory.consumer.check.warm import warm_from_directory, warm_from_image, warm_from_plan
from factory.costs.estimate import fit
from factory.costs.shipped import shipped_records
from factory.engine import Engine
from factory.errors import BadAnswerError, ConfigurationError
from factory.files import cache_directory
from factory.model import PackageId
from factory.pipeline.analyzing import ask_registry, require_manifests, scan
from factory.pipeline.artefacts import read_plan
from factory.pipeline.costing import crate_sources, weighed_costs
from factory.pipeline.toolchains import toolchain_like, with_access
from factory.scan.git_source import without_secret
from factory.scan.model import Scan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from factory.analysis.model import Analysis
    from factory.cargo.toolchain import Toolchain
    from factory.consumer.align.model import AlignReport, StepName
    from factory.consumer.check.model import CheckReport
    from factory.consumer.check.warm import Warm
    from factory.consumer.recommend import Recommendation
    from factory.pipeline.run import Run
    from factory.planning.baseline import Baseline
    from factory.scan.model import FoundWorkspace, Skipped


BANDWIDTH = 100_000_000
"""Bytes that a build machine pulls in a second, where nobody says."""


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
    """Forecast what a repository will find warm; of what cannot be resolved the report says why."""
    return _check(run, repo, source, source.read(), question, offline=offline)


def require_forecasts(run: Run, report: CheckReport) -> None:
    """Raise `BadAnswerError`, with all reasons, where no workspace could be resolved."""
    skipped = (Remark(path=w.path, repo=w.repo, skipped=True, text=w.skipped) for w in report.workspaces)
    reasons = [f"{row.where}: {row.text}" for row in fold_remarks(skipped, all_of_them=run.output.is_verbose)]
    _require_resolved(reasons, [workspace for workspace in report.workspaces if workspace.variants])


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignWishes:
    """What the user of `align` named."""

    steps: frozenset[StepName]
    growth_percent: int | None
    """How much larger features that bring crates may make the graph; `None` for what the configuration says."""
    features_by: FeaturesBy
    edit_requirements: bool
    allow_downgrade: bool
    advisory_db: Path | None
    variant: str | None
    ignore_pin: bool
    """Align for builds by the plan's toolchain, whatever a repository pins."""


def align(run: Run, repo: Path, plan: Path, wishes: AlignWishes, *, offline: bool) -> AlignReport:
    """Return the steps that move a repository onto a plan's baseline; nothing is written.

    Raises `BadAnswerError` where none of it can be resolved or aligned: then nobody knows whether it is.
    """
    source = WarmSource(plan=plan)
    made = read_plan(plan)
    if made.baseline is None:
        raise ConfigurationError(f"{plan}: has no baseline", advice="Run `factory plan` without --no-baseline.")
    warm = warm_from_plan(made, name=str(plan))
    variant = _variant(wishes.variant, warm)
    found = _scan(run, str(repo))
    _require_resolved([f"{row.path}: {row.reason}: {row.detail}" for row in found.skipped], found.workspaces)
    for left in fold_remarks(map(_remark_of, found.skipped), all_of_them=run.output.is_verbose):
        run.output.warn(f"{left.where}: {left.text}")
    resolver = _forecaster(run, warm, source, offline=offline)
    crates = {PackageId(crate.name, crate.version, crate.source) for crate in made.baseline.crates}
    ask_registry(run, resolver, crates)
    aligner = _aligner(run, made.baseline, warm, resolver, wishes)
    steps = Wishes(variant=variant, steps=wishes.steps)
    report = align_repository(found, aligner, steps, warm=warm.name, advisories=str(wishes.advisory_db or ""))
    _require_resolved(report.problems, [row for row in report.workspaces if not row.before.problem])
    if all(row.problem for row in report.workspaces):
        raise BadAnswerError(
            "\n  ".join(["no workspace could be aligned:", *report.problems]), advice="Mend that first."
        )
    return report


def apply_alignment(run: Run, repo: Path, report: AlignReport, *, force: bool) -> None:
    """Write what aligning a repository found.

    Raises `BadAnswerError` where a workspace could not be aligned, or where toolchain pins leave nothing to write.
    """
    if report.problems:
        raise BadAnswerError(
            "; ".join(report.problems), advice=f"Nothing was written. Mend {repo}, or name a part of it."
        )
    changed = [workspace for workspace in report.workspaces if workspace.files]
    if report.barred and not changed:
        raise BadAnswerError(f"nothing was written: {'; '.join(report.barred)}", advice=UNPIN)
    if not changed:
        run.output.say("aligned: nothing to write")
        return
    if not force:
        for folder in sorted({workspace.folder for workspace in changed}):
            require_clean(folder)
    for workspace in changed:
        write_files(workspace.folder, workspace.files)
        for path, text in sorted(workspace.files.items()):
            run.output.say(f"{'removed' if text is None else 'wrote'} {workspace.folder / path}")
    run.output.say("next: build and test it as ever, look at `git diff`, and commit it")


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
            require_forecasts(run, report)
        except BadAnswerError as error:
            rows.append(recommend_stage.without_offers(without_secret(repo), warm, error.what))
        else:
            rows += recommend_stage.recommend(
                report, warm, bandwidth=bandwidth, compression=run.settings.image.compression
            )
    return tuple(rows)


def _aligner(
    run: Run, baseline: Baseline, warm: Warm, resolver: analysis_stage.Resolver, wishes: AlignWishes
) -> Aligner:
    sources, estimator = crate_sources([]), fit(shipped_records())
    known = {key: unit.cost for key, unit in warm.units.items()}
    index = CrateIndex(resolver.cargo_home)

    def measure(workspace: FoundWorkspace, analysis: Analysis) -> CheckReport:
        costs = weighed_costs(analysis, known, estimator, sources)
        return check_stage.check(
            Scan(workspaces=(workspace,), skipped=()),
            analysis,
            warm,
            Question(variant=wishes.variant or default_variant(warm), ignore_pin=wishes.ignore_pin),
            costs=costs,
            jobs=run.settings.worth.jobs,
            sources=fetching(run.settings).cookable,
        )

    versions = VersionRules(
        baseline=baseline,
        facts=index,
        versions=index.versions,
        advisories=None if wishes.advisory_db is None else read_advisories(wishes.advisory_db),
        allow_downgrade=wishes.allow_downgrade,
        edit_requirements=wishes.edit_requirements,
    )
    growth = run.settings.baseline.growth_percent if wishes.growth_percent is None else wishes.growth_percent
    return Aligner(
        resolver=resolver,
        features=FeatureRules.of(versions, resolver.toolchain, growth_percent=growth, by=wishes.features_by),
        measure=measure,
        tell=run.output.say,
    )


def _scan(run: Run, repo: str) -> Scan:
    """Find the workspaces of a repository; raise `BadAnswerError` where it has no manifest."""
    found = scan(run, [repo])
    require_manifests(found)
    return found


def _remark_of(row: Skipped) -> Remark:
    return Remark(path=row.path, repo=row.repo, skipped=True, text=f"{row.reason}: {row.detail}")


def _variant(named: str | None, warm: Warm) -> str:
    """Return a variant as warm units are told by it; raise `ConfigurationError` for one that nothing is cooked for."""
    chosen = default_variant(warm) if named is None else named
    with contextlib.suppress(ValueError):
        chosen = str(Variant.parse(chosen))
    warm.require_variant(chosen)
    return chosen


def _require_resolved(reasons: Sequence[str], resolved: Sequence[object]) -> None:
    """Raise `BadAnswerError`, with all reasons, where there is nothing that could be resolved."""
    if not resolved:
        raise BadAnswerError(
            "\n  ".join(["no workspace could be resolved:", *reasons]), advice="Mend it, or name another folder."
        )


def _check(run: Run, repo: str, source: WarmSource, warm: Warm, question: Question, *, offline: bool) -> CheckReport:
    image = question.image or (warm.topmost if source.image is not None else None)
    if image is not None:
        warm.require_layer(image)
    variant = _variant(question.variant, warm)
    found = _scan(run, repo)
    resolver = _forecaster(run, warm, source, offline=offline)
    with run.output.progress("resolving", len(found.workspaces)) as advance:
        analysis = analysis_stage.analyze(found, resolver, advance=advance)
    # A consumer's machine keeps no measurements: what is warm has its costs with it.
    known = {key: unit.cost for key, unit in warm.units.items()}
    costs = weighed_costs(analysis, known, fit(shipped_records()), crate_sources([]))
    return check_stage.check(
        found,
        analysis,
        warm,
        replace(question, variant=variant, image=image),
        costs=costs,
        jobs=run.settings.worth.jobs,
        sources=fetching(run.settings).cookable,
    )


def _forecaster(run: Run, warm: Warm, source: WarmSource, *, offline: bool) -> analysis_stage.Resolver:
    """Return what resolves a consumer as the toolchain of the warm units would."""
    cargo_home, toolchain = with_access(run, _toolchain_of(run, warm, source))
    return analysis_stage.Resolver(
        # Cargo hashes the whole text of the compiler that cooked, be it another build of the same version.
        toolchain=replace(toolchain, rustc_verbose=warm.toolchain.rustc_verbose),
        variants=tuple(Variant.parse(name) for name in warm.variants),
        cargo_home=cargo_home,
        cache=cache_directory() / "resolved",
        jobs=run.jobs,
        offline=offline,
        timeout=run.settings.limits.resolve_timeout,
        rustflags=warm.rustflags,
    )


def _toolchain_of(run: Run, warm: Warm, source: WarmSource) -> Toolchain:
    facts = warm.toolchain
    return toolchain_like(
        run, facts.version, facts.host, source.image or run.settings.base_image, named=f"{warm.name} and `base.image`"
    )
