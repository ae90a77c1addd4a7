"""The step `features`: the baseline's features for crates that are used anyway, by edits or by a crate of ours."""

from __future__ import annotations

import enum
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.cargo.compatibility import caret_range
from factory.consumer.align.edits import DirectDependencies, Place, with_features
from factory.consumer.align.expand import CompiledCrates, Expansion, applies
from factory.consumer.align.hack import (
    BUILD_SCRIPT,
    LIBRARY,
    Entry,
    free_name,
    why_no_crate,
    with_hack,
)
from factory.consumer.align.model import Change
from factory.consumer.align.rust_limit import rust_limit
from factory.consumer.align.settle import settle, silently
from factory.consumer.align.versions import settle_on_baseline
from factory.errors import ConfigurationError
from factory.graph import MergedGraph
from factory.model import PackageId, Side
from factory.planning.behaviour import read_behaviour_features
from factory.scan.cfg_expression import CfgSet

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from factory.analysis.model import Analysis
    from factory.cargo.index_cache import CrateFacts
    from factory.cargo.toolchain import Toolchain
    from factory.consumer.align.copy import WorkingCopy
    from factory.consumer.align.versions import VersionRules
    from factory.model import Unit
    from factory.planning.baseline import Baseline
    from factory.planning.behaviour import BehaviourFeatures

_ROUNDS = 3
_UNITS_A_CRATE = 1.5
"""A crate is a unit, or three with its build script: what is brought is estimated before cargo is asked."""
_MOST_BROUGHT = 2
"""Crates that a feature may bring: of what brings more, repositories take different parts, and share less."""
_WORD = re.compile(r"[\w-]+")
_SYSTEM = "target_os"
_CRATE = "a crate that names others"


class FeaturesBy(enum.StrEnum):
    """How features come into a repository."""

    AUTO = "auto"
    """By edits where those are enough, else by our crate."""
    EDIT = "edit"
    """By edits of the dependencies that the packages which build programs name themselves."""
    HACK = "hack"
    """By a crate that names other crates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRules:
    """By what features are chosen; `cfgs` are those of the platform `triple` that the images are of.

    Features that bring other crates, which get their versions by `versions`, are taken too as long as these make the
    graph larger by no more than a share `growth`.
    """

    versions: VersionRules
    never: BehaviourFeatures
    cfgs: CfgSet
    triple: str
    growth: float = 0.0
    by: FeaturesBy = FeaturesBy.AUTO

    @classmethod
    def of(
        cls, versions: VersionRules, toolchain: Toolchain, *, growth_percent: int, by: FeaturesBy = FeaturesBy.AUTO
    ) -> FeatureRules:
        """Return the rules for images of the platform that a toolchain compiles for, with what nobody gets unasked."""
        return cls(
            versions=versions,
            never=read_behaviour_features(),
            cfgs=CfgSet.parse(toolchain.print_cfg(toolchain.host)),
            triple=toolchain.host,
            growth=growth_percent / 100,
            by=by,
        )

    @property
    def baseline(self) -> Baseline:
        """The baseline."""
        return self.versions.baseline

    @property
    def facts(self) -> Callable[[PackageId], CrateFacts | None]:
        """What the registry says of a package."""
        return self.versions.facts

    @property
    def system(self) -> str:
        """The operating system of the images, as `cfg(target_os)` names it."""
        return next(value for key, value in self.cfgs.pairs if key == _SYSTEM)


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Addition:
    """A feature that a package shall have on one side."""

    package: PackageId
    side: Side
    feature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What the step came to; `analysis` is of the copy afterwards, whose manifests and lock are `texts`."""

    changes: tuple[Change, ...]
    left: tuple[Change, ...]
    analysis: Analysis
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFeatures:
    """The features that bring no crate; with those that do, too, where there are any."""

    free: Added
    more: Added | None = None

    @property
    def most(self) -> Added:
        """The last of them."""
        return self.more or self.free


