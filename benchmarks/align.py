"""Measures what aligning gains for repositories that nobody planned for, step by step, and what keeps the rest cold.

    python -m benchmarks.align --unseen N PATH... [--growth PERCENT] [--out FILE]

The first N paths are the unseen ones. The baseline is derived from the others alone; they meet it, as `factory analyze
--aligned` lets them, and whatever they then compile counts as warm, without any budget. Then each unseen repository is
aligned as `factory align` does it: units and seconds warm before and after each step, how much larger its graph gets,
and what is still cold, by root cause. Nothing is compiled: cargo resolves every state, and seconds are estimates from
the shipped measurements. It takes about half a minute a repository; what was resolved before is not resolved again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.analysis.analyze import Resolver, analyze
from factory.cargo.compatibility import caret_range
from factory.cargo.home import prepare_resolving_home
from factory.cargo.index_cache import CrateIndex
from factory.cargo.toolchain import find_toolchain
from factory.cargo.variants import Variant
from factory.config.model import Settings
from factory.consumer.align.features import FeatureRules, FeaturesBy
from factory.consumer.align.meeting import Meeting, meet
from factory.consumer.align.model import StepName
from factory.consumer.align.steps import Aligner, Wishes, align_workspace
from factory.consumer.align.versions import VersionRules
from factory.consumer.check import forecast as check_stage
from factory.consumer.check.forecast import Question
from factory.consumer.check.warm import Warm
from factory.cook.facts import WarmUnit
from factory.costs.estimate import costs_of, fit
from factory.costs.shipped import shipped_records
from factory.costs.sources import Sources
from factory.files import cache_directory
from factory.planning.baseline_rules import BaselineRules, derive_baseline
from factory.planning.behaviour import read_behaviour_features
from factory.scan.discover import find_workspaces
from factory.scan.model import Scan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.analysis.model import Analysis
    from factory.consumer.align.model import State, WorkspaceAlignment
    from factory.consumer.check.model import CheckReport
    from factory.costs.model import UnitCost
    from factory.model import UnitKey
    from factory.planning.baseline import Baseline
    from factory.scan.model import FoundWorkspace

VARIANT = "release"
JOBS = 2
_MOST_ROOTS = 25
_STEPS = (StepName.PROFILE, StepName.VERSIONS, StepName.FEATURES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An unseen workspace: aligned inside the requirements of its manifests, and with those changed too."""

    inside: WorkspaceAlignment
    edited: WorkspaceAlignment
    in_baseline: float
    """The share of its seconds, once aligned, that are of crates which the baseline has in that range at all."""

    def states(self) -> tuple[State, ...]:
        """Return it as it is, and after each step."""
        return (self.inside.before, *(_after(self.inside, name) for name in _STEPS), self.edited.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Everything that the unseen repositories are aligned with."""

    resolver: Resolver
    features: FeatureRules
    warm: Warm

    def costs(self, analysis: Analysis) -> Mapping[UnitKey, UnitCost]:
        """Return what the units of an analysis cost."""
        return _costs(self.resolver, analysis)

    def measure(self, found: FoundWorkspace, analysis: Analysis) -> CheckReport:
        """Forecast a workspace on what is warm, as `factory check` does."""
        return check_stage.check(
            Scan(workspaces=(found,), skipped=()),
            analysis,
            self.warm,
            Question(variant=VARIANT, image="all", ignore_pin=True),
            costs=self.costs(analysis),
            jobs=JOBS,
        )

    def aligner(self, *, edit_requirements: bool) -> Aligner:
        """Return what aligns a workspace."""
        versions = replace(self.features.versions, edit_requirements=edit_requirements)
        return Aligner(
            resolver=self.resolver,
            features=replace(self.features, versions=versions),
            measure=self.measure,
            tell=lambda _line: None,
        )


def main() -> int:
    """Print a row for each unseen workspace, the means, and what is still cold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unseen", type=int, required=True, help="how many of the paths nobody planned for")
    parser.add_argument("--growth", type=int, default=10, help="per cent that features may make graphs larger")
    parser.add_argument("--out", type=Path, help="a file to write the answer into, beside printing it")
    parser.add_argument("paths", nargs="+", type=Path)
    options = parser.parse_args()
    paths = [path.absolute() for path in options.paths]
    resolver = _resolver()
    unseen, others = find_workspaces(paths[: options.unseen]), find_workspaces(paths[options.unseen :])
    bench, met = _bench(resolver, others, options.growth)
    rows = _aligned(unseen, bench)
    text = "\n".join([*_table(rows, bench.features.baseline, met), "", *_roots([row.inside for row in rows])])
    print(text)
    if options.out is not None:
        options.out.write_text(f"{text}\n", encoding="utf-8")
    return 0


def _resolver() -> Resolver:
    cache = cache_directory()
    return Resolver(
        toolchain=find_toolchain(),
        variants=(Variant.parse(VARIANT),),
        cargo_home=prepare_resolving_home(cache / "cargo-home"),
        cache=cache / "resolved",
        jobs=JOBS,
    )


def _bench(resolver: Resolver, others: Scan, growth_percent: int) -> tuple[Bench, int]:
    """Derive the baseline from the others and let them meet it; return how many of them did, too."""
    index = CrateIndex(resolver.cargo_home)
    known = analyze(others, resolver, advance=lambda path: print(f"resolved {path}", file=sys.stderr))
    settings = Settings().baseline
    baseline = derive_baseline(
        known,
        BaselineRules(
            min_repos=settings.min_repos,
            msrv_share=settings.msrv_percent / 100,
            never=read_behaviour_features(),
            facts=index,
            versions=index.versions,
        ),
    )
    versions = VersionRules(baseline=baseline, facts=index, versions=index.versions)
    features = FeatureRules.of(versions, resolver.toolchain, growth_percent=growth_percent)
    # In either way cargo compiles the same units, and this one needs no second attempt.
    meeting = Meeting(resolver=resolver, features=replace(features, by=FeaturesBy.HACK))

    def one(found: FoundWorkspace) -> Analysis | None:
        met = meet(found, meeting)
        print(f"met {found.path} {met.problem}", file=sys.stderr)
        return met.states[-1] if met.states else None

    with ThreadPoolExecutor(JOBS) as pool:
        ends = [end for end in pool.map(one, others.workspaces) if end is not None]
    return Bench(resolver=resolver, features=features, warm=_warm(resolver, known, ends)), len(ends)


def _costs(resolver: Resolver, analysis: Analysis) -> Mapping[UnitKey, UnitCost]:
    sources = Sources([resolver.cargo_home], cache_directory() / "crate-sizes.json")
    toolchain = resolver.toolchain
    compiler = toolchain.rustc_verbose.partition("\n")[0], toolchain.host
    records = list(shipped_records())
    measured = {record.key: record.cost for record in records if (record.rustc, record.platform) == compiler}
    return costs_of(analysis.units, measured, fit(records), sources)


def _warm(resolver: Resolver, known: Analysis, ends: Sequence[Analysis]) -> Warm:
    """Return what all of these compile as one image."""
    users: dict[UnitKey, int] = defaultdict(int)
    units: dict[UnitKey, WarmUnit] = {}
    for end in ends:
        costs = _costs(resolver, end)
        for key in {key for row in end.resolved for use in row.variants.values() for key in use.keys}:
            users[key] += 1
            units[key] = WarmUnit(unit=end.units[key], layer="all", cost=costs[key], repos=users[key])
    return Warm(
        name="the others, aligned",
        digest="",
        toolchain=known.toolchain,
        variants=known.variants,
        rustflags=(),
        parents={"all": None},
        units=units,
        dropped={},
    )


def _aligned(scan: Scan, bench: Bench) -> list[Row]:
    inside, edited = bench.aligner(edit_requirements=False), bench.aligner(edit_requirements=True)
    wishes = Wishes(variant=VARIANT, steps=frozenset(StepName))

    def one(found: FoundWorkspace) -> Row:
        unpinned = replace(found, toolchain_pin=None)
        first = align_workspace(unpinned, inside, wishes)
        row = Row(
            inside=first,
            edited=align_workspace(unpinned, edited, wishes),
            in_baseline=_in_baseline(first.after, bench.features.baseline),
        )
        print(f"aligned {found.path} {first.problem}", file=sys.stderr)
        return row

    with ThreadPoolExecutor(JOBS) as pool:
        rows = list(pool.map(one, scan.workspaces))
    return [
        row for row in rows if not row.inside.problem and not row.edited.problem and row.inside.before.total().units
    ]


def _in_baseline(state: State, baseline: Baseline) -> float:
    """Return the share of seconds that no alignment can go beyond: those of ranges that two others use."""
    if state.report is None:
        return 0.0
    missed = [row for check in state.report.chosen for row in check.missed]
    packages = [(row.unit.package, row.seconds) for row in missed]
    beyond = sum(
        seconds
        for package, seconds in packages
        if (package.name, package.source, caret_range(package.version)) not in baseline.by_range
    )
    seconds = state.total().seconds
    # A workspace without any registry unit.
    return 1 - beyond / seconds if seconds else 0.0


# The answer


def _table(rows: Sequence[Row], baseline: Baseline, others: int) -> list[str]:
    lines = [
        f"{len(rows)} unseen workspaces, {others} others, a baseline of {len(baseline.crates)} crates; units · seconds",
        "",
        "| workspace | as it is | profile | + versions | + features | + requirements | in the baseline | graph |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.inside.path} | {' | '.join(map(_shares, row.states()))} | {row.in_baseline:.0%} "
        f"| {_growth(row.inside):+.1%} |"
        for row in rows
    ]
    for what, summary in (("mean", statistics.mean), ("median", statistics.median)):
        by = {
            measure: [
                summary(_share(state, measure) for state in states)
                for states in zip(*map(Row.states, rows), strict=True)
            ]
            for measure in ("units", "seconds")
        }
        cells = " | ".join(f"{u:.1%} · {s:.1%}" for u, s in zip(by["units"], by["seconds"], strict=True))
        floor, graph = summary(row.in_baseline for row in rows), summary(_growth(row.inside) for row in rows)
        lines.append(f"| {what} | {cells} | {floor:.1%} | {graph:+.1%} |")
    return lines


def _roots(rows: Sequence[WorkspaceAlignment]) -> list[str]:
    """Return the root causes of what is cold once aligned, the most seconds first."""
    lost: dict[tuple[str, str], float] = defaultdict(float)
    where: dict[tuple[str, str], set[str]] = defaultdict(set)
    details: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        for miss in row.after.report.misses if row.after.report is not None else ():
            root = miss.root
            place = (root.cause.value, root.name or root.subject)
            lost[place] += miss.lost
            where[place].add(row.path)
            words = [f"{root.yours} here, {root.warm} warm"] if root.yours or root.warm else []
            words += [f"+{name}" for name in root.extra] + [f"-{name}" for name in root.missing]
            details[place][" ".join(words) or root.version] += miss.lost
    total = sum(lost.values())
    lines = [
        f"Still cold: {total:.0f} s of {sum(row.after.total().seconds for row in rows):.0f}",
        "",
        "| cause | of | s | workspaces | for example |",
        "| --- | --- | --- | --- | --- |",
    ]
    for place in sorted(lost, key=lambda place: (-lost[place], place))[:_MOST_ROOTS]:
        cause, subject = place
        lines.append(f"| {cause} | {subject} | {lost[place]:.0f} | {len(where[place])} | {_most(details[place])} |")
    return lines


def _most(seconds: Mapping[str, float]) -> str:
    return max(seconds, key=lambda detail: (seconds[detail], detail))


def _after(row: WorkspaceAlignment, name: StepName) -> State:
    """Return the state after a step; that before it where the step had nothing to do."""
    state = row.before
    for step in row.steps:
        if _STEPS.index(step.name) <= _STEPS.index(name):
            state = step.after
    return state


def _share(state: State, by: str) -> float:
    return state.hit("all").share_of(state.total(), by=by)


def _shares(state: State) -> str:
    return f"{_share(state, 'units'):.0%} · {_share(state, 'seconds'):.0%}"


def _growth(row: WorkspaceAlignment) -> float:
    before, after = row.before.total().units, row.after.total().units
    return after / before - 1


if __name__ == "__main__":
    sys.exit(main())
