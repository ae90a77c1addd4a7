"""What a unit is worth: the wall seconds of builds that its users save when they find it fresh.

A build is laid out as `factory.planning.wall` predicts it, with nothing warm, and every second of it is divided among
the units that run in it. So a unit on the critical path, where cargo has nothing else to do, counts with all of its
seconds, and one that fills a free job beside three others with a quarter of them; the shares of a build add up to its
wall seconds. A unit's worth is the sum of its shares over all builds, each counted as often as its repository builds.

It is linear, where real savings are not: they grow when all of a path is warm. `benchmarks/worth.py` says how far off.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from factory.planning.wall import BuildModel, wall_shares

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.analysis.model import Analysis
    from factory.costs.model import UnitCost
    from factory.model import UnitKey

Savings = dict["UnitKey", dict[str, float]]
"""For each unit the wall seconds that it saves in each repository, times how often that builds."""


def savings(analysis: Analysis, *, costs: Mapping[UnitKey, UnitCost], jobs: int) -> Savings:
    """Return what every registry unit saves, by repository, on machines that run `jobs` jobs at once.

    Each variant of each workspace is a build of its own; `costs` has every unit of the analysis.
    """
    found: Savings = defaultdict(lambda: defaultdict(float))
    for workspace in sorted(analysis.resolved, key=lambda workspace: workspace.path):
        for _, use in sorted(workspace.variants.items()):
            model = BuildModel(use.all_keys, units=analysis.units, costs=costs)
            shares = wall_shares(list(model.stretches(jobs)))
            for key in use.all_keys:
                found[key][workspace.repo] += shares.get(key, 0.0) * workspace.builds
    return {key: dict(by_repo) for key, by_repo in found.items()}
