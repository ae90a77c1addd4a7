"""The files between the stages, from which each can be restarted."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from factory.analysis.model import analysis_from_json
from factory.errors import ConfigurationError
from factory.files import read_json
from factory.planning.plan_file import plan_from_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from factory.analysis.model import Analysis
    from factory.planning.plan import Plan


def read_analysis(path: Path) -> Analysis:
    """Read `analysis.json`."""
    document = read_json(path, made_by="factory analyze")
    with _named(path):
        return analysis_from_json(document)


def read_plan(path: Path) -> Plan:
    """Read `plan.json`."""
    if not path.exists():
        raise ConfigurationError(
            f"{path}: no such file",
            advice="Run `factory plan` first; with --default where there are no repositories yet.",
        )
    document = read_json(path, made_by="factory plan")
    with _named(path):
        return plan_from_json(document)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with its content."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error.what}", advice=error.advice) from error
