"""What a repository would find warm under a cargo profile of others: only what is forecast to gain is advised.

A unit key is a digest: under other settings it cannot be made anew from what is known of a unit. So a unit under
another profile is looked for among the warm ones by all that a key stands for, from the bottom up.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from factory.cargo.profile_table import default_settings
from factory.consumer.check.settings import (
    BUILD_OVERRIDE,
    EVERY_PACKAGE,
    HOST_DEFAULTS,
    MANIFEST_KEYS,
    OVERRIDABLE,
    WITHOUT_LTO,
    Setting,
    automatic_strip,
    changed_settings,
    package_table,
    settings_between,
    shown,
)
from factory.graph import MergedGraph
from factory.model import CargoProfile, LtoDemand, Mode, Side, UnitKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from factory.model import Unit


@dataclass(frozen=True, slots=True)
class SidedProfile:
    """One cargo profile as resolved: what it gives the program, and what it gives build scripts and macros.

    `host_debug` is the debug information of the host side before cargo drops it: by it is chosen what is stripped.
    """

    target: CargoProfile
    host: CargoProfile
    host_debug: str = "0"

    def of(self, side: Side) -> CargoProfile:
        """Return what it gives one side."""
        return self.target if side is Side.TARGET else self.host


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileChange:
    """A change of the repository's cargo profile: the settings by table, and what it gives a unit on a side.

    `defaults` has what the profile itself gives where nothing is written, `removed` a table that is to go.
    """

    settings: Mapping[str, tuple[Setting, ...]]
    profile_of: Callable[[Unit, Side], CargoProfile]
    defaults: Mapping[str, str] = field(default_factory=dict)
    removed: str = ""
    lto: str | None = None
    """The `lto` of the program, where it changes."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A change to a profile that is warm, with the units that it brings back; it loses none that is warm now."""

    change: ProfileChange
    gained: frozenset[UnitKey]


