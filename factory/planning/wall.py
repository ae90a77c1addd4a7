"""Predicts how long cargo takes: the units of one build, run by cargo's own rules on a number of jobs.

The model, and what it leaves out:

- A unit starts when what it stands on is there and a job is free. Of those that are ready, cargo takes the one with
  the most units above it; so does the model.
- Costs are core seconds. A unit works on one job; once its metadata is written, rustc generates code on the jobs that
  nobody else wants. Build-script runs keep to one job: some of them compile C on several, and are over earlier.
- Pipelining: a library that stands on libraries starts when their metadata is written, `METADATA_SHARE` into their
  work. Proc-macros, build scripts and their runs wait for the end of what is under them, and are waited for.
- A warm unit takes no time.
- Only registry units are in it. What the repository compiles of its own comes on top, with any image or none.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.model import Mode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from factory.costs.model import UnitCost
    from factory.model import Unit, UnitKey

METADATA_SHARE = 0.5
"""The part of a library's compile time after which its metadata is there: docs/measurements.md, "Wall seconds"."""

_MOST_THREADS = 16
"""rustc's codegen units of a release build: no more threads can work on one crate."""

_NOTHING: frozenset[UnitKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Running:
    """A stretch of a predicted build, in seconds, and the units that run all through it."""

    seconds: float
    units: tuple[UnitKey, ...]


class BuildModel:
    """The units of one build with what cargo's order depends on; asked as often as there are images."""

    def __init__(
        self, keys: Collection[UnitKey], *, units: Mapping[UnitKey, Unit], costs: Mapping[UnitKey, UnitCost]
    ) -> None:
        # In the order of keys: which of two equals goes first must not depend on the order of the input.
        self._keys = sorted(keys)
        number = {key: index for index, key in enumerate(self._keys)}
        self._seconds = [costs[key].seconds for key in self._keys]
        self._pipelined = [_is_pipelined(units[key]) for key in self._keys]
        self._threads = [units[key].mode is Mode.BUILD for key in self._keys]
        self._below = [
            sorted({number[edge.key] for edge in units[key].dependencies if edge.key in number}) for key in self._keys
        ]
        self._above: list[list[int]] = [[] for _ in self._keys]
        for index, below in enumerate(self._below):
            for dependency in below:
                self._above[dependency].append(index)
        self._priority = self._units_above()

    def wall_seconds(self, jobs: int, *, warm: AbstractSet[UnitKey] = _NOTHING) -> float:
        """Return the predicted wall seconds of the build where the units of `warm` are fresh."""
        return sum(stretch.seconds for stretch in self.stretches(jobs, warm=warm))

    def stretches(self, jobs: int, *, warm: AbstractSet[UnitKey] = _NOTHING) -> Iterator[Running]:
        """Yield the build in the order of time, cut wherever a unit starts, ends or has its metadata; `jobs` >= 1."""
        left = [0.0 if key in warm else own for key, own in zip(self._keys, self._seconds, strict=True)]
        behind = [
            own * (1 - METADATA_SHARE) if threads else 0.0 for own, threads in zip(left, self._threads, strict=True)
        ]
        waiting = [len(below) for below in self._below]
        ready = [(-self._priority[index], index) for index, count in enumerate(waiting) if not count]
        heapq.heapify(ready)
        running: list[int] = []
        generating: set[int] = set()
        while ready or running:
            while ready and len(running) < jobs:
                running.append(heapq.heappop(ready)[1])
            spare = (jobs - len(running)) / len(generating) if generating else 0.0
            pace = {index: 1.0 + min(spare, _MOST_THREADS - 1) if index in generating else 1.0 for index in running}
            goal = {index: 0.0 if index in generating else behind[index] for index in running}
            # What is nearest to its goal decides how long this stretch is.
            nearest = min(running, key=lambda index: (left[index] - goal[index]) / pace[index])
            seconds = max(0.0, (left[nearest] - goal[nearest]) / pace[nearest])
            if seconds > 0:
                yield Running(seconds, tuple(self._keys[index] for index in sorted(running)))
            for index in running:
                left[index] -= seconds * pace[index]
            left[nearest] = goal[nearest]
            ended = nearest in generating or goal[nearest] == 0
            if ended:
                running.remove(nearest)
            for above in self._released(nearest, ended=ended, generating=nearest in generating):
                waiting[above] -= 1
                if not waiting[above]:
                    heapq.heappush(ready, (-self._priority[above], above))
            if ended:
                generating.discard(nearest)
            else:
                generating.add(nearest)

    def _released(self, index: int, *, ended: bool, generating: bool) -> Iterator[int]:
        """Yield what waits for this moment of a unit: the end of its metadata, the end of it, or both at once."""
        for above in self._above[index]:
            on_metadata = self._pipelined[index] and self._pipelined[above]
            if (on_metadata and not generating) or (ended and not on_metadata):
                yield above

    def _units_above(self) -> list[int]:
        """Return for each unit how many stand on it, directly or not: cargo starts the one with the most first."""
        masks = [0] * len(self._keys)
        for index in reversed(self._dependencies_first()):
            for above in self._above[index]:
                masks[index] |= masks[above] | 1 << above
        return [mask.bit_count() for mask in masks]

    def _dependencies_first(self) -> list[int]:
        waiting = [len(below) for below in self._below]
        order = [index for index, count in enumerate(waiting) if not count]
        for index in order:
            for above in self._above[index]:
                waiting[above] -= 1
                if not waiting[above]:
                    order.append(above)
        return order


def wall_shares(stretches: Sequence[Running]) -> dict[UnitKey, float]:
    """Divide every second of a build among the units that run in it: they add up to the wall seconds.

    A unit that runs alone, as on the critical path, gets all of its seconds; one that runs beside three others, a
    quarter of them.
    """
    shares: dict[UnitKey, float] = {}
    for stretch in stretches:
        for key in stretch.units:
            shares[key] = shares.get(key, 0.0) + stretch.seconds / len(stretch.units)
    return shares


def _is_pipelined(unit: Unit) -> bool:
    """Whether others can start on the unit's metadata, and it on theirs: libraries, which are not linked."""
    return unit.mode in (Mode.BUILD, Mode.CHECK) and unit.target_kind in ("lib", "rlib")
