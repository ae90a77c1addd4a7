"""What repositories would compile at the baseline: the steps of an alignment, by cargo, without asking what is warm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from factory.analysis.model import aligned_path
from factory.consumer.align.copy import WorkingCopy
from factory.consumer.align.features import add_features, with_reachable
from factory.consumer.align.hack import without_hack
from factory.consumer.align.model import StepName
from factory.consumer.align.profile_step import profile_step
from factory.consumer.align.versions import move_versions
from factory.errors import ConfigurationError
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from factory.analysis.analyze import Resolver
    from factory.analysis.model import Analysis
    from factory.consumer.align.features import FeatureRules
    from factory.scan.model import FoundWorkspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """What it takes to let a workspace meet the baseline."""

    resolver: Resolver
    features: FeatureRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """One workspace after each step that it can take, each an analysis of that workspace alone; why not further."""

    path: str
    states: tuple[Analysis, ...]
    problem: str = ""


def meet(found: FoundWorkspace, meeting: Meeting) -> Met:
    """Move a copy of a workspace onto the baseline, step after step; nothing of the repository is changed.

    The steps are versions, features, and the cargo profile, each on top of those before. A
    workspace that has the profile already has no state of that step.
    """
    states: list[Analysis] = []
    try:
        with scratch("factory-meet-") as folder:
            copy = WorkingCopy.make(found, folder / "copy", meeting.resolver)
            for taken, analysis in _steps(copy, meeting):
                if not analysis.resolved:
                    problem = f"{', '.join(taken) or 'as it is'}: {analysis.workspaces[0].reason}"
                    return Met(path=found.path, states=tuple(states), problem=problem)
                if taken:
                    states.append(_named(analysis, taken))
    except ConfigurationError as error:
        return Met(path=found.path, states=tuple(states), problem=error.what)
    return Met(path=found.path, states=tuple(states))


def _steps(copy: WorkingCopy, meeting: Meeting) -> Iterator[tuple[tuple[StepName, ...], Analysis]]:
    """Take the steps one after the other; yield what was taken so far, with what cargo makes of it."""
    root = str(copy.root.relative_to(copy.folder))
    original = copy.read()
    copy.write(without_hack(original, root))
    if copy.read() != original:
        copy.settle_lock()
    analysis = copy.analyze()
    yield (), analysis
    analysis = move_versions(copy, meeting.features.versions, analysis).analysis
    yield (StepName.VERSIONS,), analysis
    # In either way cargo compiles the same units, and one that is sure to go needs no second attempt.
    analysis = add_features(copy, with_reachable(meeting.features, copy), analysis).most.analysis
    yield (StepName.VERSIONS, StepName.FEATURES), analysis
    settled = _with_profile(copy, meeting.features, analysis)
    if settled is not None:
        yield (StepName.VERSIONS, StepName.FEATURES, StepName.PROFILE), settled.analyze()


def _with_profile(copy: WorkingCopy, features: FeatureRules, analysis: Analysis) -> WorkingCopy | None:
    """Return the copy with the baseline's cargo profile and flags for each variant; `None` where all have them."""
    changed = False
    for name, use in sorted(analysis.workspaces[0].variants.items()):
        step = profile_step(copy, use, name, features)
        if step is not None and step.changes:
            copy = step.taken()
            changed = True
    return copy if changed else None


def _named(analysis: Analysis, taken: tuple[StepName, ...]) -> Analysis:
    """Let the workspace's row say what was taken."""
    steps = ", ".join(taken)
    (row,) = analysis.workspaces
    return replace(analysis, workspaces=(replace(row, path=aligned_path(row.path, steps), aligned=steps),))
