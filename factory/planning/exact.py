"""The exact part of the selection, with HiGHS through scipy: the extra `exact` installs it.

The linear relaxation of the problem (`0 <= x <= 1`) is nearly whole: closed sets are corners of it, only the budgets
cut items in two. It is solved first, and is the bound. What lies near the cut is then decided by a mixed integer
program, the rest as the relaxation has it; a small problem is decided so as a whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array

from factory.planning.knapsack import Solution, fill

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from factory.planning.knapsack import Knapsack

_MOST_NODES = 10_000
"""Branches that the mixed integer program may try: no time, as the answer must not depend on the machine."""

_MOST_UNDECIDED = 2_000
"""Items that are decided exactly: those nearest to the cut. More take longer, and change next to nothing."""

_CLOSE_ENOUGH = 1e-6
"""A gap that no measurement of seconds could tell from none; only what is larger is worth branching."""

_WHOLE = 1e-6


def improve(problem: Knapsack, known: Solution) -> Solution:
    """Return the best set that is found, at least as good as `known`, with the relaxation's bound and prices."""
    if not problem.items:
        return known
    program = _Program.of(problem)
    relaxed = program.relax()
    best = _better(problem, known.chosen, [_rounded(problem, relaxed.values)])
    bound = min(known.bound, relaxed.bound)
    if bound - problem.worth(best) > bound * _CLOSE_ENOUGH:
        branched = program.branch(relaxed)
        if branched is not None:
            best = _better(problem, best, [branched.chosen, fill(problem, problem.without_strays(branched.chosen))[0]])
            bound = min(bound, branched.bound)
    worth = problem.worth(best)
    return Solution(
        chosen=frozenset(best),
        worth=worth,
        bound=max(worth, bound),
        prices=relaxed.prices,
        method="HiGHS",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Relaxed:
    """The linear relaxation, solved: between 0 and 1 for each item, the upper bound, and what a byte is worth."""

    values: NDArray[np.float64]
    bound: int
    prices: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Branched:
    """What branching gave: a set, and an upper bound for all sets."""

    chosen: set[int]
    bound: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    """The problem as HiGHS takes it: `worth` to be made most under `rows @ x <= limits`, in units near one."""

    problem: Knapsack
    worth: NDArray[np.float64]
    rows: Any
    limits: NDArray[np.float64]
    least: NDArray[np.float64]
    """1 for what has to be in."""
    worth_unit: float
    size_unit: float
    budget_rows: tuple[tuple[int, int | None], ...]
    """The numbers of the rows that are budgets, each with its layer, `None` for that of all."""

    @classmethod
    def of(cls, problem: Knapsack) -> _Program:
        items = problem.items
        worth_unit = float(max(1, max(item.worth for item in items)))
        size_unit = float(max(1, max(item.size for item in items)))
        table = _Table()
        for index, item in enumerate(items):
            for below in item.below:
                table.add({index: 1.0, below: -1.0}, 0.0)
            if not item.wanted and index not in problem.forced:
                table.add({index: 1.0} | dict.fromkeys(problem.above[index], -1.0), 0.0)
        budget_rows: list[tuple[int, int | None]] = []
        limited: list[tuple[int | None, int]] = [
            (layer, budget) for layer, budget in enumerate(problem.budgets) if budget is not None
        ]
        for layer, budget in [*limited, (None, problem.total)]:
            sizes = {
                index: item.size / size_unit for index, item in enumerate(items) if layer is None or item.layer == layer
            }
            budget_rows.append((table.count, layer))
            table.add(sizes, budget / size_unit)
        least = np.zeros(len(items))
        least[sorted(problem.closure(problem.forced))] = 1.0
        return cls(
            problem=problem,
            worth=np.array([item.worth / worth_unit for item in items]),
            rows=table.matrix(len(items)),
            limits=np.array(table.limits),
            least=least,
            worth_unit=worth_unit,
            size_unit=size_unit,
            budget_rows=tuple(budget_rows),
        )

    def relax(self) -> _Relaxed:
        """Solve the linear relaxation."""
        bounds = [(float(least), 1.0) for least in self.least]
        found = linprog(-self.worth, A_ub=self.rows, b_ub=self.limits, bounds=bounds, method="highs-ds")
        if found.status != 0 or found.x is None or found.fun is None:
            message = f"HiGHS did not solve the relaxation of a selection: {found.message}"
            raise RuntimeError(message)
        prices = [0.0] * len(self.problem.budgets)
        for row, layer in self.budget_rows:
            price = -float(found.ineqlin.marginals[row]) * self.worth_unit / self.size_unit
            for place in range(len(prices)) if layer is None else (layer,):
                prices[place] += price
        return _Relaxed(
            values=found.x,
            bound=self._whole(-found.fun),
            prices=tuple(max(0.0, price) for price in prices),
        )

    def branch(self, relaxed: _Relaxed) -> _Branched | None:
        """Solve the problem exactly for what is undecided, the rest as the relaxation has it; `None` without an answer.

        Small problems are undecided as a whole: then the bound that comes out holds for all sets.
        """
        undecided = self._undecided(relaxed)
        values = np.round(relaxed.values)
        whole = len(undecided) == len(values)
        free = np.zeros(len(values), dtype=bool)
        free[undecided] = True
        lower, upper = np.where(free, self.least, values), np.where(free, 1.0, values)
        with _quiet_stdout():
            found = milp(
                -self.worth,
                constraints=LinearConstraint(self.rows, -np.inf, self.limits),
                integrality=np.ones(len(self.worth), dtype=np.int64),
                bounds=Bounds(lower, upper),
                options={"mip_rel_gap": 0.0, "node_limit": _MOST_NODES},
            )
        if found.x is None:
            return None
        chosen = {int(index) for index in np.flatnonzero(found.x > 0.5)}
        proven = whole and found.mip_dual_bound is not None
        return _Branched(chosen=chosen, bound=self._whole(-found.mip_dual_bound) if proven else relaxed.bound)

    def _undecided(self, relaxed: _Relaxed) -> list[int]:
        """Return the items that the relaxation cuts in two, and those nearest to the cut, with what ties them to it."""
        problem = self.problem
        if len(problem.items) <= _MOST_UNDECIDED:
            return list(range(len(problem.items)))
        taken = {int(index) for index in np.flatnonzero(relaxed.values > 1 - _WHOLE)}
        open_ = {int(index) for index in np.flatnonzero(np.abs(relaxed.values - np.round(relaxed.values)) > _WHOLE)}
        groups = (
            problem.missing(index, taken)
            for index, item in enumerate(problem.items)
            if index not in taken and item.wanted
        )
        above = (problem.standing_on(index, taken) for index in sorted(taken))
        near = sorted((self._distance(group, relaxed.prices), group) for group in (*groups, *above))
        for _, group in near:
            if len(open_) >= _MOST_UNDECIDED:
                break
            open_.update(group)
        return sorted(open_)

    def _distance(self, group: list[int], prices: tuple[float, ...]) -> float:
        """Return how far what a group is worth lies from what its bytes cost, as a factor on a scale of logarithms."""
        items = [self.problem.items[index] for index in group]
        cost = sum(prices[item.layer] * item.size for item in items)
        return abs(math.log(max(1, sum(item.worth for item in items)) / max(cost, 1.0)))

    def _whole(self, value: float) -> int:
        """Return a bound in whole numbers, raised before by more than what floating point can have lost."""
        return math.floor(value * self.worth_unit * (1 + 1e-9) + 1e-6 * self.worth_unit)


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[None]:
    """HiGHS prints remarks to the process' stdout past all options, and stdout is for answers only."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        # What C has buffered would come out later.
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


class _Table:
    """Rows of a sparse matrix with their limits, in the making."""

    def __init__(self) -> None:
        self.limits: list[float] = []
        self._entries: list[tuple[int, int, float]] = []

    @property
    def count(self) -> int:
        return len(self.limits)

    def add(self, row: dict[int, float], limit: float) -> None:
        self._entries += [(self.count, column, value) for column, value in row.items()]
        self.limits.append(limit)

    def matrix(self, columns: int) -> Any:  # noqa: ANN401 - scipy's matrices have no useful type
        rows, places, values = zip(*self._entries, strict=True)
        return csr_array((values, (rows, places)), shape=(self.count, columns))


def _rounded(problem: Knapsack, values: NDArray[np.float64]) -> set[int]:
    """Return what is wholly in, filled up: it is closed, as nothing is more in than what is below it."""
    whole = {int(index) for index in np.flatnonzero(values > 1 - _WHOLE)}
    return fill(problem, problem.without_strays(problem.closure(whole)))[0]


def _better(problem: Knapsack, known: AbstractSet[int], others: Iterable[AbstractSet[int]]) -> set[int]:
    """Return the set of most worth; those of floating point are looked at again in whole numbers."""
    best = set(known)
    for other in others:
        clean = problem.without_strays(other)
        if problem.fits(clean) and problem.worth(clean) > problem.worth(best):
            best = clean
    return best
