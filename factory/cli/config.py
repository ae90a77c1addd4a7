"""`factory config`."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from factory.cli.app import Globals, JsonOption
from factory.config.load import json_schema, load_configuration, show

config_app = typer.Typer(help="Show the configuration, or its schema.", no_args_is_help=True)


@config_app.command("show")
def config_show(context: typer.Context, json: JsonOption = False) -> None:
    """Show every setting with its source.

    Example: factory config show --json
    """
    common: Globals = context.obj
    configuration = load_configuration(common.config, environ=os.environ, start=Path.cwd())
    rows = show(configuration)
    if json:
        common.output.answer_json([{"key": key, "value": value, "source": source} for key, value, source in rows])
        return
    common.output.say(f"configuration: {configuration.file or 'the shipped defaults'}")
    common.output.answer_table("", ("key", "value", "source"), rows)


@config_app.command("schema")
def config_schema(context: typer.Context) -> None:
    """Print the JSON schema of registry-config.yaml.

    Example: factory config schema > registry-config.schema.json
    """
    common: Globals = context.obj
    common.output.answer_json(json_schema())
