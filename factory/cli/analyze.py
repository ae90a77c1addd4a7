"""`factory analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory import tables
from factory.analysis.model import analysis_to_json
from factory.cli.app import JsonOption, PathsArgument
from factory.cli.runs import runs_of
from factory.errors import BadAnswerError
from factory.files import write_json
from factory.pipeline import analyzing, meeting
from factory.pipeline.run import Run
from factory.planning.system_packages import analysis_uses, read_table, uses_to_json

if TYPE_CHECKING:
    from factory.analysis.model import Analysis
    from factory.scan.model import Scan


def analyze(
    context: typer.Context,
    paths: PathsArgument = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the analysis.")] = Path("analysis.json"),
    top: Annotated[int, typer.Option("--top", min=0, help="How many crates to show.")] = 20,
    aligned: Annotated[
        Path | None,
        typer.Option(
            "--aligned",
            help="Also write here what the repositories would compile if they met at their baseline; takes minutes.",
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use only crates that are already downloaded.")] = False,
    json: JsonOption = False,
) -> None:
    """Find what the repositories compile.

    Every workspace with a lockfile is resolved by cargo; nothing of it is executed. Exit 1 when none can be resolved.

    Example: factory analyze ./repos https://git.example.org/app.git#main
    """
    runs = runs_of(context, single="--json" if json else "")
    found = analyzing.scan(runs[0], paths or runs[0].sources)
    unresolved = []
    for run in runs:
        analysis = _analyze(run, found, out, top=top, offline=offline, json=json)
        if not analysis.resolved:
            unresolved.append(run)
        elif aligned is not None:
            met = meeting.meet_baseline(run, found, analysis, offline=offline)
            write_json(run.file(aligned), analysis_to_json(met))
            run.output.say(f"wrote {run.file(aligned)}")
    if unresolved:
        where = f" ({', '.join(run.name for run in unresolved)})" if unresolved[0].name else ""
        raise BadAnswerError(
            f"no workspace could be resolved{where}, so nothing was written", advice="The rows above say why."
        )


def _analyze(run: Run, found: Scan, out: Path, *, top: int, offline: bool, json: bool) -> Analysis:
    """Analyse for one cell of the matrix: print the answer, and write the file, unless it would have nothing."""
    analysis = analyzing.analyze(run, found, offline=offline)
    packages = analysis_uses(analysis, suite=run.settings.base.suite, table=read_table())
    document = analysis_to_json(analysis) | {"system_packages": uses_to_json(packages)}
    if analysis.resolved:
        write_json(run.file(out), document)
        run.output.say(f"wrote {run.file(out)}")
    if json:
        run.output.answer_json(document)
    else:
        tables.print_analysis(analysis, packages, run.output, top=top)
    return analysis
