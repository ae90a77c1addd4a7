"""`factory plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory import tables
from factory.cli.app import JsonOption, ProfilesOption
from factory.cli.runs import runs_of
from factory.config.layers import load_layer_profiles
from factory.errors import ConfigurationError
from factory.files import write_json
from factory.pipeline import analyzing, artefacts, meeting, planning, stacks
from factory.pipeline.run import Run
from factory.planning.explain import explanation_to_json
from factory.planning.plan_file import plan_to_json

if TYPE_CHECKING:
    from factory.analysis.model import Analysis
    from factory.output import Output
    from factory.planning.explain import Explanation


def plan(
    context: typer.Context,
    analysis: Annotated[Path, typer.Option("--analysis", help="The analysis to read.")] = Path("analysis.json"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the plan.")] = Path("plan.json"),
    profiles: ProfilesOption = None,
    misses: Annotated[
        list[Path] | None,
        typer.Option("--misses", help="Miss reports of consumers to weigh in: files, or folders of them."),
    ] = None,
    aligned: Annotated[
        Path | None,
        typer.Option(
            "--aligned", help="What `factory analyze --aligned` wrote: cook for repositories at the baseline too."
        ),
    ] = None,
    default: Annotated[
        bool,
        typer.Option("--default", help="Plan the shipped stacks of popular crates: needs no analysis."),
    ] = False,
    no_baseline: Annotated[
        bool, typer.Option("--no-baseline", help="Do not say what the repositories could agree on.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option("--explain", metavar="CRATE[@VERSION]", help="Explain one crate instead; writes no plan."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Choose what to cook, and forecast the hits.

    Chooses what saves most build seconds within the budgets. Says for every crate in which layer it is or why it is
    left out, and for every repository what it will find fresh and the seconds that its dependencies will take.
    With --default it takes crates that public repositories use together, for a first image before any analysis.

    Example: factory plan --analysis analysis.json --explain syn@2.0.87
    """
    if default and aligned is not None:
        raise ConfigurationError(
            "--default plans for nobody's repositories, and --aligned is of somebody's", advice="Leave one of them out."
        )
    if explain is not None:
        (run,) = runs_of(context, single="--explain")
        known = artefacts.read_plan(run.file(out)) if run.file(out).exists() else None
        weighed = analyzing.weigh_in(run, _read(run, analysis, default=default), misses or ())
        _answer(planning.explain(run, _with(run, weighed, aligned), profiles, explain, known), run.output, as_json=json)
        return
    for run in runs_of(context, single="--json" if json else ""):
        weighed = analyzing.weigh_in(run, _read(run, analysis, default=default), misses or ())
        both = _with(run, weighed, aligned)
        made = planning.plan(
            run,
            both,
            load_layer_profiles(profiles),
            baseline=not no_baseline,
            # Stacks are nobody's repositories: there is nobody to agree.
            agreed=not default,
            as_it_is=weighed,
        )
        document = plan_to_json(made)
        write_json(run.file(out), document)
        run.output.say(f"wrote {run.file(out)}")
        if json:
            run.output.answer_json(document)
        else:
            tables.print_plan(made, run.output)


def _read(run: Run, analysis: Path, *, default: bool) -> Analysis:
    return stacks.analyze_stacks(run) if default else artefacts.read_analysis(run.file(analysis))


def _with(run: Run, analysis: Analysis, aligned: Path | None) -> Analysis:
    if aligned is None:
        return analysis
    return meeting.with_aligned(run, analysis, artefacts.read_analysis(run.file(aligned)))


def _answer(explanation: Explanation, output: Output, *, as_json: bool) -> None:
    if as_json:
        output.answer_json(explanation_to_json(explanation))
    else:
        tables.print_explanation(explanation, output)
