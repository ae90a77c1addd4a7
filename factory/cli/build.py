"""`factory build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from factory import tables
from factory.cli.app import Backend, DryRunOption, JsonOption, PlanOption
from factory.cli.runs import runs_of
from factory.cook.budgets import require_within_budgets
from factory.cook.report import report_to_json
from factory.errors import ConfigurationError
from factory.pipeline import artefacts, building
from factory.pipeline.run import Run


def build(
    context: typer.Context,
    plan: PlanOption = Path("plan.json"),
    backend: Annotated[
        Backend, typer.Option("--backend", help="docker: images. local: a directory; needs only cargo.")
    ] = Backend.DOCKER,
    output: Annotated[Path | None, typer.Option("--output", help="The directory to cook into (local backend).")] = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Cook the plan, into images or a directory.

    The images are a chain by default: core, web, db, each FROM the one before. The local backend needs only cargo.
    Exit 1 when a layer weighs more than its budget; the images that were there before keep their tags then.

    Example: factory build --backend local --output ./warm
    """
    if backend is Backend.LOCAL and output is None:
        raise ConfigurationError("the local backend needs --output DIR", advice="Name a new or an empty directory.")
    if backend is Backend.DOCKER and output is not None:
        raise ConfigurationError(
            "--output is for --backend local", advice="Leave it out: images are loaded into Docker."
        )
    single = "--json" if json else "" if output is None else "--output"
    for run in runs_of(context, single=single):
        _build(run, run.file(plan), None if output is None else output.absolute(), dry_run=dry_run, json=json)


def _build(run: Run, plan: Path, folder: Path | None, *, dry_run: bool, json: bool) -> None:
    """Build one cell of the matrix: into images, or into `folder`."""
    chosen = artefacts.read_plan(plan)
    if dry_run:
        shown = building.dry_run_images(run, chosen) if folder is None else building.dry_run_locally(chosen)
        tables.print_dry_run(shown, run.output, as_json=json)
        return
    reports = building.build_images(run, chosen) if folder is None else building.build_locally(run, chosen, folder)
    if json:
        run.output.answer_json(report_to_json(reports))
    else:
        tables.print_reports(reports, run.output)
    require_within_budgets(reports)
