"""From repositories to what they would compile if they met at the baseline."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from factory.analysis.model import join, original_path
from factory.cargo.index_cache import CrateIndex
from factory.consumer.align.features import FeatureRules
from factory.consumer.align.meeting import Meeting, meet
from factory.consumer.align.model import StepName
from factory.consumer.align.versions import VersionRules
from factory.errors import BadAnswerError
from factory.pipeline.analyzing import ask_registry, resolver_of
from factory.pipeline.costing import with_sizes
from factory.pipeline.planning import baseline_of

if TYPE_CHECKING:
    from factory.analysis.analyze import Resolver
    from factory.analysis.model import Analysis
    from factory.consumer.align.meeting import Met
    from factory.pipeline.run import Run
    from factory.scan.model import FoundWorkspace, Scan

_ADOPTED = f"{StepName.VERSIONS}, {StepName.FEATURES}"
"""What repositories are taken to adopt: another cargo profile changes their programs, versions alone gain little."""


def meet_baseline(run: Run, found: Scan, analysis: Analysis, *, offline: bool) -> Analysis:
    """Return an analysis of all workspaces after each step onto the baseline that `analysis` has; nothing is written.

    `found` are the workspaces of `analysis`. What cargo does not resolve is told and left out; raises
    `BadAnswerError` where that is all.
    """
    resolver = resolver_of(run, offline=offline)
    ask_registry(run, resolver, analysis.packages)
    meeting = _meeting(run, analysis, resolver)
    with (
        run.output.progress("meeting the baseline", len(found.workspaces)) as advance,
        ThreadPoolExecutor(run.jobs) as pool,
    ):

        def one(workspace: FoundWorkspace) -> Met:
            met = meet(workspace, meeting)
            advance(workspace.path)
            return met

        rows = list(pool.map(one, found.workspaces))
    for row in rows:
        if row.problem:
            run.output.warn(f"{row.path}: does not meet the baseline: {row.problem}")
    parts = [state for row in rows for state in row.states]
    if not parts:
        raise BadAnswerError("no workspace can meet the baseline", advice="The warnings above say why.")
    builds = {workspace.path: workspace.builds for workspace in analysis.workspaces}
    return _with_builds(with_sizes(join(parts)), builds)


def with_aligned(run: Run, analysis: Analysis, aligned: Analysis) -> Analysis:
    """Return an analysis with the repositories as they are, and as they would be at the baseline.

    What they would compile with its versions and features counts as often as `baseline.adopt_percent` says; the other
    steps are forecast, and count nothing.
    """
    share = run.settings.baseline.adopt_percent / 100
    rows = tuple(
        replace(row, builds=row.builds * share if row.aligned == _ADOPTED else 0.0) for row in aligned.workspaces
    )
    return join([analysis, replace(aligned, workspaces=rows)])


def _meeting(run: Run, analysis: Analysis, resolver: Resolver) -> Meeting:
    baseline = baseline_of(run, analysis, resolver.toolchain, resolver.cargo_home, offline=resolver.offline)
    index = CrateIndex(resolver.cargo_home)
    features = FeatureRules.of(
        VersionRules(baseline=baseline, facts=index, versions=index.versions),
        resolver.toolchain,
        growth_percent=run.settings.baseline.growth_percent,
    )
    return Meeting(resolver=resolver, features=features)


def _with_builds(aligned: Analysis, builds: dict[str, float]) -> Analysis:
    rows = (replace(row, builds=builds.get(original_path(row.path, row.aligned), 1.0)) for row in aligned.workspaces)
    return replace(aligned, workspaces=tuple(rows))