@dataclass(slots=True)
class _Features:
    copy: WorkingCopy
    rules: FeatureRules
    analysis: Analysis
    plain: dict[str, str]
    """The copy without our crate."""
    users: tuple[str, ...]
    named: DirectDependencies
    pace: Callable[[int, int], None]
    taken: list[Addition] = field(default_factory=list)
    refused: dict[Addition, str] = field(default_factory=dict)
    """What was tried and cannot stay."""
    left: dict[Addition, str] = field(default_factory=dict)
    """What is not tried as things are: with what is taken, that can change."""
    bringing: dict[Addition, frozenset[str]] = field(default_factory=dict)
    """What is left and would bring few crates, with their names."""
    most_units: int | None = None
    """How large the graph may get; `None` as long as nothing is added that brings crates."""
    beyond: bool = False
    """Whether there are features that edits do not reach."""

    def run(self) -> FoundFeatures:
        size, first = len(self._units()), CompiledCrates.of(self._units())
        self._add_free(first)
        free = self._added(first)
        if not self.rules.growth or self.rules.by is not FeaturesBy.HACK:
            # What came in by edits would be the repository's own next time, and might grow once more.
            return FoundFeatures(free=free)
        freely = list(self.taken)
        self.most_units = int(size * (1 + self.rules.growth))
        for _ in range(_ROUNDS):
            before = list(self.taken)
            self._bring(self.most_units - len(self._units()))
            if self.taken == before:
                break
            # With the crates that came, more may be free.
            self._add_free(None)
        return FoundFeatures(free=free, more=None if self.taken == freely else self._added(first))

    def _add_free(self, first: CompiledCrates | None) -> None:
        """Add what brings no crate; what does after all is taken back, where it is known what was compiled at first."""
        # Added features turn on others below, which the baseline may have more of.
        for _ in range(_ROUNDS):
            wanted = self._wanted()
            if not wanted or (self.beyond and self.rules.by is FeaturesBy.AUTO):
                break
            before = list(self.taken)
            self.refused |= dict(settle(wanted, self._attempt, self._suspects, pace=self.pace))
            if first is not None:
                self._drop_what_brings_crates(first)
            if self.taken == before:
                break

    def _added(self, first: CompiledCrates) -> Added:
        return Added(changes=self._changes(first), left=self._left(), analysis=self.analysis, texts=self.copy.read())

    def _bring(self, most: int) -> None:
        """Add what brings crates, about `most` units of them, and half as many where cargo finds that they are more."""
        ranked = self._ranked()
        while most > 0:
            chosen = self._as_many_as(most, ranked)
            why = self._attempt(chosen) if chosen else ""
            if why != self._too_large:
                self.refused |= dict(settle(chosen, self._attempt, self._suspects, pace=self.pace)) if why else {}
                return
            most //= 2

    def _ranked(self) -> list[Addition]:
        """Return what brings crates, that first on which most of what is compiled stands: all of it changes along."""
        standing = _standing_on(self.analysis)
        return sorted(self.bringing, key=lambda one: (-standing[one.package] / len(self.bringing[one]), one))

    def _as_many_as(self, most: int, ranked: Sequence[Addition]) -> list[Addition]:
        """Return additions that bring crates, as long as these are about `most` units."""
        chosen: list[Addition] = []
        brought: frozenset[str] = frozenset()
        for one in ranked:
            crates = self.bringing[one]
            if len(brought | crates) * _UNITS_A_CRATE <= most:
                chosen.append(one)
                brought |= crates
        return chosen

    def _expansion(self) -> Expansion:
        rules, compiled = self.rules, CompiledCrates.of(self._units())
        return Expansion(
            compiled=compiled, baseline=rules.baseline, facts=rules.facts, cfgs=rules.cfgs, triple=rules.triple
        )

    def _wanted(self) -> list[Addition]:
        """Return the baseline's features that are not there yet and may be; what may not is noted with the reason."""
        expansion = self._expansion()
        by_range = self.rules.baseline.by_range
        self.left, self.bringing = {}, {}
        found = []
        for (package, side), have in sorted(expansion.compiled.features.items()):
            crate = by_range.get((package.name, package.source, caret_range(package.version)))
            for feature in () if crate is None else crate.features(side):
                addition = Addition(package=package, side=side, feature=feature)
                if feature in have or addition in self.refused or addition in self.taken:
                    continue
                why = self._why_not(addition, expansion)
                if why:
                    self.left[addition] = why
                else:
                    found.append(addition)
        return found if self.rules.by is FeaturesBy.HACK else self._within_reach(found, expansion)

    def _why_not(self, addition: Addition, expansion: Expansion) -> str:
        facts = self.rules.facts(addition.package)
        if facts is None:
            return "the registry's index here does not know this version"
        if addition.feature not in facts.features:
            return "this version has no such feature"
        reach = expansion.reach(addition.package, addition.side, addition.feature)
        # `default` and the like turn on more: none of it may change what the program does.
        for crate, feature in sorted(reach.features):
            along = {name for one, name in reach.features if one == crate}
            on = along.union(expansion.compiled.on_wherever.get(crate, ()))
            never = self.rules.never.why_never(crate, feature, on)
            if never is not None:
                own = (crate, feature) == (addition.package.name, addition.feature)
                return never if own else f"turns on {crate}/{feature}: {never}"
        if reach.crates and reach.is_known and len(reach.crates) <= _MOST_BROUGHT:
            self.bringing[addition] = reach.crates
        return _brings(reach.crates) if reach.crates else ""

    def _within_reach(self, wanted: Sequence[Addition], expansion: Expansion) -> list[Addition]:
        """Return what edits can add; what does not even come along with that is noted with the reason."""
        direct = [one for one in wanted if self._places(one, expansion.compiled)]
        reached = (expansion.reach(one.package, one.side, one.feature) for one in direct)
        along = {pair for reach in reached for pair in reach.features}
        for one in wanted:
            if one not in direct and (one.package.name, one.feature) not in along:
                self.left[one] = "no package that builds a program names it (--features-by hack)"
                self.beyond = True
        return direct

    def _places(self, addition: Addition, compiled: CompiledCrates) -> tuple[Place, ...]:
        return self.named.of(addition.package, addition.side, is_macro=addition.package in compiled.macros)

    def _attempt(self, additions: Sequence[Addition]) -> str:
        before = self.copy.read()
        why = self._write([*self.taken, *additions])
        if not why:
            made = self.copy.analyze()
            why = made.workspaces[0].reason if not made.resolved else self._refusal(made)
            why = why or self._without_effect(additions, made)
            if not why:
                self.analysis = made
                self.taken += additions
                return ""
        self.copy.write(before)
        return why

    def _without_effect(self, additions: Sequence[Addition], made: Analysis) -> str:
        """Say where an edit did not turn on what it should, such as that of an optional dependency; "" for nowhere."""
        if self.rules.by is FeaturesBy.HACK:
            return ""
        features = CompiledCrates.of(_units(made)).features
        for one in additions:
            if one.feature not in features.get((one.package, one.side), frozenset()):
                self.beyond = True
                return "an edit does not turn it on (--features-by hack)"
        return ""

    def _refusal(self, made: Analysis) -> str:
        """Say why what cargo made of additions cannot stay; "" where it can."""
        if self.most_units is not None and len(_units(made)) > self.most_units:
            return self._too_large
        return self._brought_wrong(made) or self._changed_behaviour(made)

    @property
    def _too_large(self) -> str:
        return f"the repository's own graph would be more than {self.rules.growth:.0%} larger"

    def _changed_behaviour(self, made: Analysis) -> str:
        """Say which feature that nobody gets unasked came along by way of a crate that came in; "" for none."""
        before, now = (CompiledCrates.of(units).features for units in (self._units(), _units(made)))
        for (package, side), features in sorted(now.items()):
            for feature in sorted(features - before.get((package, side), features)):
                never = self.rules.never.why_never(package.name, feature, features)
                if never is not None:
                    return f"turns on {package.name}/{feature}: {never}"
        return ""

    def _brought_wrong(self, made: Analysis) -> str:
        """Say which crate that came in links a library, or needs a newer Rust than is allowed; "" for none."""
        new = made.packages - self.analysis.packages
        linked = {self.analysis.links.get(package) for package in self.analysis.packages}
        for package in sorted(new):
            if package in made.links and made.links[package] not in linked:
                return f"brings {package.label}, which links a native library"
        return self.rules.versions.why_too_new(new, rust_limit(self.copy.found))

    def _write(self, additions: Sequence[Addition]) -> str:
        """Write these additions into the copy, and have cargo complete the lock; "" or why not."""
        if not additions:
            self.copy.write(self.plain)
            return ""
        lock = str(self.copy.lock.relative_to(self.copy.folder))
        texts = self.plain | {lock: self.copy.lock.read_text(encoding="utf-8")}
        known, compiled = self.copy.locked(), self.analysis.packages
        if self.rules.by is FeaturesBy.HACK:
            self._write_hack(texts, additions)
        else:
            try:
                self.copy.write(with_features(texts, self._edits(additions)))
            except ValueError as error:
                self.beyond = True
                return str(error)
        why = self.copy.settle_lock(compiled)
        if not why:
            # Cargo takes the newest of what the lock did not have, and the locked one of what was not compiled so far.
            names = {name for one in additions for name in self.bringing.get(one, ())}
            came_in = {one for one in self.copy.locked() - compiled if one not in known or one.name in names}
            settle_on_baseline(self.copy, self.rules.versions, came_in)
        return why

    def _write_hack(self, texts: dict[str, str], additions: Sequence[Addition]) -> None:
        root = str(self.copy.root.relative_to(self.copy.folder))
        entries, name = _entries(additions, CompiledCrates.of(self._units())), free_name(self.plain, root)
        self.copy.write(with_hack(texts, root, name, entries, self.users, system=self.rules.system))
        write_sources(self.copy.root / name, entries)

    def _edits(self, additions: Sequence[Addition]) -> dict[Place, set[str]]:
        compiled = CompiledCrates.of(self._units())
        edits: dict[Place, set[str]] = {}
        for one in additions:
            for place in self._places(one, compiled):
                edits.setdefault(place, set()).add(one.feature)
        return edits

    def _drop_what_brings_crates(self, first: CompiledCrates) -> None:
        """Take back additions through which cargo compiles crates that were not compiled before."""
        for _ in range(_ROUNDS):
            now = CompiledCrates.of(self._units())
            names = {(p.name, caret_range(p.version)) for p in first.all_packages}
            new = {p.name for p in now.all_packages if (p.name, caret_range(p.version)) not in names}
            guilty = [one for one in self.taken if self._reaches(one, new)] if new else []
            if not guilty:
                return
            kept = [one for one in self.taken if one not in guilty]
            self.refused |= dict.fromkeys(guilty, _brings(new))
            self.taken = []
            # What is tried next goes on top of the repository as it was, which also stays where nothing of it goes.
            self.copy.write(self.plain)
            self.analysis = self.copy.analyze()
            self.refused |= dict(settle(kept, self._attempt, self._suspects, pace=self.pace))

    def _suspects(self, additions: Sequence[Addition], reason: str) -> list[Addition]:
        """Return the additions that can turn on what cargo complains of, such as a crate for another platform."""
        named = set(_WORD.findall(reason))
        return [one for one in additions if self._reaches(one, named)]

    def _reaches(self, addition: Addition, names: set[str]) -> bool:
        """Whether a feature, by whatever it turns on in its own crate, can turn on one of some crates."""
        facts = self.rules.facts(addition.package)
        if facts is None:
            return False
        seen: set[str] = set()
        pending = [addition.feature]
        while pending:
            word = pending.pop()
            if word in seen:
                continue
            seen.add(word)
            pending += facts.feature_table.get(word, ())
        named = {word.removeprefix("dep:").partition("/")[0].removesuffix("?") for word in seen}
        return bool(names & {row.package for row in facts.dependencies if row.name in named})

    def _units(self) -> list[Unit]:
        return _units(self.analysis)

    def _changes(self, first: CompiledCrates) -> tuple[Change, ...]:
        by_place: dict[tuple[PackageId, Side], list[str]] = {}
        for one in self.taken:
            by_place.setdefault((one.package, one.side), []).append(one.feature)
        rows = [Change(_subject(package, side), f"+ {', '.join(sorted(f))}") for (package, side), f in by_place.items()]
        now = CompiledCrates.of(self._units())
        new = sorted(package.label for package in now.all_packages - first.all_packages)
        edits = {} if self.rules.by is FeaturesBy.HACK else self._edits(self.taken)
        edited = [
            Change(f"{self.copy.shown(place.manifest)}: {place.keys[-1]}", f"features: + {', '.join(sorted(features))}")
            for place, features in sorted(edits.items())
        ]
        return (*sorted(rows), *edited, *(Change(label, "new in what is compiled") for label in new))

    def _left(self) -> tuple[Change, ...]:
        by_reason: dict[tuple[str, str], list[str]] = {}
        for one, why in (self.left | self.refused).items():
            by_reason.setdefault((_subject(one.package, one.side), why), []).append(one.feature)
        return tuple(
            sorted(Change(f"{subject}: {', '.join(sorted(f))}", why) for (subject, why), f in by_reason.items())
        )


