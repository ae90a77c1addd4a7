"""What repositories share as they are, and what agreeing on the baseline would bring: means over workspaces.

    python -m benchmarks.agreement analysis.json

Needs the CARGO_HOME in which `factory analyze` resolved: the baseline asks its index about yanked versions.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import mean

from factory.cargo.home import user_cargo_home
from factory.cargo.index_cache import CrateIndex
from factory.costs.estimate import costs_of, fit
from factory.costs.shipped import shipped_records
from factory.pipeline.artefacts import read_analysis
from factory.planning.agreement import agreement
from factory.planning.baseline_rules import BaselineRules, derive_baseline
from factory.planning.behaviour import read_behaviour_features

STEPS = ("as_is", "versions", "features", "profile")


def main() -> None:
    """Print the table of docs/measurements.md, and the crates to agree on first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("analysis", type=Path)
    analysis = read_analysis(parser.parse_args().analysis)
    home = user_cargo_home()
    costs = costs_of(analysis.units, {}, fit(shipped_records()), analysis.sizes.get)
    facts = CrateIndex(home)
    rules = BaselineRules(
        min_repos=2, msrv_share=0.8, never=read_behaviour_features(), facts=facts, versions=facts.versions
    )
    start = time.process_time()
    baseline = derive_baseline(analysis, rules)
    derived = time.process_time()
    found = agreement(analysis, baseline, costs)
    ended = time.process_time()
    rows = [row for row in found.workspaces if row.total.seconds]
    print(f"{len(rows)} workspaces, {len(baseline.crates)} crates in the baseline; ", end="")
    print(f"CPU seconds: baseline {derived - start:.1f}, agreement {ended - derived:.1f}")
    for step in STEPS:
        units = mean(getattr(row, step).units / row.total.units for row in rows)
        seconds = mean(getattr(row, step).seconds / row.total.seconds for row in rows)
        print(f"{step:10} {units:6.1%} of units, {seconds:6.1%} of seconds")
    for crate in found.crates:
        what = f"{crate.crate} {crate.range}: {crate.versions} versions, {crate.feature_sets} feature sets"
        print(f"{what}; blocked {crate.blocked:.0f}, alone {crate.alone:.0f}, together {crate.together:.0f} s")


if __name__ == "__main__":
    main()
