"""What a registry's refusals mean, and how long to try again what it did not answer."""

from __future__ import annotations

import enum
import random
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from factory.errors import RegistryFaultError
from factory.process import Completed, ProgramTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from factory.output import Output

_Answer = TypeVar("_Answer")


class Fault(enum.StrEnum):
    """Why a registry did not do what it was asked."""

    ABSENT = "it has no such image"
    REFUSED = "it refused"
    BUSY = "it asked for patience"
    SILENT = "it did not answer"
    UNKNOWN = "for a reason that is not known here"

    @property
    def passes(self) -> bool:
        """Whether the same may succeed a moment later."""
        return self in {Fault.BUSY, Fault.SILENT}


_SIGNS = (
    (Fault.BUSY, r"\b429 Too Many Requests|toomanyrequests|too many requests|status(?: code)?:? 429"),
    (
        Fault.REFUSED,
        r"\b40[0135] [A-Z]|status(?: code)?:? 40[0135]\b|unauthorized|authentication required|forbidden|\bdenied\b"
        r"|no basic auth credentials|x509:|certificate signed by unknown|no space left on device",
    ),
    (
        Fault.SILENT,
        r"connection refused|connection reset|broken pipe|\bEOF\b|time-?out|timed out|deadline exceeded|did not finish"
        r"|no such host|temporary failure|network is unreachable|no route to host|server closed|connection was closed"
        r"|\b5\d\d (?:Internal|Bad|Service|Gateway|Server|Insufficient)|status(?: code)?:? 5\d\d\b|server misbehaving"
        r"|short read|failed to copy|use of closed network connection|content-length|size validation failed",
    ),
    (
        Fault.ABSENT,
        r": not found|manifest unknown|name unknown|\b404 Not Found|does not exist|repository name not known",
    ),
)
"""In this order: a message may quote several, and what was refused is not asked again."""


def fault_of(text: str) -> Fault:
    """Return what the words of docker, buildx or cosign say about a registry."""
    return next((fault for fault, sign in _SIGNS if re.search(sign, text, re.IGNORECASE)), Fault.UNKNOWN)


class RegistryAnswerError(RegistryFaultError):
    """A registry did not do what it was asked; `fault` says why."""

    def __init__(self, what: str, fault: Fault, said: str) -> None:
        advice = {
            Fault.ABSENT: "Check `image.registry` and `image.name`.",
            Fault.REFUSED: "Check the name and the account: `docker login` keeps credentials in Docker's own store.",
            Fault.BUSY: "Run the command again later: what is there already is not sent again.",
            Fault.SILENT: "See whether the registry can be reached, and run the command again.",
            Fault.UNKNOWN: "Its words stand above.",
        }[fault]
        super().__init__(f"{what}: {fault.value}\n{said.strip()[-2000:]}".rstrip(), advice=advice)
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often in all something is tried, and the seconds between: doubled each time, within bounds, and scattered.

    A registry that asks for patience gets four times as much.
    """

    attempts: int = 5
    first: float = 1.0
    longest: float = 60.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    scatter: Callable[[], float] = field(default=random.random, repr=False)

    def wait(self, failed: int, fault: Fault) -> float:
        """Return the seconds to wait after the attempt number `failed`, from 1 on."""
        factor = 2.0 ** (failed - 1) * (4 if fault is Fault.BUSY else 1)
        whole = min(self.longest, self.first * factor)
        # Half of it at least: whoever was refused together must not come back together.
        return whole * (0.5 + self.scatter() / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """An attempt that failed: why, in whose words, and the seconds that the registry asked to wait, if it did."""

    fault: Fault
    said: str
    pause: float | None = None


def persist(what: str, call: Callable[[], Completed], patience: Patience, output: Output) -> Completed:
    """Run what asks a registry until it answers, or patience ends; `what` is said where it fails.

    Raises `RegistryAnswerError` for the last answer. What was refused, or is not there, is not asked again.
    """
    return until_answered(what, lambda: _tried(call), patience, output)


def until_answered(
    what: str, attempt: Callable[[], _Answer | Unanswered], patience: Patience, output: Output
) -> _Answer:
    """Do the same with any way of asking."""
    failed = 0
    while isinstance(answer := attempt(), Unanswered):
        failed += 1
        if not answer.fault.passes or failed >= patience.attempts:
            raise RegistryAnswerError(what, answer.fault, answer.said)
        seconds = patience.wait(failed, answer.fault)
        if answer.pause is not None:
            seconds = min(patience.longest, max(seconds, answer.pause))
        output.say(f"{what}: {answer.fault.value}; trying again in {seconds:.0f} s ({failed} of {patience.attempts})")
        patience.sleep(seconds)
    return answer


def _tried(call: Callable[[], Completed]) -> Completed | Unanswered:
    try:
        answer = call()
    except ProgramTimeoutError as error:
        return Unanswered(fault=fault_of(error.what), said=error.what)
    said = f"{answer.stdout}\n{answer.stderr}"
    return answer if answer.ok else Unanswered(fault=fault_of(said), said=said)
