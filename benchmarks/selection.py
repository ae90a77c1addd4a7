"""Measures the selection: CPU seconds, and how far it is from the proven optimum.

    python -m benchmarks.selection ANALYSIS [--units N] [--budgets MB,MB]

ANALYSIS is what `factory analyze` wrote; its graph is taken as it is, and again copied with new keys until it has N
units (default 30000): copies share the crates at the bottom, as repositories of one organisation do. Every budget is
tried with the greedy method alone, and with HiGHS. Costs are the shipped estimates, spread deterministically: equal
costs of many units would make the problem easier than it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.analysis.model import Analysis, analysis_from_json
from factory.config.layers import load_layer_profiles
from factory.costs.estimate import costs_of, fit
from factory.costs.shipped import shipped_records
from factory.graph import MergedGraph
from factory.planning.exact import improve
from factory.planning.knapsack import Item, Knapsack, Solution, greedy
from factory.planning.layers import place_units
from factory.planning.selection import Demand, knapsack_of
from factory.planning.worth import savings

if TYPE_CHECKING:
    from factory.model import UnitKey

_JOBS = 4


def main() -> int:
    """Print one row for each size, budget and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("analysis", type=Path)
    parser.add_argument("--units", type=int, default=30_000)
    parser.add_argument("--budgets", default="500,1000,2000,4000")
    args = parser.parse_args()
    budgets = [int(word) * 1_000_000 for word in args.budgets.split(",")]
    analysis = analysis_from_json(json.loads(args.analysis.read_text(encoding="utf-8")))
    print("| units | items | budget MB | method | CPU s | saved s | bound s | gap | chosen |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for copies in (False, True):
        started = time.process_time()
        problem, units = _problem(analysis)
        making = time.process_time() - started
        if copies:
            problem, units = _copied(problem, units, args.units)
        print(f"made in {making:.1f} s", file=sys.stderr)
        for budget in budgets:
            _row(problem, units, budget)
    return 0


def _row(problem: Knapsack, units: int, budget: int) -> None:
    tight = Knapsack(items=problem.items, budgets=(None,) * len(problem.budgets), total=budget)
    started = time.process_time()
    first = greedy(tight, frozenset())
    _print(tight, units, first, time.process_time() - started)
    best = improve(tight, first)
    _print(tight, units, best, time.process_time() - started)


def _print(problem: Knapsack, units: int, found: Solution, seconds: float) -> None:
    assert problem.fits(found.chosen)
    print(
        f"| {units} | {len(problem.items)} | {problem.total / 1e6:.0f} | {found.method} | {seconds:.1f} "
        f"| {found.worth / 1e6:.0f} | {found.bound / 1e6:.0f} | {found.gap:.4%} | {len(found.chosen)} |",
        flush=True,
    )


def _problem(analysis: Analysis) -> tuple[Knapsack, int]:
    graph = MergedGraph(analysis.units)
    users: dict[UnitKey, set[str]] = {}
    for workspace in analysis.resolved:
        for use in workspace.variants.values():
            for key in use.keys:
                users.setdefault(key, set()).add(workspace.repo)
    frozen = {key: frozenset(repos) for key, repos in users.items() if key in graph.cookable}
    tree = load_layer_profiles(None)
    estimated = costs_of(analysis.units, {}, fit(shipped_records()), lambda _: None)
    costs = {
        key: replace(cost, seconds=cost.seconds * _spread(f"{key}s"), bytes=int(cost.bytes * _spread(f"{key}b")))
        for key, cost in estimated.items()
    }
    saved = savings(analysis, costs=costs, jobs=_JOBS)
    demand = Demand(
        users=frozen,
        worth={key: sum(saved[key].values()) for key in frozen},
        size={key: costs[key].bytes for key in frozen},
        placements=place_units(frozen, graph=graph, users=frozen, tree=tree),
    )
    wanted = [key for key in frozen if graph.units[key].is_library]
    problem, _ = knapsack_of(
        wanted, frozenset(), demand, graph, tree, {profile.name: None for profile in tree.layers}, 0
    )
    return problem, len(frozen)


def _spread(text: str) -> float:
    """Return a factor with a median of 1 that depends on the text alone: a third lies beyond a factor of two."""
    share = (int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) + 0.5) / 2**32
    return math.exp(0.75 * math.tan(math.pi * (share - 0.5) * 0.85))


def _copied(problem: Knapsack, units: int, wanted: int) -> tuple[Knapsack, int]:
    """Return the problem with copies of its upper half, on the same lower half, until it has enough units."""
    each = units / len(problem.items)
    half = len(problem.items) // 2
    items = list(problem.items)
    copy = 0
    while len(items) * each < wanted:
        copy += 1
        moved: dict[int, int] = {}
        for index in range(half, len(problem.items)):
            old = problem.items[index]
            moved[index] = len(items)
            items.append(
                Item(
                    worth=max(1, int(old.worth * _spread(f"{copy}w{index}"))),
                    size=old.size,
                    layer=old.layer,
                    below=tuple(sorted(moved.get(below, below) for below in old.below)),
                    wanted=old.wanted,
                )
            )
            if len(items) * each >= wanted:
                break
    return Knapsack(items=tuple(items), budgets=problem.budgets, total=problem.total), int(len(items) * each)


if __name__ == "__main__":
    sys.exit(main())
