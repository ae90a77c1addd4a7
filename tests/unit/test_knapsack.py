"""The knapsack: closed, within the budgets, bounded truly, and, with HiGHS, as good as trying everything."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from factory.planning.exact import improve
from factory.planning.knapsack import Item, Knapsack, Solution, greedy
from factory.planning.selection import solve

if TYPE_CHECKING:
    import pytest

FEW = settings(max_examples=40)


@st.composite
def problems(draw: st.DrawFn) -> Knapsack:
    """Small problems of two layers; some items are of use only under others."""
    count = draw(st.integers(1, 9))
    items = []
    for index in range(count):
        below = draw(st.lists(st.integers(0, index - 1), unique=True, max_size=2)) if index else []
        items.append(
            Item(
                worth=draw(st.integers(1, 30)),
                size=draw(st.integers(1, 12)),
                layer=draw(st.integers(0, 1)),
                below=tuple(sorted(below)),
                wanted=draw(st.integers(0, 3)) > 0,
            )
        )
    return Knapsack(
        items=tuple(items),
        budgets=(draw(st.none() | st.integers(0, 40)), draw(st.none() | st.integers(0, 40))),
        total=draw(st.integers(0, 60)),
    )


def exact(problem: Knapsack) -> Solution:
    return improve(problem, greedy(problem, frozenset()))


def is_valid(problem: Knapsack, chosen: frozenset[int]) -> bool:
    """Whether a set is closed, fits, and has nothing in it that nobody wanted."""
    return problem.closure(chosen) == chosen and problem.fits(chosen) and problem.without_strays(chosen) == set(chosen)


def best_by_trying(problem: Knapsack) -> int:
    indices = range(len(problem.items))
    sets = chain.from_iterable(combinations(indices, size) for size in range(len(problem.items) + 1))
    return max(problem.worth(some) for some in sets if is_valid(problem, frozenset(some)))


@FEW
@given(problems())
def test_highs_is_as_good_as_trying_everything_and_proves_it(problem: Knapsack) -> None:
    found = exact(problem)
    assert is_valid(problem, found.chosen)
    assert found.worth == problem.worth(found.chosen) == found.bound == best_by_trying(problem)
    assert found.gap == 0


@FEW
@given(problems())
def test_the_greedy_answer_is_valid_and_its_bound_is_true(problem: Knapsack) -> None:
    found = greedy(problem, frozenset())
    assert is_valid(problem, found.chosen)
    assert found.worth == problem.worth(found.chosen)
    assert found.worth <= best_by_trying(problem) <= found.bound


@FEW
@given(problems(), st.integers(0, 30))
def test_more_budget_never_saves_less(problem: Knapsack, more: int) -> None:
    larger = replace(
        problem,
        total=problem.total + more,
        budgets=tuple(None if budget is None else budget + more for budget in problem.budgets),
    )
    assert exact(larger).worth >= exact(problem).worth
    assert greedy(larger, frozenset()).bound >= exact(problem).worth


@FEW
@given(problems())
def test_what_is_forced_is_in(problem: Knapsack) -> None:
    first = next((index for index in range(len(problem.items)) if problem.fits(problem.closure([index]))), None)
    if first is None:
        return
    forced = replace(problem, forced=frozenset({first}))
    found = solve(forced)
    assert problem.closure([first]) <= found.chosen
    assert problem.fits(found.chosen)
    assert greedy(forced, problem.closure([first])).worth <= found.worth <= found.bound


def test_greedy_is_caught_by_one_large_item_and_highs_is_not() -> None:
    problem = Knapsack(
        items=(Item(worth=3, size=2, layer=0), Item(worth=10, size=10, layer=0)), budgets=(None,), total=10
    )
    assert greedy(problem, frozenset()).chosen == {0}
    assert exact(problem).chosen == {1}


def test_what_a_byte_is_worth_says_where_the_cut_lies() -> None:
    items = tuple(Item(worth=worth, size=1, layer=0) for worth in (9, 7, 5, 3))
    found = exact(Knapsack(items=items, budgets=(None,), total=2))
    assert found.chosen == {0, 1}
    assert 5 <= found.prices[0] <= 7


def test_without_scipy_the_answer_is_greedy_with_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Knapsack(
        items=(Item(worth=3, size=2, layer=0), Item(worth=10, size=10, layer=0)), budgets=(None,), total=10
    )
    assert solve(problem).method == "HiGHS"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found = solve(problem)
    assert (found.method, found.worth) == ("greedy", 3)
    assert found.bound >= 10


def test_highs_prints_nothing_to_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    items = tuple(
        Item(worth=7 + index * 37 % 23, size=5 + index * 29 % 17, layer=0, below=(index - 3,) if index > 2 else ())
        for index in range(60)
    )
    found = exact(Knapsack(items=items, budgets=(None,), total=271))
    assert found.gap == 0
    assert capfd.readouterr().out == ""
