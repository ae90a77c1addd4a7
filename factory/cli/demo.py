"""`factory demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from factory import demo as demo_stage
from factory import tables
from factory.cli.app import Backend
from factory.cli.runs import run_of
from factory.errors import BadAnswerError


def demo(
    context: typer.Context,
    backend: Annotated[
        Backend | None, typer.Option("--backend", help="Default: docker where usable, else local.")
    ] = None,
) -> None:
    """Take sample repositories through every stage.

    They come with the program. At the end stands how long each took to build without and with the warm units.

    Example: factory demo --backend local
    """
    run = run_of(context)
    proof = demo_stage.demo(run, use_docker=None if backend is None else backend is Backend.DOCKER)
    tables.print_builds(proof, run.output)
    if not proof.ok(1.0):
        tables.print_proof(proof, run.output)
        raise BadAnswerError("the samples were not all fresh", advice="FACTORY_DEBUG=1 and -v tell more.")
