"""`factory cache`."""

from __future__ import annotations

import typer

from factory.cli.app import Globals
from factory.files import cache_directory, clean_cache

cache_app = typer.Typer(
    help="Find or remove the cache.\n\nIt holds what can be made again: resolved workspaces and git sources.",
    no_args_is_help=True,
)


@cache_app.command("dir")
def cache_dir(context: typer.Context) -> None:
    """Print where the cache is.

    Example: du -sh "$(factory cache dir)"
    """
    common: Globals = context.obj
    common.output.answer(str(cache_directory()))


@cache_app.command("clean")
def cache_clean(context: typer.Context) -> None:
    """Remove the cache.

    Only a directory that carries the tag of this program is removed. The next run makes it again.

    Example: factory cache clean
    """
    common: Globals = context.obj
    common.output.say(f"removed {clean_cache()}")
