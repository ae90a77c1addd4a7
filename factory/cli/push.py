"""`factory push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from factory import pipeline, tables
from factory.cli.app import DryRunOption, JsonOption, PlanOption, runs_of
from factory.errors import NothingToDoError
from factory.publish.model import pushed_to_json


def push(
    context: typer.Context,
    plan: PlanOption = Path("plan.json"),
    proof: Annotated[
        list[Path] | None,
        typer.Option("--proof", help="Record that `verify --record` wrote on another machine; may be repeated."),
    ] = None,
    serial: Annotated[
        int, typer.Option("--serial", min=1, help="Number of this push, where other images of the plan went up today.")
    ] = 1,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Push verified images, and move the tags to them.

    Only images whose last `factory verify` passed are pushed. All layers go up under tags of their own, which never
    move again; then the moving tags (`image.tags`) of all layers are moved together. A failure leaves them where they
    were. Exit 3 when the registry has these images already, 6 when it refuses or does not answer.

    Example: factory push --plan plan.json
    """
    wishes = pipeline.PushWishes(proofs=tuple(proof or ()), serial=serial)
    idle: list[NothingToDoError] = []
    runs = runs_of(context, single="--json" if json else "")
    for run in runs:
        try:
            _push(run, run.file(plan), wishes, dry_run=dry_run, json=json)
        except NothingToDoError as error:
            idle.append(error)
            if len(runs) > 1:
                run.output.say(f"{run.cell}: {error.what}")
    if len(idle) == len(runs):
        raise idle[0]


def _push(run: pipeline.Run, plan: Path, wishes: pipeline.PushWishes, *, dry_run: bool, json: bool) -> None:
    chosen = pipeline.read_plan(plan)
    images = pipeline.built_images(run, chosen)
    plans = {images[0].platform: chosen}
    if dry_run:
        tables.print_dry_run(pipeline.dry_run_push(run, plans, images, wishes), run.output, as_json=json)
        return
    pushed = pipeline.push(run, plans, images, wishes)
    if json:
        run.output.answer_json(pushed_to_json(run.settings.image.repository, pushed))
    else:
        tables.print_pushed(pushed, run.output)
