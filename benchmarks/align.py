"""Measures what aligning gains for repositories that nobody planned for, step by step.

    python -m benchmarks.align --unseen N PATH...

The first N paths are the unseen ones. The baseline is derived from the others alone, the others are aligned with it,
and whatever they then compile counts as warm, without any budget. Then each unseen repository is aligned: units and
seconds warm before and after each step, and how much larger its graph gets. Nothing is compiled: cargo resolves every
state, and seconds are estimates from the shipped measurements. It takes about a minute a repository.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.analysis.analyze import Resolver, analyze
from factory.cargo.home import prepare_resolving_home
from factory.cargo.index_cache import CrateIndex
from factory.cargo.toolchain import find_toolchain
from factory.cargo.variants import Variant
from factory.consumer.align.features import FeatureRules
from factory.consumer.align.model import StepName
from factory.consumer.align.steps import Aligner, Wishes, align_workspace
from factory.consumer.align.versions import VersionRules
from factory.consumer.check_model import Amount, CheckReport, VariantCheck, WorkspaceCheck
from factory.costs.estimate import costs_of, fit
from factory.costs.shipped import shipped_records
from factory.costs.sources import Sources
from factory.files import cache_directory
from factory.planning.baseline_rules import BaselineRules, derive_baseline
from factory.planning.behaviour import read_behaviour_features
from factory.scan.cfg_expression import CfgSet
from factory.scan.discover import find_workspaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from factory.analysis.model import Analysis
    from factory.consumer.align.model import State, WorkspaceAlignment
    from factory.model import UnitKey
    from factory.scan.model import FoundWorkspace, Scan

VARIANT = "release"
JOBS = 2


@dataclass(slots=True)
class Bench:
    """Everything that is shared; `warm` grows by what the aligned repositories compile."""

    resolver: Resolver
    warm: set[UnitKey] = field(default_factory=set)
    last: dict[str, tuple[UnitKey, ...]] = field(default_factory=dict)

    def measure(self, found: FoundWorkspace, analysis: Analysis) -> CheckReport:
        """Count what is warm, with estimated seconds; remember what the workspace compiles now."""
        keys = analysis.workspaces[0].variants[VARIANT].keys
        self.last[found.path] = keys
        costs = costs_of(analysis.units, {}, fit(shipped_records()), self._sources)
        total = Amount(len(keys), sum(costs[key].seconds for key in keys))
        hits = [key for key in keys if key in self.warm]
        check = VariantCheck(
            variant=VARIANT,
            image="all",
            total=total,
            images={"all": Amount(len(hits), sum(costs[key].seconds for key in hits))},
            wall_cold=0.0,
            wall_warm={"all": 0.0},
            hits=tuple(hits),
            misses=(),
            missed=(),
        )
        row = WorkspaceCheck(path=found.path, repo=found.repo, skipped="", remarks=(), variants={VARIANT: check})
        return CheckReport(
            warm="others", plan="", rustc="", variant=VARIANT, image="all", images=("all",), jobs=1, workspaces=(row,)
        )

    @property
    def _sources(self) -> Sources:
        return Sources([self.resolver.cargo_home], Path(tempfile.gettempdir()) / "align-crate-sizes.json")


def main() -> int:
    """Print a row for each unseen workspace, and the means."""
    if len(sys.argv) < 5 or sys.argv[1] != "--unseen":
        print(__doc__, file=sys.stderr)
        return 2
    number, paths = int(sys.argv[2]), [Path(path).absolute() for path in sys.argv[3:]]
    bench = Bench(_resolver())
    unseen, others = find_workspaces(paths[:number]), find_workspaces(paths[number:])
    baseline_of = analyze(others, bench.resolver, advance=lambda path: print(f"resolved {path}", file=sys.stderr))
    aligner = _aligner(bench, baseline_of)
    aligned = _align(others, aligner)
    bench.warm.update(key for row in aligned if not row.problem for key in bench.last[row.path])
    _tell_problems(aligned)
    rows = _align(unseen, aligner)
    _tell_problems(rows)
    _print(len(aligned), [row for row in rows if not row.problem])
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


def _aligner(bench: Bench, others: Analysis) -> Aligner:
    resolver, never = bench.resolver, read_behaviour_features()
    facts = CrateIndex(resolver.cargo_home)
    baseline = derive_baseline(others, BaselineRules(min_repos=2, msrv_share=0.5, never=never, facts=facts))
    host = resolver.toolchain.host
    cfgs = CfgSet.parse(resolver.toolchain.print_cfg(host))
    return Aligner(
        resolver=resolver,
        versions=VersionRules(baseline=baseline, facts=facts, advisories=None, allow_downgrade=False),
        features=FeatureRules(baseline=baseline, facts=facts, never=never, cfgs=cfgs, triple=host),
        measure=bench.measure,
    )


def _align(scan: Scan, aligner: Aligner) -> list[WorkspaceAlignment]:
    wishes = Wishes(variant=VARIANT, steps=frozenset(StepName))

    def one(found: FoundWorkspace) -> WorkspaceAlignment:
        done = align_workspace(replace(found, toolchain_pin=None), aligner, wishes)
        print(f"aligned {found.path}", file=sys.stderr)
        return done

    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(one, scan.workspaces))


def _tell_problems(rows: Sequence[WorkspaceAlignment]) -> None:
    for row in rows:
        if row.problem:
            print(f"not aligned: {row.path}: {row.problem}", file=sys.stderr)


def _print(others: int, rows: Sequence[WorkspaceAlignment]) -> None:
    print(f"{len(rows)} unseen workspaces, {others} others; units and seconds warm\n")
    print("| workspace | as it is | profile | + versions | + features | graph |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        states = [_after(row, name) for name in (None, StepName.PROFILE, StepName.VERSIONS, StepName.FEATURES)]
        print(f"| {row.path} | {' | '.join(map(_shares, states))} | {_growth(row):+.1%} |")
    for by in ("units", "seconds"):
        means = [
            statistics.mean(_share(_after(row, name), by) for row in rows)
            for name in (None, StepName.PROFILE, StepName.VERSIONS, StepName.FEATURES)
        ]
        medians = statistics.median(_share(row.after, by) for row in rows)
        print(f"{by}: mean after each step {json.dumps([round(mean, 3) for mean in means])}, median {medians:.3f}")
    growths = [_growth(row) for row in rows]
    print(f"graph: mean {statistics.mean(growths):+.1%}, most {max(growths):+.1%}")


def _after(row: WorkspaceAlignment, name: StepName | None) -> State:
    """Return the state after a step; that before it where the step had nothing to do."""
    state = row.before
    for step in row.steps if name is not None else ():
        if list(StepName).index(step.name) <= list(StepName).index(name or StepName.PROFILE):
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
