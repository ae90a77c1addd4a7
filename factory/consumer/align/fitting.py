"""Which moves of a lock go together, by what the registry says that each version asks for: cargo is asked afterwards.

Cargo refuses all of a set of moves where one of them does not fit. Most that does not fit can be seen beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import semver

from factory.cargo.compatibility import caret_range
from factory.cargo.requirement import allows
from factory.consumer.align.model import Move

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from factory.cargo.index_cache import CrateFacts
    from factory.cargo.lock import Lock
    from factory.model import PackageId


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What asks for a crate: `by` names it for people, `demand` is a requirement as cargo reads it.

    `remedy` says what changes the requirement itself, where something does.
    """

    by: str
    crate: str
    demand: str
    optional: bool = False
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The moves that go together, those that moves need beside them (`companions` too), and why others do not go."""

    moves: tuple[Move, ...]
    companions: tuple[Move, ...]
    refused: Mapping[Move, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """What moves are fitted by: `own` are the requirements of the repository's manifests.

    `versions` lists all versions of a crate that the registry has; `may_take` says whether one of them may come in.
    """

    lock: Lock
    own: Sequence[Requirement]
    facts: Callable[[PackageId], CrateFacts | None]
    versions: Callable[[str], Iterable[str]]
    may_take: Callable[[Move], bool]


def fit(wanted: Iterable[Move], fitting: Fitting) -> Fitted:
    """Return the moves that no requirement excludes, each with what it needs.

    A move is left out where something that stays, or moves, asks for the version that is locked. Where a moved package
    asks for more than is locked of another, that one comes along at the lowest version which will do: the lock keeps
    it where it is otherwise, and cargo refuses. A package that is wanted at another version does not come along.
    """
    search = _Search(fitting, {move.package: move for move in wanted})
    return search.run()


@dataclass(slots=True)
class _Search:
    fitting: Fitting
    going: dict[PackageId, Move]
    companions: set[PackageId] = field(default_factory=set)
    refused: dict[Move, str] = field(default_factory=dict)
    _by_name: dict[str, list[PackageId]] = field(default_factory=dict)
    _known: dict[PackageId, tuple[Requirement, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for entry in self.fitting.lock.packages:
            self._by_name.setdefault(entry.package.name, []).append(entry.package)

    def run(self) -> Fitted:
        # Every pass refuses a move or adds a companion, which is never added again once refused: it comes to an end.
        while self._change():
            pass
        return Fitted(
            moves=tuple(sorted(move for package, move in self.going.items() if package not in self.companions)),
            companions=tuple(sorted(move for package, move in self.going.items() if package in self.companions)),
            refused={move: why for move, why in self.refused.items() if move.package not in self.companions},
        )

    def _change(self) -> bool:
        """Mend what does not fit, in one pass; return whether there was something."""
        changed = False
        for requirement in self.fitting.own:
            changed |= self._mend(requirement, self._by_name.get(requirement.crate, ()), None)
        for entry in self.fitting.lock.packages:
            mover = self.going.get(entry.package)
            dependent = entry.package if mover is None else mover.target
            for requirement in self._requirements(dependent):
                linked = [package for package in entry.dependencies if package.name == requirement.crate]
                if linked or not requirement.optional:
                    changed |= self._mend(requirement, linked, mover)
        return changed

    def _mend(self, requirement: Requirement, linked: Sequence[PackageId], mover: Move | None) -> bool:
        there = self._by_name.get(requirement.crate, [])
        if not there or any(allows(requirement.demand, self._version(package)) for package in there):
            return False
        kept_out = [p for p in linked if p in self.going and allows(requirement.demand, p.version)]
        for package in kept_out:
            self._refuse(self.going[package], requirement)
        if kept_out or mover is None or mover.package not in self.going:
            return bool(kept_out)
        return self._bring(requirement, there, mover)

    def _bring(self, requirement: Requirement, there: Sequence[PackageId], mover: Move) -> bool:
        """Let what a moved package asks for come along; where it cannot, the move is refused."""
        in_the_way = [(package, version) for package in there if (version := self._least(requirement, package))]
        if not in_the_way and not any(self._shares_range(requirement, package) for package in there):
            # Of another range than all that is locked: cargo adds it beside them.
            return False
        known = {move.package for move in self.refused}
        free = [(p, version) for p, version in in_the_way if p not in known and p not in self.going]
        if not free:
            self._refuse(mover, requirement)
            return True
        package, version = free[0]
        self.going[package] = Move(package=package, version=version)
        self.companions.add(package)
        return True

    def _least(self, requirement: Requirement, package: PackageId) -> str | None:
        """Return the lowest version above the locked one, in its range, that will do."""
        locked = semver.Version.parse(package.version)
        found = [
            version
            for version in self.fitting.versions(package.name)
            if caret_range(version) == caret_range(package.version)
            and semver.Version.parse(version) > locked
            and allows(requirement.demand, version)
            and self.fitting.may_take(Move(package=package, version=version))
        ]
        return min(found, key=semver.Version.parse, default=None)

    def _shares_range(self, requirement: Requirement, package: PackageId) -> bool:
        return any(
            caret_range(version) == caret_range(package.version) and allows(requirement.demand, version)
            for version in self.fitting.versions(package.name)
        )

    def _refuse(self, move: Move, requirement: Requirement) -> None:
        remedy = f" ({requirement.remedy})" if requirement.remedy else ""
        self.refused[move] = f"{requirement.by} wants `{requirement.demand}`{remedy}"
        del self.going[move.package]

    def _version(self, package: PackageId) -> str:
        move = self.going.get(package)
        return package.version if move is None else move.version

    def _requirements(self, package: PackageId) -> tuple[Requirement, ...]:
        if package not in self._known:
            facts = self.fitting.facts(package)
            self._known[package] = tuple(
                Requirement(by=package.label, crate=row.package, demand=row.requirement, optional=row.optional)
                for row in (() if facts is None else facts.dependencies)
                if row.kind != "dev"
            )
        return self._known[package]
