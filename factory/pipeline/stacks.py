"""From the shipped stacks to an analysis, for a plan without any repositories."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from factory.analysis.stacks import write_stacks
from factory.pipeline.analyzing import analyze
from factory.pipeline.toolchains import resolving
from factory.scan.discover import find_workspaces
from factory.scratch import scratch

if TYPE_CHECKING:
    from factory.analysis.model import Analysis
    from factory.pipeline.run import Run


def analyze_stacks(run: Run) -> Analysis:
    """Resolve the shipped stacks by the toolchain that the images will have; each counts as often as it has users."""
    cargo_home, toolchain = resolving(run, run.settings.toolchain)
    with scratch("factory-stacks-") as above:
        # The name shows in the plan, as that of a scanned folder does.
        folder = above / "stacks"
        written = write_stacks(folder, toolchain=toolchain, cargo_home=cargo_home, jobs=run.jobs)
        found = find_workspaces([folder])
        weighed = tuple(replace(row, builds=float(written[row.root].repos)) for row in found.workspaces)
        return analyze(run, replace(found, workspaces=weighed), offline=False)
