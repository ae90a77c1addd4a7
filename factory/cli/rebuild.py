"""`factory rebuild`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.app import AdvisoriesOption, Backend, JsonOption, PathsArgument, ProfilesOption
from factory.cli.runs import runs_of
from factory.errors import ConfigurationError, NothingToDoError
from factory.pipeline import rebuilding
from factory.pipeline.run import Run
from factory.upkeep.decide import Rules


def rebuild(
    context: typer.Context,
    paths: PathsArgument = None,
    backend: Annotated[
        Backend, typer.Option("--backend", help="docker: images. local: a directory; needs only cargo.")
    ] = Backend.DOCKER,
    output: Annotated[Path | None, typer.Option("--output", help="The directory to cook into (local backend).")] = None,
    state: Annotated[
        Path, typer.Option("--state", help="Folder of what the last rebuild was made from; keep it from run to run.")
    ] = Path("rebuild"),
    profiles: ProfilesOption = None,
    max_age: Annotated[
        int | None, typer.Option("--max-age", min=1, help="Rebuild what is this many days old, changed or not.")
    ] = None,
    keep_within: Annotated[
        float,
        typer.Option(
            "--keep-within",
            min=0,
            max=1,
            help="Keep the plan while it saves all but this part of what a new one would.",
        ),
    ] = 0.02,
    if_hit_below: Annotated[
        float | None,
        typer.Option(
            "--if-hit-below", min=0, max=1, help="Keep the plan until it hits less than this part of the seconds."
        ),
    ] = None,
    advisory_db: AdvisoriesOption = None,
    verify_on: Annotated[
        list[str] | None, typer.Option("--verify-on", help="Build this repository on the result; can be repeated.")
    ] = None,
    min_hit: Annotated[
        float,
        typer.Option("--min-hit", min=0, max=1, help="Exit 1 where a --verify-on finds a smaller part fresh."),
    ] = 0.0,
    offline: Annotated[bool, typer.Option("--offline", help="Resolve without the network.")] = False,
    push: Annotated[
        bool, typer.Option("--push", help="Push what was built and verified to `image.registry`; tags move last.")
    ] = False,
    stage: Annotated[
        bool, typer.Option("--stage", help="Bring up what was built, and move no tag: see `factory push --join`.")
    ] = False,
    without_missing: Annotated[
        bool,
        typer.Option("--without-missing", help="Leave out sources, and workspaces of last time, that cannot be read."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be rebuilt and why, and stop.")] = False,
    json: JsonOption = False,
) -> None:
    """Do all of this anew where something changed.

    Analyzes, plans, builds and verifies; with --push, pushes too. Of several platforms all are looked at, those that
    changed are built, and they are pushed together.

    Exit 3 when nothing did: then nothing is built. Exit 1 when a source cannot be reached, or a workspace of last
    time not be resolved: its users would find images without their crates.

    The reasons are printed. A crate that was yanked, or that an advisory warns of, has the images rebuilt once no
    repository locks it any more; until then it is told.

    Example: factory rebuild ./repos --max-age 30
    """
    if (backend is Backend.LOCAL) != (output is not None):
        raise ConfigurationError("--backend local and --output DIR go together", advice="Give both, or neither.")
    if (push or stage) and output is not None:
        raise ConfigurationError("a directory is not pushed", advice="Leave out --push, or build images.")
    if min_hit and not verify_on:
        raise ConfigurationError("--min-hit is for --verify-on", advice="Name a repository to build on the result.")
    if push and stage:
        raise ConfigurationError("--push moves the tags, and --stage does not", advice="Give one of them.")
    built = False
    runs = runs_of(context, single="--json" if json else "" if output is None else "--output")
    for _, cell in groupby(runs, key=lambda run: run.cell):
        works = [
            (
                run,
                rebuilding.RebuildWishes(
                    paths=tuple(paths or run.sources),
                    state=run.folder(state).absolute(),
                    folder=None if output is None else output.absolute(),
                    profiles=profiles,
                    rules=Rules(tolerance=keep_within, if_hit_below=if_hit_below, max_age=max_age),
                    advisory_db=advisory_db,
                    verify_on=tuple(verify_on or ()),
                    offline=offline,
                    dry_run=dry_run,
                    without_missing=without_missing,
                    min_hit=min_hit,
                    publish=_publish(push=push, stage=stage),
                ),
            )
            for run in cell
        ]
        for (run, _), done in zip(works, rebuilding.rebuild(works), strict=True):
            _answer(done, run, as_json=json)
            built = built or bool(done.decision.reasons)
    if not built:
        raise NothingToDoError("nothing to rebuild")


def _publish(*, push: bool, stage: bool) -> rebuilding.Publish:
    if stage:
        return rebuilding.Publish.STAGED
    return rebuilding.Publish.PUSHED if push else rebuilding.Publish.NOTHING


def _answer(done: rebuilding.Rebuild, run: Run, *, as_json: bool) -> None:
    output = run.output
    if as_json:
        output.answer_json(done.to_json())
        return
    if run.name and done.decision.reasons:
        output.answer(f"{run.name}:")
    for reason in done.decision.reasons:
        output.answer(f"{reason.cause}: {reason.detail}")
    if done.decision.reasons:
        names = [layer.name for layer in done.decision.plan.layers]
        kept = [name for name in names if name not in done.decision.changed]
        output.answer(
            f"changed layers: {', '.join(done.decision.changed) or 'none'}; as before: {', '.join(kept) or 'none'}"
        )
    for note in done.decision.notes:
        output.answer(f"note: {note}")
