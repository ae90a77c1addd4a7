"""What is analysed, planned and built as one: each cell of the matrix with the settings that hold for it alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.config.matrix import common_tags, own_tags
from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from factory.config.matrix import WholeCell
    from factory.config.model import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell and its settings; `name` is RUST-SUITE[-LABEL], and empty where there is no matrix."""

    name: str
    settings: Settings


def cells_of(settings: Settings) -> tuple[Cell, ...]:
    """Return the cells of the matrix, in the order of the file; one without a name where there is none.

    The settings of a cell have its toolchain, suite, base image, variants and tags in the places of the common ones.
    A tag that would be that of an earlier cell, such as `{layer}`, is left to that one.
    """
    templates = settings.image.tags
    if not settings.matrix:
        return (Cell(name="", settings=_with_tags(settings, common_tags(templates, suite=settings.base.suite))),)
    cells = settings.whole_cells
    return tuple(
        Cell(name=cell.name, settings=_with_tags(_with_values(settings, cell), tags))
        for cell, tags in zip(cells, own_tags(cells, templates), strict=True)
    )


def chosen_cells(settings: Settings, name: str | None) -> tuple[Cell, ...]:
    """Return the cell of that name, or all of them without one; raise `ConfigurationError` for an unknown name."""
    cells = cells_of(settings)
    if name is None:
        return cells
    chosen = tuple(cell for cell in cells if cell.name == name)
    if not chosen:
        names = ", ".join(cell.name for cell in cells if cell.name)
        advice = f"Name one of {names}." if names else "Leave it out, or write a `matrix` into registry-config.yaml."
        raise ConfigurationError(f"--cell {name}: the matrix has no such cell", advice=advice)
    return chosen


def _with_values(settings: Settings, cell: WholeCell) -> Settings:
    base = settings.base.model_copy(update={"suite": cell.suite, "image": cell.image})
    cook = settings.cook.model_copy(update={"variants": cell.variants})
    return settings.model_copy(update={"toolchain": cell.toolchain, "base": base, "cook": cook})


def _with_tags(settings: Settings, tags: tuple[str, ...]) -> Settings:
    return settings.model_copy(update={"image": settings.image.model_copy(update={"tags": tags})})
