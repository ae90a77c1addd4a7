"""Holds predicted wall seconds against builds: cold, and with part of the units warm.

    python -m benchmarks.worth --results FILE [--jobs N] REPO...

Each REPO is a folder with one workspace; its sources are not built, only what they stand on (manifests with stub
sources are enough). A repository is built twice with `cargo build --release --timings`: from nothing, and again after
some crates from the middle of its graph, and so everything above them, were removed. What cargo reports of a build,
its units' seconds, goes in; what the model of `factory.planning.wall` makes of them comes out, and is compared:

- cold: the wall seconds predicted from the same build's own seconds. Says how good the schedule is.
- warm: the wall seconds of the second build, predicted from the first build's seconds. Says how good a forecast is;
  `machine` is by how much the machine was slower for the same units (other work on it), with which the prediction is
  multiplied in the last column.

FILE keeps one line a repository: what is in it is not measured again. A repository that cannot be built, such as one
whose build script downloads, has a line with the reason. With no REPO, the table is printed from FILE.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.program import run_factory
from factory import process
from factory.analysis.model import Analysis, analysis_from_json
from factory.costs.model import UnitCost
from factory.costs.timings import REPORT, TIMINGS_ARG, Spell, Work, spell_of, timing_rows
from factory.errors import EnvironmentFaultError
from factory.graph import MergedGraph
from factory.model import Mode, Unit, UnitKey
from factory.planning.wall import BuildModel, wall_shares

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATIENCE = 7200.0

_Identity = tuple[str, str, Work, tuple[str, ...]]
"""What cargo's report says of which unit a row is: name and version, what was done, features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One unit as cargo timed it, in seconds from the start of the build; `metadata` is where rustc had written it."""

    start: float
    end: float
    metadata: float


def main() -> int:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("repos", nargs="*", type=Path)
    args = parser.parse_args()
    done = {row["repo"]: row for row in _rows(args.results)}
    for repo in args.repos:
        if repo.name not in done:
            row = _measured(repo.absolute(), args.jobs)
            done[repo.name] = row
            with args.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, sort_keys=True) + "\n")
    _print(list(done.values()))
    return 0


def _rows(results: Path) -> list[dict[str, Any]]:
    text = results.read_text(encoding="utf-8") if results.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def _measured(repo: Path, jobs: int) -> dict[str, Any]:
    """Return the row of a repository: one that fails has a `problem` and no figures."""
    try:
        return measure(repo, jobs)
    except EnvironmentFaultError as fault:
        return {"repo": repo.name, "problem": reason_of(fault)}


def reason_of(fault: EnvironmentFaultError) -> str:
    """Return one line that says why: the first error that cargo tells, where it does."""
    lines = (fault.completed.stderr if isinstance(fault, process.ProgramFailedError) else fault.what).splitlines()
    return next(
        (line.removeprefix("error: ") for line in lines if line.startswith("error: ")), fault.what.splitlines()[0]
    )


