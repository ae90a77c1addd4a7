"""The merged unit graph of an organisation: every distinct unit once, with its dependencies by key."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from factory.cargo.rustflags import why_not_cookable_flags
from factory.cargo.sources import CRATES_IO_ONLY, CookableSources
from factory.model import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from factory.model import Unit, UnitKey


class MergedGraph:
    """Units by key. A unit's closure is the unit itself with everything under it."""

    def __init__(self, units: Mapping[UnitKey, Unit], sources: CookableSources = CRATES_IO_ONLY) -> None:
        self.units = units
        self._sources = sources
        self._closures: dict[UnitKey, frozenset[UnitKey]] = {}

    def closure(self, key: UnitKey) -> frozenset[UnitKey]:
        """Return the keys of the unit's closure; it is computed once and kept."""
        pending = [key]
        while pending:
            current = pending[-1]
            if current in self._closures:
                pending.pop()
                continue
            edges = [edge.key for edge in self.units[current].dependencies]
            missing = [edge for edge in edges if edge not in self._closures]
            if missing:
                pending.extend(missing)
                continue
            self._closures[current] = frozenset({current}).union(*(self._closures[edge] for edge in edges))
            pending.pop()
        return self._closures[key]

    @cached_property
    def dependents(self) -> Mapping[UnitKey, frozenset[UnitKey]]:
        """The units directly above each unit."""
        above: dict[UnitKey, set[UnitKey]] = {key: set() for key in self.units}
        for key, unit in self.units.items():
            for edge in unit.dependencies:
                above[edge.key].add(key)
        return {key: frozenset(keys) for key, keys in above.items()}

    @cached_property
    def height(self) -> Mapping[UnitKey, int]:
        """The longest way down from each unit: dependencies always have a smaller height."""
        heights: dict[UnitKey, int] = {}
        for key in self.dependencies_first(self.units):
            edges = self.units[key].dependencies
            heights[key] = 1 + max((heights[edge.key] for edge in edges), default=-1)
        return heights

    def dependencies_first(self, keys: Iterable[UnitKey]) -> list[UnitKey]:
        """Return the closures of `keys` in an order in which dependencies precede; the same for the same set."""
        order: list[UnitKey] = []
        seen: set[UnitKey] = set()
        pending = [(key, False) for key in sorted(keys, reverse=True)]
        while pending:
            key, expanded = pending.pop()
            if expanded:
                order.append(key)
            elif key not in seen:
                seen.add(key)
                pending.append((key, True))
                edges = sorted({edge.key for edge in self.units[key].dependencies}, reverse=True)
                pending.extend((edge, False) for edge in edges)
        return order

    @cached_property
    def cookable(self) -> frozenset[UnitKey]:
        """Units whose whole closure can be cooked: packages of known sources, compiled as libraries for others."""
        good: set[UnitKey] = set()
        for key in self.dependencies_first(self.units):
            if self.why_not_cookable(key) is None and all(edge.key in good for edge in self.units[key].dependencies):
                good.add(key)
        return frozenset(good)

    def why_not_cookable(self, key: UnitKey) -> str | None:
        """Say why a unit can never be cooked, whatever else lies under it; `None` when it can."""
        unit = self.units[key]
        below = (self.units[edge.key] for edge in unit.dependencies)
        if unit.is_registry and any(other.is_git for other in below):
            return "a package of a registry that stands on git by a `[patch]`, which no other repository has"
        return self._sources.why_not(unit.package) or _why_not_as_built(unit)


def _why_not_as_built(unit: Unit) -> str | None:
    if unit.mode not in (Mode.BUILD, Mode.CHECK, Mode.RUN_CUSTOM_BUILD):
        return f"`{unit.mode}` is nothing that others use"
    if unit.linker is not None:
        return f"the repository sets the linker {unit.linker!r}, which the images do not"
    return why_not_cookable_flags(unit.rustflags)
