"""What a rebuild cannot see of what it is for: without it, images would lose crates that somebody waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.scan.model import SkipReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from factory.analysis.model import Analysis
    from factory.scan.model import Skipped


def unreachable(skipped: Iterable[Skipped]) -> tuple[str, ...]:
    """Return a line for each source that cannot be reached."""
    return tuple(f"{row.path}: {row.detail}" for row in skipped if row.reason is SkipReason.SOURCE_UNREACHABLE)


def unresolved(skipped: Iterable[Skipped], now: Analysis, before: Analysis) -> tuple[str, ...]:
    """Return a line for each workspace that was resolved before and is not now.

    One that is no longer there is none of them: somebody removed it.
    """
    resolved = {workspace.path for workspace in now.resolved}
    reasons = {row.path: row.detail for row in skipped}
    reasons |= {workspace.path: workspace.reason for workspace in now.workspaces if workspace.path not in resolved}
    lost = sorted({workspace.path for workspace in before.resolved} & reasons.keys())
    return tuple(f"{path}: {reasons[path]}" for path in lost)
