"""Resolutions without an answer: one that took too long is a row, and a machine's fault is told as such."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from factory.cargo.resolve import Trouble, Unresolved, resolve
from factory.cargo.toolchain import Toolchain
from factory.cargo.unit_graph import Surroundings
from factory.cargo.variants import Variant
from factory.errors import EnvironmentFaultError

if TYPE_CHECKING:
    from pathlib import Path

    from factory.cargo.resolve import UnitGraph

pytestmark = pytest.mark.runs_programs


def resolved_by(cargo: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> UnitGraph | Unresolved:
    """Resolve with a `cargo` that is a shell script, or a file that cannot be run where that is empty."""
    program = folder / "bin" / "cargo"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{cargo}\n", encoding="utf-8")
    program.chmod(0o755 if cargo else 0o644)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin" if cargo else str(program.parent))
    return resolve(
        folder,
        Variant.parse("release"),
        toolchain=Toolchain(version="", host="", rustc_verbose=""),
        surroundings=Surroundings(rustc=""),
        cargo_home=folder / "home",
        timeout=0.3,
    )


def test_a_cargo_that_takes_too_long_is_a_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = resolved_by("sleep 20", tmp_path, monkeypatch)
    assert isinstance(answer, Unresolved)
    assert answer.trouble is Trouble.TIMEOUT


def test_a_cargo_that_cannot_be_started_is_no_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentFaultError, match="cannot start `cargo`"):
        resolved_by("", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("blamed", "lasts"),
    [
        ("{folder}/Cargo.toml", True),
        ("{folder}/home/registry/src/index/serde-1.0.0/Cargo.toml", True),
        ("/somewhere/Cargo.toml", False),
    ],
)
def test_what_is_no_fault_of_the_workspace_may_be_gone_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blamed: str, lasts: bool
) -> None:
    """A stray manifest above a temporary directory was told, and kept, as the fault of every workspace."""
    said = f"error: failed to parse manifest at `{blamed.format(folder=tmp_path)}`"
    answer = resolved_by(f'echo "{said.replace("`", chr(92) + "`")}" >&2; exit 101', tmp_path, monkeypatch)
    assert isinstance(answer, Unresolved)
    assert answer.trouble is Trouble.MANIFEST
    assert answer.lasts is lasts
