"""The most worth that fits: a closed set of items within a budget for each layer and one for all.

This is the precedence-constrained knapsack. Everything is in whole numbers and by index, so that the answer depends on
the problem alone: items come in an order in which dependencies precede.

- `greedy` takes the densest closure that is missing, again and again. It needs nothing but Python.
- With scipy (the extra `exact`), HiGHS solves the linear relaxation: its value is a proven upper bound, its dual
  prices say what a byte of each layer is worth, and hardly an item is left undecided. What lies near the cut is then
  solved exactly.

Either way the answer carries a bound that no set can exceed, so the gap to the optimum is known.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something to take, with all that is `below` it (indices of items that come earlier) or not at all.

    What is not `wanted` is taken only if something above it is.
    """

    worth: int
    size: int
    layer: int
    below: tuple[int, ...] = ()
    wanted: bool = True


@dataclass(frozen=True, kw_only=True)
class Knapsack:
    """The problem: items, the budget of each layer (`None`: no own one) and that of all, and what has to be in.

    The closure of `forced` must fit.
    """

    items: tuple[Item, ...]
    budgets: tuple[int | None, ...]
    total: int
    forced: frozenset[int] = frozenset()

    @cached_property
    def above(self) -> tuple[tuple[int, ...], ...]:
        """What stands directly on each item."""
        found: list[list[int]] = [[] for _ in self.items]
        for index, item in enumerate(self.items):
            for below in item.below:
                found[below].append(index)
        return tuple(tuple(rows) for rows in found)

    def missing(self, index: int, chosen: AbstractSet[int]) -> list[int]:
        """Return what taking an item adds to a closed set: itself and what of its closure is not in it, sorted."""
        found = {index}
        pending = [index]
        while pending:
            for below in self.items[pending.pop()].below:
                if below not in found and below not in chosen:
                    found.add(below)
                    pending.append(below)
        return sorted(found)

    def standing_on(self, index: int, chosen: AbstractSet[int]) -> list[int]:
        """Return what leaving an item out takes from a closed set: itself and what of it stands on it, sorted."""
        found = {index}
        pending = [index]
        while pending:
            for above in self.above[pending.pop()]:
                if above not in found and above in chosen:
                    found.add(above)
                    pending.append(above)
        return sorted(found)

    def closure(self, indices: Iterable[int]) -> set[int]:
        """Return the items with all that is below them."""
        found: set[int] = set()
        for index in sorted(indices):
            if index not in found:
                found.update(self.missing(index, found))
        return found

    def worth(self, indices: Iterable[int]) -> int:
        """Return what a set is worth."""
        return sum(self.items[index].worth for index in indices)

    def fits(self, indices: Iterable[int]) -> bool:
        """Whether a set is within every budget."""
        room = Room(self)
        room.take(indices)
        return room.is_enough

    def without_strays(self, chosen: AbstractSet[int]) -> set[int]:
        """Return a closed set without what nobody wanted: what has nothing wanted above it in the set."""
        return self.closure(index for index in chosen if self.items[index].wanted or index in self.forced)


