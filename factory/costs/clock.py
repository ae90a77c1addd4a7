"""How much processor time a running cook has had: on a busy machine its wall seconds say little.

Linux only, from /proc; elsewhere no ticks are made, and wall seconds have to do.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from factory.costs.timings import Tick

if TYPE_CHECKING:
    from collections.abc import Iterator

PERIOD_SECONDS = 0.25
"""How often to look: a look takes some milliseconds."""

_PROC = Path("/proc")


class Clock:
    """Looks at one session of processes while it runs."""

    def __init__(self) -> None:
        self._ticks: list[Tick] = []
        self._ended = threading.Event()

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """What was seen."""
        return tuple(self._ticks)

    @contextlib.contextmanager
    def watching(self, session: int) -> Iterator[None]:
        """Look at the processes of a session, which the process of that id leads, as long as the block runs."""
        thread = threading.Thread(target=self._watch, args=(session, time.monotonic()), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _watch(self, session: int, started: float) -> None:
        while not self._ended.wait(PERIOD_SECONDS):
            seen = processor_seconds(session)
            if seen is not None:
                self._ticks.append(Tick(time.monotonic() - started, seen))


def processor_seconds(session: int) -> float | None:
    """Return the processor time of all processes of a session, with that of their ended children; `None` unknown."""
    if not _PROC.joinpath("self", "stat").exists():
        return None
    total = 0
    for path in _PROC.iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended since
                total += _clock_ticks(path.joinpath("stat").read_text("utf-8", "replace"), session)
    return total / os.sysconf("SC_CLK_TCK")


def _clock_ticks(stat: str, session: int) -> int:
    # The name in parentheses may hold anything; proc(5) counts the fields, here from the third.
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) if fields[3] == str(session) else 0
