"""The page: the figures as one HTML file that needs nothing else, to be read offline."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
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


_LETTER_WIDTH = 6.4
_FEWEST_LETTERS = 4
"""Of a crate's name, to be worth showing."""

_MARK_WIDTH = 36.0
"""What the name of a budget takes along the axis."""

_MOST_ROWS = 200
"""Workspaces that a table lists; the JSON has all of them."""


@dataclass(frozen=True, slots=True)
class _Map:
    layer: LayerSize
    height: float
    boxes: list[Box]
    others: str
    """The label of the box that stands for the rest."""


def page(figures: Figures) -> str:
    """Return the HTML; names from repositories are escaped, and there is no script in it."""
    most = max(row.budget for row in figures.coverage)
    savings = [row for row in figures.savings if row.units]
    return _ENVIRONMENT.get_template("report.html").render(
        figures=figures,
        width=WIDTH,
        height=HEIGHT,
        most_budget=most,
        seconds_line=_line([(row.budget, row.seconds) for row in figures.coverage], most),
        units_line=_line([(row.budget, row.units) for row in figures.coverage], most),
        maps=_maps(figures),
        savings=savings[:_MOST_ROWS],
        savings_left=len(savings[_MOST_ROWS:]),
        without_units=len(figures.savings) - len(savings),
        marks=_marks(figures, most),
        sharing=_sharing(figures),
        saved=sum(row.wall_cold - row.wall_warm for row in figures.savings),
        cold=sum(row.wall_cold for row in figures.savings),
    )


def _line(points: list[tuple[int, float]], most: int) -> str:
    return polyline([(0, 0), *points], width=WIDTH, height=HEIGHT, most=most)


@dataclass(frozen=True, slots=True)
class _Sharing:
    """What one workspace shares with others after each step of agreeing, as shares of its compile seconds."""

    path: str
    seconds: float
    steps: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _SharingTable:
    mean: tuple[float, ...]
    rows: list[_Sharing]
    left: int


def _sharing(figures: Figures) -> _SharingTable | None:
    """Return what agreeing brings each workspace, those first that gain most seconds."""
    found = figures.agreement.workspaces if figures.agreement is not None else ()
    rows = [
        _Sharing(
            row.path,
            row.total.seconds,
            tuple(step.seconds / row.total.seconds for step in (row.as_is, row.versions, row.features, row.profile)),
        )
        for row in found
        if row.total.seconds
    ]
    if not rows:
        return None
    rows.sort(key=lambda row: (-row.seconds * (row.steps[-1] - row.steps[0]), row.path))
    mean = tuple(fmean(row.steps[step] for row in rows) for step in range(len(rows[0].steps)))
    return _SharingTable(mean, rows[:_MOST_ROWS], len(rows[_MOST_ROWS:]))


def _marks(figures: Figures, most: float) -> list[tuple[float, int]]:
    """Return where budgets are named below the curve: those that leave each other room, the largest first."""
    marks: list[tuple[float, int]] = []
    for row in reversed(figures.coverage):
        x = WIDTH * row.budget / most
        if not marks or marks[-1][0] - x >= _MARK_WIDTH:
            marks.append((x, row.budget))
    return marks


def _maps(figures: Figures) -> list[_Map]:
    """Return a treemap for each layer that holds something; the heights are in proportion to the bytes."""
    heaviest = max((layer.bytes for layer in figures.layers), default=0)
    maps = []
    for layer in figures.layers:
        if layer.bytes:
            height = max(60.0, 1.5 * HEIGHT * layer.bytes / heaviest)
            rest = sum(size for _, size in layer.crates[_MOST_BOXES:])
            others = f"{max(0, len(layer.crates) - _MOST_BOXES)} others"
            values = [*layer.crates[:_MOST_BOXES], (others, rest)]
            maps.append(_Map(layer, height, treemap(values, x=0, y=0, width=WIDTH, height=height), others))
    return maps


def _fitting(label: str, width: float) -> str:
    """Return as much of a label as a box of this width shows, with an ellipsis where something is cut; or nothing."""
    room = int((width - 8) / _LETTER_WIDTH)
    if len(label) <= room:
        return label
    return f"{label[: room - 1]}…" if room >= _FEWEST_LETTERS else ""


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
_ENVIRONMENT.filters |= {"fitting": _fitting, "percent": _percent, "megabytes": _megabytes}
