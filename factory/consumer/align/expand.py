"""What a feature brings: which optional crates it turns on, by what the registry says of the versions in the lock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from factory.model import CRATES_IO, PackageId, Side
from factory.planning.baseline import caret_range
from factory.scan.cfg_expression import CfgSyntaxError, parse_target_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from factory.cargo.index_cache import CrateFacts, IndexDependency
    from factory.model import Unit
    from factory.scan.cfg_expression import CfgSet

_DIGITS = frozenset("0123456789")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledCrates:
    """What a workspace compiles: packages by name and side; `macros` are those of them that are proc-macros."""

    packages: Mapping[tuple[str, Side], tuple[PackageId, ...]]
    features: Mapping[tuple[PackageId, Side], frozenset[str]]
    macros: frozenset[PackageId]

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
        return cls(
            packages={place: tuple(sorted(found)) for place, found in packages.items()},
            features=features,
            macros=frozenset(macros),
        )

    @property
    def all_packages(self) -> frozenset[PackageId]:
        """Every package, on whatever side."""
        return frozenset(package for package, _ in self.features)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """Follows features down through the crates that they turn on, without asking cargo."""

    compiled: CompiledCrates
    facts: Callable[[PackageId], CrateFacts | None]
    cfgs: CfgSet
    triple: str
    _known: dict[tuple[PackageId, Side, str], frozenset[str]] = field(default_factory=dict)

    def brings(self, package: PackageId, side: Side, feature: str) -> frozenset[str]:
        """Return the crates that a feature would add to what is compiled on a side; empty where it is free."""
        place = (package, side, feature)
        if place not in self._known:
            # A feature that comes back to itself brings nothing more.
            self._known[place] = frozenset()
            self._known[place] = frozenset(self._brought(package, side, feature))
        return self._known[place]

    def _brought(self, package: PackageId, side: Side, feature: str) -> Iterable[str]:
        facts = self.facts(package)
        if facts is None or feature in self.compiled.features.get((package, side), frozenset()):
            return
        by_name: dict[str, list[IndexDependency]] = {}
        for row in facts.dependencies:
            if row.kind != "dev" and self._applies(row.target):
                by_name.setdefault(row.name, []).append(row)
        for word in facts.feature_table.get(feature, (f"dep:{feature}",)):
            name, slash, below = word.removeprefix("dep:").partition("/")
            if not slash and not word.startswith("dep:") and word in facts.features:
                if word != feature:
                    yield from self.brings(package, side, word)
                # An optional dependency is a feature of its own name, unless the table says otherwise.
                rows = [] if word in facts.feature_table else by_name.get(word, [])
                yield from self._turned_on(rows, side, ())
                continue
            weak = name.endswith("?")
            rows = by_name.get(name.removesuffix("?"), [])
            features = (below,) if slash else ()
            yield from self._turned_on(rows, side, features, weak=weak)

    def _turned_on(
        self, rows: Sequence[IndexDependency], side: Side, more: tuple[str, ...], *, weak: bool = False
    ) -> Iterable[str]:
        for row in rows:
            place = Side.HOST if row.kind == "build" else side
            package = self._compiled(row, place)
            if package is None:
                if not weak:
                    yield row.package
                continue
            on = Side.HOST if package in self.compiled.macros else place
            wanted = more if weak else (*more, *row.features, *(("default",) if row.default_features else ()))
            for feature in wanted:
                yield from self.brings(package, on, feature)

    def _compiled(self, row: IndexDependency, side: Side) -> PackageId | None:
        """Return what is compiled already of a dependency, where that is a version which can be meant."""
        found = self.compiled.packages.get((row.package, side), ())
        if side is Side.TARGET:
            hosted = self.compiled.packages.get((row.package, Side.HOST), ())
            found = (*found, *(package for package in hosted if package in self.compiled.macros))
        return next((package for package in found if _may_mean(row.requirement, package.version)), None)

    def _applies(self, target: str | None) -> bool:
        if target is None:
            return True
        try:
            expression = parse_target_key(target)
        except CfgSyntaxError:
            # Cargo would say so when it resolves.
            return True
        return target == self.triple if expression is None else expression.matches(self.cfgs)


def _may_mean(requirement: str, version: str) -> bool:
    """Whether a plain requirement has the range of a version; what is more than one comparator may mean any."""
    text = requirement.strip().lstrip("^~= ")
    if not text or text[0] not in _DIGITS or "," in text:
        return True
    numbers = [*text.partition("-")[0].partition("+")[0].split("."), "0", "0"][:3]
    if "*" in numbers or len(text.split(".")) == 1:
        return version.split(".")[0] == text.split(".")[0]
    return caret_range(".".join(numbers)) == caret_range(version)
