"""Measures the whole line on repositories: plan without a budget, build, verify; cold and warm seconds, hits.

    python -m benchmarks.line [--images] PATH...

Without --images the local backend is used. With it, each repository is verified on the lowest image that has all of
its units; a Docker engine and the base image of the configuration are needed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.program import profiles_without_budget, run_factory

_PATIENCE = 24 * 3600.0
"""Seconds that one stage may take: without a budget, everything is cooked."""


def main() -> int:
    """Print one row a repository."""
    images = "--images" in sys.argv[1:]
    paths = [str(Path(path).absolute()) for path in sys.argv[1:] if path != "--images"]
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        profiles = profiles_without_budget(folder / "profiles")
        _factory(folder, "analyze", *paths, "--top", "0")
        plan = json.loads(_factory(folder, "plan", "--profiles", str(profiles), "--json"))
        built = json.loads(
            _factory(folder, "build", "--json", *([] if images else ["--backend", "local", "--output", "warm"]))
        )
        rows = _verify_images(folder, plan, paths) if images else _verify(folder, "warm", paths)
    _print(plan, built, rows)
    return 0


def _verify_images(folder: Path, plan: dict[str, Any], paths: list[str]) -> list[dict[str, Any]]:
    rows = []
    for path in paths:
        known = [row["units"] for row in plan["forecast"] if row["repo"].split("/")[-1] == Path(path).name]
        names = [layer["name"] for layer in plan["layers"]]
        best = next(
            (name for name in names if all(row["hit"][name] == max(row["hit"].values()) for row in known)), names[-1]
        )
        rows += [row | {"image": best} for row in _verify(folder, f"org/rust-builder:{best}", [path])]
    return rows


def _verify(folder: Path, target: str, paths: list[str]) -> list[dict[str, Any]]:
    repos = [word for path in paths for word in ("--repo", path)]
    proof = json.loads(_factory(folder, "verify", target, *repos, "--cold", "--json", may_fail=True))
    bad = [check for check in proof["checks"] if not check["ok"]]
    if bad:
        print(f"checks failed: {bad}", file=sys.stderr)
    return list(proof["repos"])


def _print(plan: dict[str, Any], built: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    print("| layer | units | recipes | dropped | seconds |\n| --- | --- | --- | --- | --- |")
    for layer in built["layers"]:
        recipes = sum(recipe["layer"] == layer["layer"] for recipe in plan["recipes"])
        print(
            f"| {layer['layer']} | {len(layer['cooked'])} | {recipes} | {len(layer['dropped'])} | {layer['seconds']} |"
        )
    print("\n| repository | on | cold s | warm s | registry units fresh | problem |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        units, seconds = row["units"], row["seconds"]
        print(
            f"| {row['path']} | {row.get('image', 'directory')} | {seconds['cold']} | {seconds['warm']} "
            f"| {units['fresh']} of {units['total']} | {row['problem'] or '-'} |"
        )


def _factory(folder: Path, *words: str, may_fail: bool = False) -> str:
    return run_factory(
        *words, folder=folder, variables={"FACTORY_BUDGET_TOTAL": "1000 GB"}, may_fail=may_fail, seconds=_PATIENCE
    )


if __name__ == "__main__":
    sys.exit(main())
