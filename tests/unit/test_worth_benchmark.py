"""The benchmark of wall seconds goes on where a repository cannot be built, and says why."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import worth
from factory.errors import EnvironmentFaultError
from factory.process import Completed, ProgramFailedError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_reason_is_cargos_first_error() -> None:
    stderr = "   Compiling a v1.0.0\nerror: failed to run custom build command for `a v1.0.0`\n" + "--- stderr\n" * 30
    failed = Completed(args=("cargo", "build"), returncode=101, stdout="", stderr=stderr)
    assert worth.reason_of(ProgramFailedError(failed)) == "failed to run custom build command for `a v1.0.0`"


def test_the_reason_without_an_error_of_cargos_is_what_happened() -> None:
    assert worth.reason_of(EnvironmentFaultError("ran too long\nat step 3")) == "ran too long"


@pytest.mark.runs_programs
def test_a_repository_that_fails_gets_a_row_and_the_next_one_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()  # no Cargo.toml: nothing can be resolved
    results = tmp_path / "worth.jsonl"
    repos = [str(tmp_path / "first"), str(tmp_path / "second")]
    monkeypatch.setattr(sys, "argv", ["worth", "--results", str(results), "--jobs", "2", *repos])
    assert worth.main() == 0
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert [row["repo"] for row in rows] == ["first", "second"]
    assert all(row["problem"] for row in rows)
    assert "| first | not built: " in capsys.readouterr().out
