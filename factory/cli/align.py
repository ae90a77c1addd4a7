"""`factory align`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from factory.cli.app import AdvisoriesOption, JsonOption, PlanOption
from factory.cli.runs import run_of
from factory.consumer.align.features import FeaturesBy
from factory.consumer.align.model import AlignReport, StepName, align_to_json
from factory.consumer.align.show import UNPIN, print_alignment
from factory.errors import BadAnswerError, ConfigurationError
from factory.pipeline import forecasting


def align(
    context: typer.Context,
    repo: Annotated[Path, typer.Argument(help="The repository's directory.")] = Path(),
    plan: PlanOption = Path("plan.json"),
    step: Annotated[
        str, typer.Option("--step", help="The steps to take, separated by commas: versions, features, profile.")
    ] = "versions,features",
    profile: Annotated[
        bool, typer.Option("--profile", help="Take the step `profile` too: it changes how programs are compiled.")
    ] = False,
    manifest: Annotated[
        bool,
        typer.Option("--manifest", help="Change requirements of the manifests, too, where they keep a version out."),
    ] = False,
    growth: Annotated[
        int | None,
        typer.Option(
            "--growth",
            min=0,
            max=100,
            metavar="PERCENT",
            help="How much larger features that bring crates may make the graph (default: `baseline.growth_percent`).",
        ),
    ] = None,
    features_by: Annotated[
        FeaturesBy,
        typer.Option(
            "--features-by",
            help="By edits of dependencies that the packages name, by a crate that names others, or as is enough.",
        ),
    ] = FeaturesBy.AUTO,
    allow_downgrade: Annotated[
        bool, typer.Option("--allow-downgrade", help="Go to versions that were yanked or that an advisory warns of.")
    ] = False,
    advisory_db: AdvisoriesOption = None,
    variant: Annotated[
        str | None, typer.Option("--variant", help="The variant of the totals (default: release, where it is warm).")
    ] = None,
    ignore_pin: Annotated[
        bool, typer.Option("--ignore-pin", help="Align for the images' toolchain, whatever is pinned.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Write the patch.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over what is not committed, or not in git.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 where there is something to write, or a toolchain pin bars it.")
    ] = False,
    patch: Annotated[bool, typer.Option("--patch", help="Print the patch of each step.")] = False,
    top: Annotated[int, typer.Option("--top", min=0, help="How many changes to show for each step.")] = 12,
    offline: Annotated[bool, typer.Option("--offline", help="Use only crates that are already downloaded.")] = False,
    json: JsonOption = False,
) -> None:
    """Show the patch that turns misses into hits; --apply writes it.

    Versions move inside the requirements of the manifests, features come by edits of dependencies or by a crate
    `workspace-hack`. Nothing of the repository is executed.

    Example: factory align . --plan plan.json --step versions --apply
    """
    if apply and check:
        raise ConfigurationError("--apply and --check contradict each other", advice="Give one of them.")
    run = run_of(context)
    wishes = forecasting.AlignWishes(
        steps=_steps(step) | ({StepName.PROFILE} if profile else set()),
        growth_percent=growth,
        features_by=features_by,
        edit_requirements=manifest,
        allow_downgrade=allow_downgrade,
        advisory_db=advisory_db,
        variant=variant,
        ignore_pin=ignore_pin,
    )
    report = forecasting.align(run, repo, run.file_to_read(plan), wishes, offline=offline)
    if json:
        run.output.answer_json(align_to_json(report))
    else:
        print_alignment(report, run.output, patch=patch, top=top)
    if apply:
        forecasting.apply_alignment(run, repo, report, force=force)
    elif check:
        _gate(report)
    elif not json:
        run.output.say("nothing written: --apply writes it" if _files(report) else "nothing to write")


def _steps(text: str) -> frozenset[StepName]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = sorted(set(names) - {step.value for step in StepName})
    if unknown or not names:
        raise ConfigurationError(
            f"--step: there is no step {unknown[0]!r}" if unknown else "--step names no step",
            advice=f"Name some of: {', '.join(StepName)}.",
        )
    return frozenset(StepName(name) for name in names)


def _gate(report: AlignReport) -> None:
    if report.is_aligned:
        return
    files = _files(report)
    changed = [f"{', '.join(files)} would change"] if files else []
    if report.problems:
        advice = "Mend what is said of each workspace."
    elif files:
        advice = "Run `factory align --apply` and commit what it writes."
    else:
        advice = UNPIN
    raise BadAnswerError("not aligned: " + "; ".join([*report.problems, *report.barred, *changed]), advice=advice)


def _files(report: AlignReport) -> list[str]:
    return sorted(path for workspace in report.workspaces for path in workspace.files)
