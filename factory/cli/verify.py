"""`factory verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from factory import pipeline, tables
from factory.cli.app import JsonOption, PlanOption, run_of
from factory.errors import BadAnswerError
from factory.proof.model import proof_to_json


def verify(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="An image, or a directory made by the local backend.")],
    repo: Annotated[
        list[str] | None, typer.Option("--repo", help="Repositories to build on it; may be repeated.")
    ] = None,
    min_hit: Annotated[
        float, typer.Option("--min-hit", min=0, max=1, help="Least share of fresh registry units.")
    ] = 0.0,
    skeleton: Annotated[
        bool, typer.Option("--skeleton", help="Build manifests with stub sources, not the real sources.")
    ] = False,
    cold: Annotated[
        bool, typer.Option("--cold", help="Build each repository without the warm units too, for comparison.")
    ] = False,
    variant: Annotated[
        str, typer.Option("--variant", help="What to build: [check: or test:]PROFILE[@TRIPLE], as in `cook.variants`.")
    ] = "release",
    reproducible: Annotated[
        bool, typer.Option("--reproducible", help="Build the image's plan again without a cache, and compare.")
    ] = False,
    plan: PlanOption = Path("plan.json"),
    json: JsonOption = False,
) -> None:
    """Prove it: build repositories on the result.

    Counts the units that cargo reports fresh, and checks owners, modes, units of other sources and leftovers. Real
    sources are built as they are: their build scripts run. Exit 1 when a check fails, a build fails, or a repository
    has fewer fresh units than --min-hit.

    With --reproducible the plan that the image was made from (--plan) is built once more, which takes as long as the
    first time; what differs is named by crate and file.

    Example: factory verify org/rust-builder:web --repo ./repos/app
    """
    run = run_of(context)
    proof = pipeline.verify(run, target, repo or [], variant=variant, skeleton=skeleton, cold=cold)
    if reproducible:
        proof = pipeline.reproduce(run, proof, pipeline.read_plan(plan))
    if json:
        run.output.answer_json(proof_to_json(proof, min_hit=min_hit))
    else:
        tables.print_proof(proof, run.output)
    if not proof.ok(min_hit):
        raise BadAnswerError(f"{target} does not pass", advice="See the rows above that say why.")
