"""The matrix of toolchains, suites and variants: one cell for each row, with the settings that hold for it alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from factory.config.model import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is analysed, planned and built as one; `name` is RUST-SUITE[-LABEL], and empty where there is no matrix."""

    name: str
    settings: Settings


def cells_of(settings: Settings) -> tuple[Cell, ...]:
    """Return a cell for each row of the matrix, in the order of the file; one without a name where there is none.

    The settings of a cell have its toolchain, suite, base image, variants and tags in the places of the common ones.
    A tag that would be that of an earlier row, such as `{layer}`, is left to that row.
    """
    if not settings.matrix:
        return (Cell(name="", settings=_with_tags(settings, settings.common_tags)),)
    return tuple(
        Cell(name=row.name, settings=_with_tags(settings.of_row(row), tags))
        for row, tags in zip(settings.rows, settings.own_tags, strict=True)
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
        raise ConfigurationError(f"--cell {name}: the matrix has no such row", advice=advice)
    return chosen


def _with_tags(settings: Settings, tags: tuple[str, ...]) -> Settings:
    return settings.model_copy(update={"image": settings.image.model_copy(update={"tags": tags})})
