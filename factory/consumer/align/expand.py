"""What a feature brings: which optional crates it turns on, by what the registry says of the versions in the lock."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

import semver

from factory.cargo.compatibility import caret_range
from factory.cargo.requirement import allows
from factory.model import CRATES_IO, PackageId, Side
from factory.scan.cfg_expression import CfgSyntaxError, parse_target_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from factory.cargo.index_cache import CrateFacts, IndexDependency
    from factory.model import Unit
    from factory.planning.baseline import Baseline
    from factory.scan.cfg_expression import CfgSet

_Place = tuple[PackageId, Side, str]
"""A feature of a package on a side, or `_ITSELF`."""

_ITSELF = ""
"""In the place of a feature: the crate comes in."""

_DIGITS = frozenset("0123456789")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledCrates:
    """What a workspace compiles: packages by name and side; `macros` are those of them that are proc-macros.

    `on_wherever` has the features that a crate has in every version and on every side, by name.
    """

    packages: Mapping[tuple[str, Side], tuple[PackageId, ...]]
    features: Mapping[tuple[PackageId, Side], frozenset[str]]
    macros: frozenset[PackageId]
    on_wherever: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, units: Iterable[Unit]) -> CompiledCrates:
        """Collect the libraries of crates.io among some units."""
        packages: dict[tuple[str, Side], set[PackageId]] = {}
        features: dict[tuple[PackageId, Side], frozenset[str]] = {}
        macros: set[PackageId] = set()
        for unit in units:
            if unit.package.source != CRATES_IO or not unit.is_library:
                continue
            if unit.target_kind == "proc-macro":
                macros.add(unit.package)
            for side in unit.sides:
                packages.setdefault((unit.package.name, side), set()).add(unit.package)
                known = features.get((unit.package, side), frozenset())
                features[unit.package, side] = known | frozenset(unit.features)
        on_wherever: dict[str, frozenset[str]] = {}
        for (package, _), on in features.items():
            on_wherever[package.name] = on_wherever.get(package.name, on) & on
        return cls(
            packages={place: tuple(sorted(found)) for place, found in packages.items()},
            features=features,
            macros=frozenset(macros),
            on_wherever=on_wherever,
        )

    @property
    def all_packages(self) -> frozenset[PackageId]:
        """Every package, on whatever side."""
        return frozenset(package for package, _ in self.features)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a feature comes to: the features that it turns on, each with its crate, and the crates that it brings.

    What is on or compiled already is not among them. `is_known` where the baseline has all of these crates, and none of
    them links a native library.
    """

    features: frozenset[tuple[str, str]]
    crates: frozenset[str]
    is_known: bool


