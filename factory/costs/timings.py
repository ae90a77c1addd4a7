"""When each unit of a cook was worked on, from the report of `cargo build --timings`.

The report is a page for people, and the only place where stable cargo tells how long a build script ran: no compiler
wrapper sees that. It stands in the target directory, so nothing of it reaches the build directory.
"""

from __future__ import annotations

import enum
import json
import re
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.errors import BuildFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TIMINGS_ARG = "--timings"
"""What to give cargo so that it leaves its report in the target directory. It decides about no fingerprint."""

REPORT = Path("cargo-timings", "cargo-timing.html")
"""Where the report is, below the target directory."""

_UNITS = re.compile(r"^const UNIT_DATA = (\[.*?\]);$", re.MULTILINE | re.DOTALL)


class Work(enum.StrEnum):
    """What is done for a unit, as far as the timings tell it."""

    LIBRARY = "lib"
    CHECK = "check"
    SCRIPT = "script"
    RUN = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """One unit at work: from when to when, in seconds since cargo began."""

    crate: str
    version: str
    features: tuple[str, ...]
    work: Work
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Tick:
    """One look at a cook: seconds since cargo began, and the processor seconds that it and its children had by then."""

    seconds: float
    processor_seconds: float


def read_timings(page: str) -> tuple[Spell, ...]:
    """Return the units that cargo worked on, in the order in which they ended; fresh ones are not among them.

    Raises `BuildFailedError` for a page of another form.
    """
    try:
        spells = [spell_of(row) for row in timing_rows(page)]
    except (KeyError, TypeError, ValueError) as error:
        raise BuildFailedError(
            f"the report of `cargo --timings` has a form that this version of factory does not know: {error}",
            advice="Set `costs.record` to false to cook without measuring, or update factory.",
        ) from error
    return tuple(sorted(spells, key=lambda spell: spell.end))


def timing_rows(page: str) -> list[dict[str, Any]]:
    """Return the rows of the report, one a unit, with cargo's keys; raise `ValueError` where there are none."""
    match = _UNITS.search(page)
    if match is None:
        message = "it has no UNIT_DATA"
        raise ValueError(message)
    rows: list[dict[str, Any]] = json.loads(match[1])
    return rows


def spell_of(row: Mapping[str, Any]) -> Spell:
    """Return what a row says; raise `KeyError`, `TypeError` or `ValueError` for one of another form."""
    start = float(row["start"])
    return Spell(
        crate=row["name"],
        version=row["version"],
        features=tuple(sorted(row["features"])),
        work=_work(row["mode"], row["target"]),
        start=start,
        end=start + float(row["duration"]),
    )


def core_seconds(spells: Sequence[Spell], ticks: Iterable[Tick]) -> tuple[float, ...]:
    """Return how many seconds one core at full speed worked on each of `spells`.

    Between two ticks, the processor time that the cook got is shared among the units at work, by how long each was.
    Where nothing could be looked at (no ticks) these are the wall seconds.
    """
    seconds = [0.0] * len(spells)
    clock = _forward(ticks)
    if len(clock) == 1:
        return tuple(spell.end - spell.start for spell in spells)
    ends = [tick.seconds for tick in clock]
    shares: list[list[tuple[int, float]]] = [[] for _ in clock]
    for number, spell in enumerate(spells):
        for place in range(bisect_right(ends, spell.start), len(clock)):
            begin, end = ends[place - 1], ends[place]
            if begin >= spell.end:
                break
            shares[place].append((number, min(end, spell.end) - max(begin, spell.start)))
    for place in range(1, len(clock)):
        spent = clock[place].processor_seconds - clock[place - 1].processor_seconds
        at_work = sum(share for _, share in shares[place])
        for number, share in shares[place]:
            seconds[number] += spent * share / at_work if at_work > 0 else 0.0
    rate = _rate(seconds, spells)
    # What happened after the last look is charged as what happened before it.
    return tuple(
        second + rate * max(0.0, spell.end - max(spell.start, ends[-1]))
        for second, spell in zip(seconds, spells, strict=True)
    )


def _forward(ticks: Iterable[Tick]) -> list[Tick]:
    """Return the ticks after a first one at zero, without those that run back.

    A process that ends between being counted and being waited for is seen twice for a moment.
    """
    clock = [Tick(0.0, 0.0)]
    for tick in ticks:
        if tick.seconds > clock[-1].seconds and tick.processor_seconds >= clock[-1].processor_seconds:
            clock.append(tick)
    return clock


def _work(mode: str, target: str) -> Work:
    if mode == "run-custom-build":
        return Work.RUN
    if target == " build-script":
        return Work.SCRIPT
    return Work.CHECK if "(check" in target else Work.LIBRARY


def _rate(seconds: Sequence[float], spells: Sequence[Spell]) -> float:
    wall = sum(spell.end - spell.start for spell in spells)
    return min(1.0, sum(seconds) / wall) if wall > 0 else 1.0
