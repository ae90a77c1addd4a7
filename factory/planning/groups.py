"""Groups of repositories that get a layer of their own, so that nobody pulls what only others need.

Most units have a single user. On a chain of layers everybody pulls them all; in a layer for that user, or for a few
like it, only those do. The layers are written as profiles with `repos`, for somebody to read and to keep.

Groups are merged pair by pair, beginning with each repository alone, the pair first after whose merge least is pulled
in all: what both share leaves the layers under them, and each pulls the other's own units.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.config.layers import LayerProfile, plain_repo
from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from factory.config.layers import LayerTree
    from factory.model import UnitKey
    from factory.planning.layers import Placement


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """Repositories that belong to one layer, `parent`, and would have one of their own on it."""

    parent: str
    repos: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Bytes that the same repositories need, and `layer`, where they lie without any groups."""

    repos: frozenset[str]
    layer: str
    bytes: int


def loads(
    chosen: Iterable[UnitKey],
    *,
    users: Mapping[UnitKey, frozenset[str]],
    placements: Mapping[UnitKey, Placement],
    size: Mapping[UnitKey, int],
) -> tuple[Load, ...]:
    """Return what chosen units weigh, those of the same users in the same layer together."""
    found: dict[tuple[str, frozenset[str]], int] = defaultdict(int)
    for key in chosen:
        found[placements[key].layer, users[key]] += size[key]
    rows = sorted(found.items(), key=lambda item: (item[0][0], sorted(item[0][1])))
    return tuple(Load(repos=repos, layer=layer, bytes=weight) for (layer, repos), weight in rows)


def _require_numbers(numbers: Collection[int], *, least: int, most: int) -> None:
    """Raise `ConfigurationError` for numbers of groups that there cannot be."""
    if numbers and not most:
        raise ConfigurationError(
            "no repository is left to group: the profiles have a layer for each", advice="Name others: --profiles."
        )
    advice = f"Ask for {least} to {most}." if least < most else f"Ask for {most}."
    for number in numbers:
        if number < least:
            what = f"too few groups: {number}. The repositories belong to {least} layers, and a group to one"
            raise ConfigurationError(what, advice=advice)
        if number > most:
            what = f"too many groups: {number}. Of the repositories, {most} have no layer to themselves in the profiles"
            raise ConfigurationError(what, advice=advice)


def groupings(
    found: Sequence[Load],
    *,
    homes: Mapping[str, str],
    builds: Mapping[str, float],
    tree: LayerTree,
    numbers: Collection[int],
) -> dict[int, tuple[Group, ...]]:
    """Return groups of repositories for each of `numbers`, sorted; the same for the same input in any order.

    `homes` are the layers to which repositories belong, `builds` how often each is built. Those that a layer of the
    tree names have theirs, and are in no group. Raises `ConfigurationError` for fewer groups than there can be (those
    of one group belong to one layer), or more than repositories.
    """
    free = [repo for repo in homes if tree.layer_naming(repo) is None]
    least = len({homes[repo] for repo in free})
    _require_numbers(numbers, least=least, most=len(free))
    merging = _Merging(found, homes=homes, builds=builds, tree=tree)
    by_number: dict[int, tuple[Group, ...]] = {}
    for number in sorted(set(numbers), reverse=True):
        while len(merging.members) > number:
            merging.merge()
        by_number[number] = merging.groups()
    return {number: by_number[number] for number in numbers}