def add_features(
    copy: WorkingCopy, rules: FeatureRules, analysis: Analysis, *, pace: Callable[[int, int], None] = silently
) -> FoundFeatures:
    """Add the baseline's features to a copy that has no crate of ours; `analysis` is of the copy as it is.

    The copy is left with as much as there is. Where no such crate can be added to the repository, edits are all there
    is, and the reason is among what is left; raises `ConfigurationError` where the crate is what was asked for.
    """
    texts, users = copy.read(), _users(copy)
    no_crate = "" if rules.by is FeaturesBy.EDIT else _why_no_crate(copy, texts, users)
    if no_crate and rules.by is FeaturesBy.HACK:
        raise ConfigurationError(no_crate, advice="Or give --features-by edit.")
    if no_crate:
        found = add_features(copy, replace(rules, by=FeaturesBy.EDIT), analysis, pace=pace)
        return replace(found, free=replace(found.free, left=(*found.free.left, Change(_CRATE, no_crate))))
    root = str((copy.root / "Cargo.toml").relative_to(copy.folder))
    named = DirectDependencies.read(texts, users, root, lambda key: applies(key, rules.triple, rules.cfgs))
    by_edits: Added | None = None
    if rules.by is not FeaturesBy.HACK:
        edits = _Features(copy, rules, analysis, texts, users, named, pace)
        found = edits.run()
        if rules.by is FeaturesBy.EDIT or not (edits.beyond or (rules.growth and edits.bringing)):
            return found
        by_edits = None if edits.beyond else found.free
        copy.write(texts)
    found = _Features(copy, replace(rules, by=FeaturesBy.HACK), analysis, texts, users, named, pace).run()
    if by_edits is None:
        return found
    if found.more is None:
        copy.write(by_edits.texts)
    return replace(found, free=by_edits)


