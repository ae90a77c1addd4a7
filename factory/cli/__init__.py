"""The commands, one module each: they parse, call the pipeline and print. `commands.py` lists them, in order of use."""

from factory.cli.app import app
from factory.cli.commands import COMMANDS
from factory.cli.program import EXIT_INTERRUPTED, EXIT_OUR_BUG, main

__all__ = ["COMMANDS", "EXIT_INTERRUPTED", "EXIT_OUR_BUG", "app", "main"]
