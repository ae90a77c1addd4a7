"""Shapes of the report's drawings: where the rectangles of a treemap and the points of a curve are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A labelled rectangle; `value` is what its area stands for."""

    label: str
    value: float
    x: float
    y: float
    width: float
    height: float


def treemap(values: Sequence[tuple[str, float]], *, x: float, y: float, width: float, height: float) -> list[Box]:
    """Fill a rectangle with one box for each positive value, areas in proportion.

    The values are halved again and again, across the longer side, so boxes stay near squares.
    """
    rows = sorted((row for row in values if row[1] > 0), key=lambda row: (-row[1], row[0]))
    if not rows:
        return []
    if len(rows) == 1:
        return [Box(label=rows[0][0], value=rows[0][1], x=x, y=y, width=width, height=height)]
    total = sum(value for _, value in rows)
    cut, part = 1, rows[0][1]
    while cut < len(rows) - 1 and part + rows[cut][1] / 2 < total / 2:
        part += rows[cut][1]
        cut += 1
    share = part / total
    if width >= height:
        one = treemap(rows[:cut], x=x, y=y, width=width * share, height=height)
        return one + treemap(rows[cut:], x=x + width * share, y=y, width=width * (1 - share), height=height)
    one = treemap(rows[:cut], x=x, y=y, width=width, height=height * share)
    return one + treemap(rows[cut:], x=x, y=y + height * share, width=width, height=height * (1 - share))


def polyline(points: Sequence[tuple[float, float]], *, width: float, height: float, most: float) -> str:
    """Return the `points` of an SVG polyline for (x up to `most`, share from 0 to 1), the origin at the lower left."""
    return " ".join(f"{width * x / most:.1f},{height * (1 - y):.1f}" for x, y in points)
