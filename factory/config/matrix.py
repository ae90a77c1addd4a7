"""The matrix: toolchains, suites and variants that images are built for, a cell each, and which tags are whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.config.tag_templates import fill, fill_cell
from factory.config.texts import refuse

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeCell:
    """A cell with nothing left open; `image` is `None` for the official one."""

    toolchain: str
    suite: str
    image: str | None
    variants: tuple[str, ...]
    label: str

    @property
    def name(self) -> str:
        """The name of the cell, of which its files have theirs."""
        return "-".join(filter(None, (self.toolchain, self.suite, self.label)))


def common_tags(templates: Sequence[str], *, suite: str) -> tuple[str, ...]:
    """Return the tags where there is no matrix, with {suite} filled in."""
    tags = (tag for tag in templates if "{label}" not in tag)
    return tuple(dict.fromkeys(fill_cell(tag, suite=suite, label="") for tag in tags))


def own_tags(cells: Sequence[WholeCell], templates: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return for each cell its tags that no earlier cell has, with {suite} and {label} filled in.

    Tags with a {label} are those of the cells that have one.
    """
    taken: set[str] = set()
    found = []
    for cell in cells:
        mine = (tag for tag in templates if ("{label}" in tag) == bool(cell.label))
        named = dict.fromkeys(fill_cell(tag, suite=cell.suite, label=cell.label) for tag in mine)
        tags = {tag: fill(tag, layer="{layer}", rust=cell.toolchain, date="{date}", plan="{plan}") for tag in named}
        # Cells never have a plan in common, and so no tag with its digest.
        found.append(tuple(tag for tag, filled in tags.items() if filled not in taken or "{plan}" in tag))
        taken.update(tags.values())
    return tuple(found)


def check_cells(cells: Sequence[WholeCell], templates: Sequence[str]) -> None:
    """Refuse two cells of one name, and a cell without a tag of its own."""
    names = [cell.name for cell in cells]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        refuse(f"matrix: {', '.join(twins)} is there twice; name each once, or give them a label")
    tagless = [name for name, tags in zip(names, own_tags(cells, templates), strict=True) if not tags]
    if tagless:
        wanted = "{rust}, {suite} or {label}"
        refuse(f"matrix: {', '.join(tagless)} has no tag of its own; put {wanted} into one of image.tags")
