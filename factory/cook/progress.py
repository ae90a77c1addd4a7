"""How far a cook is, counted from what cargo prints while it compiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from factory.planning.recipe import Recipe


def crates_of(recipes: Iterable[Recipe]) -> frozenset[tuple[str, str]]:
    """Return name and version of every crate that the recipes compile or find fresh."""
    return frozenset((entry.package.name, entry.package.version) for recipe in recipes for entry in recipe.packages)


def crate_counter(crates: frozenset[tuple[str, str]], advance: Callable[[str], None]) -> Callable[[str], None]:
    """Return what to give every line of cargo's stderr: it advances once for each of `crates`."""
    waiting = set(crates)

    def on_line(line: str) -> None:
        verb, name, version = [*line.split()[:3], "", "", ""][:3]
        crate = (name, version.removeprefix("v"))
        if verb in {"Compiling", "Checking", "Fresh"} and crate in waiting:
            waiting.discard(crate)
            advance(f"{name} {version}")

    return on_line
