"""More layers for a selection, one for each group of repositories: what each pulls then, and the profiles to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomlkit

from factory.config.layers import LayerTree
from factory.planning.groups import groupings, layers_for, loads
from factory.planning.layers import homes, place_units
from factory.planning.wall import BuildModel

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from factory.analysis.model import Analysis
    from factory.config.layers import LayerProfile
    from factory.planning.choose import Choice
    from factory.planning.groups import Group

SCHEMA = 1

_HEAD = "# Proposed by `factory layers`: yours to read, to name and to change. docs/selection.md says how.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A tree with layers for groups, those `added`, and what it makes of a selection: bytes are unpacked ones.

    `sizes` are those of each layer alone, `largest` those of the heaviest image; `pulled` are those of the image that a
    build pulls, that of its repository's layer, in the mean, and `saved` the wall seconds that it saves, in the mean.
    """

    tree: LayerTree
    added: tuple[LayerProfile, ...]
    sizes: Mapping[str, int]
    largest: int
    pulled: float
    saved: float

    @property
    def stored(self) -> int:
        """The bytes of all layers."""
        return sum(self.sizes.values())


def possible_numbers(choice: Choice) -> tuple[int, int]:
    """Return how few and how many groups there can be: one for each layer, or for each repository that none names."""
    tree = choice.policy.tree
    homes_ = [home for repo, home in _homes(choice).items() if tree.layer_naming(repo) is None]
    return len(set(homes_)), len(homes_)


def propose(choice: Choice, numbers: Collection[int]) -> tuple[Proposal, ...]:
    """Return the layers as they are, then those with each number of groups, the fewest first.

    What was chosen stays chosen: the layers are not planned anew.
    """
    demand, belong, builds = choice.demand, _homes(choice), _builds(choice.analysis)
    needs = loads(choice.selection.chosen, users=choice.users, placements=demand.placements, size=demand.size)
    found = groupings(
        needs,
        homes=belong,
        builds=builds,
        tree=choice.policy.tree,
        numbers=numbers,
    )
    saved = _saved(choice)
    # A group without anything of its own needs no layer: its repositories stay where they belong.
    kept = (
        tuple(group for group in found[number] if any(need.repos <= set(group.repos) for need in needs))
        for number in sorted(found)
    )
    return tuple(_proposal(choice, groups, belong, builds, saved) for groups in ((), *kept))


def _homes(choice: Choice) -> dict[str, str]:
    return homes(choice.demand.users, graph=choice.graph, users=choice.users, tree=choice.policy.tree)


def _proposal(
    choice: Choice, groups: tuple[Group, ...], belong: Mapping[str, str], builds: Mapping[str, float], saved: float
) -> Proposal:
    added = layers_for(groups, choice.policy.tree)
    tree = LayerTree(layers=(*choice.policy.tree.layers, *added))
    placed = place_units(choice.demand.users, graph=choice.graph, users=choice.users, tree=tree)
    sizes = {profile.name: 0 for profile in tree.layers}
    for key in sorted(choice.selection.chosen):
        sizes[placed[key].layer] += choice.demand.size[key]
    images = {name: sum(sizes[layer] for layer in tree.path_to_root(name)) for name in sizes}
    pulled = sum(images[tree.layer_naming(repo) or home] * builds[repo] for repo, home in sorted(belong.items()))
    every = sum(builds[repo] for repo in sorted(belong))
    return Proposal(
        tree=tree, added=added, sizes=sizes, largest=max(images.values()), pulled=pulled / every, saved=saved / every
    )


def _builds(analysis: Analysis) -> dict[str, float]:
    """Return how often each repository is built: as often as the workspace of it that is built most."""
    found: dict[str, float] = {}
    for workspace in analysis.resolved:
        found[workspace.repo] = max(found.get(workspace.repo, 0.0), workspace.builds)
    return found


def _saved(choice: Choice) -> float:
    """Return the wall seconds of all builds that what was chosen saves where all of it is in the image."""
    jobs, chosen = choice.policy.jobs, choice.selection.chosen
    saved = 0.0
    for workspace in choice.analysis.resolved:
        for _, use in sorted(workspace.variants.items()):
            model = BuildModel(use.keys, units=choice.analysis.units, costs=choice.costs)
            warm = model.wall_seconds(jobs, warm=chosen.intersection(use.keys))
            saved += (model.wall_seconds(jobs) - warm) * workspace.builds
    return saved


def profile_text(layer: LayerProfile) -> str:
    """Return the profile of a proposed layer as TOML."""
    repos = tomlkit.array()
    repos.extend(sorted(layer.repos))
    repos.multiline(multiline=True)
    document = {"parent": layer.parent, "description": layer.description, "repos": repos}
    return _HEAD + tomlkit.dumps(document)


def proposals_to_json(found: Iterable[Proposal]) -> dict[str, Any]:
    """Return proposals as JSON values."""
    return {
        "schema": SCHEMA,
        "proposals": [
            {
                "groups": len(row.added),
                "images": len(row.tree.layers),
                "bytes": {"stored": row.stored, "largest_image": row.largest, "pulled": round(row.pulled)},
                "seconds": {"saved": round(row.saved, 3)},
                "layers": [
                    {
                        "name": layer.name,
                        "parent": layer.parent,
                        "bytes": row.sizes[layer.name],
                        "repos": sorted(layer.repos),
                    }
                    for layer in row.tree.layers
                ],
            }
            for row in found
        ],
    }
