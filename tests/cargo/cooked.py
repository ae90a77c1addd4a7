"""A directory cooked by the whole local line, as a user takes repositories through it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory import process
from factory.cargo.toolchain import find_toolchain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cargo.conftest import Program


@dataclass(frozen=True, kw_only=True, slots=True)
class Cooked:
    """Repositories with their plan, and the directory it was cooked into, which must stay where it is."""

    repos: Path
    plan: Mapping[str, Any]
    folder: Path
    report: Mapping[str, Any]

    @property
    def keys(self) -> dict[str, set[str]]:
        """The planned units of each layer."""
        return {layer["name"]: set(layer["keys"]) for layer in self.plan["layers"]}

    @property
    def forecast(self) -> dict[str, tuple[int, int]]:
        """What the topmost layer should have fresh of each repository's units, and how many there are."""
        top = self.plan["layers"][-1]["name"]
        return {row["path"]: (row["units"]["hit"][top], row["units"]["total"]) for row in self.plan["forecast"]}


def cook(program: Program, repos: Path, folder: Path) -> Cooked:
    """Take repositories through analyze, plan and build."""
    plan = planned(program, repos, folder)
    build = ("build", "--backend", "local", "--plan", folder / "plan.json", "--output", folder / "warm")
    report = program.json(*build)
    return Cooked(repos=repos, plan=plan, folder=folder / "warm", report=report)


def planned(program: Program, repos: Path, folder: Path) -> Mapping[str, Any]:
    """Take repositories through analyze and plan, and return `plan.json`, which is in `folder` then."""
    program("analyze", repos, "--out", folder / "analysis.json")
    program("plan", "--analysis", folder / "analysis.json", "--out", folder / "plan.json")
    plan: Mapping[str, Any] = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    return plan


def found_fresh(proof: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return how many registry units of each repository were fresh, and how many there are."""
    return {row["path"]: (row["units"]["fresh"], row["units"]["total"]) for row in proof["repos"]}


def lock_up(root: Path) -> None:
    """Have cargo write the lock of a package."""
    process.run(["cargo", "generate-lockfile"], cwd=root, env=find_toolchain().environment(), timeout=120)
