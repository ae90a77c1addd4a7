"""The cost of every unit: measured where it is known, else estimated.

The estimate is a product of two factors that anyone can check:

1. what a unit of this kind and this much source takes: `exp(a + b * log(source bytes))`, a line fitted for each kind,
   with and without optimisation, on all measured units;
2. how much dearer or cheaper than that line measured units of the *same crate* were: the median over those most like
   it (the same version and features, else the same features or version, else any).
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, NamedTuple

from factory.costs.exchange import joined
from factory.costs.model import UnitCost
from factory.costs.traits import Kind, traits_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from factory.costs.samples import Record
    from factory.costs.traits import Traits
    from factory.model import PackageId, SourceSizes, Unit, UnitKey

_FOLDS = 10

_FEWEST = 8
"""Measured units that a line needs; with fewer their median has to do."""

_MOST_SCALING = 1.5
"""A few very dear units may raise the estimates of all others of their kind by this factor at most."""

_LEAST_SECONDS = 0.01
_LEAST_BYTES = 100
"""Nothing measured is taken to be less, so that it has a logarithm."""

_BEFORE_ANYTHING_WAS_MEASURED = {
    Kind.LIBRARY: (1.0, 2_000_000),
    Kind.CHECKED_LIBRARY: (0.5, 700_000),
    Kind.PROC_MACRO: (1.5, 6_000_000),
    Kind.BUILD_SCRIPT: (0.4, 1_000_000),
    Kind.BUILD_SCRIPT_RUN: (0.1, 60_000),
    Kind.NATIVE_RUN: (5.0, 1_000_000),
}
"""Seconds and bytes for kinds that no shipped or own measurement has: means over the cooked closures of services and
tools (docs/measurements.md)."""


class _Group(NamedTuple):
    kind: Kind
    optimised: bool


@dataclass(frozen=True, slots=True)
class _Line:
    """`log(cost) = a + b * log(source bytes)`; `middle` is the logarithm for unknown sources."""

    a: float
    b: float
    middle: float

    def at(self, source_bytes: int | None) -> float:
        """Return the logarithm of the cost."""
        return self.middle if not source_bytes else self.a + self.b * math.log(source_bytes)


@dataclass(frozen=True, slots=True)
class _Known:
    """A measured unit: its traits, and the logarithms of its seconds and bytes."""

    traits: Traits
    seconds: float
    bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How far estimates of crates that were never measured are off, as factors of 1 or more; see `check`.

    `median` and `nine_in_ten` weigh every unit alike, `share_within_two` by its seconds. `total` is the sum of the
    estimates over the sum of the measurements.
    """

    units: int
    median: float
    nine_in_ten: float
    share_within_two: float
    total: float


class Estimator:
    """Estimates from the measured units that it was fitted on."""

    def __init__(self, known: Sequence[_Known]) -> None:
        grouped: dict[_Group, list[_Known]] = defaultdict(list)
        for one in known:
            grouped[_group(one.traits)].append(one)
        self.known = tuple(known)
        self._seconds = {group: _line([(k.traits, k.seconds) for k in grouped[group]]) for group in grouped}
        self._bytes = {group: _line([(k.traits, k.bytes) for k in grouped[group]]) for group in grouped}
        self._same_crate: dict[tuple[str, _Group], list[_Known]] = defaultdict(list)
        for one in known:
            self._same_crate[one.traits.crate, _group(one.traits)].append(one)

    def cost(self, traits: Traits) -> UnitCost:
        """Return the estimated cost of a unit with these traits."""
        group = _group(traits)
        if group not in self._seconds:
            seconds, size = _BEFORE_ANYTHING_WAS_MEASURED[traits.kind]
            return UnitCost(seconds=seconds, bytes=size, measured=False)
        log_seconds = self._seconds[group].at(traits.source_bytes)
        log_bytes = self._bytes[group].at(traits.source_bytes)
        alike = _most_alike(traits, self._same_crate.get((traits.crate, group), ()))
        if alike:
            log_seconds += median(k.seconds - self._seconds[group].at(k.traits.source_bytes) for k in alike)
            log_bytes += median(k.bytes - self._bytes[group].at(k.traits.source_bytes) for k in alike)
        return UnitCost(seconds=round(math.exp(log_seconds), 3), bytes=round(math.exp(log_bytes)), measured=False)


def costs_of(
    units: Mapping[UnitKey, Unit],
    measured: Mapping[UnitKey, UnitCost],
    estimator: Estimator,
    sources: Callable[[PackageId], SourceSizes | None],
) -> dict[UnitKey, UnitCost]:
    """Return the cost of every unit: from `measured` where it is there, else an estimate.

    `sources` tells how large the sources of a package are. `units` must hold the dependencies of its units, so that
    the tools of a build script are seen.
    """
    return {key: measured.get(key) or estimator.cost(traits_of(unit, units, sources)) for key, unit in units.items()}


