"""Every chosen unit lies in a layer whose own recipes make it, build scripts without a library there too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given

from factory.cargo.profile_table import derive_profile_table
from factory.config.layers import LayerProfile, LayerTree
from factory.model import Mode, UnitKey
from factory.planning.build_scripts import with_their_libraries
from factory.planning.choose import select_and_place
from factory.planning.layers import Placement, homes, place_units
from factory.planning.recipes import Usage, group_into_recipes
from tests.unit.builders import World, graph, lock_of, unit
from tests.unit.test_selection import Case, cases

if TYPE_CHECKING:
    from factory.graph import MergedGraph
    from factory.model import Unit
    from factory.planning.recipe import Recipe

TREE = LayerTree(
    layers=(
        LayerProfile(name="core"),
        LayerProfile(name="web", parent="core", anchors=frozenset({"axum"})),
        LayerProfile(name="shop", parent="web", repos=frozenset({"orders"})),
        LayerProfile(name="bank", parent="web", repos=frozenset({"bills"})),
    )
)


def crate(name: str, *below: str) -> tuple[Unit, Unit]:
    """The library of a crate with a build script, and its run; the script itself, `script`, is shared."""
    run = unit(f"{name}-run", "script", name="libc", target_kind="custom-build", mode=Mode.RUN_CUSTOM_BUILD)
    return unit(name, run.key, *below, name="libc"), run


SCRIPT = unit("script", name="libc", target_kind="custom-build")


def placed(merged: MergedGraph, users: dict[str, set[str]], *roots: str, **size: int) -> dict[str, Placement]:
    """Place what repositories have, of which the closures of `roots` were chosen; units weigh 1 unless told."""
    having: dict[UnitKey, set[str]] = {key: set() for key in merged.units}
    for root, repos in users.items():
        for key in merged.closure(UnitKey(root)):
            having[key] |= repos
    frozen = {key: frozenset(repos) for key, repos in having.items()}
    chosen = frozenset[UnitKey]().union(*(merged.closure(UnitKey(root)) for root in roots))
    found = with_their_libraries(
        place_units(merged.units, graph=merged, users=frozen, tree=TREE),
        chosen,
        graph=merged,
        size={key: size.get(key, 1) for key in merged.units},
        tree=TREE,
    )
    return {str(key): found[key] for key in chosen}


def layers(found: dict[str, Placement]) -> dict[str, str]:
    return {key: placement.layer for key, placement in found.items()}


def test_a_script_that_repositories_share_lies_under_the_library_that_is_chosen() -> None:
    merged = graph(SCRIPT, *crate("tools"), *crate("webs"), unit("app", "webs", name="axum"))
    users = {"app": {"site"}, "tools": {"tool"}}
    assert layers(placed(merged, users, "app", "tools"))["script"] == "core"
    found = placed(merged, users, "app")
    assert layers(found) == {"app": "web", "webs": "web", "webs-run": "web", "script": "web"}
    assert found["script"].why == "stands under units of web"


def test_under_layers_beside_each_other_the_lightest_library_comes_down() -> None:
    merged = graph(
        SCRIPT, *crate("orders-libc"), *crate("bills-libc", "cfg-if"), unit("cfg-if"), unit("pay", "orders-libc")
    )
    users = {"pay": {"orders"}, "bills-libc": {"bills"}}
    light = placed(merged, users, "pay", "bills-libc")
    # All of them are repositories of layers on web, and so of the layer that both have in common.
    assert layers(light) == {
        "pay": "shop",
        "orders-libc": "web",
        "orders-libc-run": "web",
        "script": "web",
        "bills-libc": "bank",
        "bills-libc-run": "bank",
        "cfg-if": "bank",
    }
    assert light["orders-libc"].why == "comes with the build script of libc@1.0.0"
    heavy = layers(placed(merged, users, "pay", "bills-libc", **{"orders-libc": 9}))
    assert (heavy["orders-libc"], heavy["bills-libc"], heavy["cfg-if"]) == ("shop", "web", "web")


@given(cases())
def test_every_chosen_unit_is_made_by_a_recipe_of_its_own_layer(case: Case) -> None:
    world, chosen, found = settled(case)
    for profile in world.tree.layers:
        own = {key for key in chosen if found[key].layer == profile.name}
        made = frozenset[UnitKey]().union(
            *(made_by(recipe, world.graph) for recipe in recipes(profile.name, own, world))
        )
        assert own <= made


@given(cases())
def test_no_layer_is_over_its_budget(case: Case) -> None:
    _, demand, budgets, _ = case
    _, chosen, found = settled(case)
    for layer, most in budgets.items():
        weight = sum(demand.size[key] for key in chosen if found[key].layer == layer)
        assert most is None or weight <= most


@given(cases())
def test_every_layer_stays_closed_over_those_under_it(case: Case) -> None:
    world, chosen, found = settled(case)
    for key in chosen:
        under = world.tree.path_to_root(found[key].layer)
        assert all(found[edge.key].layer in under for edge in world.graph.units[key].dependencies)


@given(cases())
def test_every_repository_finds_the_libraries_it_has_in_its_own_image(case: Case) -> None:
    world, chosen, found = settled(case)
    belong = homes(world.used, graph=world.graph, users=world.users, tree=world.tree)
    for key in (key for key in chosen if world.graph.units[key].is_library):
        assert all(found[key].layer in world.tree.path_to_root(belong[repo]) for repo in world.users[key])


def settled(case: Case) -> tuple[World, frozenset[UnitKey], dict[UnitKey, Placement]]:
    """Choose of a case, and place what was chosen."""
    world, demand, budgets, total = case
    selection, found = select_and_place(demand, graph=world.graph, tree=world.tree, budgets=budgets, total_budget=total)
    return world, selection.chosen, found


def recipes(layer: str, own: set[UnitKey], world: World) -> tuple[Recipe, ...]:
    """Group the units of a layer into recipes, with every repository a workspace."""
    usages = []
    for repo in sorted(frozenset[str]().union(*world.users.values())):
        units = [world.graph.units[key] for key in world.used if repo in world.users[key]]
        lock = {entry.package: entry for entry in lock_of(units).packages}
        usages.append(
            Usage(
                keys=frozenset(one.key for one in units),
                command="build",
                profile=replace(derive_profile_table(units), packages=()),
                lock=lock,
            )
        )
    return group_into_recipes(layer, own, graph=world.graph, usages=usages, links={})


def made_by(recipe: Recipe, merged: MergedGraph) -> frozenset[UnitKey]:
    """What cargo makes of a recipe: its libraries, which are the dependencies in its manifest, and what they need."""
    libraries = (key for key in recipe.keys if merged.units[key].is_library)
    return frozenset[UnitKey]().union(*(merged.closure(key) for key in libraries))
