"""Samples: what one cook measured of one unit, and what many of them say together."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from factory.costs.model import UnitCost

if TYPE_CHECKING:
    from collections.abc import Iterable

    from factory.costs.traits import Traits
    from factory.model import UnitKey

MOST_SAMPLES = 9
"""How many samples of a unit are kept: those with the smallest cook numbers. The numbers are random, so this keeps a
fair choice of all cooks, and the same one in whatever order stores are joined."""


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Sample:
    """What one cook measured of one unit.

    `cook` is the cook's random number (32 hexadecimal digits), `seconds` are core seconds, `bytes` the unit's own
    files, `cores` those of the machine.
    """

    cook: str
    seconds: float
    bytes: int
    cores: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All samples of one unit, compiled by one rustc (the first line of `rustc -vV`) on one host triple."""

    key: UnitKey
    rustc: str
    platform: str
    traits: Traits
    samples: tuple[Sample, ...]

    @property
    def cost(self) -> UnitCost:
        """The medians: one cook on a machine that had to swap does not move them."""
        return UnitCost(
            seconds=round(median(sample.seconds for sample in self.samples), 3),
            bytes=round(median(sample.bytes for sample in self.samples)),
            measured=True,
        )


def chosen(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Return the samples to keep, sorted; joining in any order, or twice, gives the same."""
    by_cook: dict[str, Sample] = {}
    for sample in samples:
        known = by_cook.get(sample.cook)
        by_cook[sample.cook] = sample if known is None else min(known, sample)
    return tuple(sorted(by_cook.values())[:MOST_SAMPLES])
