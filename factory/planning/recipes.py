"""Groups chosen units into recipes: the fewest synthetic packages that reproduce their keys exactly.

One union of all is the wrong way: features unify and nobody's keys come out. Two closures fit into one recipe when
cargo, given both, would still resolve each as it was: no package wanted with two keys on one side, no two versions
where its resolver allows one (a semver range, a `links` name), the same context.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from factory.cargo.compatibility import resolver_slot
from factory.cargo.lock import render_lock
from factory.files import digest
from factory.model import LtoDemand, Mode, PackageId, Side, UnitKey
from factory.planning.recipe import Recipe, RecipeContext, RecipePackage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.cargo.lock import LockedPackage
    from factory.cargo.profile_table import ProfileTable, Settings
    from factory.graph import MergedGraph
    from factory.model import CargoProfile, Unit

Slot = tuple[str, ...]
Place = tuple[PackageId, Side, bool]
"""Where a recipe has a library: its package, its side, and on the host side whether it is only checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """A workspace's build as far as recipes need it: its units, its cargo profile and its lock."""

    keys: frozenset[UnitKey]
    command: str
    """The cargo command that compiles these units as dependencies: `build` (also for tests) or `check`."""
    profile: ProfileTable
    lock: Mapping[PackageId, LockedPackage]


@dataclass(slots=True)
class _Group:
    """A recipe in the making. `slots` holds what the resolver allows once, `places` what it compiles where."""

    context: RecipeContext
    slots: dict[Slot, str] = field(default_factory=dict)
    places: dict[Place, UnitKey] = field(default_factory=dict)
    keys: set[UnitKey] = field(default_factory=set)
    locks: dict[PackageId, Mapping[PackageId, LockedPackage]] = field(default_factory=dict)
    """For each package that is compiled, the lock of a repository that has just this closure."""
    overrides: dict[PackageId, Settings] = field(default_factory=dict)

    def accepts(self, slots: Mapping[Slot, str], places: Mapping[Place, UnitKey]) -> bool:
        """Whether a closure contradicts nothing that is already in."""
        return all(self.slots.get(slot, version) == version for slot, version in slots.items()) and all(
            self.places.get(place, key) == key for place, key in places.items()
        )


def group_into_recipes(
    layer: str,
    wanted: Iterable[UnitKey],
    *,
    graph: MergedGraph,
    usages: Sequence[Usage],
    links: Mapping[PackageId, str],
) -> tuple[Recipe, ...]:
    """Return recipes that together compile every unit of `wanted` and what lies under them, in lower layers too.

    First fit, largest closure first, so that a recipe that exists takes what it can. The result depends on the sets
    alone, not on their order. Every recipe still has to be resolved by cargo: `factory.planning.resolution`.
    """
    keys = frozenset(wanted)
    groups: list[_Group] = []
    for root, usage in _roots_with_usage(keys, graph, usages):
        closure = graph.closure(root)
        context = _context(closure, graph, usage)
        slots, places = _claims(closure, graph, links)
        packages = frozenset(package for package, _, _ in places)
        group = next((g for g in groups if g.context == context and g.accepts(slots, places)), None)
        if group is None:
            group = _Group(context)
            groups.append(group)
        group.slots.update(slots)
        group.places.update(places)
        group.keys.update(closure)
        group.overrides.update(usage.profile.for_packages(packages).packages)
        for package in sorted(packages):
            group.locks.setdefault(package, usage.lock)
    return tuple(sorted((_recipe(layer, group, graph) for group in groups), key=lambda recipe: recipe.name))


def split_recipe(
    recipe: Recipe, *, graph: MergedGraph, usages: Sequence[Usage], links: Mapping[PackageId, str]
) -> tuple[Recipe, ...]:
    """Return one recipe for each root of `recipe`: what is left to try where cargo resolves the whole otherwise."""
    keys = frozenset(recipe.keys)
    return tuple(
        part
        for root, _ in _roots_with_usage(keys, graph, usages)
        for part in group_into_recipes(
            recipe.layer, graph.closure(root) & keys, graph=graph, usages=usages, links=links
        )
    )


def _roots_with_usage(
    keys: frozenset[UnitKey], graph: MergedGraph, usages: Sequence[Usage]
) -> list[tuple[UnitKey, Usage]]:
    """Return the units that no other wanted unit stands on, each with the usage that has it and most of `keys`."""
    under = {edge.key for key in keys for edge in graph.units[key].dependencies}
    roots = {key for key in keys if key not in under}
    found: list[tuple[UnitKey, Usage]] = []
    for usage in sorted(usages, key=lambda usage: (-len(usage.keys & keys), sorted(usage.keys & keys))):
        mine = sorted(roots & usage.keys, key=lambda key: (-len(graph.closure(key)), key))
        found.extend((key, usage) for key in mine)
        roots -= usage.keys
    return found


