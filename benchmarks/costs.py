"""Measures what the dependencies of repositories cost: the data that the program ships.

    python -m benchmarks.costs [--out FILE] PATH...

Analyses the repositories, plans without a budget, cooks all of it with the local backend in a new directory, and
writes the measurements as JSON lines, joined with those in FILE where it exists. Takes about as long as building each
repository once; needs room for its build directory (some 2 MB a unit). On a busy machine the figures come out the
same, later.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from factory import process
from factory.costs.estimate import check, fit
from factory.costs.exchange import from_lines, to_lines
from factory.resources import shipped


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
    environment = {
        **os.environ,
        "FACTORY_COSTS_URL": f"sqlite:///{folder / 'costs.sqlite'}",
        "FACTORY_BUDGET_TOTAL": "900 GB",
    }
    profiles = _profiles_without_budget(folder / "profiles")

    def factory(*words: str | Path) -> str:
        command = [sys.executable, "-m", "factory", *words]
        return process.run(
            command, cwd=folder, env=environment, on_stderr=lambda line: print(line, file=sys.stderr)
        ).stdout

    factory("analyze", *paths, "--top", "0")
    factory("plan", "--profiles", profiles)
    factory("build", "--backend", "local", "--output", folder / "warm")
    return factory("costs", "export")


def _profiles_without_budget(folder: Path) -> Path:
    shutil.copytree(shipped("profiles"), folder)
    for file in folder.glob("*.toml"):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join(line for line in lines if not line.startswith("budget")), encoding="utf-8")
    return folder


if __name__ == "__main__":
    sys.exit(main())
