"""Measures second builds of projects: seconds and compiled dependencies by Dockerfile and change, as a Markdown table.

    python -m benchmarks.second_builds --image IMAGE --base BASE [--flavour FLAVOUR]... PROJECT...

Each row is one Dockerfile, each column one change, each cell `seconds / dependencies compiled`. What the changes are
stands in docs/second-builds.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from factory.config.load import load_configuration
from factory.consumer.init import Flavour
from factory.output import Output
from factory.pipeline import projects
from factory.pipeline.run import Run
from factory.proof.second_build_model import Beside, Change, SecondBuilds


def main() -> int:
    """Print one table for each project; 1 when a build failed."""
    options = _options()
    configuration = load_configuration(None, environ=os.environ, start=Path.cwd())
    run = Run(settings=configuration.settings, output=Output())
    results = [
        projects.second_builds(
            run,
            options.image,
            project,
            options.flavour or list(Flavour),
            beside=list(Beside),
            base=options.base,
            bumps=(),
        )
        for project in options.projects
    ]
    for result in results:
        _print(result)
    return 0 if all(result.ok for result in results) else 1


def _print(result: SecondBuilds) -> None:
    changes = list(dict.fromkeys(build.change for build in result.builds))
    print(f"\n{result.project}: {result.dependencies} dependencies\n")
    print(f"| Dockerfile | {' | '.join(changes)} |")
    print(f"| --- |{' --- |' * len(changes)}")
    for name in result.dockerfiles:
        print(f"| {name} | {' | '.join(_cell(result, name, change) for change in changes)} |")


def _cell(result: SecondBuilds, dockerfile: str, change: Change) -> str:
    for build in result.builds:
        if (build.dockerfile, build.change) == (dockerfile, change):
            return "failed" if build.problem else f"{build.seconds:.0f} / {len(build.compiled)}"
    return "-"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", required=True, help="the warm image")
    parser.add_argument("--base", required=True, help="the base image to compare with")
    parser.add_argument("--flavour", action="append", type=Flavour, help="may be repeated (default: all)")
    parser.add_argument("projects", nargs="+", type=Path, metavar="PROJECT")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
