"""A first image without any repositories: the shipped stacks, planned and cooked by the real cargo, and a consumer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from factory import process
from factory.analysis.stacks import shipped_stacks, stack_manifest
from factory.resources import shipped
from tests.cargo.cooked import found_fresh
from tests.hostile import write_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cargo.conftest import Program

pytestmark = pytest.mark.cargo

FEW = 'budget = "15 MB"\n'
"""A layer for little more than what one popular crate needs."""


def consumer(folder: Path, name: str) -> Path:
    """Make a project that depends on a stack's crates, in the versions of the shipped lock."""
    (stack,) = (stack for stack in shipped_stacks() if stack.name == name)
    write_files(
        folder,
        {
            "Cargo.toml": stack_manifest(stack).replace(f"stack-{name}", "consumer"),
            "Cargo.lock": (shipped("stacks") / "Cargo.lock").read_text(encoding="utf-8"),
            "src/main.rs": "fn main() {}\n",
        },
    )
    process.run(["cargo", "update", "--workspace", "--quiet"], cwd=folder, timeout=300)
    return folder


def test_popular_crates_are_fresh_without_any_analysis(program: Program, tmp_path: Path) -> None:
    # What is measured on a busy machine would choose others: only the shipped measurements count.
    program = program.under({"FACTORY_COSTS_URL": f"sqlite:///{tmp_path}/costs.sqlite"})
    write_files(tmp_path / "profiles", {"core.toml": FEW})
    said = program("plan", "--default", "--profiles", tmp_path / "profiles", "--out", tmp_path / "plan.json").stdout
    plan = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    # Projects can be moved onto it, and stacks have nothing to agree on.
    assert plan["baseline"]["crates"]
    assert (plan["agreement"], "baseline" in said) == (None, False)
    rows = plan["forecast"]
    assert {row["path"].split("/")[0] for row in rows} == {"stacks"}
    best = max(rows, key=lambda row: (row["units"]["total"] > 9, row["units"]["hit"]["core"] / row["units"]["total"]))
    units = best["units"]
    assert units["hit"]["core"] > units["total"] / 2

    warm = tmp_path / "warm"
    program("build", "--backend", "local", "--plan", tmp_path / "plan.json", "--output", warm)
    proof = program.json("verify", warm, "--repo", consumer(tmp_path / "consumer", best["path"].split("/")[1]))
    ((fresh, total),) = found_fresh(proof).values()
    assert (fresh, total) == (units["hit"]["core"], units["total"])
