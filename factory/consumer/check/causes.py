"""Why units miss: each missing unit is held against its nearest warm relative, down to the causes at the bottom.

A unit key stands for a whole closure, so one patch version below makes all that stands on it miss. Here every missing
unit gets its *root causes*: its own differences from the nearest warm unit of the same crate, together with the causes
of the dependencies that it shares with that relative. A unit whose own facts are all the same has none of its own: it
is named nowhere, and its seconds count for what lies below.
"""

from __future__ import annotations

import enum
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import semver

from factory.cargo.compatibility import resolver_slot
from factory.cargo.rustflags import why_not_cookable_flags
from factory.consumer.check.settings import by_table, changed_settings
from factory.model import Mode, Side, SourceKind
from factory.planning.selection import LeftOut

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from factory.cargo.sources import CookableSources
    from factory.consumer.check.settings import Setting
    from factory.cook.facts import WarmUnit
    from factory.graph import MergedGraph
    from factory.model import PackageId, Unit, UnitKey
    from factory.planning.plan import Exclusion


class Cause(enum.StrEnum):
    """What keeps units from being fresh."""

    TOOLCHAIN = "toolchain"
    SOURCES = "sources"
    CARGO_PROFILE = "cargo-profile"
    RUSTFLAGS = "rustflags"
    LINKER = "linker"
    TARGET = "target"
    LTO = "lto"
    SIDES = "sides"
    VERSION = "version"
    FEATURES = "features"
    DEPENDENCIES = "dependencies"
    FOREIGN_SOURCE = "foreign-source"
    PRIVATE_REGISTRY = "private-registry"
    OTHER_IMAGE = "other-image"
    NOT_COOKED = "not-cooked"
    NOT_PLANNED = "not-planned"


