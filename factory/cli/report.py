"""`factory report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from factory.cli.app import JsonOption, PlanOption, ProfilesOption
from factory.cli.runs import runs_of
from factory.files import write_text
from factory.pipeline import planning
from factory.report.figures import figures_to_json
from factory.report.page import page


def report(
    context: typer.Context,
    analysis: Annotated[Path, typer.Option("--analysis", help="The analysis that the plan was made from.")] = Path(
        "analysis.json"
    ),
    plan: PlanOption = Path("plan.json"),
    earlier: Annotated[
        list[Path] | None,
        typer.Option("--earlier", help="Analyses of earlier days, the earliest first, to show drift."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the page.")] = Path("report.html"),
    profiles: ProfilesOption = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many crates to list.")] = 100,
    json: JsonOption = False,
) -> None:
    """Write one HTML page that can be read offline.

    Crates, versions and feature sets in use, coverage against budget, what each repository saves, size by layer, drift.

    Example: factory report --plan plan.json --out report.html
    """
    (run,) = runs_of(context, single="report")
    found = planning.report(
        run,
        run.file_to_read(analysis),
        run.file_to_read(plan),
        earlier=earlier or (),
        profiles=profiles,
        most_crates=top,
    )
    write_text(run.file(out), page(found))
    run.output.say(f"wrote {run.file(out)}: open it in any browser")
    if json:
        run.output.answer_json(figures_to_json(found))
