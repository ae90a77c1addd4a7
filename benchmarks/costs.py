"""Measures what the dependencies of repositories cost: the data that the program ships.

    python -m benchmarks.costs [--out FILE] PATH...

Analyses the repositories, plans without a budget, cooks all of it with the local backend in a new directory, and
writes the measurements as JSON lines, joined with those in FILE where it exists. Takes about as long as building each
repository once; needs room for its build directory (some 2 MB a unit). On a busy machine the figures come out the
same, later.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from pathlib import Path

from benchmarks.program import profiles_without_budget, run_factory
from factory.costs.estimate import check, fit
from factory.costs.exchange import from_lines, to_lines


def main() -> int:
    """Cook, write, and print how good the estimates are that follow from it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("costs.jsonl"))
    parser.add_argument("paths", nargs="+", type=Path)
    options = parser.parse_args()
    known = from_lines(options.out.read_text(encoding="utf-8"), str(options.out)) if options.out.exists() else ()
    with tempfile.TemporaryDirectory(prefix="factory-costs-") as name:
        text = _measured(Path(name), [path.absolute() for path in options.paths])
    records = from_lines(text, "export")
    together = to_lines([*known, *records])
    options.out.write_text(together, encoding="utf-8")
    print(f"{len(records)} units measured, {sum(record.cost.seconds for record in records):.0f} core seconds")
    found = check(fit(from_lines(together, str(options.out))))
    for what, accuracy in zip(("seconds", "bytes"), found or (), strict=False):
        print(f"unseen crates, {what}: {accuracy}")
    return 0


def _measured(folder: Path, paths: list[Path]) -> str:
    variables = {"FACTORY_COSTS_URL": f"sqlite:///{folder / 'costs.sqlite'}", "FACTORY_BUDGET_TOTAL": "900 GB"}
    factory = functools.partial(run_factory, folder=folder, variables=variables)
    factory("analyze", *paths, "--top", "0")
    factory("plan", "--profiles", profiles_without_budget(folder / "profiles"))
    factory("build", "--backend", "local", "--output", folder / "warm")
    return factory("costs", "export")


if __name__ == "__main__":
    sys.exit(main())