def measure(repo: Path, jobs: int) -> dict[str, Any]:
    """Build a repository twice; return the measured and the predicted seconds of both builds.

    Raises `EnvironmentFaultError` where it cannot be resolved or built.
    """
    print(f"{repo.name}: analysing, building", file=sys.stderr)
    before = os.getloadavg()[1]
    with tempfile.TemporaryDirectory(prefix="factory-worth-") as name:
        folder = Path(name)
        # Without its toolchain pin: the analysis and the builds take the same rustc.
        ignore = shutil.ignore_patterns("rust-toolchain*", "target")
        copy = shutil.copytree(repo, folder / repo.name, copy_function=shutil.copyfile, ignore=ignore)
        analysis = _analyse(folder, copy)
        (workspace,) = [one for one in analysis.workspaces if one.path == repo.name]
        if not workspace.variants:
            raise EnvironmentFaultError(f"cannot be resolved: {workspace.reason}")
        keys = frozenset(workspace.variants["release"].keys)
        units = {key: analysis.units[key] for key in keys}
        cold = _build(copy, folder / "target", units, jobs)
        removed = _middle(units, keys)
        process.run(
            ["cargo", "clean", "--release", *(word for spec in removed for word in ("-p", spec))],
            cwd=copy,
            env=_environment(folder / "target"),
        )
        warm = _build(copy, folder / "target", units, jobs)
    costs = core_seconds(cold, jobs)
    # Cargo reports no time for what took none.
    known = {key: UnitCost(seconds=costs.get(key, 0.0), bytes=0, measured=True) for key in keys}
    model = BuildModel(keys, units=analysis.units, costs=known)
    again = core_seconds(warm, jobs)
    fresh = keys - warm.keys()
    shares = wall_shares(list(model.stretches(jobs)))
    slower = sum(again.values()) / max(sum(costs.get(key, 0.0) for key in again), 0.001)
    front = sum(one.metadata - one.start for key, one in cold.items() if units[key].mode is Mode.BUILD)
    whole = sum(one.end - one.start for key, one in cold.items() if units[key].mode is Mode.BUILD)
    return {
        "repo": repo.name,
        "units": len(keys),
        "untimed": len(keys) - len(cold),
        "jobs": jobs,
        "core_seconds": round(sum(costs.values()), 2),
        "metadata_share": round(front / whole, 3),
        "cold": round(_wall(cold), 2),
        "cold_predicted": round(model.wall_seconds(jobs), 2),
        "cold_by_sums": round(sum(costs.values()) / jobs, 2),
        "load": [round(before, 1), round(os.getloadavg()[1], 1)],
        "rebuilt": len(warm),
        "warm": round(_wall(warm), 2),
        "warm_predicted": round(model.wall_seconds(jobs, warm=fresh), 2),
        "warm_by_shares": round(sum(seconds for key, seconds in shares.items() if key not in fresh), 2),
        "warm_by_sums": round(sum(costs.get(key, 0.0) for key in warm) / jobs, 2),
        "machine": round(slower, 3),
    }


def core_seconds(timed: dict[UnitKey, Timed], jobs: int) -> dict[UnitKey, float]:
    """Return the core seconds of each unit: while it generates code, it also works on what jobs nobody else has."""
    moments = sorted({moment for one in timed.values() for moment in (one.start, one.metadata, one.end)})
    found: dict[UnitKey, float] = defaultdict(float)
    for begin, end in itertools.pairwise(moments):
        running = [key for key, one in timed.items() if one.start <= begin and end <= one.end]
        generating = [key for key in running if timed[key].metadata <= begin]
        spare = max(0, jobs - len(running)) / max(1, len(generating))
        for key in running:
            found[key] += (end - begin) * (1 + spare * (key in generating))
    return dict(found)


def _wall(timed: dict[UnitKey, Timed]) -> float:
    return max(one.end for one in timed.values()) - min(one.start for one in timed.values())


def _middle(units: dict[UnitKey, Unit], keys: frozenset[UnitKey]) -> list[str]:
    """Return crates whose removal makes about half of the units stale: the same ones in every run."""
    above: dict[UnitKey, set[UnitKey]] = {key: {key} for key in keys}
    for key in reversed(MergedGraph(units).dependencies_first(keys)):
        for edge in units[key].dependencies:
            if edge.key in above:
                above[edge.key] |= above[key]
    stale: set[UnitKey] = set()
    chosen: set[str] = set()
    for key in sorted(keys, key=lambda key: (abs(len(above[key]) - len(keys) / 6), key)):
        if len(stale) < len(keys) / 2 and units[key].is_library:
            stale |= above[key]
            chosen.add(units[key].package.label)
    return sorted(chosen)


def _analyse(folder: Path, repo: Path) -> Analysis:
    found = folder / "analysis.json"
    run_factory("-q", "analyze", repo, "-o", found, "--top", "0", seconds=_PATIENCE)
    return analysis_from_json(json.loads(found.read_text(encoding="utf-8")))


