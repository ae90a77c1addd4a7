"""Measures builds of projects before and after each step of `factory align`: hits and wall seconds, cold and warm.

    python -m benchmarks.aligned_builds --plan plan.json --warm DIR [--test] PROJECT...

DIR is what `factory build --backend local` made of the plan; nothing of the projects should be in it. Each project,
with its full sources and in git, is copied. The copy takes the steps one after the other, as `factory align --apply`
writes them (versions, features, cargo profile, requirements), and after each, `factory verify --cold` builds it twice:
without the warm units, and on them. A step that changes nothing is not built again. With --test the project's own tests
run as it is and after the last step. One run each: a quiet machine makes better seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.program import run_factory
from factory import process

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = {
    "as it is": None,
    "versions": ("--step", "versions"),
    "+ features": ("--step", "versions,features"),
    "+ profile": ("--profile",),
    "+ requirements": ("--profile", "--manifest"),
}
_TEST_SECONDS = 1800


@dataclass(frozen=True)
class Row:
    """One state of a project, built.

    Attributes:
        step: the last step taken.
        fresh, total: registry units, those found fresh and all.
        cold, warm: wall seconds of the two builds.
        problem: why a build failed; empty where none did.
    """

    step: str
    fresh: int
    total: int
    cold: float
    warm: float
    problem: str


def main() -> int:
    """Print one table for each project; 1 where a build failed."""
    options = _options()
    failed = False
    for project in options.projects:
        print(f"\n## {project.name} at {_git(project, 'rev-parse', '--short', 'HEAD')}\n")
        print("| after | units fresh | cold s | warm s | saved | problem |")
        print("| --- | --- | --- | --- | --- | --- |", flush=True)
        for row in _measure(options, project):
            _print(row)
            failed = failed or bool(row.problem)
    return 1 if failed else 0


def _measure(options: argparse.Namespace, project: Path) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / project.name
        _git(project, "clone", "--quiet", str(project.absolute()), str(copy))
        tests = [_tests(copy)] if options.test else []
        for step, wishes in STEPS.items():
            if wishes is not None:
                run_factory("align", str(copy), "--plan", str(options.plan), "--apply", *wishes)
                if not _git(copy, "status", "--porcelain"):
                    continue
                _git(copy, "add", "--all")
                _git(copy, "-c", "user.name=b", "-c", "user.email=b@localhost", "commit", "--quiet", "-m", step)
            yield _built(step, options.warm, copy)
        if options.test:
            print(f"\nIts own tests before and after: {tests[0]}; {_tests(copy)}", flush=True)


def _built(step: str, warm: Path, copy: Path) -> Row:
    proof = json.loads(run_factory("verify", str(warm), "--repo", str(copy), "--cold", "--json", may_fail=True))
    repo: dict[str, Any] = proof["repos"][0]
    return Row(
        step=step,
        fresh=repo["units"]["fresh"],
        total=repo["units"]["total"],
        cold=repo["seconds"]["cold"],
        warm=repo["seconds"]["warm"],
        problem=repo["problem"] or "",
    )


def _tests(copy: Path) -> str:
    """Run `cargo test --locked` in the copy, and return what its `test result` lines add up to."""
    environment = dict(os.environ) | {"CARGO_TARGET_DIR": str(copy.parent / "tests")}
    answer = process.run(
        ["cargo", "test", "--locked", "--no-fail-fast"], cwd=copy, env=environment, timeout=_TEST_SECONDS, check=False
    )
    words = [line.split() for line in answer.stdout.splitlines() if line.startswith("test result:")]
    passed = sum(int(line[3]) for line in words)
    failed = sum(int(line[5]) for line in words)
    return f"{passed} passed, {failed} failed, exit {answer.returncode}"


def _print(row: Row) -> None:
    saved = f"{1 - row.warm / row.cold:.0%}" if row.cold else "-"
    seconds = f"{row.cold:.1f} | {row.warm:.1f} | {saved}"
    print(f"| {row.step} | {row.fresh} of {row.total} | {seconds} | {row.problem or '-'} |", flush=True)


def _git(folder: Path, *args: str) -> str:
    return process.run(["git", "-C", str(folder), *args]).stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True, help="the plan that was cooked")
    parser.add_argument("--warm", type=Path, required=True, help="the directory that the local backend made of it")
    parser.add_argument("--test", action="store_true", help="run the projects' own tests before and after, too")
    parser.add_argument("projects", nargs="+", type=Path, metavar="PROJECT")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
