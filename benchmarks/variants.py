"""Measures what variants share when they are cooked into one directory: bytes of each alone, and of all together.

    python -m benchmarks.variants VARIANT,VARIANT,... PATH...

Bytes are those of the files, hard links counted once; they do not depend on the machine's load.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.program import run_factory


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooked:
    """What one directory holds: its units, their bytes, and the bytes of the downloaded crates."""

    units: int
    unit_bytes: int
    download_bytes: int


def main() -> int:
    """Print a row for each variant, the sum of these rows, and one for all variants in one directory."""
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    variants = sys.argv[1].split(",")
    paths = [str(Path(path).absolute()) for path in sys.argv[2:]]
    print("| directory | units | units, MB | downloads, MB |")
    print("| --- | --- | --- | --- |")
    alone = [_cook([variant], paths) for variant in variants]
    for variant, cooked in zip(variants, alone, strict=True):
        _print_row(f"`{variant}` alone", cooked)
    _print_row("sum of these", _sum(alone))
    _print_row("all in one", _cook(variants, paths))
    return 0


def _cook(variants: list[str], paths: list[str]) -> Cooked:
    with tempfile.TemporaryDirectory(prefix="factory-variants-") as name:
        folder = Path(name)
        variables = {"FACTORY_COOK_VARIANTS": ",".join(variants), "FACTORY_BUDGET_TOTAL": "100 GB"}
        factory = functools.partial(run_factory, "-q", folder=folder, variables=variables)
        factory("analyze", *paths, "--top", "0")
        factory("plan")
        layers = json.loads(factory("build", "--backend", "local", "--output", folder / "warm", "--json"))["layers"]
        return Cooked(
            units=sum(len(layer["cooked"]) for layer in layers),
            unit_bytes=_bytes(folder / "warm" / "build"),
            download_bytes=_bytes(folder / "warm" / "cargo-home" / "registry"),
        )


def _bytes(folder: Path) -> int:
    facts = [path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({fact.st_ino: fact.st_size for fact in facts}.values())


def _sum(alone: list[Cooked]) -> Cooked:
    return Cooked(
        units=sum(cooked.units for cooked in alone),
        unit_bytes=sum(cooked.unit_bytes for cooked in alone),
        download_bytes=sum(cooked.download_bytes for cooked in alone),
    )


def _print_row(name: str, cooked: Cooked) -> None:
    print(
        f"| {name} | {cooked.units} | {cooked.unit_bytes / 1e6:.1f} | {cooked.download_bytes / 1e6:.1f} |", flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
