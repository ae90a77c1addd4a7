"""What repositories would share if they agreed: on one crate, on all versions, on features too, on the cargo profile.

Computed on the merged unit graph, without cargo. To *settle* a crate's range is to give each of its units the version
of the baseline and, at the second level, the baseline's features beside its own; then every unit above it is told
apart anew. A unit is shared where two repositories have it: cooked once, it is warm for both.

What the model takes for granted: a settled unit has the dependencies that the same version with the same features has
elsewhere in the organisation (where there is none, those of the nearest and its own); where the repository has such a
dependency already, in the same range, it stays the repository's. Dependencies that agreeing brings into a repository
are not counted in its seconds.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from factory.model import Mode, Side, UnitKey
from factory.planning.baseline_rules import RangeId, range_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.analysis.model import Analysis
    from factory.costs.model import UnitCost
    from factory.model import Unit
    from factory.planning.baseline import Baseline, BaselineCrate

_MOST_CANDIDATES = 24
"""Crates whose gain is computed to the end: those that stand below most of what could be shared."""

_MOST_ROWS = 12


class Level(enum.IntEnum):
    """How far a range is settled; each has all of those before it."""

    AS_IS = 0
    VERSIONS = 1
    FEATURES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CrateAgreement:
    """A crate at the bottom, and the seconds of all repositories that hang on agreeing about it.

    `blocked`: what is not shared if everything else is settled and this crate is not. `alone`: what is shared more if
    this crate is settled and nothing else. `together`: the same for this crate and all rows before it. `versions` and
    `feature_sets` are those in use; `add` are features of the baseline that some users lack, most lacking first.
    """

    crate: str
    range: str
    version: str
    versions: int
    feature_sets: int
    repos: int
    add: tuple[str, ...]
    blocked: float
    alone: float
    together: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """How many units, and their compile seconds, another repository has too."""

    units: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedByWorkspace:
    """What a workspace shares with other repositories, of `total`, as it is and after each step of agreeing."""

    path: str
    repo: str
    total: Shared
    as_is: Shared
    versions: Shared
    features: Shared
    profile: Shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """All of it: crates in the order in which agreeing gains most, workspaces by path."""

    crates: tuple[CrateAgreement, ...]
    workspaces: tuple[SharedByWorkspace, ...]


def agreement(analysis: Analysis, baseline: Baseline, costs: Mapping[UnitKey, UnitCost]) -> Agreement:
    """Return what agreeing would bring; `costs` has every unit of the analysis."""
    model = _Model(analysis, baseline, costs, one_profile=False)
    blind = _Model(analysis, baseline, costs, one_profile=True)
    masks = [
        model.shared_with(model.signatures(model.everywhere(Level.AS_IS))),
        model.shared_with(model.signatures(model.everywhere(Level.VERSIONS))),
        model.shared_with(model.signatures(model.everywhere(Level.FEATURES))),
        blind.shared_with(blind.signatures(blind.everywhere(Level.FEATURES))),
    ]
    return Agreement(crates=_crates(model), workspaces=_workspaces(analysis, model, masks))


def agreement_to_json(found: Agreement) -> dict[str, Any]:
    """Return it as JSON values, seconds to the millisecond."""
    return {
        "crates": [_rounded(asdict(row) | {"add": list(row.add)}) for row in found.crates],
        "workspaces": [_rounded(asdict(row)) for row in found.workspaces],
    }


def agreement_from_json(raw: Mapping[str, Any]) -> Agreement:
    """Read what `agreement_to_json` wrote; raise `KeyError`, `TypeError` or `ValueError` on anything else."""
    steps = ("total", "as_is", "versions", "features", "profile")
    return Agreement(
        crates=tuple(CrateAgreement(**dict(row) | {"add": tuple(row["add"])}) for row in raw["crates"]),
        workspaces=tuple(
            SharedByWorkspace(**dict(row) | {step: Shared(**row[step]) for step in steps}) for row in raw["workspaces"]
        ),
    )


def _rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def _crates(model: _Model) -> tuple[CrateAgreement, ...]:
    bottom = model.seconds_shared(model.everywhere(Level.AS_IS))
    top = model.seconds_shared(model.everywhere(Level.FEATURES))
    rows = []
    for number in model.candidates():
        alone = model.everywhere(Level.AS_IS)
        alone[number] = Level.FEATURES
        all_but_it = model.everywhere(Level.FEATURES)
        all_but_it[number] = Level.AS_IS
        rows.append((top - model.seconds_shared(all_but_it), model.seconds_shared(alone) - bottom, number))
    rows = sorted((row for row in rows if row[0] > 0), key=lambda row: (-row[0], -row[1], row[2]))[:_MOST_ROWS]
    settled = model.everywhere(Level.AS_IS)
    found = []
    for blocked, alone_seconds, number in rows:
        settled[number] = Level.FEATURES
        crate = model.ranges[number]
        use = model.uses[number]
        found.append(
            CrateAgreement(
                crate=crate.name,
                range=crate.range,
                version=crate.version,
                versions=len(use.versions),
                feature_sets=len(use.feature_sets),
                repos=crate.repos,
                add=use.lacking(crate),
                blocked=blocked,
                alone=alone_seconds,
                together=model.seconds_shared(settled) - bottom,
            )
        )
    return tuple(found)


def _workspaces(analysis: Analysis, model: _Model, masks: Sequence[Sequence[int]]) -> tuple[SharedByWorkspace, ...]:
    rows = []
    for workspace in sorted(analysis.resolved, key=lambda one: one.path):
        numbers = sorted({model.number[key] for use in workspace.variants.values() for key in use.keys})
        own = model.bit(workspace.repo)
        as_is, versions, features, profile = (
            model.amount(number for number in numbers if mask[number] & ~own) for mask in masks
        )
        rows.append(
            SharedByWorkspace(
                path=workspace.path,
                repo=workspace.repo,
                total=model.amount(numbers),
                as_is=as_is,
                versions=versions,
                features=features,
                profile=profile,
            )
        )
    return tuple(rows)


class _RangeUse:
    """How a range is used, as far as its libraries tell."""

    def __init__(self) -> None:
        self.versions: set[str] = set()
        self.feature_sets: set[tuple[Side, tuple[str, ...]]] = set()

    def lacking(self, crate: BaselineCrate) -> tuple[str, ...]:
        """Return the baseline's features that some of the sets of their side lack, those that most lack first."""
        count: dict[str, int] = defaultdict(int)
        for side, features in self.feature_sets:
            for feature in set(crate.features(side)) - set(features):
                count[feature] += 1
        return tuple(sorted(count, key=lambda feature: (-count[feature], feature)))


