"""What a feature brings: which optional crates it turns on, by what the registry says of the versions in the lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.model import CRATES_IO, PackageId, Side
from factory.planning.baseline import caret_range
from factory.scan.cfg_expression import CfgSyntaxError, parse_target_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from factory.cargo.index_cache import CrateFacts, IndexDependency
    from factory.model import Unit
    from factory.planning.baseline import Baseline
    from factory.scan.cfg_expression import CfgSet

_Place = tuple[PackageId, Side, str]
"""A feature of a package on a side."""

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

    def on_wherever(self, crate: str) -> frozenset[str]:
        """Return the features that a crate has in every version and on every side that is compiled."""
        found = [features for (package, _), features in self.features.items() if package.name == crate]
        return frozenset.intersection(*found) if found else frozenset()

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

    def brings(self, package: PackageId, side: Side, feature: str) -> frozenset[str]:
        """Return the crates that a feature would add to what is compiled on a side; empty where it is free."""
        return frozenset(crate for crate, on in self._reached(package, side, feature) if not on)

    def turns_on(self, package: PackageId, side: Side, feature: str) -> frozenset[tuple[str, str]]:
        """Return the features, each with its crate, that come with a feature: those that are not on already."""
        return frozenset((crate, on) for crate, on in self._reached(package, side, feature) if on)

    def closure(self, names: Iterable[str], baseline: Baseline) -> frozenset[str] | None:
        """Return what comes with some crates, by name; `None` where the baseline lacks any or any links a library."""
        there = {package.name for package in self.compiled.all_packages}
        found: set[str] = set()
        pending = sorted(names)
        while pending:
            name = pending.pop()
            if name in found or name in there:
                continue
            crate = max((one for one in baseline.crates if one.name == name), default=None)
            facts = None if crate is None else self.facts(PackageId(name, crate.version, crate.source))
            if facts is None or facts.links is not None:
                return None
            found.add(name)
            pending += [
                row.package
                for row in facts.dependencies
                if not row.optional and row.kind != "dev" and self._applies(row)
            ]
        return frozenset(found)

    def _applies(self, row: IndexDependency) -> bool:
        return row.target is None or applies(row.target, self.triple, self.cfgs)

    def _reached(self, package: PackageId, side: Side, feature: str) -> frozenset[tuple[str, str]]:
        """Return crates with a feature that is turned on, or with "" where the crate itself is new."""
        found: set[tuple[str, str]] = set()
        seen: set[_Place] = set()
        pending = [(package, side, feature)]
        while pending:
            place = pending.pop()
            if place in seen:
                continue
            seen.add(place)
            facts = self.facts(place[0])
            have = self.compiled.features.get(place[:2], frozenset())
            if facts is None or place[2] not in facts.features or place[2] in have:
                continue
            found.add((place[0].name, place[2]))
            for one in self._turned_on(place, facts):
                if isinstance(one, str):
                    found.add((one, ""))
                else:
                    pending.append(one)
        return frozenset(found)

    def _turned_on(self, place: _Place, facts: CrateFacts) -> Iterator[_Place | str]:
        """Yield what a feature names: other features, of its own crate and of others, and new crates by name."""
        package, side, feature = place
        by_name: dict[str, list[IndexDependency]] = {}
        for row in facts.dependencies:
            if row.kind != "dev" and self._applies(row):
                by_name.setdefault(row.name, []).append(row)
        # An optional dependency is a feature of its own name, unless the table says otherwise.
        for word in facts.feature_table.get(feature, (f"dep:{feature}",)):
            name, slash, below = word.removeprefix("dep:").partition("/")
            if not slash and not word.startswith("dep:") and word in facts.features:
                yield (package, side, word)
            else:
                rows = by_name.get(name.removesuffix("?"), [])
                for row in rows:
                    yield from self._from_dependency(row, side, (below,) if slash else (), weak=name.endswith("?"))

    def _from_dependency(
        self, row: IndexDependency, side: Side, more: tuple[str, ...], *, weak: bool
    ) -> Iterator[_Place | str]:
        place = Side.HOST if row.kind == "build" else side
        package = self._compiled(row, place)
        if package is None:
            if not weak:
                yield row.package
            return
        on = Side.HOST if package in self.compiled.macros else place
        wanted = more if weak else (*more, *row.features, *(("default",) if row.default_features else ()))
        for feature in wanted:
            yield (package, on, feature)

    def _compiled(self, row: IndexDependency, side: Side) -> PackageId | None:
        """Return what is compiled already of a dependency, where that is a version which can be meant."""
        found = self.compiled.packages.get((row.package, side), ())
        if side is Side.TARGET:
            hosted = self.compiled.packages.get((row.package, Side.HOST), ())
            found = (*found, *(package for package in hosted if package in self.compiled.macros))
        return next((package for package in found if _may_mean(row.requirement, package.version)), None)


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
    numbers = [*text.partition("-")[0].partition("+")[0].split("."), "0", "0"][:3]
    if "*" in numbers or len(text.split(".")) == 1:
        return version.split(".")[0] == text.split(".")[0]
    return caret_range(".".join(numbers)) == caret_range(version)
