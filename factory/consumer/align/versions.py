"""The step `versions`: the lock moved onto the baseline's versions, as far as all requirements allow."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import tomli

from factory.cargo.compatibility import caret_range
from factory.cargo.lock import parse_lock
from factory.consumer.align.fitting import Fitting, Requirement, fit
from factory.consumer.align.model import Change, Move
from factory.consumer.align.requirements import widened
from factory.consumer.align.rust_limit import rust_limit
from factory.consumer.align.settle import MOST_ATTEMPTS, NOT_TRIED, settle, silently
from factory.errors import ConfigurationError
from factory.model import CRATES_IO, PackageId

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from factory.analysis.model import Analysis
    from factory.cargo.advisories import Advisories
    from factory.cargo.index_cache import CrateFacts
    from factory.cargo.lock import Lock
    from factory.consumer.align.copy import WorkingCopy
    from factory.consumer.align.fitting import Fitted
    from factory.consumer.align.rust_limit import RustLimit
    from factory.planning.baseline import Baseline

_ROUNDS = 3
_WORD = re.compile(r"[\w-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRules:
    """By what versions are chosen: what the registry says, what advisories say (`None`: not asked).

    With `edit_requirements`, requirements of the repository's own manifests are changed where they keep a version out.
    With `allow_downgrade` a version that was yanked, or that an advisory warns of, may be gone back to.
    """

    baseline: Baseline
    facts: Callable[[PackageId], CrateFacts | None]
    versions: Callable[[str], Iterable[str]]
    advisories: Advisories | None = None
    allow_downgrade: bool = False
    edit_requirements: bool = False

    def moves(self, packages: Iterable[PackageId]) -> list[Move]:
        """Return the moves of locked packages that are at another version than the baseline's, sorted."""
        by_range = self.baseline.by_range
        crates = ((one, by_range.get((one.name, one.source, caret_range(one.version)))) for one in sorted(packages))
        return [
            Move(package=package, version=crate.version)
            for package, crate in crates
            if crate is not None and crate.version != package.version
        ]

    def moved(self, lock: str, moves: Iterable[Move]) -> str:
        """Return a lockfile with some packages moved, for cargo to complete."""
        return moved_lock(lock, {one: facts.checksum for one in moves if (facts := self.facts(one.target)) is not None})

    def refusal(self, move: Move, limit: RustLimit | None) -> str:
        """Say why a repository whose Rust has a limit shall not make a move; "" where it may."""
        facts = self.facts(move.target)
        if facts is None or not facts.checksum:
            return "the registry's index here does not know this version"
        if facts.yanked and not self.allow_downgrade:
            return "yanked from the registry (--allow-downgrade takes it all the same)"
        if limit is not None and limit.excludes(facts.rust_version):
            return f"needs rustc {facts.rust_version}, and {limit.says}"
        if self.advisories is not None and not self.allow_downgrade:
            known = self.advisories.of(move.target)
            added = sorted(known - self.advisories.of(move.package))
            if added:
                return f"{', '.join(added)} warns of it (--allow-downgrade takes it all the same)"
        return ""

    def why_too_new(self, packages: Iterable[PackageId], limit: RustLimit | None) -> str:
        """Say which package that comes in needs a newer Rust than a repository's limit; "" for none."""
        for package in self.too_new(packages, limit):
            facts = self.facts(package)
            if limit is not None and facts is not None:
                return f"brings {package.label}, which needs rustc {facts.rust_version}, and {limit.says}"
        return ""

    def too_new(self, packages: Iterable[PackageId], limit: RustLimit | None) -> list[PackageId]:
        """Return the packages that need a newer Rust than a repository's limit, sorted."""
        known = ((package, self.facts(package)) for package in sorted(packages))
        return [one for one, facts in known if facts is not None and limit and limit.excludes(facts.rust_version)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What the step came to: what is left has the reason beside it; `analysis` is of the copy afterwards."""

    changes: tuple[Change, ...]
    left: tuple[Change, ...]
    analysis: Analysis


@dataclass(slots=True)
class _Versions:
    copy: WorkingCopy
    rules: VersionRules
    analysis: Analysis
    own: tuple[Requirement, ...]
    pace: Callable[[int, int], None]
    first: frozenset[PackageId] = field(init=False)
    edits: list[tuple[str, str]] = field(default_factory=list)
    reached: set[PackageId] = field(default_factory=set)
    """What was moved so far, as it is locked now."""
    attempts: int = 0
    blamed: frozenset[Move] = frozenset()
    """The moves for which the last attempt failed, where cargo's lock shows them and its words do not."""

    def __post_init__(self) -> None:
        self.first = self.copy.locked()

    def run(self) -> Moved:
        self.copy.ask_index(sorted({move.package.name for move in self._wanted() if self._facts(move) is None}))
        left: dict[Move, str] = {}
        # What a round brings or moves may let the next one move more.
        for _ in range(_ROUNDS):
            wanted = self._wanted()
            refused = {move: why for move in wanted if (why := self._refusal(move))}
            fitted = self._fit([move for move in wanted if move not in refused])
            before = self.copy.locked()
            unsettled = self._settle(sorted((*fitted.moves, *fitted.companions)))
            # A round that is cut short has no better reason than the one before.
            known = {move: left.get(move, why) if why == NOT_TRIED else why for move, why in unsettled.items()}
            left = refused | dict(fitted.refused) | {m: why for m, why in known.items() if m not in fitted.companions}
            if self.copy.locked() == before:
                break
            # A version may need what was locked before, and not compiled.
            self.analysis = self.copy.analyze()
            if not self.analysis.resolved or self.attempts >= MOST_ATTEMPTS:
                break
        unmoved = tuple(sorted(move.row(why) for move, why in left.items()))
        return Moved(changes=self._changes(), left=unmoved, analysis=self.analysis)

    def _settle(self, moves: Sequence[Move]) -> dict[Move, str]:
        # A later round meets most of what was refused before once more: the bound is that of all rounds.
        most = MOST_ATTEMPTS - self.attempts
        return dict(settle(moves, self._attempt, self._suspects, pace=self.pace, most=most))

    def _changes(self) -> tuple[Change, ...]:
        """Tell what became of each package that was locked at first, and what is new."""
        now = self.copy.locked()
        rows = [Change(self.copy.shown(subject), what) for subject, what in self.edits]
        gone = {(p.name, caret_range(p.version)): p for p in self.first - now}
        for package in sorted(now - self.first):
            old = gone.pop((package.name, caret_range(package.version)), None)
            if old is None:
                rows.append(Change(package.label, "new in the lock"))
            else:
                move = Move(package=old, version=package.version)
                rows.append(move.row("an older one" if move.is_downgrade else ""))
        return tuple(rows + [Change(package.label, "gone from the lock") for package in sorted(gone.values())])

    def _wanted(self) -> list[Move]:
        """Return what is locked at another version than the baseline's, of what is compiled or new."""
        compiled = self.analysis.packages
        return self.rules.moves(one for one in self.copy.locked() if one in compiled or one not in self.first)

    def _refusal(self, move: Move) -> str:
        return self.rules.refusal(move, rust_limit(self.copy.found))

    def _fit(self, moves: Sequence[Move]) -> Fitted:
        """Leave out what requirements exclude, and add what moves need beside them: cargo need not be asked."""
        lock = parse_lock(self.copy.lock.read_text(encoding="utf-8"))
        return fit(
            moves,
            Fitting(
                lock=lock,
                # What is changed along with the lock excludes nothing.
                own=() if self.rules.edit_requirements else self.own,
                facts=self.rules.facts,
                versions=self.rules.versions,
                may_take=lambda move: not self._refusal(move),
            ),
        )

    def _facts(self, move: Move) -> CrateFacts | None:
        return self.rules.facts(move.target)

    def _suspects(self, moves: Sequence[Move], reason: str) -> Collection[Move]:
        return self.blamed or suspects(moves, reason)

    def _attempt(self, moves: Sequence[Move]) -> str:
        self.attempts += 1
        self.blamed = frozenset()
        before = self.copy.read()
        try:
            texts, edits = widened(before, moves) if self.rules.edit_requirements else (before, [])
        except ConfigurationError as error:
            return error.what
        lock = str(self.copy.lock.relative_to(self.copy.folder))
        self.copy.write(texts | {lock: self.rules.moved(texts[lock], moves)})
        targets = {move.target for move in moves}
        # A version that is wanted is not in the way: with another in its place the attempt would be lost.
        held = self.analysis.packages | self.reached | targets
        why = self.copy.settle_lock(held) or self._disagreement(moves, parse_lock(texts[lock]))
        if why:
            self.copy.write(before)
        else:
            self.edits += edits
            self.reached |= targets
        return why

    def _disagreement(self, moves: Sequence[Move], before: Lock) -> str:
        """Say what is wrong with what cargo made of the moves; "" where it took all of them."""
        now = self.copy.locked()
        ranges = {(package.name, caret_range(package.version)) for package in now}
        # What nothing needs any more is gone, and no refusal.
        missing = [
            move
            for move in moves
            if move.target not in now and (move.package.name, caret_range(move.version)) in ranges
        ]
        if missing:
            self.blamed = frozenset(missing)
            return "a manifest of the repository does not allow this version (--manifest changes it)"
        limit = rust_limit(self.copy.found)
        too_new = self.rules.too_new(now - {entry.package for entry in before.packages}, limit)
        if too_new:
            after = parse_lock(self.copy.lock.read_text(encoding="utf-8"))
            self.blamed = movers_of(too_new, moves, before, after)
        return self.rules.why_too_new(too_new, limit)


def move_versions(
    copy: WorkingCopy, rules: VersionRules, analysis: Analysis, *, pace: Callable[[int, int], None] = silently
) -> Moved:
    """Move the lock of a copy, which is analysed, onto the baseline's versions.

    Cargo resolves: the lock is given to it with the wanted versions in it, and it completes or refuses them. Packages
    that are not compiled, such as those for other platforms, stay where they are unless they are in the way.
    """
    return _Versions(copy, rules, analysis, _own_requirements(copy), pace).run()


def settle_on_baseline(copy: WorkingCopy, rules: VersionRules, packages: Iterable[PackageId]) -> None:
    """Move packages that are locked onto the baseline's versions; those that may not or cannot move stay."""
    limit = rust_limit(copy.found)
    wanted = [move for move in rules.moves(packages) if not rules.refusal(move, limit)]

    def attempt(moves: Sequence[Move]) -> str:
        before = copy.lock.read_text(encoding="utf-8")
        copy.lock.write_text(rules.moved(before, moves), encoding="utf-8")
        why = copy.settle_lock()
        # Where a requirement excludes the version, cargo may take a third one.
        if not why and not {one.target for one in moves} <= copy.locked():
            why = "a requirement excludes it"
        if why:
            copy.lock.write_text(before, encoding="utf-8")
        return why

    settle(wanted, attempt, suspects)


def _own_requirements(copy: WorkingCopy) -> tuple[Requirement, ...]:
    """Return what the manifests of the workspace ask for of crates.io; raise `ConfigurationError` for broken ones."""
    return tuple(
        Requirement(
            by="a manifest of the repository", crate=row["name"], demand=row["req"], remedy="--manifest changes it"
        )
        for package in copy.packages()
        for row in package["dependencies"]
        if row["source"] == CRATES_IO
    )


def suspects(moves: Sequence[Move], reason: str) -> list[Move]:
    """Return the moves of crates that cargo complains of: halves would part what needs each other."""
    named = set(_WORD.findall(reason))
    return [move for move in moves if move.package.name in named]


def movers_of(packages: Collection[PackageId], moves: Iterable[Move], before: Lock, after: Lock) -> frozenset[Move]:
    """Return the moves by which packages came into a lock: those nearest above them.

    Between them stands what came along, and what was locked before and depends on more than it did: a feature of it was
    turned on.
    """
    users: dict[PackageId, list[PackageId]] = defaultdict(list)
    for entry in after.packages:
        for dependency in entry.dependencies:
            users[dependency].append(entry.package)
    edges = {(entry.package, dependency.name) for entry in before.packages for dependency in entry.dependencies}
    by_target = {move.target: move for move in moves}
    found: set[Move] = set()
    pending, seen = list(packages), set(packages)
    while pending:
        package = pending.pop()
        for user in users[package]:
            if user in by_target:
                found.add(by_target[user])
            elif (user, package.name) not in edges and user not in seen:
                seen.add(user)
                pending.append(user)
    return frozenset(found)


def moved_lock(text: str, checksums: Mapping[Move, str]) -> str:
    """Return a lockfile with packages at other versions, for cargo to complete: their dependencies are the old ones."""
    targets = {(move.package.name, move.package.version, move.package.source): move for move in checksums}
    document = tomli.loads(text)
    lines = text.splitlines(keepends=True)
    names = {f"{name} {version}": move for (name, version, _), move in targets.items()}
    entries = iter(document.get("package", []))
    made: list[str] = []
    current: Move | None = None
    for line in lines:
        if line.startswith("[[package]]"):
            entry = next(entries)
            current = targets.get((entry["name"], entry["version"], entry.get("source", "")))
        elif current is not None and line.startswith("version = "):
            line = f'version = "{current.version}"\n'
        elif current is not None and line.startswith("checksum = "):
            line = f'checksum = "{checksums[current]}"\n'
        elif line.startswith(' "'):
            line = _moved_edge(line, names)
        made.append(line)
    return "".join(made)


def _moved_edge(line: str, names: Mapping[str, Move]) -> str:
    quoted = line.strip().rstrip(",").strip('"')
    words = quoted.split(" ")
    move = names.get(" ".join(words[:2]))
    return line if move is None else line.replace(f"{words[0]} {words[1]}", f"{words[0]} {move.version}")
