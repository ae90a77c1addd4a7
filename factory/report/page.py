"""The page: the figures as one HTML file that needs nothing else, to be read offline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from factory.report.drawing import polyline, treemap
from factory.resources import templates

if TYPE_CHECKING:
    from factory.report.drawing import Box
    from factory.report.figures import Figures, LayerSize

WIDTH, HEIGHT = 720.0, 240.0
"""Units of the drawings' own coordinates; the browser scales them."""

_MOST_BOXES = 60
"""Crates that a treemap names; the rest are one box."""


@dataclass(frozen=True, slots=True)
class _Map:
    layer: LayerSize
    height: float
    boxes: list[Box]


def page(figures: Figures) -> str:
    """Return the HTML; names from repositories are escaped, and there is no script in it."""
    most = max(row.budget for row in figures.coverage)
    return _ENVIRONMENT.get_template("report.html").render(
        figures=figures,
        width=WIDTH,
        height=HEIGHT,
        most_budget=most,
        seconds_line=_line([(row.budget, row.seconds) for row in figures.coverage], most),
        units_line=_line([(row.budget, row.units) for row in figures.coverage], most),
        maps=_maps(figures),
        saved=sum(row.wall_cold - row.wall_warm for row in figures.savings),
        cold=sum(row.wall_cold for row in figures.savings),
    )


def _line(points: list[tuple[int, float]], most: int) -> str:
    return polyline([(0, 0), *points], width=WIDTH, height=HEIGHT, most=most)


def _maps(figures: Figures) -> list[_Map]:
    """Return a treemap for each layer that holds something; the heights are in proportion to the bytes."""
    heaviest = max((layer.bytes for layer in figures.layers), default=0)
    maps = []
    for layer in figures.layers:
        if layer.bytes:
            height = max(60.0, 1.5 * HEIGHT * layer.bytes / heaviest)
            rest = sum(size for _, size in layer.crates[_MOST_BOXES:])
            values = [*layer.crates[:_MOST_BOXES], (f"{max(0, len(layer.crates) - _MOST_BOXES)} others", rest)]
            maps.append(_Map(layer, height, treemap(values, x=0, y=0, width=WIDTH, height=height)))
    return maps


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _megabytes(size: float) -> str:
    return f"{size / 1_000_000:,.0f} MB"


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(templates()),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"percent": _percent, "megabytes": _megabytes}
