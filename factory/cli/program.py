"""The program: runs a command, and turns errors into exit codes, here and nowhere else."""

from __future__ import annotations

import errno
import os
import signal
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer._click.exceptions import NoArgsIsHelpError, UsageError

from factory import __version__, process
from factory.cli.app import Globals, app
from factory.cli.usage import usage_fault
from factory.errors import EnvironmentFaultError, FactoryError, NothingToDoError
from factory.output import Output
from factory.platforms import Platform
from factory.program_variables import ProgramVariable

if TYPE_CHECKING:
    from types import FrameType

EXIT_OUR_BUG = 70
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
EXIT_INTERRUPTED = (129, 130, 143)
"""A terminal that went away, Ctrl-C, and a polite request to end."""


@dataclass(slots=True)
class _Told:
    """What prints after a command has ended: as the options before it say, once they are read."""

    output: Output = field(default_factory=Output)


def main() -> int:
    """Run the program and return its exit code: 0, or that of the error (see factory/errors.py)."""
    told = _Told()
    process.begin()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup, a terminal that goes away is no reason to end.
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        return _exit_code(_run(told), told.output)
    except NothingToDoError as end:
        # No fault: whoever asks for quiet, as a crontab does, has nothing to read.
        told.output.say(str(end))
        return end.exit_code
    except FactoryError as error:
        told.output.error(str(error))
        if os.environ.get(ProgramVariable.DEBUG):
            traceback.print_exc()
        return error.exit_code
    except SystemExit as end:
        return _exit_code(end.code, told.output)
    except OSError as error:
        if error.errno not in _FULL:
            return _bug(error, told.output)
        told.output.error(f"{error.strerror}\nMake room where the answer is written to, and run the command again.")
        return EnvironmentFaultError.exit_code
    except Exception as bug:  # noqa: BLE001 - the last resort: every other failure is one of ours
        return _bug(bug, told.output)


def _run(told: _Told) -> object:
    """Run the command, and return its exit code, `None` for 0; a command line that cannot be read is our error."""
    try:
        # By itself typer would print what it cannot read in a way of its own, and end the program.
        return app(prog_name="factory", obj=told, standalone_mode=False)
    except NoArgsIsHelpError as help_text:
        help_text.show()
        return help_text.exit_code
    except UsageError as error:
        raise usage_fault(error) from error


def _bug(bug: Exception, output: Output) -> int:
    output.error(f"{type(bug).__name__}: {bug}\nThis is a bug in factory. FACTORY_DEBUG=1 shows where it happened.")
    if os.environ.get(ProgramVariable.DEBUG):
        traceback.print_exception(bug)
    return EXIT_OUR_BUG


def _print_version(wanted: bool) -> None:
    if wanted:
        Output().answer(f"factory {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="The configuration (default: FACTORY_CONFIG, then registry-config.yaml here or above).",
        ),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option("--cell", envvar=ProgramVariable.CELL, help="One cell of the `matrix`, as RUST-SUITE[-LABEL]."),
    ] = None,
    platform: Annotated[
        Platform | None,
        typer.Option("--platform", envvar=ProgramVariable.PLATFORM, help="One of the `platforms`, as linux/arm64."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and the answer only.")] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Show commands, and every skipped workspace (-v).")
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    del version  # its callback has ended the program
    output = Output(verbosity=-1 if quiet else verbose)
    context.obj.output = output
    process.show_commands(output.command)
    context.obj = Globals(config, cell, platform, output)


def _stop(number: int, _frame: FrameType | None) -> None:
    """End as the signal asks, and take along what runs in other threads."""
    process.end()
    raise SystemExit(128 + number)


def _exit_code(end: object, output: Output) -> int:
    code = end if isinstance(end, int) else 0 if end is None else 2
    if code in EXIT_INTERRUPTED:
        output.error("interrupted: finished stages are kept, unfinished files were not written")
    return code
