"""Which layer a unit belongs to: the rule of docs/design.md, with the anchors of `profiles/*.toml` as its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.config.layers import folded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from factory.config.layers import LayerTree
    from factory.graph import MergedGraph
    from factory.model import UnitKey


@dataclass(frozen=True, slots=True)
class Placement:
    """The layer of a unit, and why it is there."""

    layer: str
    why: str


def place_units(
    candidates: Iterable[UnitKey],
    *,
    graph: MergedGraph,
    users: Mapping[UnitKey, frozenset[str]],
    tree: LayerTree,
) -> dict[UnitKey, Placement]:
    """Place every candidate: with the deepest anchor in its closure, else where all of its users meet.

    `users` are the repositories that have each unit; each belongs to the layer of its deepest anchor. Where an anchor's
    layer is on another branch of the tree than a user's, they meet at the nearest layer under both. A unit never lies
    deeper than what stands on it, so every layer is closed over the layers above it in the tree (its ancestors).
    """
    order = graph.dependencies_first(candidates)
    anchors = _anchors(order, graph, tree)
    homes = _homes(anchors, users, tree)
    placements: dict[UnitKey, Placement] = {}
    wanted = set(order)
    for key in reversed(order):
        own = _own_placement(anchors[key], users[key], homes, tree)
        above = [placements[up].layer for up in graph.dependents[key] if up in wanted]
        meet = tree.lowest_common_ancestor([own.layer, *above])
        placements[key] = own if meet == own.layer else Placement(meet, f"stands under units of {meet}")
    return placements


def _anchors(order: list[UnitKey], graph: MergedGraph, tree: LayerTree) -> dict[UnitKey, tuple[str, str] | None]:
    """Return for each unit the deepest layer with an anchor in its closure, and that anchor."""
    depth = {profile.name: number for number, profile in enumerate(tree.layers)}
    layer_of = {folded(crate): profile.name for profile in tree.layers for crate in profile.anchors}
    found: dict[UnitKey, tuple[str, str] | None] = {}
    for key in order:
        unit = graph.units[key]
        own = layer_of.get(folded(unit.package.name))
        below = [found[edge.key] for edge in unit.dependencies if edge.key in found]
        choices = [anchor for anchor in below if anchor is not None]
        if own is not None:
            choices.append((own, unit.package.name))
        found[key] = max(choices, key=lambda choice: (depth[choice[0]], choice[1]), default=None)
    return found


def _homes(
    anchors: Mapping[UnitKey, tuple[str, str] | None],
    users: Mapping[UnitKey, frozenset[str]],
    tree: LayerTree,
) -> dict[str, str]:
    """Return the layer that each repository as a whole belongs to: that of its deepest anchor."""
    depth = {profile.name: number for number, profile in enumerate(tree.layers)}
    homes: dict[str, str] = {}
    for key, anchor in anchors.items():
        layer = tree.layers[0].name if anchor is None else anchor[0]
        for repo in users[key]:
            homes[repo] = max(homes.get(repo, tree.layers[0].name), layer, key=depth.__getitem__)
    return homes


def _own_placement(
    anchor: tuple[str, str] | None, users: frozenset[str], homes: Mapping[str, str], tree: LayerTree
) -> Placement:
    if anchor is not None:
        layer, crate = anchor
        # In a tree, a repository may have anchors of two branches: its image has only one of them.
        others = sorted({homes[repo] for repo in users if layer not in tree.path_to_root(homes[repo])})
        meet = tree.lowest_common_ancestor([layer, *others])
        used = f"; used by repositories of {', '.join(others)} too" if others else ""
        return Placement(meet, f"its closure holds {crate}, an anchor of {layer}{used}")
    layers = sorted({homes[repo] for repo in users})
    layer = tree.lowest_common_ancestor(layers)
    return Placement(layer, f"no anchor below it; used by repositories of {', '.join(layers)}")