class _Merging:
    """Groups by the first repository of each, and what they weigh."""

    def __init__(
        self, found: Sequence[Load], *, homes: Mapping[str, str], builds: Mapping[str, float], tree: LayerTree
    ) -> None:
        self.members = {repo: [repo] for repo in sorted(homes) if tree.layer_naming(repo) is None}
        self._homes = homes
        self._builds = {repo: builds[repo] for repo in self.members}
        pulls: dict[str, float] = defaultdict(float)
        for repo, home in sorted(homes.items()):
            for layer in tree.path_to_root(home):
                pulls[layer] += builds[repo]
        self._own: dict[str, int] = defaultdict(int)
        """Bytes of each group alone."""
        self._shared: dict[frozenset[str], tuple[int, float]] = {}
        """What several groups share: bytes, and those times the builds that pull them."""
        self._of: dict[str, set[frozenset[str]]] = {repo: set() for repo in self.members}
        # What others have too stays where it is.
        for load in (load for load in found if load.repos <= self.members.keys()):
            self._note(load.repos, load.bytes, load.bytes * pulls[load.layer])
        self._best = {repo: self._partner(repo) for repo in self.members}

    def groups(self) -> tuple[Group, ...]:
        return tuple(sorted(Group(self._homes[first], tuple(repos)) for first, repos in self.members.items()))

    def merge(self) -> None:
        """Merge the two groups after which least is pulled."""
        (_, one), two = min((best, first) for first, best in self._best.items() if best is not None)
        first, second = sorted((one, two))
        for shared in sorted(self._of[first] | self._of[second], key=sorted):
            weight, pulled = self._shared.pop(shared)
            for group in shared:
                self._of[group].discard(shared)
            self._note((shared - {second}) | {first}, weight, pulled)
        self._own[first] += self._own.pop(second, 0)
        self._builds[first] += self._builds.pop(second)
        self.members[first] = sorted(self.members[first] + self.members.pop(second))
        del self._of[second], self._best[second]
        self._best[first] = self._partner(first)
        for group, best in self._best.items():
            if best is not None and best[1] in (first, second):
                self._best[group] = self._partner(group)
            elif self._homes[group] == self._homes[first] and group != first:
                self._best[group] = min(filter(None, (best, (self._cost(group, first), first))))

    def _note(self, groups: frozenset[str], weight: int, pulled: float) -> None:
        if len(groups) == 1:
            self._own[next(iter(groups))] += weight
            return
        before = self._shared.get(groups, (0, 0.0))
        self._shared[groups] = before[0] + weight, before[1] + pulled
        for group in groups:
            self._of[group].add(groups)

    def _partner(self, group: str) -> tuple[float, str] | None:
        """Return with which group of the same layer one is best merged, behind what is pulled more afterwards."""
        others = (other for other in self.members if other != group and self._homes[other] == self._homes[group])
        return min(((self._cost(group, other), other) for other in others), default=None)

    def _cost(self, one: str, other: str) -> float:
        """Return the bytes that are pulled more where two groups are one; negative where fewer are."""
        weight, pulled = self._shared.get(frozenset({one, other}), (0, 0.0))
        each = self._builds[one] * self._own[other] + self._builds[other] * self._own[one]
        return each - (pulled - weight * (self._builds[one] + self._builds[other]))


def layers_for(groups: Sequence[Group], tree: LayerTree) -> tuple[LayerProfile, ...]:
    """Return a layer for each group, to be added to a tree: `web-1`, `web-2` … on `web`."""
    taken = {profile.name for profile in tree.layers}
    names = endings([repo for group in groups for repo in group.repos])
    layers: list[LayerProfile] = []
    for group in groups:
        number = 1
        while f"{group.parent}-{number}" in taken:
            number += 1
        name = f"{group.parent}-{number}"
        taken.add(name)
        layers.append(
            LayerProfile(
                name=name,
                parent=group.parent,
                description=f"What only these repositories of {group.parent} have",
                repos=frozenset(names[repo] for repo in group.repos),
            )
        )
    return tuple(layers)


def endings(repos: Collection[str]) -> dict[str, str]:
    """Return the shortest end of the path or URL of each repository that no other one has: mostly its last part."""
    parts = {repo: plain_repo(repo).split("/") for repo in repos}
    ends = Counter("/".join(own[-count:]) for own in parts.values() for count in range(1, len(own) + 1))
    return {
        repo: next((end for count in range(1, len(own)) if ends[end := "/".join(own[-count:])] == 1), plain_repo(repo))
        for repo, own in parts.items()
    }
