"""`factory push`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory import tables
from factory.cli.app import DryRunOption, JsonOption, PlanOption
from factory.cli.runs import runs_of
from factory.errors import ConfigurationError, NothingToDoError
from factory.pipeline import artefacts, publishing, rebuilding
from factory.publish.model import SCHEMA, pushed_to_json

if TYPE_CHECKING:
    from collections.abc import Sequence


def push(
    context: typer.Context,
    plan: PlanOption = Path("plan.json"),
    proof: Annotated[
        list[Path] | None,
        typer.Option("--proof", help="Record that `verify --record` wrote on another machine; may be repeated."),
    ] = None,
    serial: Annotated[
        int | None,
        typer.Option("--serial", min=1, help="Number of this push, where other images of the plan went up today."),
    ] = None,
    stage: Annotated[
        bool, typer.Option("--stage", help="Bring the images up and move no tag: another machine joins them.")
    ] = False,
    join: Annotated[
        bool, typer.Option("--join", help="Join what --stage brought up for every platform, and move the tags.")
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Folder of `factory rebuild` to take plans and records from, for --join."),
    ] = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Push verified images, and move the tags to them.

    Only images whose last `factory verify` passed are pushed. All layers go up under tags of their own, which never
    move again; then the moving tags (`image.tags`) of all layers are moved together. A failure leaves them where they
    were. Exit 3 when the registry has these images already, 6 when it refuses or does not answer.

    Where every platform is built on a machine of its own, each runs `factory --platform PLATFORM push --stage`, and
    one of them, or any other, `factory push --join` with the plans and the records (--proof) of all.

    Example: factory push --plan plan.json
    """
    if stage and join:
        raise ConfigurationError("--stage is for each platform, --join for the end", advice="Give one of them.")
    if serial is not None and stage:
        raise ConfigurationError("--serial numbers an index, and --stage makes none", advice="Give it with --join.")
    if state is not None and (not join or plan != Path("plan.json")):
        raise ConfigurationError(
            "--state is for --join, and has the plans",
            advice="Leave out --plan, or --state.",
        )
    idle: list[NothingToDoError] = []
    runs = runs_of(context)
    joined = [[run] for run in runs] if stage else [list(cell) for _, cell in groupby(runs, key=lambda run: run.cell)]
    if json and len(joined) > 1:
        raise ConfigurationError("--json is for one cell", advice="Put --cell, or --platform, before the command.")
    for together in joined:
        held = publishing.Held.STAGED if join else publishing.Held.HERE
        plans = [run.file(plan) if state is None else run.folder(state) / "plan.json" for run in together]
        builds = [
            publishing.built_by(run, artefacts.read_plan(path), held) for run, path in zip(together, plans, strict=True)
        ]
        proofs = [*(proof or ()), *(() if state is None else _records(builds, state))]
        wishes = publishing.PushWishes(proofs=tuple(proofs), serial=serial or 1)
        try:
            if stage:
                _stage(builds[0], wishes, dry_run=dry_run, json=json)
            else:
                _push(builds, wishes, dry_run=dry_run, json=json)
        except NothingToDoError as error:
            idle.append(error)
            if len(joined) > 1:
                together[0].output.say(f"{together[0].name}: {error.what}")
    if len(idle) == len(joined):
        raise idle[0]


def _records(builds: Sequence[publishing.Built], state: Path) -> list[Path]:
    """Return the records that rebuilds left of what they built; one that never built anything has none."""
    files = [rebuilding.record_file(built.run.folder(state), image.layer) for built in builds for image in built.images]
    return [file for file in files if file.exists()]


def _push(builds: Sequence[publishing.Built], wishes: publishing.PushWishes, *, dry_run: bool, json: bool) -> None:
    run = builds[0].run
    if dry_run:
        tables.print_dry_run(publishing.dry_run_push(builds, wishes), run.output, as_json=json)
        return
    pushed = publishing.push(builds, wishes)
    if json:
        run.output.answer_json(pushed_to_json(run.settings.image.repository, pushed))
    else:
        tables.print_pushed(pushed, run.output)


def _stage(built: publishing.Built, wishes: publishing.PushWishes, *, dry_run: bool, json: bool) -> None:
    output = built.run.output
    if dry_run:
        tables.print_dry_run(publishing.dry_run_stage(built, wishes), output, as_json=json)
        return
    staged = publishing.stage(built, wishes)
    if json:
        output.answer_json({"schema": SCHEMA, "staged": list(staged)})
    else:
        for reference in staged:
            output.answer(reference)
