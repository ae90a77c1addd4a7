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
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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

    def __str__(self) -> str:
        """Say who wants what."""
        return f"{self.by} wants {self.crate} `{self.demand}`{f' ({self.remedy})' if self.remedy else ''}"


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
    asks for another version of what is locked, that one comes along, as with `cargo update --precise`: the lock keeps
    it where it is otherwise, and cargo refuses. It comes to the lowest version above that will do, or else to the
    highest below. A package that is wanted at another version does not come along.
    """
    search = _Search(fitting, {move.package: move for move in wanted})
    return search.run()


@dataclass(slots=True)
class _Search:
    fitting: Fitting
    going: dict[PackageId, Move]
    companions: dict[PackageId, PackageId] = field(default_factory=dict)
    """What comes along, each with the package that it comes for."""
    refused: dict[Move, str] = field(default_factory=dict)
    _by_name: dict[str, list[PackageId]] = field(default_factory=dict)
    _known: dict[PackageId, tuple[Requirement, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for entry in self.fitting.lock.packages:
            self._by_name.setdefault(entry.package.name, []).append(entry.package)

    def run(self) -> Fitted:
        # Every pass adds a companion or refuses a move, for good: it comes to an end.
        while self._bring_all() or self._part_one():
            pass
        return Fitted(
            moves=tuple(sorted(move for package, move in self.going.items() if package not in self.companions)),
            companions=tuple(sorted(move for package, move in self.going.items() if package in self.companions)),
            refused={move: why for move, why in self.refused.items() if move.package not in self.companions},
        )

    def _bring_all(self) -> bool:
        """Let everything come along that can; return whether something did."""
        brought = [self._bring(*unmet) for unmet in self._unmet()]
        return any(brought)

    def _part_one(self) -> bool:
        """Refuse the first move that does not fit; others may fit without it."""
        return any(self._part(*unmet) for unmet in self._unmet())

    def _unmet(self) -> Iterator[tuple[Requirement, Sequence[PackageId], Move | None]]:
        """Yield what no version would meet, with the locked packages it is for, and the move that asks for it."""
        for requirement in self.fitting.own:
            if self._is_unmet(requirement):
                yield requirement, self._by_name[requirement.crate], None
        for entry in self.fitting.lock.packages:
            mover = self.going.get(entry.package)
            for requirement in self._requirements(entry.package if mover is None else mover.target):
                linked = [package for package in entry.dependencies if package.name == requirement.crate]
                if (linked or not requirement.optional) and self._is_unmet(requirement):
                    yield requirement, linked, mover

    def _is_unmet(self, requirement: Requirement) -> bool:
        there = self._by_name.get(requirement.crate, ())
        return bool(there) and not any(allows(requirement.demand, self._version(package)) for package in there)

    def _bring(self, requirement: Requirement, linked: Sequence[PackageId], mover: Move | None) -> bool:
        """Let what a moved package asks for come along, where nothing holds it; return whether it does."""
        if mover is None or self._kept_out(requirement, linked):
            return False
        known = {move.package for move in self.refused} | self.going.keys()
        free = (package for package in self._by_name[requirement.crate] if package not in known)
        found = [(package, version) for package in free if (version := self._nearest(requirement, package))]
        for package, version in found[:1]:
            self.going[package] = Move(package=package, version=version)
            self.companions[package] = mover.package
        return bool(found)

    def _part(self, requirement: Requirement, linked: Sequence[PackageId], mover: Move | None) -> bool:
        """Refuse the moves that a requirement keeps out, or else the one that makes it; return whether one is."""
        there = self._by_name[requirement.crate]
        kept_out = self._kept_out(requirement, linked)
        for package in kept_out:
            self._refuse(self.going[package], str(requirement))
        # Where it is of another range than all that is locked, cargo adds that beside them.
        if kept_out or mover is None or not any(self._shares_range(requirement, package) for package in there):
            return bool(kept_out)
        held = [why for move, why in self.refused.items() if move.package in there and move.package in self.companions]
        self._refuse(mover, ", and ".join([str(requirement), *held[:1]]))
        return True

    def _kept_out(self, requirement: Requirement, linked: Sequence[PackageId]) -> list[PackageId]:
        """Return the packages that would move away from what a requirement asks for."""
        return [package for package in linked if package in self.going and allows(requirement.demand, package.version)]

    def _nearest(self, requirement: Requirement, package: PackageId) -> str | None:
        """Return the lowest version above the locked one that will do, in its range, or else the highest below."""
        locked = semver.Version.parse(package.version)
        found = sorted(
            semver.Version.parse(version)
            for version in self.fitting.versions(package.name)
            if caret_range(version) == caret_range(package.version)
            and allows(requirement.demand, version)
            and self.fitting.may_take(Move(package=package, version=version))
        )
        above = [version for version in found if version > locked]
        return str((above[:1] or found[-1:])[0]) if found else None

    def _shares_range(self, requirement: Requirement, package: PackageId) -> bool:
        return any(
            caret_range(version) == caret_range(package.version) and allows(requirement.demand, version)
            for version in self.fitting.versions(package.name)
        )

    def _refuse(self, move: Move, why: str) -> None:
        self.refused[move] = why
        self._stay(move.package)

    def _stay(self, package: PackageId) -> None:
        """Leave a package as it is locked, and what came along for it."""
        del self.going[package]
        for other in [other for other, by in self.companions.items() if by == package and other in self.going]:
            self._stay(other)

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