@dataclass(slots=True, kw_only=True)
class Expansion:
    """Follows features down through the crates that they turn on and bring, without asking cargo.

    Crates that are not compiled yet are taken to come in the baseline's version.
    """

    compiled: CompiledCrates
    baseline: Baseline
    facts: Callable[[PackageId], CrateFacts | None]
    cfgs: CfgSet
    triple: str
    _offered: dict[str, list[PackageId]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for crate in self.baseline.crates:
            self._offered.setdefault(crate.name, []).append(PackageId(crate.name, crate.version, crate.source))

    def reach(self, package: PackageId, side: Side, feature: str) -> Reach:
        """Follow a feature of a package that is compiled on a side."""
        features: set[tuple[str, str]] = set()
        crates: set[str] = set()
        is_known = True
        seen: set[_Place] = set()
        pending: list[_Place] = [(package, side, feature)]
        while pending:
            place = pending.pop()
            if place in seen:
                continue
            seen.add(place)
            facts = self.facts(place[0])
            if place[2] == _ITSELF:
                crates.add(place[0].name)
                is_known = is_known and facts is not None and facts.links is None and self._is_offered(place[0])
                pending += [] if facts is None else self._needed(place, facts)
            elif facts is not None and place[2] in facts.features and place[2] not in self._on(place):
                features.add((place[0].name, place[2]))
                pending += self._turned_on(place, facts)
        return Reach(features=frozenset(features), crates=frozenset(crates), is_known=is_known)

    def _on(self, place: _Place) -> frozenset[str]:
        return self.compiled.features.get(place[:2], frozenset())

    def _is_offered(self, package: PackageId) -> bool:
        return package in self._offered.get(package.name, ())

    def _needed(self, place: _Place, facts: CrateFacts) -> Iterator[_Place]:
        """Yield what a crate brings that comes in, whatever its features."""
        for row in self._rows(facts):
            if not row.optional:
                yield from self._from_dependency(row, place, (), weak=False)

    def _turned_on(self, place: _Place, facts: CrateFacts) -> Iterator[_Place]:
        """Yield what a feature names: other features, of its own crate and of others, and crates."""
        package, side, feature = place
        # An optional dependency is a feature of its own name, unless the table says otherwise.
        for word in facts.feature_table.get(feature, (f"dep:{feature}",)):
            name, slash, below = word.removeprefix("dep:").partition("/")
            if not slash and not word.startswith("dep:") and word in facts.features:
                yield (package, side, word)
            else:
                for row in self._rows(facts):
                    if row.name == name.removesuffix("?"):
                        yield from self._from_dependency(row, place, (below,) if slash else (), weak=name.endswith("?"))

    def _rows(self, facts: CrateFacts) -> Iterator[IndexDependency]:
        for row in facts.dependencies:
            if row.kind != "dev" and (row.target is None or applies(row.target, self.triple, self.cfgs)):
                yield row

    def _from_dependency(
        self, row: IndexDependency, dependent: _Place, more: tuple[str, ...], *, weak: bool
    ) -> Iterator[_Place]:
        side = Side.HOST if row.kind == "build" else dependent[1]
        # A crate that comes in may be a macro, which the registry does not tell: then what it needs is the host's.
        either = dependent[:2] not in self.compiled.features
        found = self._compiled(row, side) or (self._compiled(row, Side.HOST) if either else None)
        if found is None:
            if weak:
                return
            found = self._coming(row), side
            yield (*found, _ITSELF)
        wanted = more if weak else (*more, *row.features, *(("default",) if row.default_features else ()))
        for feature in wanted:
            yield (*found, feature)

    def _compiled(self, row: IndexDependency, side: Side) -> tuple[PackageId, Side] | None:
        """Return what is compiled already of a dependency, where that is a version which can be meant, and the side."""
        found = self.compiled.packages.get((row.package, side), ())
        if side is Side.TARGET:
            hosted = self.compiled.packages.get((row.package, Side.HOST), ())
            found = (*found, *(package for package in hosted if package in self.compiled.macros))
        package = next((package for package in found if _may_mean(row.requirement, package.version)), None)
        if package is None:
            return None
        return package, Side.HOST if package in self.compiled.macros else side

    def _coming(self, row: IndexDependency) -> PackageId:
        """Return what comes in for a dependency: the baseline's, or one that nobody knows."""
        offered = [one for one in self._offered.get(row.package, ()) if allows(row.requirement, one.version)]
        return max(offered, key=lambda one: semver.Version.parse(one.version), default=PackageId(row.package, "", ""))


def applies(target: str, triple: str, cfgs: CfgSet) -> bool:
    """Whether a key of `[target]`, a triple or `cfg(...)`, is about a platform, given by its triple and its cfgs."""
    try:
        expression = parse_target_key(target)
    except CfgSyntaxError:
        # Cargo would say so when it resolves.
        return True
    return target == triple if expression is None else expression.matches(cfgs)


def _may_mean(requirement: str, version: str) -> bool:
    """Whether a plain requirement has the range of a version; what is more than one comparator may mean any."""
    text = requirement.strip().lstrip("^~= ")
    if not text or text[0] not in _DIGITS or "," in text:
        return True
    numbers = text.partition("-")[0].partition("+")[0].split(".")
    given = list(takewhile(str.isdecimal, numbers))
    if len(given) == 1:
        return version.split(".")[0] == given[0]
    return caret_range(".".join([*given, "0"][:3])) == caret_range(version)
