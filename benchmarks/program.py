"""The program that benchmarks measure, started as its users start it."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from factory import process
from factory.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def run_factory(
    *words: str | Path,
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
    may_fail: bool = False,
    seconds: float = process.LONGEST,
) -> str:
    """Run `factory WORDS` in `folder` with `variables` besides this process's own, and return what it answers.

    What it says of its progress goes on to stderr. Raises `ProgramFailedError` where it fails; with `may_fail` only
    where it has no answer either; `ProgramTimeoutError` where it takes longer than `seconds`.
    """
    answer = process.run(
        [sys.executable, "-m", "factory", *words],
        cwd=folder,
        env={**os.environ, **(variables or {})},
        timeout=seconds,
        check=not may_fail,
        on_stderr=lambda line: print(line, file=sys.stderr),
    )
    if may_fail and not answer.ok and not answer.stdout:
        raise process.ProgramFailedError(answer)
    return answer.stdout


def profiles_without_budget(folder: Path) -> Path:
    """Copy the shipped profiles into `folder`, in which no layer has a budget then."""
    shutil.copytree(shipped("profiles"), folder)
    for file in folder.glob("*.toml"):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join(line for line in lines if not line.startswith("budget")), encoding="utf-8")
    return folder
