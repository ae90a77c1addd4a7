"""Check and test the project: what `scripts/test` runs, in the project's virtual environment.

Three rings, each slower and closer to the real thing than the one before: `fast` starts no programs but where
a test says so, `cargo` compiles with the real cargo, `docker` builds real images. `lint` comes before them.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess  # noqa: TID251 - tests the package, so it must not depend on it
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
PATIENCE = float(os.environ.get("FACTORY_TEST_PATIENCE", "1"))
"""What every time limit is multiplied by, for slow machines."""

ALL_SECONDS = 40 * 60 * PATIENCE
GRACE_SECONDS = 20.0

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_SUMMARY = re.compile(r"=+ (?P<counts>.*) in (?P<seconds>[\d.]+)s\b.* =+")
_COUNT = re.compile(r"(?P<number>\d+) (?P<word>[a-z]+)")
_SINGULAR = {"errors": "error", "warnings": "warning"}
_FIRST = ("error", "failed", "passed")
_SKIPPED = re.compile(r"SKIPPED \[\d+\] .*")


@dataclass(frozen=True, kw_only=True)
class Ring:
    """Commands that are run one after the other, with the seconds they may take together."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a ring ended: `faults` is empty where all is well, `summaries` are pytest's own last lines.

    One that was `stopped`, as its time was over, has not told all that it skipped.
    """

    ring: Ring
    seconds: float
    stopped: bool
    faults: tuple[str, ...]
    summaries: tuple[str, ...]
    skipped: tuple[str, ...]


def _pytest(*arguments: str) -> tuple[str, ...]:
    color = "yes" if sys.stdout.isatty() else "auto"
    return (PYTHON, "-m", "pytest", f"--color={color}", "-ra", "--durations=12", "--durations-min=10", *arguments)


_BY_MODULE = ("--dist", "loadfile", "--no-loadscope-reorder", "-n")
"""What a module has made once for all of its tests stays in one worker, and what takes longest comes first: each
conftest.py names it. The number of workers follows.
"""

RINGS = (
    Ring(
        name="lint",
        commands=(
            (PYTHON, "-m", "ruff", "check", "."),
            (PYTHON, "-m", "ruff", "format", "--check", "."),
            (PYTHON, "-m", "mypy"),
        ),
        seconds=300 * PATIENCE,
    ),
    Ring(name="fast", commands=(_pytest("tests/unit", *_BY_MODULE, "auto"),), seconds=60 * PATIENCE),
    # Few at a time, on machines with more cores too: cargo and Docker use all of them. An engine waits for disks, too.
    Ring(name="cargo", commands=(_pytest("tests/cargo", *_BY_MODULE, "2"),), seconds=8 * 60 * PATIENCE),
    Ring(name="docker", commands=(_pytest("tests/docker", *_BY_MODULE, "3"),), seconds=25 * 60 * PATIENCE),
)


def main() -> int:
    """Run the chosen rings; return 0 when all of them passed."""
    options = _parser().parse_args()
    chosen = {ring.name for ring in RINGS} if "all" in options.rings else set(options.rings)
    deadline = time.monotonic() + ALL_SECONDS
    outcomes = [_run_ring(ring, deadline) for ring in RINGS if ring.name in chosen]
    _recapitulate(outcomes)
    return 1 if any(outcome.faults for outcome in outcomes) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/test", description="Check and test the project.")
    names = [*(ring.name for ring in RINGS), "all"]
    parser.add_argument("rings", nargs="*", choices=names, default="all", metavar="RING", help=", ".join(names))
    return parser


def _run_ring(ring: Ring, deadline: float) -> Outcome:
    _say(f"\n--- {ring.name} ---")
    start = time.monotonic()
    limit = min(ring.seconds, deadline - start)
    faults, lines, stopped = [], [], False
    for command in ring.commands:
        code, printed = _stream(command, start + limit - time.monotonic())
        lines.extend(printed)
        if code is None:
            faults.append(f"stopped after its limit of {limit:.0f} s")
            stopped = True
            break
        if code != 0:
            faults.append(f"`{_shown(command)}` exited with {code}")
    return Outcome(
        ring=ring,
        seconds=time.monotonic() - start,
        stopped=stopped,
        faults=tuple(faults),
        summaries=tuple(line for line in lines if _SUMMARY.fullmatch(line)),
        skipped=tuple(line for line in lines if _SKIPPED.fullmatch(line)),
    )


def _shown(command: Sequence[str]) -> str:
    words = command[command.index("-m") + 1 :] if "-m" in command else command
    return " ".join(words)


def _stream(command: Sequence[str], seconds: float) -> tuple[int | None, list[str]]:
    """Run a command and show what it prints; return its exit code (`None`: out of time) and its lines."""
    if seconds <= 0:
        return None, []
    # Workers and the programs they start would compile all modules again, each for itself.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    chunks: list[bytes] = []
    reader = threading.Thread(target=_copy, args=(child.stdout, chunks), daemon=True)
    reader.start()
    code: int | None = None
    with suppress(subprocess.TimeoutExpired):
        try:
            code = child.wait(seconds)
        finally:
            _stop_group(child)
    reader.join(GRACE_SECONDS)
    text = b"".join(chunks).decode("utf-8", "replace")
    return code, [_ESCAPES.sub("", line) for line in text.splitlines()]


def _copy(stream: IO[bytes] | None, chunks: list[bytes]) -> None:
    if stream is None:
        return
    with stream:
        while chunk := os.read(stream.fileno(), 65536):
            chunks.append(chunk)
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


def _stop_group(child: subprocess.Popen[bytes]) -> None:
    # What the tests started must not outlive them, also where they passed.
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)


def _recapitulate(outcomes: Sequence[Outcome]) -> None:
    _say("\n--- all ---")
    for outcome in outcomes:
        for line in outcome.skipped:
            _say(f"{outcome.ring.name}: {line}")
    for outcome in outcomes:
        result = "; ".join(outcome.faults) or "passed"
        _say(f"{outcome.ring.name:6}  {outcome.seconds:7.1f} s of {outcome.ring.seconds:5.0f} s  {result}")
        for summary in outcome.summaries:
            _say(f"        {summary.strip('= ')}")
    stopped = [outcome.ring.name for outcome in outcomes if outcome.stopped]
    if stopped:
        _say(f"skipped: not known of {', '.join(stopped)}, as it was stopped")
    elif not any(outcome.skipped for outcome in outcomes):
        _say("skipped: nothing")
    _say(_total(outcomes))


def _total(outcomes: Sequence[Outcome]) -> str:
    """Return pytest's summary lines as one, in pytest's own form."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        matches = [match for match in map(_SUMMARY.fullmatch, outcome.summaries) if match]
        for count in _COUNT.finditer(" ".join(match["counts"] for match in matches)):
            counts[_SINGULAR.get(count["word"], count["word"])] += int(count["number"])
    ordered = sorted(counts.items(), key=lambda item: (item[0] not in _FIRST, item[0]))
    words = ", ".join(f"{number} {word}" for word, number in ordered) or "no tests ran"
    text = f" {words} in {sum(outcome.seconds for outcome in outcomes):.2f}s "
    return text.center(80, "=")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # A cancelled CI job gets SIGTERM: as an exception, it stops the ring that runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