@dataclass(frozen=True, kw_only=True)
class OtherProfiles:
    """The units `keys` of a repository, with all under them in `graph`, what is `warm`, and the cargo profile's name.

    `overrides` are the packages with settings of their own in it, and `build-override` where it is set; `for_host` are
    the keys set there.
    """

    graph: MergedGraph
    keys: frozenset[UnitKey]
    warm: Mapping[UnitKey, Unit]
    profile: str
    overrides: frozenset[str]
    for_host: frozenset[str] = frozenset()

    def best_offer(self, table: str, seconds: Callable[[Iterable[UnitKey]], float]) -> Offer | None:
        """Return the change of a table, to a profile that is warm, that gains most seconds; `None` where none gains."""
        if table == self._base:
            offers = [offer for offer in self._whole_offers if table in offer.change.settings]
        elif table == self._override:
            # It may take the rest of that profile as well.
            offers = list(self._gaining(self._overrides_alone)) or [
                offer for offer in self._whole_offers if table in offer.change.settings
            ]
        else:
            offers = list(self._gaining(self._package_changes(table)))
        return min(offers, key=lambda offer: (-seconds(offer.gained), *_extent(offer.change)), default=None)

    def warm_under(self, change: ProfileChange, *, keep: frozenset[UnitKey] = frozenset()) -> frozenset[UnitKey]:
        """Return the units of the repository that are warm after a change; none where it loses one of `keep`."""
        found: dict[tuple[UnitKey, Side], UnitKey] = {}
        for key in self.graph.dependencies_first(self.keys):
            unit = self.graph.units[key]
            for side in unit.sides:
                warm = self._warm_unit(unit, side, change, found)
                if warm is not None:
                    found[key, side] = warm
                elif key in keep:
                    return frozenset()
        return frozenset(key for key in self.keys if all((key, side) in found for side in self.graph.units[key].sides))

    def _gaining(self, changes: Iterable[ProfileChange]) -> Iterator[Offer]:
        now = self.keys & self.warm.keys()
        for change in changes:
            after = self.warm_under(change, keep=now)
            if after > now:
                yield Offer(change, after - now)

    @cached_property
    def _whole_offers(self) -> tuple[Offer, ...]:
        return tuple(self._gaining(self._whole_profiles))

    @property
    def _base(self) -> str:
        return f"profile.{self.profile}"

    @property
    def _override(self) -> str:
        return f"{self._base}.{BUILD_OVERRIDE}"

    @cached_property
    def _mine(self) -> SidedProfile | None:
        """The repository's own profile: that of most of its units without settings of their own."""
        every = f"{self._base}.package.{EVERY_PACKAGE}"
        plain = [unit for unit in self._compiled if self._package_table(unit) in {None, every}]
        counted = {side: Counter(unit.profile for unit in plain if _side(unit) is side) for side in Side}
        most = {side: max(sorted(rows, key=repr), key=lambda row: rows[row]) for side, rows in counted.items() if rows}
        if not most:
            return None
        target = most.get(Side.TARGET) or _without_override(most[Side.HOST], self.profile)
        return SidedProfile(target, most.get(Side.HOST) or _host_by_default(target))

    @cached_property
    def _warm_profiles(self) -> frozenset[SidedProfile]:
        """The profiles of others, as units of the program show them together with what was compiled for the host."""
        hosts: dict[UnitKey, frozenset[CargoProfile]] = {}
        found: set[SidedProfile] = set()
        directory = None if self._mine is None else self._mine.target.directory
        for key in MergedGraph(self.warm).dependencies_first(self.warm):
            unit = self.warm[key]
            below = frozenset[CargoProfile]().union(*(hosts[edge.key] for edge in unit.dependencies))
            is_host = _side(unit) is Side.HOST and _is_compiled(unit)
            hosts[key] = below | {unit.profile} if is_host else below
            if _side(unit) is Side.TARGET and _is_compiled(unit) and unit.profile.directory == directory:
                found |= {SidedProfile(unit.profile, host) for host in below or {_host_by_default(unit.profile)}}
        return frozenset(found)

    @cached_property
    def _whole_profiles(self) -> tuple[ProfileChange, ...]:
        """The changes to the profiles of others, `build-override` included."""
        mine = self._mine
        if mine is None:
            return ()
        others = sorted((theirs for theirs in self._warm_profiles if not _turns_lto_on(mine, theirs)), key=repr)
        changes = [self._to_profile(mine, theirs) for theirs in others]
        if EVERY_PACKAGE not in self.overrides:
            return tuple(changes)
        # What is set for every package goes before what the profile says.
        fixed = {MANIFEST_KEYS[name] for name in OVERRIDABLE}
        return tuple(c for c in changes if fixed.isdisjoint(s.key for those in c.settings.values() for s in those))

    @cached_property
    def _overrides_alone(self) -> tuple[ProfileChange, ...]:
        """The changes to a warm `build-override`, with the profile itself as it is."""
        mine = self._mine
        if mine is None or EVERY_PACKAGE in self.overrides:
            return ()
        hosts = {unit.profile for unit in self.warm.values() if _side(unit) is Side.HOST and _is_compiled(unit)}
        same = {name: getattr(mine.host, name) for name in (*OVERRIDABLE, "strip")}
        possible = sorted((host for host in hosts if replace(host, **same) == mine.host), key=repr)
        changes = [self._to_profile(mine, SidedProfile(mine.target, host)) for host in possible]
        return tuple(change for change in changes if change.settings.keys() == {self._override})

    def _to_profile(self, mine: SidedProfile, theirs: SidedProfile) -> ProfileChange:
        """Return the change to a profile of others, as far as cargo lets this repository have it."""
        by_default = _host_by_default(theirs.target)
        removed = self._override if self.for_host and theirs.host == by_default else ""
        override = self._override_settings(mine, theirs, OVERRIDABLE)
        if removed:
            override, after = self._override_settings(mine, theirs, (*OVERRIDABLE, "strip")), by_default
            to = SidedProfile(theirs.target, after, theirs.target.debuginfo)
        else:
            to = _resolved(theirs, by_hand=self.for_host | {setting.key for setting in override})
        settings = {self._base: changed_settings(mine.target, theirs.target), self._override: override}
        return ProfileChange(
            settings={table: tuple(sorted(those)) for table, those in settings.items() if those},
            defaults=_defaults(self.profile) | {"strip": automatic_strip(theirs.target.debuginfo)},
            removed=removed,
            profile_of=lambda unit, side: _moved(unit, mine, to, side),
            lto=theirs.target.lto if theirs.target.lto != mine.target.lto else None,
        )

    def _override_settings(
        self, mine: SidedProfile, theirs: SidedProfile, fields: Iterable[str]
    ) -> tuple[Setting, ...]:
        """Return what `build-override` has to say beside what the profile of others itself gives."""
        settings = settings_between(_followed(mine, theirs), theirs.host, fields)
        keys = self.for_host | {setting.key for setting in settings}
        if keys and theirs.target.debuginfo != theirs.host.debuginfo == "0" and theirs.host.strip == "debuginfo":
            # Cargo strips where debug information was switched off by hand, not where it drops it by itself.
            settings += () if "debug" in keys else (Setting("debug", "0", mine.host.debuginfo),)
        return settings

    def _package_changes(self, table: str) -> Iterator[ProfileChange]:
        """Yield the changes of a package's own settings: to none, and to those of each warm unit of it."""
        own = [unit for unit in self._compiled if self._package_table(unit) == table]
        mine = self._mine
        if mine is None or not own:
            return
        shows = max(own, key=lambda unit: (_side(unit) is Side.TARGET, unit.key))
        if not table.endswith(f".{EVERY_PACKAGE}"):
            yield ProfileChange(
                settings={table: changed_settings(shows.profile, mine.of(_side(shows)))},
                removed=table,
                profile_of=lambda unit, side: self._without_package(unit, table, mine.of(side)),
            )
        crates = {unit.package.name for unit in own}
        warm = (unit for unit in self.warm.values() if unit.package.name in crates and _is_compiled(unit))
        for theirs in sorted({unit.profile for unit in warm if _side(unit) is _side(shows)}, key=repr):
            yield ProfileChange(
                settings={table: settings_between(shows.profile, theirs, OVERRIDABLE)},
                profile_of=partial(self._with_package, table=table, mine=shows.profile, theirs=theirs),
            )

    def _with_package(
        self, unit: Unit, _: Side, *, table: str, mine: CargoProfile, theirs: CargoProfile
    ) -> CargoProfile:
        """Return the profile of a unit after its package's own settings went from some to others."""
        return _taken_over(unit, mine, theirs, OVERRIDABLE) if self._package_table(unit) == table else unit.profile

    def _without_package(self, unit: Unit, table: str, base: CargoProfile) -> CargoProfile:
        if self._package_table(unit) != table:
            return unit.profile
        return _taken_over(unit, unit.profile, base, (*OVERRIDABLE, "strip"))

    def _package_table(self, unit: Unit) -> str | None:
        return package_table(unit, self.profile, self.overrides)

    @cached_property
    def _compiled(self) -> tuple[Unit, ...]:
        units = (self.graph.units[key] for key in self.graph.dependencies_first(self.keys))
        return tuple(unit for unit in units if _is_compiled(unit))

    @cached_property
    def _by_identity(self) -> Mapping[_Identity, UnitKey]:
        return {
            _identity(unit, unit.profile, unit.lto, tuple(sorted(map(astuple, unit.dependencies)))): key
            for key, unit in self.warm.items()
        }

    def _warm_unit(
        self, unit: Unit, side: Side, change: ProfileChange, found: Mapping[tuple[UnitKey, Side], UnitKey]
    ) -> UnitKey | None:
        below = self._warm_below(unit, side, found)
        if below is None:
            return None
        demand = self._lto_demand(unit, side, change.lto)
        return self._by_identity.get(_identity(unit, change.profile_of(unit, side), demand, below))

    def _warm_below(
        self, unit: Unit, side: Side, found: Mapping[tuple[UnitKey, Side], UnitKey]
    ) -> tuple[_Edge, ...] | None:
        """Return the dependencies of a unit as the warm units that they are; `None` where one misses."""
        below: list[_Edge] = []
        for edge in unit.dependencies:
            warm = found.get((edge.key, _side_below(self.graph.units[edge.key], side)))
            if warm is None:
                return None
            below.append((edge.extern_name, edge.public, warm))
        return tuple(sorted(below))

    def _lto_demand(self, unit: Unit, side: Side, lto: str | None) -> LtoDemand:
        """Return what objects must hold under another `lto`: see `factory.cargo.lto`."""
        if lto is None or side is Side.HOST or not _is_compiled(unit):
            return unit.lto
        if lto == "false":
            return LtoDemand.ONLY_OBJECT
        if lto == "off":
            return LtoDemand.OFF
        return unit.lto