def _context(closure: frozenset[UnitKey], graph: MergedGraph, usage: Usage) -> RecipeContext:
    units = [graph.units[key] for key in closure]
    target = [unit for unit in units if Side.TARGET in unit.sides]
    platforms = {unit.platform for unit in units if unit.platform is not None}
    return RecipeContext(
        command=usage.command,
        # Overrides of single packages do not keep closures apart: where they differ, so do the keys.
        profile=replace(usage.profile, packages=()),
        platform=min(platforms) if platforms else None,
        rustflags=max((unit.rustflags for unit in target or units), default=()),
    )


def _claims(
    closure: frozenset[UnitKey], graph: MergedGraph, links: Mapping[PackageId, str]
) -> tuple[dict[Slot, str], dict[Place, UnitKey]]:
    slots: dict[Slot, str] = {}
    places: dict[Place, UnitKey] = {}
    for key in closure:
        unit = graph.units[key]
        package = unit.package
        slots[_slot(package)] = package.version
        if package.commit:
            # A lock has one commit for each branch, tag or rev.
            slots["commit", package.without_commit.source] = package.commit
        if package in links:
            slots["links", links[package]] = f"{package.name} {package.version}"
        if unit.is_library:
            places.update({(package, side, _is_checked(unit, side)): key for side in unit.sides})
            # Checked or compiled, the host side has one set of features of a package.
            slots.update(
                {("features", package.name, package.version, side): ",".join(unit.features) for side in unit.sides}
            )
            slots[_debuginfo_slot(unit)] = f"{unit.profile.debuginfo} {unit.profile.strip}"
    return slots, places


def _is_checked(unit: Unit, side: Side) -> bool:
    return side is Side.HOST and unit.mode is Mode.CHECK


def _debuginfo_slot(unit: Unit) -> Slot:
    """Cargo gives a host unit the debug information of a target unit that is the same but for that.

    So a closure whose host units have none cannot share a recipe with one that brings in such target units.
    """
    features = ",".join(unit.features)
    place = (*_slot(unit.package), unit.package.version, features, unit.mode, str(unit.platform))
    return ("debuginfo", *place, _without_debuginfo(unit.profile))


@functools.lru_cache(maxsize=1024)
def _without_debuginfo(profile: CargoProfile) -> str:
    return repr(replace(profile, name=profile.directory, debuginfo="", strip=""))


def _lock(group: _Group) -> str:
    """Return a lock for the group: firm for what is compiled, a proposal for what cargo resolves beside it.

    Cargo also resolves what other platforms and unused features need. That may differ between the repositories whose
    closures meet here, so such edges are bent to the version that the group compiles, or else to the first one seen.
    """
    chosen = {_slot(package): package for package in group.locks}
    pending = sorted((package, lock[package]) for package, lock in group.locks.items() if package in lock)
    locks = dict(group.locks)
    entries: dict[PackageId, LockedPackage] = {}
    while pending:
        package, entry = pending.pop()
        if package in entries:
            continue
        lock = locks[package]
        for dependency in entry.dependencies:
            if chosen.setdefault(_slot(dependency), dependency) == dependency and dependency in lock:
                locks.setdefault(dependency, lock)
                pending.append((dependency, locks[dependency][dependency]))
        edges = sorted({chosen[_slot(dependency)] for dependency in entry.dependencies})
        entries[package] = replace(entry, dependencies=tuple(edges))
    return render_lock(entries.values())


def _slot(package: PackageId) -> Slot:
    return ("semver", package.source, package.name, resolver_slot(package.version))


def _recipe(layer: str, group: _Group, graph: MergedGraph) -> Recipe:
    packages = (_recipe_package(place, graph.units[key]) for place, key in group.places.items())
    profile = replace(group.context.profile, packages=tuple(sorted(group.overrides.items())))
    return Recipe(
        name=f"factory-recipe-{digest([layer, sorted(group.keys)])[:12]}",
        layer=layer,
        context=replace(group.context, profile=profile),
        packages=tuple(sorted(packages)),
        lock=_lock(group),
        keys=tuple(sorted(group.keys)),
    )


def _recipe_package(place: Place, unit: Unit) -> RecipePackage:
    package, side, checked = place
    both = side is Side.TARGET and unit.lto is LtoDemand.OBJECT_AND_BITCODE
    return RecipePackage(package=package, side=side, features=unit.features, needs_objects=both, checked=checked)
