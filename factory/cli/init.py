"""`factory init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli.app import JsonOption, ProfilesOption
from factory.cli.runs import run_of
from factory.consumer.init import Ci, CompilerCache, Flavour, LayerCache, Runtime
from factory.files import write_new
from factory.pipeline import projects
from factory.program_variables import ProgramVariable

if TYPE_CHECKING:
    from factory.pipeline.run import Run


def init(
    context: typer.Context,
    repo: Annotated[Path, typer.Argument(help="The directory of the project.")] = Path(),
    layer: Annotated[
        str | None, typer.Option("--layer", help="The layer to build on (default: by the plan, or Cargo.lock).")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            "--plan",
            envvar=ProgramVariable.PLAN,
            help="The plan by which the layer is chosen (default: plan.json, if any).",
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="The image to build on (default: the layer's, by the configuration).")
    ] = None,
    profiles: ProfilesOption = None,
    flavour: Annotated[
        Flavour, typer.Option("--flavour", help="chef keeps what the image lacks in a step of its own.")
    ] = Flavour.PLAIN,
    runtime: Annotated[
        Runtime | None, typer.Option("--runtime", help="What the program runs on (default: distroless where it can).")
    ] = None,
    ci: Annotated[Ci, typer.Option("--ci", help="Write a workflow too.")] = Ci.NONE,
    cache: Annotated[
        LayerCache | None,
        typer.Option("--cache", help="Where CI keeps Docker's steps (default: gha on GitHub, registry on GitLab)."),
    ] = None,
    sccache: Annotated[
        CompilerCache, typer.Option("--sccache", help="Where sccache keeps what it compiled.")
    ] = CompilerCache.LOCAL,
    program: Annotated[str | None, typer.Option("--bin", help="The program that the image runs.")] = None,
    branch: Annotated[str, typer.Option("--branch", help="The branch that is published.")] = "main",
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files, and write nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a Dockerfile that builds a project on the warm images.

    With .dockerignore, and a workflow for GitHub or GitLab. Nothing of the project is run, and no file is
    overwritten without --force.

    Example: factory init ./repos/app --flavour chef --ci github
    """
    run = run_of(context)
    wishes = projects.InitWishes(
        layer=layer,
        plan=_plan(run, plan),
        image=image,
        flavour=flavour,
        runtime=runtime,
        ci=ci,
        layer_cache=cache,
        compiler_cache=sccache,
        program=program,
        branch=branch,
    )
    files = projects.init(run, repo, wishes, profiles)
    if json:
        run.output.answer_json({"schema": 1, "files": dict(files.texts), "remarks": list(files.remarks)})
    elif dry_run:
        for name, text in files.texts.items():
            run.output.answer(f"# {name}\n{text}")
    if not dry_run:
        for path in write_new(files.texts, repo, force=force):
            run.output.say(f"wrote {path}")
    for remark in files.remarks:
        run.output.say(f"note: {remark}")


def _plan(run: Run, named: Path | None) -> Path | None:
    """Return the plan that is named, or the usual one where that is there."""
    plan = run.file_to_read(named or Path("plan.json"))
    return plan if named is not None or plan.exists() else None
