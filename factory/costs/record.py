"""From what was seen of the cooks of a layer to records for the store."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from factory.costs.observe import observe
from factory.costs.samples import Record, Sample
from factory.costs.traits import traits_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from factory.costs.observe import Cooked, Observation
    from factory.model import PackageId, SourceSizes, Unit, UnitKey


def observe_all(
    units: Mapping[UnitKey, Unit],
    cooks: Iterable[tuple[Iterable[UnitKey], Cooked]],
    sizes: Mapping[str, int],
) -> dict[UnitKey, Observation]:
    """Return what several cooks into one build directory took, each given with the keys of its recipe.

    `sizes` are the bytes by hash at the end: see `factory.costs.observe.sizes_by_hash`. What several cooks compiled
    counts as in the first of them, as the others found it changed.
    """
    seen: dict[UnitKey, Observation] = {}
    for keys, cooked in cooks:
        recipe_units = {key: units[key] for key in keys if key in units}
        seen = observe(recipe_units, cooked, sizes) | seen
    return seen


def records_of(
    observed: Mapping[UnitKey, Observation],
    units: Mapping[UnitKey, Unit],
    *,
    rustc: str,
    platform: str,
    sources: Callable[[PackageId], SourceSizes | None],
) -> tuple[Record, ...]:
    """Return one record for each observed unit, with a random number for this cook."""
    cook, cores = secrets.token_hex(16), os.cpu_count() or 1
    return tuple(
        Record(
            key=key,
            rustc=rustc,
            platform=platform,
            traits=traits_of(units[key], units, sources),
            samples=(Sample(cook=cook, seconds=round(seen.seconds, 3), bytes=seen.bytes, cores=cores),),
        )
        for key, seen in sorted(observed.items())
    )
