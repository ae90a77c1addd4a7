"""`factory prune`."""

from __future__ import annotations

from typing import Annotated

import typer

from factory import tables
from factory.cli.app import JsonOption
from factory.cli.runs import runs_of
from factory.pipeline import pruning


def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go and why, and delete nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Delete pushed images that nothing leads to any more.

    What a moving tag stands for stays, with all that is in it, and what `prune` in registry-config.yaml keeps: the
    newest pushes of each layer, and whatever is young. Signatures and attestations go with their image. Exit 3 when
    all stays, 6 when the registry refuses or does not answer.

    Example: factory prune --dry-run
    """
    runs = runs_of(context)
    pruned = pruning.prune(runs, dry_run=dry_run)
    if json:
        runs[0].output.answer_json(pruned.to_json())
    else:
        tables.print_pruned(pruned, runs[0].output)