_Edge = tuple[str, bool, UnitKey]
_Identity = tuple[Any, ...]


def _identity(unit: Unit, profile: CargoProfile, lto: LtoDemand, below: tuple[_Edge, ...]) -> _Identity:
    """All that a unit key is the digest of, for one compiler: see `factory.cargo.unit_graph`."""
    return (
        unit.package,
        unit.target_name,
        unit.target_kind,
        unit.mode,
        unit.features,
        unit.platform,
        replace(profile, name=profile.directory),
        lto,
        unit.rustflags,
        unit.linker,
        below,
    )


def _moved(unit: Unit, mine: SidedProfile, theirs: SidedProfile, side: Side) -> CargoProfile:
    """Return a unit's profile where `theirs` takes the place of `mine`; what its package sets by itself stays."""
    moved = _taken_over(unit, mine.of(side), theirs.of(side), (name for name in MANIFEST_KEYS if name != "directory"))
    if not _is_compiled(unit) and side is Side.HOST:
        return replace(moved, strip=automatic_strip(theirs.host_debug))
    return moved


def _taken_over(unit: Unit, mine: CargoProfile, theirs: CargoProfile, fields: Iterable[str]) -> CargoProfile:
    own, names = unit.profile, set(fields)
    if not _is_compiled(unit):
        # A build script runs under these alone, and cargo strips as it chooses.
        names &= {"opt_level", "debuginfo", "debug_assertions"}
    moved = {name: getattr(theirs, name) for name in names if getattr(own, name) == getattr(mine, name)}
    if not _is_compiled(unit) and "debuginfo" in moved:
        moved["strip"] = automatic_strip(moved["debuginfo"])
    return replace(own, **moved)


