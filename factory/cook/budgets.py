"""Whether cooked layers are within their budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.config.byte_sizes import format_size
from factory.errors import BadAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from factory.cook.report import LayerReport


def over_budget(reports: Sequence[LayerReport], *, total: int) -> str:
    """Return what is wrong where the last of the layers cooked so far breaks a budget, and "" where it does not.

    `total` is the budget of all layers together, in bytes.
    """
    layer = reports[-1]
    own = layer.weight.bytes
    everything = sum(report.weight.bytes for report in reports)
    if layer.budget_bytes is not None and own > layer.budget_bytes:
        return f"layer {layer.layer} weighs {_mb(own)}, {_more(own, layer.budget_bytes)} its budget"
    if everything > total:
        names = ", ".join(report.layer for report in reports)
        return f"the layers {names} weigh {_mb(everything)} together, {_more(everything, total)} `budget.total`"
    return ""


def require_within_budgets(reports: Iterable[LayerReport]) -> None:
    """Raise `BadAnswerError`, with the heaviest crates, where a layer broke a budget."""
    for report in reports:
        if report.over_budget:
            heaviest = ", ".join(f"{share.crate} {_mb(share.bytes)}" for share in report.weight.crates)
            raise BadAnswerError(
                f"{report.over_budget}\nthe heaviest crates of {report.layer}: {heaviest}",
                advice=(
                    f"Raise `budget` in profiles/{report.layer}.toml or `budget.total`, or plan with less in this "
                    "layer. No tag was moved; a directory stays incomplete."
                ),
            )


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _more(size: int, budget: int) -> str:
    return f"{_mb(size - budget)} over the {format_size(budget)} of"
