"""Taking over as many of several changes as cargo allows, in few attempts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

T = TypeVar("T")

MOST_ATTEMPTS = 120
NOT_TRIED = "not tried: too many others did not go"
_SECONDS_BETWEEN = 5.0


@dataclass(slots=True)
class Pace:
    """Tells how many of several things were tried, every few seconds at most: an attempt takes from one to many."""

    tell: Callable[[str], None]
    what: str
    clock: Callable[[], float] = time.monotonic
    _told: float = field(init=False)

    def __post_init__(self) -> None:
        self._told = self.clock()

    def __call__(self, settled: int, total: int) -> None:
        """Note that so many of all are taken over or left."""
        now = self.clock()
        if now - self._told >= _SECONDS_BETWEEN:
            self._told = now
            self.tell(f"{settled} of {total} {self.what} tried")


def silently(_settled: int, _total: int) -> None:
    """Tell nothing."""


def settle(
    items: Sequence[T],
    attempt: Callable[[Sequence[T]], str],
    suspects: Callable[[Sequence[T], str], Collection[T]] = lambda _items, _reason: (),
    *,
    pace: Callable[[int, int], None] = silently,
    most: int = MOST_ATTEMPTS,
) -> list[tuple[T, str]]:
    """Take over as many of `items` as go, and return the others, each with the reason.

    `attempt` tries some on top of what was taken over before: it returns "" where they went, else undoes them and says
    why not. Where many fail together, the `suspects` by that reason are tried after the others; where none or all are,
    each half by itself, down to single ones. After `most` attempts the rest is left. `pace` is told after each one how
    many of all are settled.
    """
    left: list[tuple[T, str]] = []
    pending = [tuple(items)] if items else []
    for _ in range(most):
        if not pending:
            return left
        some = pending.pop()
        reason = attempt(some)
        if reason and len(some) > 1:
            pending += _parts(some, suspects(some, reason))
        elif reason:
            left.append((some[0], reason))
        pace(len(items) - sum(map(len, pending)), len(items))
    return left + [(item, NOT_TRIED) for some in reversed(pending) for item in some]


def _parts(some: tuple[T, ...], suspected: Collection[T]) -> list[tuple[T, ...]]:
    """Divide what failed together: what is to be tried first comes last."""
    others = tuple(item for item in some if item not in suspected)
    if others and len(others) < len(some):
        return [tuple(item for item in some if item in suspected), others]
    middle = len(some) // 2
    return [some[middle:], some[:middle]]
