"""The files between the stages, from which each can be restarted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.analysis.model import analysis_from_json
from factory.errors import ConfigurationError
from factory.files import read_json
from factory.planning.plan import plan_from_json

if TYPE_CHECKING:
    from pathlib import Path

    from factory.analysis.model import Analysis
    from factory.planning.plan import Plan


def read_analysis(path: Path) -> Analysis:
    """Read `analysis.json`."""
    return analysis_from_json(read_json(path, made_by="factory analyze"))


def read_plan(path: Path) -> Plan:
    """Read `plan.json`."""
    if not path.exists():
        raise ConfigurationError(
            f"{path}: no such file",
            advice="Run `factory plan` first; with --default where there are no repositories yet.",
        )
    return plan_from_json(read_json(path, made_by="factory plan"))
