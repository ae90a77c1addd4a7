"""`factory config`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.app import Globals, JsonOption
from factory.config.layers import profile_files
from factory.config.load import FILE_NAME, json_schema, load_configuration, show
from factory.files import write_new
from factory.resources import shipped

config_app = typer.Typer(help="Write a configuration to edit, or show what is set.", no_args_is_help=True)


@config_app.command("init")
def config_init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder to write into.")] = Path(),
    profiles: Annotated[
        bool, typer.Option("--profiles", help="Write profiles/*.toml too: what belongs into which layer.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Write registry-config.yaml, with every key explained and at its default.

    Without profiles of your own the shipped ones count, which --profiles writes. No file is overwritten without
    --force.

    Example: factory config init --profiles
    """
    common: Globals = context.obj
    sources = {FILE_NAME: shipped(FILE_NAME)}
    if profiles:
        sources |= {f"profiles/{file.name}": file for file in profile_files(None)}
    texts = {name: file.read_text(encoding="utf-8") for name, file in sources.items()}
    for path in write_new(texts, folder, force=force):
        common.output.say(f"wrote {path}")
    common.output.say(
        "next: set `image.registry` and `image.name`, list your repositories under `sources`, and run `factory analyze`"
    )
    if profiles:
        common.output.say(f"these profiles count with FACTORY_PROFILES={folder / 'profiles'}, or --profiles")


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
