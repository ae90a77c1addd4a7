"""What BuildKit tells of a build while it runs: the events of `--progress=rawjson`, one a line of stderr.

Whatever else stands between them, such as warnings of buildx, is no event and says nothing here.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STEP = re.compile(r"\[(?:\S+/\S+ )?(?P<stage>\S+) +\d+/\d+\] (?P<what>.*)", re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An instruction of a Dockerfile, in the words of BuildKit; a cached one took no seconds."""

    stage: str
    what: str
    cached: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """What BuildKit told of a build: its steps in the order in which it named them, and what they printed."""

    steps: tuple[Step, ...]
    log: str


def read_progress(text: str) -> Progress:
    """Put together what all events of a build say; colours are taken out of the log."""
    vertexes: dict[str, dict[str, Any]] = {}
    logs: dict[str, list[bytes]] = {}
    for event in map(_event, text.splitlines()):
        for vertex in event.get("vertexes") or ():
            # The first ones lack what comes later; later ones repeat what is known.
            vertexes.setdefault(vertex["digest"], {}).update({key: value for key, value in vertex.items() if value})
        for entry in event.get("logs") or ():
            logs.setdefault(entry.get("vertex", ""), []).append(_printed(entry))
    steps = tuple(step for vertex in vertexes.values() if (step := _step(vertex)) is not None)
    log = "\n".join(b"".join(parts).decode("utf-8", "replace") for parts in logs.values())
    return Progress(steps=steps, log=_COLOUR.sub("", log))


def log_texts(line: str) -> Iterator[str]:
    """Yield the text that build steps wrote, from one line; a piece may end within a line of theirs."""
    for entry in _event(line).get("logs") or ():
        yield _printed(entry).decode("utf-8", "replace").replace("\r\n", "\n")


def cache_faults(line: str) -> Iterator[str]:
    """Yield why a build cache was not read or written, from one line.

    One that is not there yet is no fault: before the first build, none is.
    """
    for vertex in _event(line).get("vertexes") or ():
        name, error = str(vertex.get("name", "")), str(vertex.get("error") or "")
        if error and name.startswith(("importing cache", "exporting cache")) and not error.endswith(": not found"):
            yield f"{name}: {error}"


def _event(line: str) -> Mapping[str, Any]:
    """Return an event of BuildKit, an empty one for a line that is none."""
    if not line.startswith("{"):
        return {}
    try:
        document: Mapping[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        # A warning of buildx may begin like one.
        return {}
    return document


def _printed(entry: Mapping[str, Any]) -> bytes:
    return base64.b64decode(entry.get("data") or "")


def _step(vertex: Mapping[str, Any]) -> Step | None:
    match = _STEP.match(vertex.get("name", ""))
    if match is None:
        return None
    cached = bool(vertex.get("cached"))
    return Step(
        stage=match["stage"], what=match["what"], cached=cached, seconds=0.0 if cached else round(_seconds(vertex), 2)
    )


def _seconds(vertex: Mapping[str, Any]) -> float:
    if "started" not in vertex or "completed" not in vertex:
        return 0.0
    started, completed = (datetime.fromisoformat(vertex[key]) for key in ("started", "completed"))
    return (completed - started).total_seconds()
