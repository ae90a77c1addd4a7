"""plan.json: the images' lockfile, the same bytes for the same content, with a digest of what is cooked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.cargo.lock import Lock, parse_lock
from factory.costs.model import UnitCost
from factory.errors import ConfigurationError
from factory.files import canonical_json, read_json, write_json
from factory.model import CRATES_IO, PackageId
from factory.planning.plan_file import plan_from_json, plan_to_json
from tests.unit.builders import keys, plan_for, recipe, shuffled, unit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from factory.model import UnitKey
    from factory.planning.plan import Plan

SERDE = unit("aa", name="serde", features=("derive", "std"))
AXUM = unit("bb", "aa", name="axum")
SQLX = unit("cc", "aa", name="sqlx")
OTHER = PackageId("other", "1.0.0", CRATES_IO)
ELSEWHERE = PackageId("other", "1.0.0", "sparse+https://crates.example.org/")


def example() -> Plan:
    plan = plan_for({"core": [SERDE], "web": [AXUM], "db": [SQLX]})
    first, *others = plan.recipes
    objects = replace(first.packages[0], needs_objects=True)
    return replace(
        plan, recipes=(replace(first, packages=(objects,)), *others, recipe("db", [SQLX, SERDE], rustflags=("-g",)))
    )


def as_written(plan: Plan) -> str:
    return canonical_json(plan_to_json(plan))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    plan = example()
    plan = replace(plan, contract=replace(plan.contract, rustflags=("--cfg", "loom")))
    write_json(tmp_path / "plan.json", plan_to_json(plan))
    read = plan_from_json(read_json(tmp_path / "plan.json", made_by="factory plan"))
    assert read == plan
    assert read.digest == plan.digest
    assert as_written(read) == (tmp_path / "plan.json").read_text(encoding="utf-8")


@given(st.randoms(use_true_random=False))
def test_input_in_another_order_gives_the_same_bytes(random: Random) -> None:
    plan = example()

    def mixed(these: tuple[UnitKey, ...]) -> tuple[UnitKey, ...]:
        return tuple(random.sample(these, len(these)))

    again = replace(
        plan,
        layers=tuple(replace(layer, keys=mixed(layer.keys)) for layer in plan.layers),
        units=shuffled(
            {key: replace(one, repos=tuple(random.sample(one.repos, 2))) for key, one in plan.units.items()}, random
        ),
        recipes=tuple(replace(one, keys=mixed(one.keys)) for one in plan.recipes),
        forecast=tuple(replace(row, hits=shuffled(row.hits, random)) for row in plan.forecast),
    )
    assert as_written(again) == as_written(plan)
    assert again.digest == plan.digest


def test_the_digest_does_not_move_with_costs() -> None:
    plan = example()
    dearer = replace(
        plan,
        layers=tuple(replace(layer, estimated_bytes=layer.estimated_bytes + 1) for layer in plan.layers),
        units={
            key: replace(unit, cost=UnitCost(seconds=99.5, bytes=1, measured=True)) for key, unit in plan.units.items()
        },
    )
    assert dearer.digest == plan.digest
    assert plan_from_json(plan_to_json(dearer)) == dearer


def test_the_digest_does_not_move_with_forecast_and_measurements() -> None:
    plan = example()
    busier = replace(
        plan,
        forecast=(*plan.forecast, replace(plan.forecast[0], path="repos/new")),
        excluded=(),
        units={
            key: replace(one, repos=(*one.repos, "new"), cost=replace(one.cost, seconds=9.0, measured=True))
            for key, one in plan.units.items()
        },
        layers=tuple(replace(layer, estimated_bytes=7) for layer in plan.layers),
    )
    assert as_written(busier) != as_written(plan)
    assert busier.digest == plan.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: replace(plan, recipes=plan.recipes[1:]),
        lambda plan: replace(plan, recipes=tuple(reversed(plan.recipes))),
        lambda plan: replace(plan, recipes=(replace(plan.recipes[0], lock="version = 4\n"), *plan.recipes[1:])),
        lambda plan: replace(plan, contract=replace(plan.contract, cargo_home="/opt/cargo")),
        lambda plan: replace(
            plan,
            contract=replace(plan.contract, toolchain=replace(plan.contract.toolchain, rustc_verbose="rustc 1.96.0")),
        ),
        lambda plan: replace(plan, layers=(replace(plan.layers[0], keys=()), *plan.layers[1:])),
        lambda plan: replace(plan, layers=(replace(plan.layers[0], index=(OTHER,)), *plan.layers[1:])),
    ],
)
def test_the_digest_moves_with_what_is_cooked(change: Callable[[Plan], Plan]) -> None:
    assert change(example()).digest != example().digest


def test_the_recipes_of_a_layer_keep_their_order() -> None:
    plan = example()
    assert plan.recipes_of("db") == plan.recipes[2:]
    assert [one.layer for one in plan.recipes_of("core")] == ["core"]
    assert plan.recipes_of("none") == ()


def test_an_image_holds_the_units_of_its_layer_and_of_those_under_it() -> None:
    plan = example()
    assert plan.keys_with_parents("core") == keys("aa")
    assert plan.keys_with_parents("web") == keys("aa", "bb")
    siblings = replace(plan, layers=(*plan.layers[:2], replace(plan.layers[2], parent="core")))
    assert siblings.keys_with_parents("db") == keys("aa", "cc")


def test_a_layer_that_adds_nothing_is_the_image_below_it() -> None:
    plan = plan_for({"core": [], "web": [AXUM, SERDE], "db": [], "end": []})
    # The lowest one has the contract.
    assert [plan.image_layer(name) for name in ("core", "web", "db", "end")] == ["core", "web", "web", "web"]
    assert plan.shared_images == {"db": "web", "end": "web"}
    assert plan.layer_digest("end") == plan.layer_digest("web") != plan.layer_digest("core")
    assert [layer.name for layer in plan.of_images().layers] == ["core", "web"]
    for change in ({"packages": ("libpq-dev",)}, {"index": (OTHER,)}, {"keys": (SQLX.key,)}):
        (*others, db, end) = plan.layers
        other = replace(plan, layers=(*others, replace(db, **change), end))
        assert (other.image_layer("db"), other.image_layer("end")) == ("db", "db")
        assert other.layer_digest("end") == other.layer_digest("db") != plan.layer_digest("db")


def test_the_digest_of_a_layer_does_not_move_with_empty_ones_under_it() -> None:
    plan = plan_for({"core": [SERDE], "web": [], "db": [SQLX]})
    folded = plan.of_images()
    assert [(layer.name, layer.parent) for layer in folded.layers] == [("core", None), ("db", "core")]
    assert folded.layer_digest("db") == plan.layer_digest("db")


def test_an_image_asks_the_index_for_what_those_under_it_have_not_got() -> None:
    plan = example()
    core, web, db = plan.layers
    plan = replace(plan, layers=(replace(core, index=(OTHER,)), replace(web, index=(OTHER, ELSEWHERE)), db))
    assert [plan.to_ask(layer) for layer in ("core", "web", "db")] == [(OTHER,), (ELSEWHERE,), ()]
    assert plan.indexed("core") == {OTHER}
    assert plan.indexed("web") == plan.indexed("db") == {OTHER, ELSEWHERE}
    assert plan.locked_list(["core"]).splitlines().count("other 1.0.0") == 1
    assert plan_from_json(plan_to_json(plan)) == plan


# What is no plan


def _unknown_unit(document: dict[str, Any]) -> None:
    document["layers"][0]["keys"].append("dd")


def _unknown_dependency(document: dict[str, Any]) -> None:
    document["units"]["bb"]["dependencies"][0][2] = "dd"


def _circle(document: dict[str, Any]) -> None:
    document["layers"][0]["parent"] = "db"


def _unknown_parent(document: dict[str, Any]) -> None:
    document["layers"][2]["parent"] = "cache"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda document: document.update(schema=0), "schema 0, not 5"),
        (lambda document: document.pop("contract"), "contract"),
        (lambda document: document["layers"][0].update(colour="red"), "colour"),
        (lambda document: document["units"]["aa"].pop("why"), "why"),
        (lambda document: document["recipes"][0].update(layer="cache"), "there is no layer cache"),
        (lambda document: document["recipes"][0]["packages"][0].update(side="left"), "left"),
        (lambda document: document["forecast"][0].pop("units"), "units"),
        (lambda document: document["forecast"][0].pop("seconds"), "seconds"),
        (lambda document: document["units"]["aa"].update(colour="red"), "unit aa: unknown key colour"),
        (lambda document: document["units"]["aa"].pop("seconds"), "seconds"),
        (lambda document: document["units"]["aa"].update(layer="cache"), "unit aa: there is no layer cache"),
        (lambda document: document["profiles"].clear(), "list index out of range"),
        (_unknown_dependency, "unit bb: there is no unit dd"),
        (_unknown_unit, "layer core: there is no unit dd"),
        (_circle, "the parent of layer core does not come before it"),
        (_unknown_parent, "the parent of layer db does not come before it"),
    ],
)
def test_a_damaged_plan_is_refused_with_what_to_do(damage: Callable[[dict[str, Any]], object], told: str) -> None:
    document = plan_to_json(example())
    damage(document)
    with pytest.raises(ConfigurationError) as caught:
        plan_from_json(document)
    assert caught.value.what.startswith("not a plan that this version of factory reads: ")
    assert told in caught.value.what
    assert caught.value.advice == "Run `factory plan` again."


@pytest.mark.parametrize("document", [None, [], {}, 1, "text", {"schema": 1}, {"schema": 99}])
def test_other_json_is_refused(document: object) -> None:
    with pytest.raises(ConfigurationError, match="not a plan"):
        plan_from_json(document)


def test_a_lock_is_read_once_for_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(text: str) -> Lock:
        read.append(text)
        return parse_lock(text)

    monkeypatch.setattr("factory.planning.recipe.parse_lock", counting)
    plan = example()
    for planned in (plan, plan.of_images()):
        for layer in planned.layers:
            planned.to_ask(layer.name)
            planned.locked_list(each.name for each in planned.layers)
    assert sorted(read) == sorted(recipe.lock for recipe in plan.recipes)
