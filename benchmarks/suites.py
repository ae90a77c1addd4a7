"""Takes a repository through images on the toolchains of Debian suites: one row each, with and without a target.

    python -m benchmarks.suites SUITE,SUITE,... TARGET REPO

Needs Docker and Debian's mirror. For each suite and variant the table has the suite's rustc, where cargo keeps what it
compiles, how many units `factory verify` finds fresh, and where a consumer's program gets to. The program exits with 1
where a unit is not fresh.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.program import run_factory
from factory import process
from factory.base import build_base
from factory.engine import Engine
from factory.labels import Label
from factory.output import Output

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "rust-warm-factory/benchmark-suites"
SECONDS = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite, and what its base image has."""

    name: str
    base: str
    release: str

    @property
    def cell(self) -> str:
        """The name of its row."""
        return f"{self.release}-{self.name}"


def main() -> int:
    """Print a row for each suite and variant; return 1 where one of them is not wholly fresh."""
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    target, repo = sys.argv[2], Path(sys.argv[3]).resolve()
    suites = [_suite(name, target) for name in sys.argv[1].split(",")]
    variants = ("release", f"release@{target}")
    with tempfile.TemporaryDirectory(prefix="factory-suites-") as folder:
        configuration = {
            "image": {"name": NAME, "tags": ["{layer}", "{layer}-{rust}-{suite}"]},
            "cook": {"variants": variants},
            "matrix": [{"toolchain": suite.release, "suite": suite.name, "image": suite.base} for suite in suites],
        }
        # JSON is YAML too.
        Path(folder, "registry-config.yaml").write_text(json.dumps(configuration), encoding="utf-8")
        Path(folder, "profiles").mkdir()
        Path(folder, "profiles", "core.toml").write_text('description = "All there is"\n', encoding="utf-8")
        for words in (["analyze", str(repo), "--top", "0"], ["plan"], ["build"]):
            _factory(folder, *words)
        print("| suite | rustc | compiled into | variant | units fresh | the program |")
        print("| --- | --- | --- | --- | --- | --- |")
        rows = [_print_row(folder, suite, variant, repo) for suite in suites for variant in variants]
    return 0 if all(rows) else 1


def _suite(name: str, target: str) -> Suite:
    base = f"rust-warm-factory/base:{name}-{target}"
    build_base(tag=base, suite=name, toolchain="debian", ca_bundle=None, targets=(target,), output=Output())
    said = process.run(["docker", "run", "--rm", "--network=none", base, "rustc", "--version"], timeout=SECONDS).stdout
    return Suite(name=name, base=base, release=said.split()[1])


def _print_row(folder: str, suite: Suite, variant: str, repo: Path) -> bool:
    image = f"{NAME}:core-{suite.cell}"
    words = ("verify", image, "--repo", str(repo), "--variant", variant, "--json")
    proof: Mapping[str, Any] = json.loads(_factory(folder, *words))
    (row,) = proof["repos"]
    layout = Engine().image(image).labels[Label.LAYOUT]
    fresh = f"{row['units']['fresh']} of {row['units']['total']}"
    program = _program(image, variant, repo)
    print(f"| {suite.name} | {suite.release} | `{layout}` | `{variant}` | {fresh} | `{program}` |", flush=True)
    return bool(proof["ok"]) and row["units"]["fresh"] == row["units"]["total"] > 0


def _program(image: str, variant: str, repo: Path) -> str:
    """Build the repository as its developer does; return where its newest program is."""
    target = variant.partition("@")[2]
    steps = (
        "cp -R /src /tmp/app && rm -rf /tmp/app/target && cd /tmp/app && touch /tmp/start",
        f"cargo build --release --locked --offline {f'--target {target}' if target else ''}",
        "find target /usr/local/cargo-build -maxdepth 3 -newer /tmp/start "
        f"-name '{repo.name}' -o -name '{repo.name}.wasm'",
    )
    with Engine().container(image, mounts={repo: "/src"}) as container:
        return " ".join(sorted(container.run(["sh", "-c", " && ".join(steps)], timeout=SECONDS).stdout.split()))


def _factory(folder: str, *words: str) -> str:
    variables = {"FACTORY_PROFILES": str(Path(folder, "profiles"))}
    return run_factory("-q", *words, folder=Path(folder), variables=variables, seconds=SECONDS)


if __name__ == "__main__":
    sys.exit(main())
