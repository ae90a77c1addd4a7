"""Repositories at their baseline beside themselves as they are: what counts how much, and what a file keeps of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from factory.analysis.model import analysis_from_json, analysis_to_json, join
from factory.config.model import Settings
from factory.output import Output
from factory.pipeline.meeting import with_aligned
from factory.pipeline.run import Run
from tests.unit.builders import organisation

if TYPE_CHECKING:
    from factory.analysis.model import Analysis

STEPS = ("versions", "versions, features", "versions, features, profile")


def aligned(step: str) -> Analysis:
    analysis = organisation()
    rows = tuple(replace(row, path=f"{row.path} + {step}", aligned=step, builds=4.0) for row in analysis.workspaces)
    return replace(analysis, workspaces=rows)


def run(percent: int) -> Run:
    settings = Settings()
    return Run(
        settings=settings.model_copy(
            update={"baseline": settings.baseline.model_copy(update={"adopt_percent": percent})}
        ),
        output=Output(),
    )


def test_only_versions_with_features_count_and_as_much_as_is_asked_for() -> None:
    both = with_aligned(run(25), organisation(), join([aligned(step) for step in STEPS]))
    assert {row.builds for row in both.workspaces if not row.aligned} == {1.0}
    assert {row.aligned: row.builds for row in both.workspaces if row.aligned} == dict(
        zip(STEPS, (0.0, 1.0, 0.0), strict=True)
    )
    assert [row.path for row in both.workspaces] == sorted(row.path for row in both.workspaces)


def test_the_repositories_as_they_are_stay_as_they_are() -> None:
    analysis = organisation()
    both = with_aligned(run(50), analysis, aligned(STEPS[1]))
    assert sorted((row for row in both.workspaces if not row.aligned), key=lambda row: row.path) == sorted(
        analysis.workspaces, key=lambda row: row.path
    )
    assert both.units == analysis.units


def test_a_file_keeps_what_was_aligned() -> None:
    analysis = join([aligned(STEPS[1])])
    read = analysis_from_json(json.loads(json.dumps(analysis_to_json(analysis))))
    assert {row.path: row.aligned for row in read.workspaces} == {row.path: STEPS[1] for row in analysis.workspaces}
    assert all("aligned" not in row for row in analysis_to_json(organisation())["workspaces"])
