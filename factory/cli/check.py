"""`factory check`."""

from __future__ import annotations

import enum
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from factory.cli.app import JsonOption, PlanOption
from factory.cli.runs import run_of
from factory.consumer.check.forecast import Question
from factory.consumer.check.model import check_to_json
from factory.consumer.check.sarif import github_annotations, sarif
from factory.consumer.check.show import print_check
from factory.consumer.misses import deliver, miss_report
from factory.errors import BadAnswerError, ConfigurationError, EnvironmentFaultError
from factory.files import write_json
from factory.pipeline import forecasting
from factory.program_variables import ProgramVariable

if TYPE_CHECKING:
    from factory.consumer.check.model import CheckReport
    from factory.output import Output


class Measure(enum.StrEnum):
    """What a share is of."""

    UNITS = "units"
    SECONDS = "seconds"


class Annotations(enum.StrEnum):
    """Who shows annotations beside the code."""

    GITHUB = "github"


def check(
    context: typer.Context,
    repo: Annotated[str, typer.Argument(help="The repository: a directory or a git URL (URL#REF).")] = ".",
    plan: PlanOption = Path("plan.json"),
    image: Annotated[
        str | None, typer.Option("--image", help="Forecast for this image instead; it is pulled if it is not here.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Forecast for a directory of the local backend instead.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option("--variant", help="The variant of the totals (default: release, where it is warm).")
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="The image of the totals (default: the one that saves most).")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="How many causes to show.")] = 8,
    min_hit: Annotated[
        float, typer.Option("--min-hit", min=0, max=1, help="Exit 1 where a smaller share is warm.")
    ] = 0.0,
    by: Annotated[Measure, typer.Option("--by", help="What --min-hit is a share of.")] = Measure.UNITS,
    ignore_pin: Annotated[
        bool, typer.Option("--ignore-pin", help="Forecast as if the repository pinned no toolchain.")
    ] = False,
    sarif_file: Annotated[Path | None, typer.Option("--sarif", help="Write the misses as SARIF 2.1.0.")] = None,
    annotations: Annotated[
        Annotations | None, typer.Option("--annotations", help="Annotate the lines to look at (on stderr).")
    ] = None,
    report_to: Annotated[
        str | None,
        typer.Option("--report-to", help="Leave a miss report in this folder, or send it to this URL."),
    ] = None,
    report_as: Annotated[
        str | None,
        typer.Option(
            "--report-as",
            envvar=[ProgramVariable.REPORT_AS, "GITHUB_REPOSITORY", "CI_PROJECT_PATH"],
            help="The repository's name in the report (default: the name of its folder).",
        ),
    ] = None,
    require_report: Annotated[
        bool,
        typer.Option("--require-report", help="Exit 4 where the report cannot be delivered, instead of a warning."),
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Use only crates that are already downloaded.")] = False,
    json: JsonOption = False,
) -> None:
    """Forecast what a repository will find warm, and what not.

    Nothing is built, and nothing of the repository is executed. Every miss is traced to its root cause, with the line
    to look at and what to do. Exit 1 when less than --min-hit is warm.

    Example: factory check . --image org/rust-builder:web --min-hit 0.8
    """
    run = run_of(context)
    source = forecasting.WarmSource(plan=run.file_to_read(plan), image=image, folder=folder)
    question = Question(variant=variant, image=layer, ignore_pin=ignore_pin)
    report = forecasting.check(run, repo, source, question, offline=offline)
    if json:
        # Whoever parses it wants a document of a bad answer too.
        run.output.answer_json(check_to_json(report))
    if sarif_file is not None:
        # An upload of it should not fail for a file that is not there, and hide what is the matter.
        write_json(sarif_file, sarif(report))
        run.output.say(f"wrote {sarif_file}")
    forecasting.require_forecasts(run, report)
    if report_to is not None:
        _leave(report, report_to, report_as, required=require_report, output=run.output)
    if annotations is Annotations.GITHUB:
        for line in github_annotations(report):
            sys.stderr.write(f"{line}\n")
    if not json:
        print_check(report, run.output, top=top)
    _gate(report, min_hit, by)


def _leave(report: CheckReport, target: str, name: str | None, *, required: bool, output: Output) -> None:
    """Deliver a miss report: a server that is down is nothing that a consumer's CI should fail for unasked."""
    try:
        output.say(f"reported to {_deliver(report, target, name)}")
    except EnvironmentFaultError as error:
        if required:
            raise
        output.warn(f"{error} (--require-report makes this an error)")


def _deliver(report: CheckReport, target: str, name: str | None) -> str:
    own = report.workspaces[0].repo.rpartition("/")[2]
    try:
        made = miss_report(report, repo=name or own, date=f"{datetime.now(UTC):%Y-%m-%d}")
    except ValidationError as error:
        raise ConfigurationError(
            f"--report-as: {error.errors()[0]['msg']}",
            advice="Name the repository by at most 200 characters.",
        ) from error
    return deliver(made, target, folder=None if "://" in target else Path(target))


def _gate(report: CheckReport, least: float, by: Measure) -> None:
    """Raise `BadAnswerError` where less is warm than asked for, or where that cannot be said of everything."""
    share = report.hit.share_of(report.total, by=by.value)
    if share < least:
        raise BadAnswerError(
            f"{share:.1%} of the {by.value} are warm in the image {report.image}, less than {least:.1%}",
            advice="The causes above say what to change.",
        )
    if least and report.skipped:
        names = ", ".join(workspace.path for workspace in report.skipped)
        raise BadAnswerError(f"no forecast for {names}", advice="Mend what the warnings say, or check less.")
