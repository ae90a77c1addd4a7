"""A command line that cannot be read, told as every other error is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperGroup

from factory.errors import ConfigurationError

if TYPE_CHECKING:
    # Typer has had a Click of its own, and no public name for its errors, since 0.26.
    from typer._click.core import Context
    from typer._click.exceptions import UsageError


def usage_fault(error: UsageError) -> ConfigurationError:
    """Return what is wrong, in our words, and where to look; for an option of the program, where it has to stand."""
    context = error.ctx
    # What pydantic says first of a value means nothing here.
    message = error.format_message().rstrip(".").replace(": Value error, ", ": ")
    if context is None:
        return ConfigurationError(_lowered(message), advice="`factory --help` lists commands and options.")
    before = _before_the_command(getattr(error, "option_name", ""), context)
    if before:
        return ConfigurationError(_lowered(error.message), advice=before)
    lines = [context.get_usage(), f"`{context.command_path} --help` says more."]
    command: Any = context.command
    if isinstance(command, TyperGroup) and "Did you mean" not in message and message.startswith("No such command"):
        lines[1:1] = [f"Commands: {', '.join(command.list_commands(context))}."]
    return ConfigurationError(_lowered(message), advice="\n".join(lines))


def _before_the_command(option: str, context: Context) -> str:
    """Return how an option of the whole program is given, "" for any other."""
    root = context.find_root()
    if root is context:
        return ""
    for parameter in root.command.params:
        if option in parameter.opts:
            value = "" if getattr(parameter, "is_flag", False) or getattr(parameter, "count", False) else " …"
            words = context.command_path.removeprefix(root.command_path).strip()
            return f"It stands before the command: `{root.command_path} {option}{value} {words}`."
    return ""


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
