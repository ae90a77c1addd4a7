"""Which layer chosen build scripts lie in: cargo compiles one, and runs it, only with a library that stands on it.

`factory.planning.layers` places a unit where all meet that have it. Repositories may share a build script, and no
library on it (each has its own features or cargo profile), of which not all are chosen: no recipe of the layer where
they meet would then make the script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.planning.layers import Placement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from factory.config.layers import LayerTree
    from factory.graph import MergedGraph
    from factory.model import UnitKey


def with_their_libraries(
    placements: Mapping[UnitKey, Placement],
    chosen: AbstractSet[UnitKey],
    *,
    graph: MergedGraph,
    size: Mapping[UnitKey, int],
    tree: LayerTree,
) -> dict[UnitKey, Placement]:
    """Return placements with each chosen build script, and each run of one, in the layer of a chosen library on it.

    It goes to where what is chosen on it meets. Where that is under layers beside each other, the lightest of the
    libraries comes down there, with all it stands on: every layer stays closed over those under it.
    """
    moved = dict(placements)
    for key in reversed(graph.dependencies_first(chosen)):
        above = {moved[up].layer for up in graph.dependents[key] & chosen}
        if graph.units[key].is_library or not above:
            continue
        meet = tree.lowest_common_ancestor(sorted(above))
        if meet != moved[key].layer:
            moved[key] = Placement(meet, f"stands under units of {meet}")
        if meet not in above:
            _bring_down(key, moved, chosen, graph=graph, size=size, tree=tree)
    return moved


def _bring_down(
    script: UnitKey,
    moved: dict[UnitKey, Placement],
    chosen: AbstractSet[UnitKey],
    *,
    graph: MergedGraph,
    size: Mapping[UnitKey, int],
    tree: LayerTree,
) -> None:
    """Move the library on a script that takes least along, and what it stands on, to the layer of the script."""
    layer = moved[script].layer
    there = tree.path_to_root(layer)

    def to_move(library: UnitKey) -> list[UnitKey]:
        return [key for key in graph.closure(library) if moved[key].layer not in there]

    libraries = _libraries_on(script, chosen, graph)
    lightest = min(libraries, key=lambda library: (sum(size[key] for key in to_move(library)), library))
    for key in to_move(lightest):
        moved[key] = Placement(layer, f"comes with the build script of {graph.units[script].package.label}")


def _libraries_on(script: UnitKey, chosen: AbstractSet[UnitKey], graph: MergedGraph) -> set[UnitKey]:
    """Return the chosen libraries that stand on a build script with nothing but scripts and runs between."""
    found: set[UnitKey] = set()
    for key in graph.dependents[script] & chosen:
        found |= {key} if graph.units[key].is_library else _libraries_on(key, chosen, graph)
    return found
