"""`factory schedule`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.runs import run_of
from factory.errors import ConfigurationError
from factory.files import write_new
from factory.platforms import Platform
from factory.schedule.files import Schedule, Scheduler, schedule_files
from factory.schedule.package import Package
from factory.schedule.times import CronTime


def schedule(
    context: typer.Context,
    scheduler: Annotated[Scheduler, typer.Argument(help="What calls the rebuild.")],
    cron: Annotated[
        str, typer.Option("--cron", help="When: minute, hour, day, month, weekday.", metavar="FIELDS")
    ] = "17 3 * * 1",
    timezone: Annotated[
        str, typer.Option("--timezone", help="Of --cron, for Kubernetes; the others have their own.")
    ] = "Etc/UTC",
    max_age: Annotated[
        int | None, typer.Option("--max-age", min=1, help="Rebuild what is this many days old, changed or not.")
    ] = 30,
    prune: Annotated[bool, typer.Option("--prune", help="Prune the registry afterwards, as `prune` says.")] = False,
    runner: Annotated[
        list[str] | None,
        typer.Option(
            "--runner",
            help="Runner of a platform, for github and gitlab; may be repeated.",
            metavar="PLATFORM=LABEL",
        ),
    ] = None,
    package: Annotated[
        str | None,
        typer.Option(
            "--package",
            help="What jobs install: git+https://…, a wheel, NAME==VERSION. github, gitlab and kubernetes need it.",
            metavar="SPEC",
        ),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--out", help="The repository or folder with registry-config.yaml: files go below it.")
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files, and write nothing.")] = False,
) -> None:
    """Write what rebuilds the images on a schedule.

    It calls `factory rebuild --push`, which does nothing where nothing changed. By default every Monday, 3:17. Of
    several platforms, GitHub and GitLab build each on a runner of its own; elsewhere one machine emulates the others.

    Example: factory schedule github --package git+https://HOST/factory.git@TAG
    """
    run = run_of(context)
    chosen = Schedule(
        scheduler=scheduler,
        time=CronTime.parse(cron),
        timezone=timezone,
        folder=folder.absolute(),
        max_age=max_age,
        prune=prune,
        package=None if package is None else Package.parse(package),
        runners=dict(_runner(text) for text in runner or ()),
    )
    texts = schedule_files(chosen, run.settings)
    if dry_run:
        for name, text in texts.items():
            run.output.answer(f"# {name}\n{text}")
        return
    for path in write_new(texts, folder, force=force):
        run.output.say(f"wrote {path}")


def _runner(text: str) -> tuple[Platform, str]:
    platform, _, label = text.partition("=")
    if platform not in set(Platform) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", label):
        raise ConfigurationError(
            f"--runner {text}: not PLATFORM=LABEL, with one of {', '.join(Platform)}",
            advice="Write --runner linux/arm64=our-arm-runner.",
        )
    return Platform(platform), label
