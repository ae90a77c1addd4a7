"""Which entries of the registry's index a layer has: those of the whole locks of its repositories, once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from factory.cargo.ask_index import NOBODYS, was_answered, write_questions
from factory.cargo.lock import Lock, render_lock
from factory.model import CRATES_IO, PackageId
from factory.planning.index_entries import index_entries
from factory.resources import shipped
from tests.unit.builders import chain, lock_of, organisation, recipe, unit

if TYPE_CHECKING:
    from pathlib import Path

TREE = chain("core", "web")
ELSEWHERE = "sparse+https://crates.example.org/"


def test_each_layer_has_what_its_repositories_lock_and_no_recipe_up_to_it() -> None:
    analysis = organisation()
    first, second, *_ = analysis.workspaces
    mine = {"a": unit("k1", name="a"), "b": unit("k2", name="b")}
    lock = Lock(
        tuple(
            sorted(
                (
                    *lock_of(mine.values()).packages,
                    *lock_of([unit("k3", name="tester"), unit("k4", name="other", source=ELSEWHERE)]).packages,
                    *lock_of([unit("k5", name="tool", source="git+https://example.org/tool#abc")]).packages,
                )
            )
        )
    )
    use = first.variants["release"]
    core = replace(first, lock=lock, variants={"release": replace(use, keys=(mine["a"].key,))})
    web = replace(second, lock=lock, variants={"release": replace(use, keys=(mine["a"].key, mine["b"].key))})
    nobody = replace(second, lock=lock_of([unit("k6", name="strange")]), variants={"release": replace(use, keys=())})
    layers = {mine["a"].key: "core", mine["b"].key: "web"}
    recipes = [
        replace(recipe("core", [mine["a"]]), lock=render_lock(lock_of([mine["a"]]).packages)),
        replace(recipe("web", [mine["b"]]), lock=render_lock(lock_of([mine["b"]]).packages)),
    ]

    found = index_entries(replace(analysis, workspaces=(core, web, nobody)), layers, recipes, TREE)

    named = {layer: [package.name for package in packages] for layer, packages in found.items()}
    assert named == {"core": ["b", "tester"], "web": ["tester"]}


def test_each_registry_is_asked_for_its_crates_once_and_then_for_one_that_does_not_exist(tmp_path: Path) -> None:
    packages = [
        PackageId("serde", "1.0.1", CRATES_IO),
        PackageId("serde", "1.0.2", CRATES_IO),
        PackageId("itoa", "1.0.2", ELSEWHERE),
    ]
    asked = {
        tuple((folder / "Cargo.toml").read_text("utf-8").partition("[dependencies]\n")[2].splitlines()): (
            folder / "index.paths"
        ).read_text("utf-8")
        for folder in write_questions(packages, tmp_path)
    }
    registry = f'registry-index = "{ELSEWHERE}"'
    assert asked == {
        ('serde = { version = "*" }', f'{NOBODYS} = {{ version = "*" }}'): "se/rd/serde\n",
        (
            f'itoa = {{ version = "*", {registry} }}',
            f'{NOBODYS} = {{ version = "*", {registry} }}',
        ): "it/oa/itoa\n",
    }


def test_an_answer_is_told_from_silence() -> None:
    gone = "    Updating crates.io index\nerror: no matching package named `gone` found\n"
    silent = "error: failed to get `serde` as a dependency of package `factory-index v0.0.0`\n\nCaused by:\n  dns"
    assert was_answered(gone)
    assert not was_answered(silent)


def test_crates_io_cannot_have_the_crate_that_must_not_exist() -> None:
    assert NOBODYS[0] == "_"
    assert len(NOBODYS) > 64
    # The script of the images cannot import it.
    script = (shipped("Dockerfiles") / "fetch.sh").read_text(encoding="utf-8")
    assert f"\nNOBODYS={NOBODYS}\n" in script
    assert script.count('"$NOBODYS"') == 1
