"""The commands under the headings of their list, in order of use; each is a module of its name, imported when asked.

To import all of them takes a second, which every call of a single one would wait for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer.main
from typer.core import TyperCommand, TyperGroup

SECTIONS = {
    "Make images": {
        "analyze": "Find what the repositories compile.",
        "plan": "Choose what to cook, and forecast the hits.",
        "layers": "Propose a layer for each group of repositories.",
        "build": "Cook the plan, into images or a directory.",
        "verify": "Prove it: build repositories on the result.",
        "base": "Make a base image, where none can be pulled.",
    },
    "Publish, and keep fresh": {
        "push": "Push verified images, and move the tags to them.",
        "rebuild": "Do all of this anew where something changed.",
        "prune": "Delete pushed images that nothing leads to any more.",
        "schedule": "Write what rebuilds the images on a schedule.",
    },
    "For a project": {
        "check": "Forecast what a repository will find warm, and what not.",
        "align": "Show the patch that turns misses into hits; --apply writes it.",
        "recommend": "Say which image each repository should build on.",
        "init": "Write a Dockerfile that builds a project on the warm images.",
    },
    "Look inside": {
        "report": "Write one HTML page that can be read offline.",
        "demo": "Take sample repositories through every stage.",
        "config": "Write a configuration to edit, or show what is set.",
        "cache": "Find or remove the cache.",
        "costs": "What units take and weigh, as measured by the cooks so far.",
    },
}
"""The headings of the list of commands, with each command and the first line of its own help."""

COMMANDS = {name: what for section in SECTIONS.values() for name, what in section.items()}


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - what typer gives a group
        super().__init__(**attributes)
        # Of these, lists and suggestions take the names alone.
        self.commands = dict.fromkeys(COMMANDS, TyperCommand(name=None))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, ARG002 - typer's own Click
        """Import a command or a group of them; `None` where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"factory.cli.{cmd_name}")
        holder = typer.Typer(rich_markup_mode=None)
        group = getattr(module, f"{cmd_name}_app", None)
        if group is None:
            holder.command()(getattr(module, cmd_name))
        else:
            holder.add_typer(group, name=cmd_name)
        return typer.main.get_group(holder).commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - typer's own Click
        """Write the list for the help."""
        width = max(map(len, COMMANDS))
        for heading, section in SECTIONS.items():
            with formatter.section(heading):
                # All of one width, so that the texts of all sections stand below each other.
                formatter.write_dl([(name.ljust(width), what) for name, what in section.items()])
