"""What `warm-doctor` reads of a layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from factory.cook.warm_list import cargo_profiles, warm_list
from tests.unit.builders import plan_for, unit

if TYPE_CHECKING:
    from factory.planning.plan import Plan

SERDE = unit("aa", name="serde")
AXUM = unit("bb", "aa", name="axum")
PLAN = plan_for({"core": [SERDE], "web": [AXUM]})


def facts(plan: Plan, layer: str, *keys: str) -> dict[str, list[str]]:
    """The lines of a list by their first word."""
    found: dict[str, list[str]] = {}
    text = warm_list(plan, layer, [key for key in plan.units if key in keys])
    assert text.splitlines() == sorted(set(text.splitlines()))
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        found.setdefault(word, []).append(rest)
    return found


def test_a_list_has_the_surroundings_and_what_was_cooked() -> None:
    found = facts(PLAN, "web", "bb")
    (context,) = (row.split()[0] for row in found["context"])
    assert found == {
        "layer": ["web"],
        "chain": ["core web"],
        "plan": [f"web {PLAN.layer_digest('web')}"],
        "cargo-home": ["/usr/local/cargo"],
        "build-dir": ["/build"],
        "layout": ["build-dir"],
        "host": [PLAN.contract.toolchain.host],
        "release": [PLAN.contract.toolchain.version],
        "rustc": sorted(PLAN.contract.toolchain.rustc_verbose.splitlines()),
        "context": [f"{context} build release - 1"],
        "flags": [context],
        "setting": [f"{context} lto thin", f"{context} opt-level 2"],
        "override": [f"{context} opt-level 1", f"{context} opt-level 3"],
        "unit": [f"{context} axum 1.0.0"],
    }


def test_nothing_cooked_is_no_context() -> None:
    assert {"context", "flags", "unit"}.isdisjoint(facts(PLAN, "core"))


def test_flags_settings_and_targets_are_those_of_the_recipe() -> None:
    recipe = PLAN.recipes_of("core")[0]
    profile = replace(
        recipe.context.profile,
        base=(("lto", "thin"), ("overflow-checks", True)),
        build_override=(("opt-level", "3"),),
        packages=((SERDE.package, (("codegen-units", 1),)),),
    )
    context = replace(recipe.context, profile=profile, rustflags=("-C", "x"), platform="wasm32-unknown-unknown")
    other = replace(recipe, context=context)
    found = facts(replace(PLAN, recipes=(other,)), "core", "aa")
    (name,) = (row.split()[0] for row in found["context"])
    assert found["context"] == [f"{name} build release wasm32-unknown-unknown 1"]
    assert found["flags"] == [f"{name} -C x"]
    assert found["setting"] == [f"{name} lto thin", f"{name} overflow-checks true"]
    assert found["override"] == [f"{name} codegen-units 1", f"{name} opt-level 3"]


def test_a_unit_knows_the_variants_it_was_cooked_for() -> None:
    (recipe,) = PLAN.recipes_of("core")
    checked = replace(recipe, context=replace(recipe.context, command="check"))
    assert cargo_profiles(replace(PLAN, recipes=(checked, recipe)))[SERDE.key] == ("check:release", "release")
