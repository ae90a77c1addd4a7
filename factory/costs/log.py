"""What `Dockerfiles/cook.sh` measured, read from the log of the build: it must leave no trace in the image.

Each line is `factory-measured RECIPE WHAT BASE64`; the lines of one recipe and WHAT together are a gzip of text.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import zlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.costs.observe import Cooked
from factory.costs.timings import Tick, read_timings
from factory.engine import MEASURED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_OF_LAYER = "-"
"""In place of a recipe: about the layer as a whole."""

_TICKS_A_SECOND = 100
"""The unit of processor time in /proc on Linux, whatever its clock does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a log tells: the cooks by recipe, the bytes by hash, and the recipes whose lines are damaged."""

    cooks: Mapping[str, Cooked]
    sizes: Mapping[str, int]
    damaged: tuple[str, ...]


def read_log(log: str) -> Told:
    """Collect what was measured; a step that came from the build cache told nothing. Logs may have been clipped."""
    parts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in log.splitlines():
        words = line.split(" ")
        if line.startswith(MEASURED) and len(words) == 4:
            parts[words[1], words[2]].append(words[3])
    texts: dict[tuple[str, str], str] = {}
    damaged: set[str] = set()
    for (recipe, what), chunks in parts.items():
        try:
            texts[recipe, what] = gzip.decompress(base64.b64decode("".join(chunks), validate=True)).decode()
        except (binascii.Error, OSError, EOFError, zlib.error, UnicodeDecodeError):
            damaged.add(recipe)
    cooks = {}
    for recipe in sorted({recipe for recipe, _ in parts} - {_OF_LAYER} - damaged):
        told = [texts.get((recipe, what)) for what in ("clock", "timings", "messages")]
        if None in told:
            damaged.add(recipe)
            continue
        clock, timings, messages = (text or "" for text in told)
        cooks[recipe] = Cooked(messages=messages, spells=read_timings(timings), ticks=_ticks(clock.splitlines()))
    if cooks and (_OF_LAYER, "sizes") not in texts:
        damaged.add(_OF_LAYER)
    sizes = dict(line.split(" ") for line in texts.get((_OF_LAYER, "sizes"), "").splitlines())
    return Told(cooks=cooks, sizes={name: int(size) for name, size in sizes.items()}, damaged=tuple(sorted(damaged)))


def _ticks(lines: Iterable[str]) -> tuple[Tick, ...]:
    """Read lines of `UPTIME TICKS`; the first is from before cargo began."""
    looks = [(float(uptime), int(ticks) / _TICKS_A_SECOND) for uptime, ticks in (line.split() for line in lines)]
    return tuple(Tick(uptime - looks[0][0], processor - looks[0][1]) for uptime, processor in looks[1:])