class Room:
    """What is left of every budget."""

    def __init__(self, problem: Knapsack) -> None:
        self._items = problem.items
        self._left = [*problem.budgets, problem.total]

    def admits(self, indices: Iterable[int]) -> bool:
        """Whether all of `indices` fit beside what was taken."""
        more = [0] * len(self._left)
        for index in indices:
            item = self._items[index]
            more[item.layer] += item.size
            more[-1] += item.size
        return all(left is None or extra <= left for left, extra in zip(self._left, more, strict=True))

    def take(self, indices: Iterable[int]) -> None:
        """Use up room."""
        for index in indices:
            item = self._items[index]
            for place in (item.layer, len(self._left) - 1):
                left = self._left[place]
                self._left[place] = None if left is None else left - item.size

    @property
    def is_enough(self) -> bool:
        """Whether no more was taken than there was."""
        return all(left is None or left >= 0 for left in self._left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A closed set within the budgets; `bound` is proven: no such set is worth more.

    `prices` are what a byte more of each layer would be worth, all budgets considered: where the cut lies.
    """

    chosen: frozenset[int]
    worth: int
    bound: int
    prices: tuple[float, ...]
    method: str

    @property
    def gap(self) -> float:
        """How far, at most, the optimum lies above this solution, as a share of the bound."""
        return (self.bound - self.worth) / self.bound if self.bound else 0.0


def greedy(problem: Knapsack, start: AbstractSet[int]) -> Solution:
    """Take what has most worth by byte, with what it needs and has not got, until nothing fits any more.

    `start` is a closed set within the budgets. Of equals the first by index is taken.
    """
    filled, density = fill(problem, start)
    prices = (density,) * len(problem.budgets)
    worth = problem.worth(filled)
    return Solution(
        chosen=frozenset(filled),
        worth=worth,
        bound=max(worth, min(_priced_bound(problem, density * factor) for factor in (0.8, 1.0, 1.25))),
        prices=prices,
        method="greedy",
    )


def fill(problem: Knapsack, start: AbstractSet[int]) -> tuple[set[int], float]:
    """Fill up a closed set greedily; return it, and the density (worth by byte) at which room first ran out."""
    chosen = set(start)
    room = Room(problem)
    room.take(chosen)
    frontier = _Frontier(problem, chosen)
    cut: float | None = None
    while (found := frontier.pop()) is not None:
        index, density = found
        missing = problem.missing(index, chosen)
        if room.admits(missing):
            room.take(missing)
            chosen.update(missing)
            frontier.took(missing)
        elif cut is None:
            cut = density
    return chosen, cut or 0.0


class _Frontier:
    """The wanted items that are not taken yet, the one with the densest missing closure first."""

    def __init__(self, problem: Knapsack, chosen: AbstractSet[int]) -> None:
        self._chosen = chosen
        self._worth: dict[int, int] = {}
        self._size: dict[int, int] = {}
        self._items = problem.items
        self._dependents: list[list[int]] = [[] for _ in problem.items]
        for index, item in enumerate(problem.items):
            if item.wanted and index not in chosen:
                missing = problem.missing(index, chosen)
                self._worth[index] = problem.worth(missing)
                self._size[index] = sum(problem.items[each].size for each in missing)
                for each in missing:
                    self._dependents[each].append(index)
        self._heap = [(-self._density(index), index) for index in self._worth]
        heapq.heapify(self._heap)

    def pop(self) -> tuple[int, float] | None:
        """Return the next item and its density; one that is not taken then comes back when less of it is missing."""
        while self._heap:
            density, index = heapq.heappop(self._heap)
            if index not in self._chosen and -density == self._density(index):
                return index, -density
        return None

    def took(self, indices: Iterable[int]) -> None:
        """What was missing is missing no more."""
        touched: set[int] = set()
        for taken in indices:
            for index in self._dependents[taken]:
                self._worth[index] -= self._items[taken].worth
                self._size[index] -= self._items[taken].size
                touched.add(index)
        for index in sorted(touched - self._chosen):
            heapq.heappush(self._heap, (-self._density(index), index))

    def _density(self, index: int) -> float:
        return self._worth[index] / max(1, self._size[index])


def _priced_bound(problem: Knapsack, price: float) -> int:
    """Return an upper bound: the total budget sold at `price` a byte, and every item paid for by what needs it.

    An item that is not worth its bytes is paid for, as far as that goes, by the surplus of items that stand on it: they
    cannot be taken without it. What surplus is left over is all that a closed set can make beyond the price of the
    budget. That is weak duality for one way of paying, so it holds for every price; it is not the best way.
    """
    if not price:
        return problem.worth(range(len(problem.items)))
    surplus = [item.worth - price * item.size for item in problem.items]
    for index in range(len(problem.items) - 1, -1, -1):
        if surplus[index] <= 0:
            continue
        for below in reversed(problem.missing(index, frozenset())):
            if surplus[below] < 0:
                paid = min(surplus[index], -surplus[below])
                surplus[index] -= paid
                surplus[below] += paid
                if surplus[index] <= 0:
                    break
    return int(price * problem.total + sum(left for left in surplus if left > 0)) + 1