def with_reachable(rules: FeatureRules, copy: WorkingCopy) -> FeatureRules:
    """Return rules by which features come into a copy: by the crate, or else by edits where it cannot be added."""
    by = FeaturesBy.EDIT if _why_no_crate(copy, copy.read(), _users(copy)) else FeaturesBy.HACK
    return replace(rules, by=by)


def _why_no_crate(copy: WorkingCopy, texts: Mapping[str, str], users: Sequence[str]) -> str:
    return why_no_crate(texts, str(copy.root.relative_to(copy.folder)), users)


def write_sources(folder: Path, entries: Sequence[Entry]) -> None:
    """Write the sources of our crate, which have nothing in them, into its folder in a copy."""
    sources = source_texts(any(entry.side is Side.HOST for entry in entries))
    for path in ("src/lib.rs", "build.rs"):
        target = folder / path
        if path in sources:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(sources[path], encoding="utf-8")
        else:
            target.unlink(missing_ok=True)


def source_texts(has_host_side: bool) -> dict[str, str]:
    """Return the sources of our crate by path."""
    return {"src/lib.rs": LIBRARY} | ({"build.rs": BUILD_SCRIPT} if has_host_side else {})


def _users(copy: WorkingCopy) -> tuple[str, ...]:
    """Return the manifests of the packages that build a program; of a workspace without any, those of all packages."""
    rows = copy.packages()
    programs = [row for row in rows if any("bin" in target["kind"] for target in row["targets"])]
    folder = copy.folder.resolve()
    return tuple(sorted(str(Path(row["manifest_path"]).relative_to(folder)) for row in programs or rows))


