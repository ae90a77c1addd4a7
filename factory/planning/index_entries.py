"""Which entries of the registry's index each layer has: those of the whole locks of the repositories that build on it.

Cargo resolves the whole of a lock, with dev-dependencies and what other platforms need, before it compiles a part of
it. For a package that no recipe locks it would ask the registry, and fail where there is no network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.model import CRATES_IO, SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from factory.analysis.model import Analysis, Workspace
    from factory.config.layers import LayerTree
    from factory.model import PackageId, UnitKey
    from factory.planning.recipe import Recipe


def index_entries(
    analysis: Analysis, layers: Mapping[UnitKey, str], recipes: Iterable[Recipe], tree: LayerTree
) -> dict[str, tuple[PackageId, ...]]:
    """Return the packages to have index entries of by layer, without those of the recipes in or under it.

    `layers` are those of the chosen units. A workspace belongs to the deepest layer that has a unit of it, in a tree
    with branches to the deepest of each. Packages of a registry that no recipe needs are left out: nobody may have
    a token for it; so are those of git, which have no index.
    """
    locked: dict[str, set[PackageId]] = {profile.name: set() for profile in tree.layers}
    for recipe in recipes:
        locked[recipe.layer].update(entry.package for entry in recipe.parsed_lock.packages)
    sources = {package.source for packages in locked.values() for package in packages} | {CRATES_IO}
    wanted: dict[str, set[PackageId]] = {name: set() for name in locked}
    for workspace in analysis.resolved:
        packages = [entry.package for entry in workspace.lock.packages]
        for layer in _homes(workspace, layers, tree):
            wanted[layer].update(p for p in packages if p.kind is SourceKind.REGISTRY and p.source in sources)
    return {
        name: tuple(sorted(packages.difference(*(locked[below] for below in tree.path_to_root(name)))))
        for name, packages in wanted.items()
    }


def _homes(workspace: Workspace, layers: Mapping[UnitKey, str], tree: LayerTree) -> frozenset[str]:
    keys = {key for use in workspace.variants.values() for key in use.all_keys}
    found = {layers[key] for key in keys & layers.keys()}
    return frozenset(found.difference(*(tree.ancestors(name) for name in found)))
