"""`factory analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from factory import pipeline, tables
from factory.analysis.model import analysis_to_json
from factory.cli.app import JsonOption, PathsArgument, run_of
from factory.errors import NothingToDoError
from factory.files import write_json
from factory.planning.system_packages import analysis_uses, read_table, uses_to_json


def analyze(
    context: typer.Context,
    paths: PathsArgument = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the analysis.")] = Path("analysis.json"),
    top: Annotated[int, typer.Option("--top", min=0, help="How many crates to show.")] = 20,
    offline: Annotated[bool, typer.Option("--offline", help="Use only crates that are already downloaded.")] = False,
    json: JsonOption = False,
) -> None:
    """Find what the repositories compile.

    Every workspace with a lockfile is resolved by cargo; nothing of it is executed.

    Example: factory analyze ./repos https://git.example.org/app.git#main
    """
    run = run_of(context)
    analysis = pipeline.analyze(run, pipeline.scan(run, paths or run.sources), offline=offline)
    packages = analysis_uses(analysis, suite=run.settings.base.suite, table=read_table())
    document = analysis_to_json(analysis) | {"system_packages": uses_to_json(packages)}
    write_json(out, document)
    run.output.say(f"wrote {out}")
    if json:
        run.output.answer_json(document)
    else:
        tables.print_analysis(analysis, packages, run.output, top=top)
    if not analysis.resolved:
        raise NothingToDoError("no workspace could be resolved", advice="The rows above say why.")
