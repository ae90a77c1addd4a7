"""Which layer a unit belongs to: the rule of docs/selection.md, with `profiles/*.toml` as its data."""

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

    `users` are the repositories that have each unit: `homes` says to which layers they belong. Where all of them meet
    in a layer without anchors (for they are named), and not under that of the anchor, the unit is there. Where an
    anchor's layer is on another branch of the tree than a user's, they meet at the nearest layer under both. A unit
    never lies deeper than what stands on it, so every layer is closed over those above it in the tree (its ancestors).
    """
    order = graph.dependencies_first(candidates)
    anchors = _anchors(order, graph, tree)
    at_home = _homes(anchors, users, tree)
    placements: dict[UnitKey, Placement] = {}
    wanted = set(order)
    for key in reversed(order):
        own = _own_placement(anchors[key], users[key], at_home, tree)
        above = [placements[up].layer for up in graph.dependents[key] if up in wanted]
        meet = tree.lowest_common_ancestor([own.layer, *above])
        placements[key] = own if meet == own.layer else Placement(meet, f"stands under units of {meet}")
    return placements


def homes(
    candidates: Iterable[UnitKey],
    *,
    graph: MergedGraph,
    users: Mapping[UnitKey, frozenset[str]],
    tree: LayerTree,
) -> dict[str, str]:
    """Return the layer that each repository as a whole belongs to: the one that names it, else that of its deepest
    anchor."""
    return _homes(_anchors(graph.dependencies_first(candidates), graph, tree), users, tree)


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
    depth = {profile.name: number for number, profile in enumerate(tree.layers)}
    found: dict[str, str] = {}
    for key, anchor in anchors.items():
        layer = tree.root.name if anchor is None else anchor[0]
        for repo in users[key]:
            found[repo] = max(found.get(repo, tree.root.name), layer, key=depth.__getitem__)
    return {repo: tree.layer_naming(repo) or layer for repo, layer in found.items()}


def _own_placement(
    anchor: tuple[str, str] | None, users: frozenset[str], at_home: Mapping[str, str], tree: LayerTree
) -> Placement:
    layers = sorted({at_home[repo] for repo in users})
    meet = tree.lowest_common_ancestor(layers)
    if anchor is None:
        return Placement(meet, f"no anchor below it; used by repositories of {', '.join(layers)}")
    layer, crate = anchor
    if meet not in tree.path_to_root(layer) and not tree.layer(meet).anchors:
        return Placement(meet, f"only repositories of {meet} have it")
    # In a tree, a repository may have anchors of two branches: its image has only one of them.
    others = [home for home in layers if layer not in tree.path_to_root(home)]
    used = f"; used by repositories of {', '.join(others)} too" if others else ""
    return Placement(
        tree.lowest_common_ancestor([layer, *others]), f"its closure holds {crate}, an anchor of {layer}{used}"
    )