def fit(records: Iterable[Record]) -> Estimator:
    """Return the estimator that fits these measurements best; with none at all it knows only constants."""
    return Estimator(
        [
            _Known(
                record.traits,
                math.log(max(record.cost.seconds, _LEAST_SECONDS)),
                math.log(max(record.cost.bytes, _LEAST_BYTES)),
            )
            for record in joined(records)
        ]
    )


def check(estimator: Estimator, *, unseen_crates: bool = True) -> tuple[Accuracy, Accuracy] | None:
    """Return how good the estimates of seconds and of bytes are; `None` where nothing was measured.

    Every unit is estimated by a model fitted on the others: of other crates only (`unseen_crates`), or of all that
    differ in crate, version or features.
    """
    folds: dict[int, list[_Known]] = defaultdict(list)
    for one in estimator.known:
        folds[_fold(one.traits, unseen_crates=unseen_crates)].append(one)
    guesses = []
    for number, held_out in sorted(folds.items()):
        model = Estimator([one for other, rows in folds.items() if other != number for one in rows])
        guesses += [(one, model.cost(one.traits)) for one in held_out]
    if not guesses:
        return None
    return (
        _accuracy([(math.exp(known.seconds), guess.seconds, math.exp(known.seconds)) for known, guess in guesses]),
        _accuracy([(math.exp(known.bytes), guess.bytes, math.exp(known.bytes)) for known, guess in guesses]),
    )


def how_sure(costs: Mapping[UnitKey, UnitCost], estimator: Estimator) -> str:
    """Say, in one line, which part of the seconds and bytes was measured, and how far off the rest may be."""
    seconds, size = (
        _percent(sum(value for value, known in rows if known), sum(value for value, _ in rows))
        for rows in (
            [(cost.seconds, cost.measured) for cost in costs.values()],
            [(cost.bytes, cost.measured) for cost in costs.values()],
        )
    )
    words = f"costs: {seconds} of the seconds and {size} of the bytes are measured"
    accuracy = check(estimator)
    if all(cost.measured for cost in costs.values()) or accuracy is None:
        return words
    one = accuracy[0]
    return (
        f"{words}, the others estimated: half of the units within a factor of {one.median:.1f}, "
        f"nine in ten within {one.nine_in_ten:.1f}"
    )


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none"


def _group(traits: Traits) -> _Group:
    # Build scripts and their runs do not depend on it: cargo compiles scripts by their own settings.
    return _Group(traits.kind, traits.optimised and traits.kind in (Kind.LIBRARY, Kind.PROC_MACRO, Kind.NATIVE_RUN))


def _line(points: Sequence[tuple[Traits, float]]) -> _Line:
    middle = median(value for _, value in points)
    usable = [(math.log(traits.source_bytes), value) for traits, value in points if traits.source_bytes]
    if len(usable) < _FEWEST:
        return _Line(middle, 0.0, middle)
    x_mean, y_mean = fmean(x for x, _ in usable), fmean(y for _, y in usable)
    spread = sum((x - x_mean) ** 2 for x, _ in usable)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in usable) / spread if spread > 0 else 0.0
    # The median, as a few crates are dearer by far than their source would have it; raised so that sums come out right.
    a = median(y - slope * x for x, y in usable)
    ratio = sum(math.exp(y) for _, y in usable) / sum(math.exp(a + slope * x) for x, _ in usable)
    return _Line(a + math.log(min(max(ratio, 1 / _MOST_SCALING), _MOST_SCALING)), slope, middle)


def _most_alike(traits: Traits, candidates: Sequence[_Known]) -> Sequence[_Known]:
    best: dict[int, list[_Known]] = defaultdict(list)
    for one in candidates:
        same_version = one.traits.version == traits.version
        best[2 * (one.traits.features == traits.features) + same_version].append(one)
    return best[max(best)] if best else ()


def _fold(traits: Traits, *, unseen_crates: bool) -> int:
    text = traits.crate if unseen_crates else f"{traits.crate} {traits.version} {','.join(traits.features)}"
    return zlib.crc32(text.encode()) % _FOLDS


def _accuracy(rows: Sequence[tuple[float, float, float]]) -> Accuracy:
    factors = sorted(max(guess / true, true / guess) for true, guess, _ in rows)
    near = sum(weight for true, guess, weight in rows if max(guess / true, true / guess) <= 2)
    return Accuracy(
        units=len(rows),
        median=median(factors),
        nine_in_ten=factors[min(len(factors) - 1, math.ceil(0.9 * len(factors)) - 1)],
        share_within_two=near / sum(weight for _, _, weight in rows),
        total=sum(guess for _, guess, _ in rows) / sum(true for true, _, _ in rows),
    )