def _resolved(theirs: SidedProfile, *, by_hand: frozenset[str]) -> SidedProfile:
    """Return what cargo makes of a profile of others where `build-override` says these keys."""
    debug = theirs.host.debuginfo if "debug" in by_hand else theirs.target.debuginfo
    # Where there is such a table, what the profile itself strips does not hold for the host side.
    strip = automatic_strip(debug) if by_hand else theirs.target.strip
    host = replace(theirs.host, debuginfo=debug if "debug" in by_hand else "0", strip=strip)
    return SidedProfile(theirs.target, host, debug)


def _turns_lto_on(mine: SidedProfile, theirs: SidedProfile) -> bool:
    """Which objects must hold bitcode then depends on what is linked as which kind of library: only cargo knows."""
    return mine.target.lto in WITHOUT_LTO and theirs.target.lto not in WITHOUT_LTO


def _followed(mine: SidedProfile, theirs: SidedProfile) -> CargoProfile:
    """Return what build scripts get where only the profile itself becomes that of others."""
    kept = {name: getattr(mine.host, name) for name in HOST_DEFAULTS}
    for name in set(OVERRIDABLE) - HOST_DEFAULTS.keys():
        value = getattr(mine.host, name)
        # What is the same on both sides is taken for what the profile itself says.
        kept[name] = getattr(theirs.target, name) if value == getattr(mine.target, name) else value
    return replace(theirs.host, **kept)


def _host_by_default(target: CargoProfile) -> CargoProfile:
    return replace(target, **HOST_DEFAULTS, panic="unwind")


def _without_override(host: CargoProfile, name: str) -> CargoProfile:
    """Return the profile itself, of which only build scripts and macros are known."""
    defaults = default_settings(name)
    return replace(host, opt_level=defaults["opt-level"], codegen_units=None, debuginfo=defaults["debug"])


def _defaults(name: str) -> dict[str, str]:
    return {key: shown(value) for key, value in default_settings(name).items()} | {"rustflags": "none"}


def _side(unit: Unit) -> Side:
    # What both sides share has the settings of the program.
    return Side.TARGET if Side.TARGET in unit.sides else Side.HOST


def _side_below(unit: Unit, dependent: Side) -> Side:
    """Below a proc-macro or a compiled build script, everything is for the host."""
    is_host = unit.target_kind == "proc-macro" or (unit.target_kind == "custom-build" and _is_compiled(unit))
    return Side.HOST if is_host else dependent


def _is_compiled(unit: Unit) -> bool:
    return unit.mode is not Mode.RUN_CUSTOM_BUILD


def _extent(change: ProfileChange) -> tuple[int, int]:
    """Sort by how much is to be changed."""
    return len(change.settings), sum(map(len, change.settings.values()))