def _units(analysis: Analysis) -> list[Unit]:
    keys = {key for use in analysis.workspaces[0].variants.values() for key in use.keys}
    return [analysis.units[key] for key in sorted(keys)]


def _standing_on(analysis: Analysis) -> Counter[PackageId]:
    """Return how many units stand on each package, its own among them."""
    graph = MergedGraph(analysis.units)
    closures = ({graph.units[one].package for one in graph.closure(key)} for key in graph.units)
    return Counter(package for closure in closures for package in closure)


def _entries(additions: Iterable[Addition], compiled: CompiledCrates) -> list[Entry]:
    features: dict[tuple[PackageId, Side], set[str]] = {}
    for one in additions:
        have = compiled.features.get((one.package, one.side), frozenset())
        features.setdefault((one.package, one.side), set(have)).add(one.feature)
    return [
        Entry(package=package, side=side, features=tuple(sorted(wanted)))
        for (package, side), wanted in sorted(features.items())
    ]


def _subject(package: PackageId, side: Side) -> str:
    return f"{package.label} (for build scripts and macros)" if side is Side.HOST else package.label


def _brings(crates: Collection[str]) -> str:
    names = sorted(crates)
    shown = ", ".join(names[:3])
    listed = f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
    return f"brings {listed}, which the repository has not got"