_PATCHED = "patched in below crates of a registry, as in no other repository"
_UNCOOKABLE = frozenset({Cause.FOREIGN_SOURCE, Cause.PRIVATE_REGISTRY, Cause.LINKER})


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Root:
    """One root cause. `subject` is what has to change: a crate, a table of the manifest, a setting, a layer.

    `warm` and `yours` are the two values, for people; `name` and `version` are those of the crate, where it is one.
    """

    cause: Cause
    subject: str
    warm: str = ""
    yours: str = ""
    name: str = ""
    version: str = ""
    missing: tuple[str, ...] = ()
    """Features that the warm unit has and yours lacks."""
    extra: tuple[str, ...] = ()
    """Features that yours has and the warm unit lacks."""
    detail: str = ""

    @property
    def is_final(self) -> bool:
        """Whether no plan can mend it: what stands on it misses, whatever else is the matter."""
        return self.cause in _UNCOOKABLE or (self.cause is Cause.RUSTFLAGS and bool(self.detail))


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """The root causes of every missing unit, which of them are the unit's `own`, not those of what it stands on.

    `settings` are those behind each cause that is a cargo profile: the differences from one warm profile, that of most.
    """

    roots: Mapping[UnitKey, frozenset[Root]]
    own: Mapping[UnitKey, frozenset[Root]]
    settings: Mapping[Root, tuple[Setting, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What explains the misses of one workspace on one image.

    `graph` has the consumer's units, `warm` those of the image, `elsewhere` the layer of each that only another image
    has; `overrides` are the packages with settings of their own in the consumer's cargo profile, `sources` those that
    are cooked from, and `rustflags` the images' own, which all units have.
    """

    graph: MergedGraph
    warm: Mapping[UnitKey, WarmUnit]
    elsewhere: Mapping[UnitKey, str]
    dropped: Mapping[UnitKey, str]
    excluded: Sequence[Exclusion] | None
    profile: str
    overrides: frozenset[str]
    sources: CookableSources
    rustflags: tuple[str, ...]


def explain_misses(situation: Situation, misses: Iterable[UnitKey]) -> Explained:
    """Return the root causes of every miss; each has at least one."""
    explainer = _Explainer(situation)
    wanted = frozenset(misses)
    for key in situation.graph.dependencies_first(wanted):
        if key not in situation.warm:
            explainer.explain(key)
    return Explained(
        roots={key: explainer.roots[key] for key in sorted(wanted)},
        own={key: explainer.own[key] for key in sorted(wanted)},
        settings={root: _most_common(counted) for root, counted in explainer.settings.items()},
    )


_Kin = tuple[str, str, str, Mode, Side]


@dataclass(slots=True)
class _Explainer:
    """Goes through the missing units from the bottom, so that every unit's dependencies are explained before it."""

    situation: Situation
    roots: dict[UnitKey, frozenset[Root]] = field(default_factory=dict)
    own: dict[UnitKey, frozenset[Root]] = field(default_factory=dict)
    settings: dict[Root, Counter[tuple[Setting, ...]]] = field(default_factory=lambda: defaultdict(Counter))
    _kin: dict[_Kin, dict[str, list[WarmUnit]]] = field(default_factory=dict)
    _users: Counter[tuple[PackageId, Side]] = field(default_factory=Counter)
    _reasons: dict[str, list[Exclusion]] = field(default_factory=lambda: defaultdict(list))
    _compared: dict[tuple[UnitKey, UnitKey], frozenset[Root]] = field(default_factory=dict)
    _features: dict[UnitKey, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for planned in self.situation.warm.values():
            for kin in _kin_of(planned.unit):
                self._kin.setdefault(kin, {}).setdefault(planned.unit.package.version, []).append(planned)
            for side in planned.unit.sides:
                self._users[planned.unit.package, side] += planned.repos
        for row in self.situation.excluded or ():
            self._reasons[row.package].append(row)

    def explain(self, key: UnitKey) -> None:
        """Find the causes of one unit; those of everything missing under it have been found."""
        unit = self.situation.graph.units[key]
        below = frozenset[Root]().union(*(self.roots.get(edge.key, ()) for edge in unit.dependencies))
        final = {root for root in below if root.is_final}
        own = self._never(unit)
        if own or final:
            self.own[key], self.roots[key] = own, own | final
            return
        own = self._not_there(unit)
        relative = None if own else self._relative(unit)
        if relative is not None:
            self.own[key] = self._own_differences(unit, relative.unit)
            self.roots[key] = self._compare(unit, relative.unit)
        else:
            self.own[key] = self.roots[key] = own or frozenset({self._not_planned(unit)})

    def _never(self, unit: Unit) -> frozenset[Root]:
        """What keeps a unit from being cooked by anybody."""
        foreign = self._foreign(unit)
        if foreign is not None:
            return frozenset({foreign})
        reason = why_not_cookable_flags(unit.rustflags)
        flags = {self._flags_root(unit, self.situation.rustflags, detail=reason)} if reason is not None else set()
        if unit.linker is None:
            return frozenset(flags)
        linker = Root(cause=Cause.LINKER, subject="linker", warm="rustc's own", yours=unit.linker)
        # With the linker gone, these would be what keeps it from being fresh.
        return frozenset({linker, *(flags or self._other_flags(unit))})

    def _other_flags(self, unit: Unit) -> set[Root]:
        relative = self._relative(unit)
        if relative is None or relative.unit.rustflags == unit.rustflags:
            return set()
        return {self._flags_root(unit, relative.unit.rustflags)}

    def _foreign(self, unit: Unit) -> Root | None:
        """Return the source that keeps a unit from being cooked: its own, or git right below a registry's package."""
        package = unit.package
        reason = self.situation.sources.why_not(package)
        if reason is not None:
            cause = Cause.PRIVATE_REGISTRY if package.kind is SourceKind.REGISTRY else Cause.FOREIGN_SOURCE
            return _of_crate(cause, package, yours=_shown_source(package), detail=reason)
        below = (self.situation.graph.units[edge.key].package for edge in unit.dependencies if unit.is_registry)
        patched = min((each for each in below if each.kind is SourceKind.GIT), default=None)
        if patched is None:
            return None
        reason = self.situation.sources.why_not(patched) or _PATCHED
        return _of_crate(Cause.FOREIGN_SOURCE, patched, yours=_shown_source(patched), detail=reason)

    def _not_there(self, unit: Unit) -> frozenset[Root]:
        """Say why this very unit is not in the image, although it was planned."""
        if unit.key in self.situation.elsewhere:
            layer = self.situation.elsewhere[unit.key]
            return frozenset({Root(cause=Cause.OTHER_IMAGE, subject=layer, warm=f"in the image {layer}")})
        if unit.key in self.situation.dropped:
            reason = self.situation.dropped[unit.key].partition("\n")[0]
            return frozenset({Root(cause=Cause.NOT_COOKED, subject=reason, detail=reason)})
        return frozenset()

    def _compare(self, unit: Unit, relative: Unit) -> frozenset[Root]:
        """Return the differences of two units, with those of the dependencies that both have."""
        known = self._compared.get((unit.key, relative.key))
        if known is not None:
            return known
        own = self._own_differences(unit, relative)
        roots = own | self._differences_below(unit, relative, explained=bool(own))
        self._compared[unit.key, relative.key] = roots
        return roots

    def _own_differences(self, unit: Unit, relative: Unit) -> frozenset[Root]:
        found: set[Root] = set()
        settings = changed_settings(unit.profile, relative.profile)
        if unit.sides != relative.sides and {setting.key for setting in settings} == {"debug"}:
            # Cargo drops the debug information of what only build scripts and macros use.
            found.add(_sides_root(unit, relative))
        elif settings:
            for table, those in self._by_table(unit, settings).items():
                root = Root(cause=Cause.CARGO_PROFILE, subject=table)
                self.settings[root][those] += 1
                found.add(root)
        elif unit.lto != relative.lto:
            found.add(Root(cause=Cause.LTO, subject="what is linked", warm=relative.lto, yours=unit.lto))
        if unit.rustflags != relative.rustflags:
            found.add(self._flags_root(unit, relative.rustflags))
        if unit.platform != relative.platform:
            found.add(
                Root(
                    cause=Cause.TARGET,
                    subject="--target",
                    warm=relative.platform or "no --target",
                    yours=unit.platform or "no --target",
                )
            )
        if unit.package != relative.package:
            found.add(self._version_root(unit, relative))
        if unit.features != relative.features:
            found.add(self._features_root(unit, relative))
        return frozenset(found)

    def _differences_below(self, unit: Unit, relative: Unit, *, explained: bool) -> frozenset[Root]:
        """Return the causes of the dependencies that differ; where nothing else does, whatever differs there."""
        theirs = {edge.key for edge in relative.dependencies}
        mine = {edge.key for edge in unit.dependencies}
        of_relative: dict[tuple[str, str], list[Unit]] = defaultdict(list)
        for key in sorted(theirs):
            below = self.situation.warm[key].unit
            of_relative[_role(below)].append(below)
        found: set[Root] = set()
        alone: set[Root] = set()
        told: set[UnitKey] = set()
        for below in (self.situation.graph.units[key] for key in sorted(mine - theirs)):
            match = _nearest_version(below, of_relative.get(_role(below), ()))
            if match is not None and below.key in self.roots:
                found |= self.roots[below.key]
            elif match is not None and resolver_slot(match.package.version) == resolver_slot(below.package.version):
                # Where both are warm, nobody in the plan has this unit on that dependency.
                found |= self._compare(below, match)
            else:
                # No `cargo update` leads from one range to another: that is for whoever asks for the crate.
                told |= set() if match is None else {match.key}
                warm = "" if match is None else match.package.label
                alone.add(_dependency_root(unit, yours=below.package.label, warm=warm))
        if found or explained:
            # With other features or versions come other dependencies.
            return frozenset(found)
        alone |= {
            _dependency_root(unit, warm=self.situation.warm[key].unit.package.label)
            for key in sorted(theirs - mine - told)
        }
        return frozenset(alone or {_of_crate(Cause.DEPENDENCIES, unit.package, detail="under other names")})

    def _relative(self, unit: Unit) -> WarmUnit | None:
        """The warm unit of the same crate and kind that differs least; `None` where no compatible version is warm.

        One under flags that other repositories set is none of a unit without: nobody would take these flags over.
        """
        by_version: dict[str, list[WarmUnit]] = {}
        for planned in self._nearest_surroundings(unit):
            by_version.setdefault(planned.unit.package.version, []).append(planned)
        version = self._warm_version(unit, by_version)
        if version is None:
            return None
        return min(by_version[version], key=lambda planned: (*self._distance(unit, planned.unit), planned.unit.key))

    def _nearest_surroundings(self, unit: Unit) -> Sequence[WarmUnit]:
        """Return the compatible warm units under the same flags and for the same target, where there are such."""
        related = self._compatible(unit)
        same_flags = [planned for planned in related if planned.unit.rustflags == unit.rustflags]
        if not same_flags and unit.rustflags in {(), self.situation.rustflags}:
            return ()
        related = same_flags or related
        return [planned for planned in related if planned.unit.platform == unit.platform] or related

    def _compatible(self, unit: Unit) -> list[WarmUnit]:
        slot = resolver_slot(unit.package.version)
        kin = (self._kin.get(each, {}) for each in _kin_of(unit))
        by_version = (pair for those in kin for pair in those.items())
        return [planned for version, those in by_version if resolver_slot(version) == slot for planned in those]

    def _warm_version(self, unit: Unit, warm: Collection[str]) -> str | None:
        """The version to compare with: the same, else the one of the same semver range that most stands on."""
        if unit.package.version in warm:
            return unit.package.version

        def rank(version: str) -> tuple[int, semver.Version, str]:
            package = replace(unit.package, version=version)
            used = sum(self._users[package, side] for side in unit.sides)
            return (used, semver.Version.parse(version), version)

        return max(warm, key=rank, default=None)

    def _distance(self, unit: Unit, other: Unit) -> tuple[int, ...]:
        surroundings = (
            len(changed_settings(unit.profile, other.profile))
            + (unit.lto != other.lto)
            + (unit.rustflags != other.rustflags)
            + (unit.platform != other.platform)
        )
        features = self._feature_set(unit) ^ self._feature_set(other)
        shared = {edge.key for edge in unit.dependencies} & {edge.key for edge in other.dependencies}
        return (surroundings, len(features), -len(shared))

    def _feature_set(self, unit: Unit) -> frozenset[str]:
        found = self._features.get(unit.key)
        if found is None:
            found = self._features[unit.key] = frozenset(unit.features)
        return found

    def _by_table(self, unit: Unit, settings: Sequence[Setting]) -> Mapping[str, tuple[Setting, ...]]:
        return by_table(unit, settings, self.situation.profile, self.situation.overrides)

    @staticmethod
    def _flags_root(unit: Unit, warm: Sequence[str], *, detail: str = "") -> Root:
        return Root(
            cause=Cause.RUSTFLAGS,
            subject="RUSTFLAGS",
            warm=" ".join(warm) or "none",
            yours=" ".join(unit.rustflags) or "none",
            detail=detail,
        )

    def _version_root(self, unit: Unit, relative: Unit) -> Root:
        return _of_crate(
            Cause.VERSION,
            unit.package,
            warm=relative.package.version,
            yours=unit.package.version,
            detail=self._left_out(unit) or "",
        )

    def _features_root(self, unit: Unit, relative: Unit) -> Root:
        mine, theirs = self._feature_set(unit), self._feature_set(relative)
        return _of_crate(
            Cause.FEATURES,
            unit.package,
            missing=tuple(sorted(theirs - mine)),
            extra=tuple(sorted(mine - theirs)),
        )

    def _not_planned(self, unit: Unit) -> Root:
        reason = self._left_out(unit) or self._why_unknown(unit)
        return Root(cause=Cause.NOT_PLANNED, subject=reason, detail=reason)

    def _left_out(self, unit: Unit) -> str | None:
        """Return why the plan left a crate of this version out; `None` where it did not."""
        rows = self._reasons.get(unit.package.label, ())
        # Other units of the crate may be left out for reasons of their own: a choice of the plan explains this one too.
        reasons = sorted((row.reason not in _CHOICES, row.reason) for row in rows)
        return reasons[0][1] if reasons else None

    def _why_unknown(self, unit: Unit) -> str:
        if self._compatible(unit):
            return "warm under other RUSTFLAGS only"
        if any(kin in self._kin for kin in _kin_of(unit)):
            return "only other versions are warm"
        if any(kin in self._kin for kin in _kin_of(replace(unit, sides=frozenset(Side)))):
            return _ONLY_ON_SIDE[Side.HOST if Side.TARGET in unit.sides else Side.TARGET]
        return (
            "not among the warm crates"
            if self.situation.excluded is None
            else "no repository of the plan has this crate"
        )


_CHOICES = frozenset(map(str, LeftOut)) - {str(LeftOut.NOT_COOKABLE)}
_ONLY_ON_SIDE = {Side.HOST: "warm for build scripts and macros only", Side.TARGET: "warm for the program only"}


def _most_common(counted: Counter[tuple[Setting, ...]]) -> tuple[Setting, ...]:
    """Return the differences from one warm profile, that of most units: settings of several make no profile."""
    return min(counted, key=lambda settings: (-counted[settings], len(settings), settings))


def _kin_of(unit: Unit) -> Iterable[_Kin]:
    package = unit.package
    return [(package.name, package.source, unit.target_kind, unit.mode, side) for side in sorted(unit.sides)]


def _role(unit: Unit) -> tuple[str, str]:
    what = unit.mode.value if unit.mode is Mode.RUN_CUSTOM_BUILD else unit.target_kind
    return unit.package.name, "lib" if what in {"rlib", "dylib", "cdylib", "staticlib"} else what


def _nearest_version(unit: Unit, others: Sequence[Unit]) -> Unit | None:
    """Of the dependencies with the same role the one of the same version, else of the same semver range, else any."""
    version = unit.package.version

    def rank(other: Unit) -> tuple[bool, bool, UnitKey]:
        same_range = resolver_slot(other.package.version) == resolver_slot(version)
        return (other.package.version != version, not same_range, other.key)

    return min(others, key=rank, default=None)


def _dependency_root(unit: Unit, **labels: str) -> Root:
    return _of_crate(Cause.DEPENDENCIES, unit.package, **labels)


def _sides_root(unit: Unit, relative: Unit) -> Root:
    return _of_crate(
        Cause.SIDES, unit.package, warm="+".join(sorted(relative.sides)), yours="+".join(sorted(unit.sides))
    )


def _shown_source(package: PackageId) -> str:
    url = package.source.partition("+")[2].partition("#")[0] or package.source
    return url if package.kind is SourceKind.REGISTRY else f"{package.kind} {url}"


def _of_crate(cause: Cause, package: PackageId, **facts: Any) -> Root:  # noqa: ANN401 - fields of a root
    return Root(cause=cause, subject=package.label, name=package.name, version=package.version, **facts)
