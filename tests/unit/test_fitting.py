"""Which moves of a lock go together, without cargo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from factory.cargo.index_cache import CrateFacts
from factory.cargo.lock import Lock, LockedPackage
from factory.consumer.align.fitting import Fitted, Fitting, Requirement, fit
from factory.consumer.align.model import Move
from tests.unit.unit_builder import needs, package

if TYPE_CHECKING:
    from factory.model import PackageId

INDEX: dict[str, dict[str, dict[str, str]]] = {
    "top": {"1.0.0": {"low": "^0.1.2"}, "1.1.0": {"low": "^0.1.4"}, "1.2.0": {"low": "^0.2"}},
    "low": {version: {} for version in ("0.1.2", "0.1.3", "0.1.4", "0.1.5", "0.1.6-rc.1", "0.2.0")},
    "strict": {"1.0.0": {"low": "=0.1.2"}},
    "date": {"0.3.5": {"date-macros": "=0.2.5", "date-core": "=0.1.7"}, "0.3.7": {"date-macros": "=0.2.7"}},
    "date-macros": {"0.2.5": {"date-core": "=0.1.7"}, "0.2.6": {}, "0.2.7": {"date-core": "=0.1.8"}},
    "date-core": {"0.1.7": {}, "0.1.8": {}},
    "pinned": {"1.0.0": {"date": "^0.3.7"}},
    "calendar": {"1.0.0": {"date-macros": ">=0.2.6"}},
    "loose": {"1.0.0": {"low": ">=0.1, <0.3"}},
}
"""What each version of a crate asks for."""

LOCK = {"top@1.0.0": ("low@0.1.2",), "low@0.1.2": ()}


def packages(*labels: str) -> tuple[PackageId, ...]:
    return tuple(package(*label.split("@")) for label in labels)


def facts(of: PackageId) -> CrateFacts:
    rows = tuple(needs(name, demand) for name, demand in INDEX[of.name][of.version].items())
    return CrateFacts(yanked=False, rust_version=None, links=None, features=frozenset(), dependencies=rows)


def fitted(
    *moves: tuple[str, str],
    lock: dict[str, tuple[str, ...]] = LOCK,
    own: tuple[Requirement, ...] = (),
    barred: str = "",
) -> Fitted:
    entries = tuple(
        LockedPackage(package=packages(label)[0], checksum=None, dependencies=packages(*below))
        for label, below in lock.items()
    )
    return fit(
        [Move(package=packages(label)[0], version=version) for label, version in moves],
        Fitting(
            lock=Lock(entries),
            own=own,
            facts=facts,
            versions=lambda name: INDEX[name],
            may_take=lambda move: move.version != barred,
        ),
    )


def shown(moves: tuple[Move, ...]) -> list[str]:
    return [f"{move.package.label} -> {move.version}" for move in moves]


def test_what_asks_for_the_locked_version_keeps_a_move_out() -> None:
    found = fitted(("low@0.1.2", "0.1.4"), lock=LOCK | {"strict@1.0.0": ("low@0.1.2",)})
    assert not found.moves
    assert list(found.refused.values()) == ["strict@1.0.0 wants low `=0.1.2`"]


def test_so_does_a_manifest_of_the_repository() -> None:
    own = Requirement(by="a manifest of the repository", crate="low", demand="~0.1.2, <0.1.4")
    assert shown(fitted(("low@0.1.2", "0.1.3"), own=(own,)).moves) == ["low@0.1.2 -> 0.1.3"]
    assert list(fitted(("low@0.1.2", "0.1.4"), own=(own,)).refused.values()) == [
        "a manifest of the repository wants low `~0.1.2, <0.1.4`"
    ]


def test_what_a_move_asks_for_comes_along_at_the_lowest_version_that_will_do() -> None:
    found = fitted(("top@1.0.0", "1.1.0"))
    assert shown(found.moves) == ["top@1.0.0 -> 1.1.0"]
    assert shown(found.companions) == ["low@0.1.2 -> 0.1.4"]
    assert shown(fitted(("top@1.0.0", "1.1.0"), barred="0.1.4").companions) == ["low@0.1.2 -> 0.1.5"]


def test_where_that_cannot_come_the_move_is_refused_and_nothing_comes_along() -> None:
    found = fitted(("top@1.0.0", "1.1.0"), lock=LOCK | {"strict@1.0.0": ("low@0.1.2",)})
    assert not found.moves
    assert not found.companions
    assert list(found.refused.values()) == ["top@1.1.0 wants low `^0.1.4`, and strict@1.0.0 wants low `=0.1.2`"]


def test_a_package_that_is_wanted_elsewhere_does_not_come_along() -> None:
    found = fitted(("top@1.0.0", "1.1.0"), ("low@0.1.2", "0.1.3"))
    assert shown(found.moves) == ["low@0.1.2 -> 0.1.3"]
    assert list(found.refused.values()) == ["top@1.1.0 wants low `^0.1.4`"]


@pytest.mark.parametrize("demand", ["=0.1.2+x.1", "0.1.2, <0.1.3", "<=0.1.2+y"])
def test_whatever_form_a_requirement_has_it_keeps_a_move_out(demand: str) -> None:
    own = Requirement(by="a manifest of the repository", crate="low", demand=demand)
    assert not fitted(("low@0.1.2", "0.1.4"), own=(own,)).moves


def test_a_pre_release_is_not_taken_for_a_release() -> None:
    own = Requirement(by="a manifest of the repository", crate="low", demand="^0.1.2")
    assert not fitted(("low@0.1.2", "0.1.6-rc.1"), own=(own,)).moves


DATES = {"date@0.3.7": ("date-core@0.1.8", "date-macros@0.2.7"), "date-core@0.1.8": ()}
DATES |= {"date-macros@0.2.7": ("date-core@0.1.8",)}


def test_what_an_older_version_asks_for_comes_along_at_an_older_version() -> None:
    found = fitted(("date@0.3.7", "0.3.5"), ("date-core@0.1.8", "0.1.7"), lock=DATES)
    assert shown(found.moves) == ["date@0.3.7 -> 0.3.5", "date-core@0.1.8 -> 0.1.7"]
    assert shown(found.companions) == ["date-macros@0.2.7 -> 0.2.5"]
    assert not found.refused


def test_where_something_holds_that_none_of_the_group_moves() -> None:
    lock = DATES | {"calendar@1.0.0": ("date-macros@0.2.7",)}
    found = fitted(("date@0.3.7", "0.3.5"), ("date-core@0.1.8", "0.1.7"), lock=lock)
    assert not found.moves
    assert not found.companions
    assert sorted(found.refused.values()) == [
        "date-macros@0.2.7 wants date-core `=0.1.8`",
        "date@0.3.5 wants date-macros `=0.2.5`, and calendar@1.0.0 wants date-macros `>=0.2.6`",
    ]


def test_what_comes_along_stays_where_its_move_is_refused_for_something_else() -> None:
    lock = DATES | {"pinned@1.0.0": ("date@0.3.7",)}
    found = fitted(("date@0.3.7", "0.3.5"), lock=lock)
    assert not found.moves
    assert not found.companions
    assert list(found.refused.values()) == ["pinned@1.0.0 wants date `^0.3.7`"]


def test_another_range_is_cargos_to_add() -> None:
    found = fitted(("top@1.0.0", "1.2.0"))
    assert shown(found.moves) == ["top@1.0.0 -> 1.2.0"]
    assert not found.companions


def test_one_of_several_locked_ranges_is_enough() -> None:
    lock = {"loose@1.0.0": ("low@0.2.0",), "low@0.1.2": (), "low@0.2.0": ()}
    assert shown(fitted(("low@0.1.2", "0.1.5"), lock=lock).moves) == ["low@0.1.2 -> 0.1.5"]


def test_moves_that_need_each_other_go_together() -> None:
    found = fitted(("low@0.1.2", "0.1.5"), ("top@1.0.0", "1.1.0"))
    assert len(found.moves) == 2
    assert not found.companions
    assert not found.refused
