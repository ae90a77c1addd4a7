"""`factory plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from factory import pipeline, tables
from factory.cli.app import JsonOption, ProfilesOption, runs_of
from factory.files import write_json
from factory.planning.plan import plan_to_json


def plan(
    context: typer.Context,
    analysis: Annotated[Path, typer.Option("--analysis", help="The analysis to read.")] = Path("analysis.json"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the plan.")] = Path("plan.json"),
    profiles: ProfilesOption = None,
    misses: Annotated[
        list[Path] | None,
        typer.Option("--misses", help="Miss reports of consumers to weigh in: files, or folders of them."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Choose what to cook, and forecast the hits.

    Says for every crate in which layer it is or why it is left out, and for every repository what it will find fresh.

    Example: factory plan --analysis analysis.json --profiles ./profiles
    """
    for run in runs_of(context, single="--json" if json else ""):
        made = pipeline.plan(
            run, pipeline.weigh_in(run, pipeline.read_analysis(run.file(analysis)), misses or ()), profiles
        )
        document = plan_to_json(made)
        write_json(run.file(out), document)
        run.output.say(f"wrote {run.file(out)}")
        if json:
            run.output.answer_json(document)
        else:
            tables.print_plan(made, run.output)
