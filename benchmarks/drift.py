"""Measures how plans age: how often to rebuild, and whether units of earlier plans are worth keeping.

    python -m benchmarks.drift FOLDER... [--budgets MB,MB] [--baselines N] [--out FILE]

Each FOLDER holds the same repositories as they were on one date, which is its name (`2026-03-01`), the earliest first.
A plan is made on each date and measured on that and on all later ones: alone, and together with all units of the one or
two plans before it, beside a single plan that may be as large as those together. Then the same for repositories that
met the baseline of the day when the plan was made, and stay at it, and what lists and plain frequency of the first date
do. Nothing is cooked: hits are exact, seconds and bytes are measured or estimated.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers import analysed_peers, in_order, peer_wishes
from benchmarks.world import (
    COLUMNS,
    MB,
    World,
    candidates,
    default_run,
    fitting,
    frequent,
    line,
    ours,
    price_list,
    results,
    share,
    states,
)
from factory.analysis.model import merge_units
from factory.costs.estimate import how_sure
from factory.pipeline import analyzing, meeting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.analysis.model import Analysis
    from factory.model import Unit, UnitKey
    from factory.scan.model import Scan

_MOST_KEPT = 3
_MONTH = 30.4

_PLANS = (
    "| plan of | measured on | months | plans kept | budget MB | MB "
    "| units hit | seconds hit | wall seconds saved by build |"
)
_RULE = "| --- " * 9 + "|"


@dataclass(frozen=True, kw_only=True)
class Day:
    """The repositories on one date; `met` as they are once they meet the baseline of earlier dates, and its own."""

    name: str
    scanned: Scan
    now: Analysis
    met: Mapping[str, Analysis] = field(default_factory=dict)

    def months_since(self, other: str) -> float:
        """Return the months from another date."""
        return (date.fromisoformat(self.name) - date.fromisoformat(other)).days / _MONTH


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--budgets", default="1000,2000", help="MB, separated by commas")
    parser.add_argument("--baselines", type=int, default=1, help="of how many dates, the earliest first, one is met")
    parser.add_argument("--out", type=Path, help="a file to write the tables into, beside printing them")
    options = parser.parse_args()
    budgets = [int(word) * MB for word in options.budgets.split(",")]
    days = [_day(folder) for folder in options.folders]
    world, sure = _world(days, options.folders[0])
    lines = [f"{len({row.repo for row in days[0].now.resolved})} repositories; {sure}.", ""]
    for section in (_as_they_are, _aligned_ones):
        if section is _aligned_ones:
            days = _at_baselines(days, options.baselines)
            world = world.with_units(_units(part for day in days for part in day.met.values()))
        lines += section(world, days, budgets)
        # At once: meeting a baseline takes long.
        if options.out is not None:
            options.out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    return 0


def _as_they_are(world: _Timeline, days: Sequence[Day], budgets: Sequence[int]) -> list[str]:
    return [
        *("## As they are", "", *_table(world, days, budgets), ""),
        *("## What a rebuild compiles anew", "", *_anew(world, days, budgets), ""),
        *("## Beside lists", "", *_beside_lists(world, days, budgets), ""),
    ]


def _aligned_ones(world: _Timeline, days: Sequence[Day], budgets: Sequence[int]) -> list[str]:
    return [
        *("## Aligned, without the cargo profile", "", *_aligned(world, days, budgets, "aligned"), ""),
        *("## Aligned, with it", "", *_aligned(world, days, budgets, "aligned, cargo profile too"), ""),
    ]


def _day(folder: Path) -> Day:
    run = default_run()
    scanned = analyzing.scan(run, [str(folder)])
    return Day(name=folder.name, scanned=scanned, now=analyzing.analyze(run, scanned, offline=False))


def _at_baselines(days: Sequence[Day], number: int) -> list[Day]:
    """Let the repositories of each date meet the baselines of the first dates, as far as those were there by then."""
    run = default_run()
    return [
        replace(
            day,
            met={
                first.name: meeting.meet_baseline(run, day.scanned, first.now, offline=False)
                for first in days[: min(number, index + 1)]
            },
        )
        for index, day in enumerate(days)
    ]


@dataclass(frozen=True, kw_only=True)
class _Timeline(World):
    """The units of all days, and those of lists, in the order in which a list would give them up last."""

    lists: Mapping[str, tuple[UnitKey, ...]]


def _world(days: Sequence[Day], first: Path) -> tuple[_Timeline, str]:
    run = default_run()
    peers = analysed_peers(run, peer_wishes(first))
    units = _units([*(day.now for day in days), *peers.values()])
    prices = price_list(days[0].now, None)
    costs = prices.of(units)
    world = _Timeline(
        units=units,
        costs=costs,
        prices=prices,
        jobs=run.settings.worth.jobs,
        lists={name: in_order(units, peer) for name, peer in peers.items()},
    )
    return world, how_sure(costs, prices.estimator)


def _units(parts: Iterable[Analysis]) -> Mapping[UnitKey, Unit]:
    return merge_units(analysis.units for analysis in parts)


def _table(world: World, days: Sequence[Day], budgets: Sequence[int]) -> list[str]:
    rows = [_PLANS, _RULE]
    plans = {day.name: _plans(world, day.now, budgets) for day in days}
    for number, budget in enumerate(budgets):
        for index, made in enumerate(days):
            for kept in range(1, min(_MOST_KEPT, index + 1) + 1):
                parts = [plans[day.name][number] for day in days[index + 1 - kept : index + 1]]
                warm = frozenset(key for part in parts for key in part)
                rows += _measured(world, made, days[index:], warm, f"{kept}", budget)
                if kept > 1:
                    (alone,) = _plans(world, made.now, [world.bytes_of(warm)])
                    rows += _measured(world, made, days[index:], alone, f"1, as large as {kept}", budget)
    return rows


def _measured(
    world: World, made: Day, later: Sequence[Day], warm: frozenset[UnitKey], kept: str, budget: int
) -> list[str]:
    return [_row(world, made, day, day.now, warm, kept, budget) for day in later]


def _plans(world: World, analysis: Analysis, budgets: Sequence[int]) -> list[frozenset[UnitKey]]:
    return ours(world, candidates(world, analysis), budgets)


def _aligned(world: World, days: Sequence[Day], budgets: Sequence[int], state: str) -> list[str]:
    rows = [_PLANS, _RULE]
    for made in (day for day in days if day.name in day.met):
        plans = _plans(world, states(made.met[made.name])[state], budgets)
        for budget, warm in zip(budgets, plans, strict=True):
            later = [day for day in days if made.name in day.met]
            rows += [_row(world, made, day, states(day.met[made.name])[state], warm, "1", budget) for day in later]
    return rows


def _row(
    world: World, made: Day, day: Day, analysis: Analysis, warm: frozenset[UnitKey], kept: str, budget: int
) -> str:
    found = list(results(world, analysis, warm).values())
    units = share(sum(row.hits for row in found), sum(row.units for row in found))
    seconds = share(sum(row.seconds_hit for row in found), sum(row.seconds for row in found))
    saved = sum(row.wall_saved for row in found) / len(found)
    return (
        f"| {made.name} | {day.name} | {day.months_since(made.name):.1f} | {kept} | {budget / MB:.0f} "
        f"| {world.bytes_of(warm) / MB:.0f} | {units} | {seconds} | {saved:.1f} |"
    )


def _anew(world: World, days: Sequence[Day], budgets: Sequence[int]) -> list[str]:
    """Return what each plan has that the one before had not, and what the older one has lost by then."""
    rows = [
        "| from | to | budget MB | units anew | core seconds to cook them | wall seconds lost by build without it |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    plans = {day.name: _plans(world, day.now, budgets) for day in days}
    for old, new in pairwise(days):
        for number, budget in enumerate(budgets):
            before, after = plans[old.name][number], plans[new.name][number]
            anew = after - before
            cooked = sum(world.costs[key].seconds for key in sorted(anew))
            saved = [sum(row.wall_saved for row in results(world, new.now, warm).values()) for warm in (before, after)]
            lost = (saved[1] - saved[0]) / len(results(world, new.now, after))
            rows.append(f"| {old.name} | {new.name} | {budget / MB:.0f} | {len(anew)} | {cooked:.0f} | {lost:.1f} |")
    return rows


def _beside_lists(world: _Timeline, days: Sequence[Day], budgets: Sequence[int]) -> list[str]:
    """Return what lists (at today's versions), the units that most repositories had, and the first plan do later."""
    first = days[0]
    found = candidates(world, first.now)
    rows: list[str] = []
    for budget, ours_ in zip(budgets, ours(world, found, budgets), strict=True):
        sets = {name: fitting(world, keys, budget) for name, keys in world.lists.items()}
        sets |= {"most frequent units": frequent(world, found, budget), "factory, one image": ours_}
        sets["bound: all units of the first date"] = frozenset(found.users)
        for name, warm in sets.items():
            rows += [f"| {day.name} {line(name, budget, world, warm, day.now)}" for day in days]
    head, rule = COLUMNS.split("\n")
    return [f"| measured on {head}", f"| --- {rule}", *rows]


if __name__ == "__main__":
    sys.exit(main())
