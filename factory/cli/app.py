"""The typer application, and the options that its commands share."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.commands import Commands
from factory.output import Output
from factory.platforms import Platform
from factory.program_variables import ProgramVariable

app = typer.Typer(
    name="factory",
    cls=Commands,
    help="A pre-warmed base-image factory for Rust. Order: analyze, plan, build, verify, push.",
    no_args_is_help=True,
    # Markup would eat the brackets of `tokio[full]`.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Backend(enum.StrEnum):
    """Where recipes are cooked."""

    DOCKER = "docker"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Globals:
    """What stands before the command."""

    config: Path | None
    cell: str | None
    platform: Platform | None
    output: Output


PathsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Directories or git URLs (URL#REF picks a branch or tag). Default: `sources` of the configuration."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON to stdout instead of tables.")]
PlanOption = Annotated[Path, typer.Option("--plan", envvar=ProgramVariable.PLAN, help="The plan to read.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, with the exact commands.")]
AdvisoriesOption = Annotated[
    Path | None,
    typer.Option(
        "--advisory-db", envvar=ProgramVariable.ADVISORY_DB, help="A checkout of RustSec's advisory-db to compare with."
    ),
]
ProfilesOption = Annotated[
    Path | None,
    typer.Option("--profiles", envvar=ProgramVariable.PROFILES, help="Directory of layer profiles (*.toml)."),
]
