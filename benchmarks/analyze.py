"""Measures `factory analyze`: seconds and peak memory, first without and then with what the first run kept.

    python -m benchmarks.analyze PATH...

Crates have to be downloaded before (a run that is not measured does that), as the network is not what is measured.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.program import run_factory


def main() -> int:
    """Print one row for each run, and the peak memory of the largest process (python or any cargo) of both."""
    paths = [str(Path(path).absolute()) for path in sys.argv[1:]]
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        _analyze(paths, Path(folder), "warm-up")
        print("| run | seconds | workspaces resolved | skipped | distinct registry units |")
        print("| --- | --- | --- | --- | --- |")
        for run in ("first", "second"):
            print(f"| {run} | {_analyze(paths, Path(folder), 'measured')} |")
    print(f"\npeak memory: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")
    return 0


def _analyze(paths: list[str], folder: Path, cache: str) -> str:
    out = folder / "analysis.json"
    variables = {"FACTORY_CACHE_DIR": str(folder / cache)}
    started = time.monotonic()
    run_factory("-q", "analyze", *paths, "-o", out, "--top", "0", variables=variables)
    seconds = time.monotonic() - started
    document = json.loads(out.read_text(encoding="utf-8"))
    states = [workspace["status"] for workspace in document["workspaces"]]
    units = {key for w in document["workspaces"] for use in w["variants"].values() for key in use["keys"]}
    return f"{seconds:.1f} | {states.count('resolved')} | {states.count('skipped')} | {len(units)}"


if __name__ == "__main__":
    sys.exit(main())
