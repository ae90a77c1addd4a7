"""`factory recommend`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli.app import JsonOption, PathsArgument, PlanOption
from factory.cli.runs import run_of
from factory.consumer.recommend import recommendations_to_json
from factory.errors import BadAnswerError
from factory.pipeline import forecasting

if TYPE_CHECKING:
    from factory.consumer.recommend import Offer, Recommendation
    from factory.output import Output


def recommend(
    context: typer.Context,
    repos: PathsArgument = None,
    plan: PlanOption = Path("plan.json"),
    bandwidth: Annotated[
        int, typer.Option("--bandwidth", min=1, help="MB that a build machine pulls in a second.")
    ] = forecasting.BANDWIDTH // 1_000_000,
    offline: Annotated[bool, typer.Option("--offline", help="Use only crates that are already downloaded.")] = False,
    json: JsonOption = False,
) -> None:
    """Say which image each repository should build on.

    By the seconds that it saves against those that pulling its warm units takes, for every variant of the plan.
    Exit 1 when there is none for any of them.

    Example: factory recommend ./repos/app ./repos/tool
    """
    run = run_of(context)
    warm = run.file_to_read(plan)
    found = forecasting.recommend(run, repos or run.sources, warm, bandwidth=bandwidth * 1_000_000, offline=offline)
    if json:
        run.output.answer_json(recommendations_to_json(found))
    else:
        _print(found, run.output)
    if not any(recommendation.best for recommendation in found):
        raise BadAnswerError("no image gains anything for them", advice="`factory check REPO` says why.")


def _print(found: tuple[Recommendation, ...], output: Output) -> None:
    columns = ("repository", "variant", "", "image", "units warm", "saves s", "pulls MB", "pull s", "gain s")
    rows = []
    for recommendation in found:
        if recommendation.problem:
            output.warn(f"{recommendation.repo}: {recommendation.problem}")
        for number, offer in enumerate(recommendation.offers):
            named = (recommendation.repo, recommendation.variant) if number == 0 else ("", "")
            rows.append((*named, "→" if offer is recommendation.best else "", *_cells(offer, recommendation)))
    if rows:
        # One plan is for one platform.
        output.answer_table(f"For {found[0].platform}", columns, rows, right=columns[4:])


def _cells(offer: Offer, of: Recommendation) -> tuple[str, str, str, str, str, str]:
    return (
        offer.image,
        f"{offer.hit.units}/{of.total.units}",
        f"{offer.saved:.1f}",
        f"{offer.pulled / 1e6:.0f}",
        f"{offer.pull_seconds:.1f}",
        f"{offer.gain:+.1f}",
    )