def _environment(target: Path) -> dict[str, str]:
    return dict(os.environ) | {"CARGO_TARGET_DIR": str(target)}


def _build(repo: Path, target: Path, units: dict[UnitKey, Unit], jobs: int) -> dict[UnitKey, Timed]:
    """Build, and return the timed units by key; those that were fresh are not in it."""
    environment = _environment(target)
    process.run(["cargo", "fetch", "--locked"], cwd=repo, env=environment, timeout=_PATIENCE)
    process.run(
        ["cargo", "build", "--release", "--locked", "--offline", TIMINGS_ARG, "--jobs", str(jobs)],
        cwd=repo,
        env=environment,
        timeout=_PATIENCE,
    )
    waiting: dict[_Identity, list[UnitKey]] = defaultdict(list)
    for key in sorted(units, reverse=True):
        waiting[_identity(units[key])].append(key)
    timed: dict[UnitKey, Timed] = {}
    for row in timing_rows((target / REPORT).read_text(encoding="utf-8")):
        spell = spell_of(row)
        # Two units of one identity differ in their side alone: whichever is which, the sums are the same.
        keys = waiting[spell.crate, spell.version, spell.work, spell.features]
        # Fresh units are in the report, with no time.
        if keys and row["duration"]:
            timed[keys.pop()] = Timed(start=spell.start, end=spell.end, metadata=_metadata(row, spell))
    return timed


def _identity(unit: Unit) -> _Identity:
    script = Work.SCRIPT if unit.target_kind == "custom-build" else Work.LIBRARY
    return (
        unit.package.name,
        unit.package.version,
        Work.RUN if unit.mode is Mode.RUN_CUSTOM_BUILD else script,
        unit.features,
    )


def _metadata(row: Mapping[str, Any], spell: Spell) -> float:
    frontend = dict(row["sections"] or []).get("frontend")
    return min(spell.end, spell.start + frontend["end"]) if frontend else spell.end


def _print(rows: list[dict[str, Any]]) -> None:
    built = [row for row in rows if "problem" not in row]
    print("| repository | units | core s | cold s | predicted | error | rebuilt | s | predicted | machine | error |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(_line(row) if row in built else f"| {row['repo']} | not built: {row['problem']} |{' |' * 9}")
    if not built:
        return
    for name, column, factor in (
        ("cold, by the schedule", "cold", "cold_predicted"),
        ("cold, by sums divided by jobs", "cold", "cold_by_sums"),
        ("partly warm, by the schedule", "warm", "warm_predicted"),
        ("partly warm, by wall shares", "warm", "warm_by_shares"),
        ("partly warm, by sums divided by jobs", "warm", "warm_by_sums"),
    ):
        errors = [abs(_error(row, column, factor)) for row in built if factor in row]
        if errors:
            middle = statistics.median(errors)
            print(f"\n{name}: error of {len(errors)} builds, median {middle:.1%}, most {max(errors):.1%}")
    print(f"\nmetadata share, median: {statistics.median(row['metadata_share'] for row in built):.2f}")


def _line(row: dict[str, Any]) -> str:
    return (
        f"| {row['repo']} | {row['units']} | {row['core_seconds']:.0f} | {row['cold']:.1f} "
        f"| {row['cold_predicted']:.1f} | {_error(row, 'cold', 'cold_predicted'):+.1%} "
        f"| {row['rebuilt']} | {row['warm']:.1f} | {row['warm_predicted']:.1f} | {row['machine']:.2f} "
        f"| {_error(row, 'warm', 'warm_predicted'):+.1%} |"
    )


def _error(row: dict[str, Any], column: str, factor: str) -> float:
    """Return by what share a prediction is off; that of the second build is for the machine as it was by then."""
    slower = row["machine"] if column == "warm" else 1
    return float(row[factor] * slower / row[column] - 1)


if __name__ == "__main__":
    sys.exit(main())
