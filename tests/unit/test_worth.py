"""Worth for repositories that nobody analysed: how probably a unit is met again, and what that makes of its seconds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.model import UnitKey
from factory.planning.worth import Savings, chances, worth_of

REPOS = tuple("abcd")

sharing = st.lists(st.sets(st.sampled_from(REPOS), min_size=1), min_size=1, max_size=20)


def saved(*users: str, seconds: float = 2.0) -> Savings:
    """A unit for each word, with a repository for each letter, which it saves the same seconds."""
    return {UnitKey(f"{number}"): dict.fromkeys(word, seconds) for number, word in enumerate(users)}


def test_by_default_a_unit_is_worth_what_its_users_save() -> None:
    found = worth_of(saved("a", "abc"), repos=4, unseen=0.0)
    assert list(found.values()) == [2.0, 6.0]


def test_what_one_has_is_met_as_often_as_each_finds_what_another_has() -> None:
    # b has one of the two units that a has, and a one of b's.
    assert chances(saved("a", "b", "ab"), 2) == pytest.approx([1 / 2, 1 / 2])
    # Nobody has what two others share: of 2 + 8 times that one or two others had a unit, two were hits.
    assert chances(saved("a", "b", "ab"), 4) == pytest.approx([1 / 5] * 4)


def test_units_of_one_repository_are_worth_nothing_to_others_where_nobody_shares() -> None:
    assert set(worth_of(saved("a", "b", "c"), repos=3, unseen=1.0).values()) == {0.0}


def test_what_all_have_is_worth_as_much_to_others() -> None:
    found = worth_of(saved("abcd", "abcd", "a"), repos=4, unseen=1.0)
    assert found[UnitKey("0")] == pytest.approx(8.0)
    assert found[UnitKey("2")] == 0.0


def test_a_part_of_the_builds_counts_as_a_part() -> None:
    units = saved("a", "ab", "abc")
    none, half, all_ = (worth_of(units, repos=4, unseen=part) for part in (0.0, 0.5, 1.0))
    assert half == pytest.approx({key: (none[key] + all_[key]) / 2 for key in units})


@given(sharing)
def test_chances_are_shares_that_never_fall(users: list[set[str]]) -> None:
    found = chances(saved(*("".join(sorted(word)) for word in users)), len(REPOS))
    assert len(found) == len(REPOS)
    assert all(0 <= chance <= 1 for chance in found)
    assert all(one <= other for one, other in pairwise(found))


@given(sharing)
def test_on_the_whole_as_much_is_met_as_is_there(users: list[set[str]]) -> None:
    # Each repository's units that others have are what the chances of all that the others have add up to.
    units = saved(*("".join(sorted(word)) for word in users))
    met = chances(units, len(REPOS))
    expected = there = 0.0
    for repo in REPOS:
        for by_repo in units.values():
            others = len(by_repo.keys() - {repo})
            if others:
                expected += met[others - 1]
                there += repo in by_repo
    assert expected == pytest.approx(there)


def test_a_unit_that_saves_nothing_is_worth_nothing() -> None:
    assert worth_of({UnitKey("x"): {}}, repos=2, unseen=1.0) == {UnitKey("x"): 0}
