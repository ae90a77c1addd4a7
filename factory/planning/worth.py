"""What a unit is worth: the wall seconds of builds that its users save when they find it fresh.

A build is laid out as `factory.planning.wall` predicts it, with nothing warm, and every second of it is divided among
the units that run in it. So a unit on the critical path, where cargo has nothing else to do, counts with all of its
seconds, and one that fills a free job beside three others with a quarter of them; the shares of a build add up to its
wall seconds. A unit's worth is the sum of its shares over all builds, each counted as often as its repository builds.

That is for the repositories which were analysed. For one that nobody analysed, what saves most seconds is not what will
be met again: most units have a single user. How probable it is that another repository has a unit, by the number of
those that have it, is estimated from the repositories themselves, each held against the others.

It is linear, where real savings are not: they grow when all of a path is warm. `benchmarks/worth.py` says how far off.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from factory.planning.wall import BuildModel, wall_shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.analysis.model import Analysis
    from factory.costs.model import UnitCost
    from factory.model import UnitKey

Savings = dict["UnitKey", dict[str, float]]
"""For each unit the wall seconds that it saves in each repository, times how often that builds."""


def savings(analysis: Analysis, *, costs: Mapping[UnitKey, UnitCost], jobs: int) -> Savings:
    """Return what every unit of registries and git saves, by repository, on machines that run `jobs` jobs at once.

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


def worth_of(saved: Savings, *, repos: int, unseen: float) -> dict[UnitKey, float]:
    """Return what every unit is worth, in seconds of as many builds as `repos` repositories make.

    `unseen` is the part of these builds, 0 to 1, that is not of the analysed repositories but of others like them. What
    a unit saves there is what it saves its users, in the mean, times the probability that it is met.
    """
    # Sorted: a sum of floats depends on the order.
    whole = {key: sum(seconds for _, seconds in sorted(by_repo.items())) for key, by_repo in saved.items()}
    if not unseen:
        return whole
    met = chances(saved, repos)
    return {
        key: seconds * (1 - unseen + (unseen * repos * met[len(saved[key]) - 1] / len(saved[key]) if seconds else 0.0))
        for key, seconds in whole.items()
    }


def chances(saved: Savings, repos: int) -> list[float]:
    """Return how probably a repository like these has a unit that 1, 2, … `repos` of them have, weighed by seconds.

    Each repository is held against the others: of the seconds that units would save which r of the others have, what
    part is it that the repository does have? (The estimate of Good and Turing, for presence instead of counts.) Where
    more users would make it less probable, which is chance, neighbouring numbers are taken together.
    """
    alike = [0.0] * (repos + 2)
    for by_repo in saved.values():
        alike[len(by_repo)] += sum(seconds for _, seconds in sorted(by_repo.items())) / max(1, len(by_repo))
    hits = [(users + 1) * alike[users + 1] for users in range(1, repos + 1)]
    # A unit with r users is seen from each of the repositories without it as one that r others have.
    misses = [(repos - users) * alike[users] for users in range(1, repos + 1)]
    return _rising(hits, [hit + miss for hit, miss in zip(hits, misses, strict=True)])


def _rising(parts: Sequence[float], wholes: Sequence[float]) -> list[float]:
    """Return the shares that fit best among those that never fall; one without a whole is as its neighbour before."""
    blocks: list[list[float]] = []
    for part, whole in zip(parts, wholes, strict=True):
        blocks.append([part, whole, 1])
        while len(blocks) > 1 and blocks[-1][0] * blocks[-2][1] <= blocks[-2][0] * blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [mine + other for mine, other in zip(blocks[-1], last, strict=True)]
    return [part / whole if whole else 0.0 for part, whole, count in blocks for _ in range(int(count))]