_Head = tuple[object, ...]
_Edges = tuple[int, ...]


class _Model:
    """The units by number, each with what it is and stands on at every level."""

    def __init__(
        self, analysis: Analysis, baseline: Baseline, costs: Mapping[UnitKey, UnitCost], *, one_profile: bool
    ) -> None:
        self._units = [analysis.units[key] for key in sorted(analysis.units)]
        self.number = {unit.key: number for number, unit in enumerate(self._units)}
        self._one_profile = one_profile
        self._repos = sorted({workspace.repo for workspace in analysis.resolved})
        self._users = [0] * len(self._units)
        self._weight = [0.0] * len(self._units)
        self._seconds = [costs[unit.key].seconds for unit in self._units]
        for workspace in sorted(analysis.resolved, key=lambda one: one.path):
            for key in {key for use in workspace.variants.values() for key in use.keys}:
                self._users[self.number[key]] |= self.bit(workspace.repo)
                self._weight[self.number[key]] += workspace.builds
        self.ranges = baseline.crates
        number_of = {(crate.name, crate.source, crate.range): index for index, crate in enumerate(self.ranges)}
        self._range = [number_of.get(range_of(unit), -1) for unit in self._units]
        self.uses = [_RangeUse() for _ in self.ranges]
        self._note_uses()
        self._own_edges: list[_Edges] = [
            tuple(self.number[edge.key] for edge in unit.dependencies) for unit in self._units
        ]
        # By unit, then by level.
        self._heads: list[tuple[int, ...]] = []
        self._known_heads: dict[_Head, int] = {}
        self._edges: list[tuple[_Edges, ...]] = []
        self._settle()
        self._order = self._dependencies_first()

    def bit(self, repo: str) -> int:
        """Return the bit of a repository in the masks."""
        return 1 << self._bits[repo]

    @cached_property
    def _bits(self) -> dict[str, int]:
        return {repo: place for place, repo in enumerate(self._repos)}

    def everywhere(self, level: Level) -> list[Level]:
        """Return the levels of all ranges: the same for each."""
        return [level] * len(self.ranges)

    def signatures(self, levels: Sequence[Level]) -> list[int]:
        """Number the units so that two have the same number where they would be one."""
        known: dict[tuple[int, ...], int] = {}
        found = [0] * len(self._units)
        for index in self._order:
            place = self._range[index]
            level = Level.AS_IS if place < 0 else levels[place]
            below = sorted([found[edge] for edge in self._edges[index][level]])
            found[index] = known.setdefault((self._heads[index][level], *below), len(known))
        return found

    def shared_with(self, signatures: Sequence[int]) -> list[int]:
        """Return for each unit the mask of the repositories that have it or one that would be the same."""
        masks: dict[int, int] = defaultdict(int)
        for signature, users in zip(signatures, self._users, strict=True):
            masks[signature] |= users
        return [masks[signature] for signature in signatures]

    def seconds_shared(self, levels: Sequence[Level]) -> float:
        """Return the seconds, of all repositories together, that two or more of them share."""
        masks = self.shared_with(self.signatures(levels))
        return sum(
            weight * seconds
            for mask, weight, seconds in zip(masks, self._weight, self._seconds, strict=True)
            if mask & (mask - 1)
        )

    def amount(self, numbers: Iterable[int]) -> Shared:
        """Return units and seconds of some units."""
        chosen = list(numbers)
        return Shared(units=len(chosen), seconds=sum(self._seconds[number] for number in chosen))

    def candidates(self) -> list[int]:
        """Return the ranges that differ below most seconds that could be shared and are not."""
        now = self.shared_with(self.signatures(self.everywhere(Level.AS_IS)))
        then = self.shared_with(self.signatures(self.everywhere(Level.FEATURES)))
        differing = [0] * len(self._units)
        above: dict[int, float] = defaultdict(float)
        for index in self._order:
            place = self._range[index]
            if place >= 0 and self._heads[index][Level.AS_IS] != self._heads[index][Level.FEATURES]:
                differing[index] = 1 << place
            for edge in self._own_edges[index]:
                differing[index] |= differing[edge]
            if then[index] & (then[index] - 1) and not now[index] & (now[index] - 1):
                mask = differing[index]
                while mask:
                    lowest = mask & -mask
                    above[lowest.bit_length() - 1] += self._weight[index] * self._seconds[index]
                    mask ^= lowest
        return sorted(above, key=lambda place: (-above[place], place))[:_MOST_CANDIDATES]

    def _note_uses(self) -> None:
        for index, unit in enumerate(self._units):
            place = self._range[index]
            if place >= 0 and unit.is_library and self._users[index]:
                self.uses[place].versions.add(unit.package.version)
                self.uses[place].feature_sets.update((side, unit.features) for side in unit.sides)

    def _settle(self) -> None:
        bases = [self._head(*self._base(unit)) for unit in self._units]
        same_kind: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, place in enumerate(self._range):
            if place >= 0:
                same_kind[bases[index], place].append(index)
        script_sides = self._script_sides()
        for index, unit in enumerate(self._units):
            own = self._own_edges[index]
            version, features, place = unit.package.version, unit.features, self._range[index]
            heads = [self._head(bases[index], version, features)]
            edges = [own]
            if place >= 0:
                crate = self.ranges[place]
                side = script_sides.get(index) or (Side.TARGET if Side.TARGET in unit.sides else Side.HOST)
                more = tuple(sorted({*features, *crate.features(side)}))
                kin = same_kind[bases[index], place]
                for wanted in (features, more):
                    heads.append(self._head(bases[index], crate.version, wanted))
                    edges.append(self._edges_of(index, crate.version, wanted, kin))
            self._heads.append(tuple(heads))
            self._edges.append(tuple(edges))

    def _head(self, *parts: object) -> int:
        """Number what a unit is: numbers compare faster than whole cargo profiles."""
        return self._known_heads.setdefault(parts, len(self._known_heads))

    def _base(self, unit: Unit) -> _Head:
        """Return all that is hashed of a unit beside version, features and dependencies."""
        package = unit.package
        own = (package.name, package.source, unit.target_name, unit.target_kind, unit.mode, unit.platform)
        if self._one_profile:
            return (*own, Side.HOST in unit.sides and Side.TARGET not in unit.sides)
        return (*own, unit.profile, unit.lto, unit.rustflags, unit.linker)

    def _script_sides(self) -> dict[int, Side]:
        """A build script is compiled with the features of the library that it is run for."""
        found: dict[int, Side] = {}
        for index, unit in enumerate(self._units):
            if unit.mode is not Mode.RUN_CUSTOM_BUILD:
                continue
            for edge in self._own_edges[index]:
                if self._units[edge].package == unit.package:
                    side = Side.TARGET if Side.TARGET in unit.sides else Side.HOST
                    found[edge] = Side.TARGET if found.get(edge) is Side.TARGET else side
        return found

    def _edges_of(self, index: int, version: str, features: tuple[str, ...], kin: Sequence[int]) -> _Edges:
        """Return what a unit would stand on at another version and with other features."""
        unit = self._units[index]
        own = self._own_edges[index]
        if (unit.package.version, unit.features) == (version, features):
            return own
        wanted = frozenset(features)
        like = [one for one in kin if wanted.issuperset(self._units[one].features)]

        def nearness(one: int) -> tuple[bool, int, int, int]:
            other = self._units[one]
            return (other.package.version == version, len(other.features), self._users[one].bit_count(), -one)

        model = max(like, key=nearness)
        exact = (self._units[model].package.version, self._units[model].features) == (version, features)
        mine = {self._places[edge]: edge for edge in own}
        taken = [mine.get(self._places[edge], edge) for edge in self._own_edges[model]]
        if not exact:
            names = {self._units[edge].package.name for edge in taken}
            taken += [edge for edge in own if self._units[edge].package.name not in names]
        return tuple(sorted(set(taken)))

    @cached_property
    def _places(self) -> list[tuple[RangeId, str, Mode, bool]]:
        """Say of each unit whose place it can take below another."""
        return [(range_of(unit), unit.target_kind, unit.mode, Side.TARGET in unit.sides) for unit in self._units]

    def _dependencies_first(self) -> list[int]:
        """Order the units so that at every level what a unit stands on precedes it.

        Two versions of a crate may stand on each other's dependents; such units keep their own dependencies.
        """
        while True:
            order, circle = self._try_to_order()
            if not circle:
                return order
            for index in circle:
                self._edges[index] = (self._own_edges[index],) * len(self._edges[index])

    def _try_to_order(self) -> tuple[list[int], list[int]]:
        above: dict[int, list[int]] = defaultdict(list)
        waiting = [0] * len(self._units)
        for index, by_level in enumerate(self._edges):
            below = set().union(*by_level)
            waiting[index] = len(below)
            for edge in below:
                above[edge].append(index)
        order = [index for index, count in enumerate(waiting) if not count]
        for index in order:
            for dependent in above[index]:
                waiting[dependent] -= 1
                if not waiting[dependent]:
                    order.append(dependent)
        placed = set(order)
        return order, [index for index in range(len(self._units)) if index not in placed]
