from __future__ import annotations

import random
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from factory.cargo.lock import LockedPackage, parse_lock
from factory.cargo.profile_table import derive_profile_table
from factory.graph import MergedGraph
from factory.model import LtoDemand, Mode, Side
from factory.planning.recipes import Usage, group_into_recipes, split_recipe
from tests.unit.unit_builder import DEV, DEV_HOST, RELEASE, package, unit

if TYPE_CHECKING:
    from pathlib import Path

    from factory.model import PackageId, Unit
    from factory.planning.recipe import Recipe

HOST = (Side.HOST,)


def usage(*units: Unit, command: str = "build") -> Usage:
    lock = {each.package: LockedPackage(package=each.package, checksum="00", dependencies=()) for each in units}
    keys = frozenset(each.key for each in units)
    return Usage(keys=keys, command=command, profile=derive_profile_table(units), lock=lock)


def group(*workspaces: tuple[Unit, ...], links: dict[PackageId, str] | None = None) -> tuple[Recipe, ...]:
    units = {each.key: each for workspace in workspaces for each in workspace}
    return group_into_recipes(
        "core",
        units,
        graph=MergedGraph(units),
        usages=[usage(*workspace) for workspace in workspaces],
        links=links or {},
    )


def test_closures_that_agree_share_a_recipe() -> None:
    syn = unit("syn", sides=HOST)
    derive = unit("derive", syn, sides=HOST, target_kind="proc-macro")

    (recipe,) = group((unit("a"), syn, derive), (unit("b"), syn))

    assert {entry.package.name for entry in recipe.packages} == {"a", "b", "syn", "derive"}


def test_what_the_check_of_a_proc_macro_reads_is_in_a_member_that_is_one(tmp_path: Path) -> None:
    checked = unit("quote", sides=HOST, mode=Mode.CHECK)
    compiled = unit("quote", sides=HOST)
    (recipe,) = group((checked, compiled, unit("itoa", mode=Mode.CHECK)))

    recipe.write(tmp_path)

    root = tomllib.loads((tmp_path / "Cargo.toml").read_text(encoding="utf-8"))
    member = tomllib.loads((tmp_path / "macros" / "Cargo.toml").read_text(encoding="utf-8"))
    assert root["workspace"]["members"] == ["macros"]
    assert [table["package"] for table in root["dependencies"].values()] == ["itoa"]
    assert [table["package"] for table in root["build-dependencies"].values()] == ["quote"]
    assert member["lib"]["proc-macro"]
    assert [table["package"] for table in member["dependencies"].values()] == ["quote"]
    assert recipe.own_packages == (recipe.name, member["package"]["name"])


def test_checked_or_compiled_the_host_side_has_one_set_of_features_of_a_package() -> None:
    checked = unit("quote", sides=HOST, mode=Mode.CHECK, features=("proc-macro",))
    assert len(group((checked,), (unit("quote", sides=HOST),))) == 2


def test_conflicting_features_keep_closures_apart() -> None:
    assert len(group((unit("log"),), (unit("log", features=("std",)),))) == 2


def test_features_may_differ_between_the_sides() -> None:
    (recipe,) = group((unit("log", features=("std",)), unit("log", sides=HOST)))

    assert [(entry.side, entry.features) for entry in recipe.packages] == [
        (Side.HOST, ()),
        (Side.TARGET, ("std",)),
    ]


def test_versions_share_a_recipe_unless_cargo_would_unify_them() -> None:
    compatible = group((unit("itoa", version="1.0.1"),), (unit("itoa", version="1.2.0"),))
    incompatible = group((unit("itoa", version="0.4.8"),), (unit("itoa", version="1.0.1"),))

    assert (len(compatible), len(incompatible)) == (2, 1)


def test_one_links_name_is_one_package() -> None:
    old, new = unit("sqlite-sys", version="0.1.0"), unit("sqlite-sys", version="0.2.0")

    assert len(group((old,), (new,))) == 1
    assert len(group((old,), (new,), links={old.package: "sqlite3", new.package: "sqlite3"})) == 2


def test_other_settings_are_another_recipe() -> None:
    thin = replace(RELEASE, lto="thin")

    assert len(group((unit("a"),), (unit("b", profile=thin),))) == 2


def test_check_and_build_are_two_recipes() -> None:
    built, checked = unit("a"), unit("b", mode=Mode.CHECK)
    units = {each.key: each for each in (built, checked)}

    recipes = group_into_recipes(
        "core", units, graph=MergedGraph(units), usages=[usage(built), usage(checked, command="check")], links={}
    )

    assert sorted(recipe.cargo_args[0] for recipe in recipes) == ["build", "check"]


def test_host_units_without_debug_information_keep_away_from_their_like_on_the_target_side() -> None:
    host = unit("cfg-if", sides=HOST, profile=DEV_HOST)

    assert len(group((unit("a", profile=DEV), host), (unit("cfg-if", profile=DEV),))) == 2
    assert len(group((unit("a", profile=DEV), host), (unit("cfg-if", profile=DEV, features=("x",)),))) == 1


def test_result_depends_on_the_sets_alone() -> None:
    workspaces = [
        (unit("a"), unit("log")),
        (unit("b"), unit("log", features=("std",))),
        (unit("c"), unit("itoa", version="1.0.1")),
        (unit("d"), unit("itoa", version="1.0.2")),
    ]
    first = group(*workspaces)

    for seed in range(5):
        shuffled = [tuple(random.Random(seed).sample(each, len(each))) for each in workspaces]  # noqa: S311
        random.Random(seed).shuffle(shuffled)  # noqa: S311
        assert group(*shuffled) == first


def test_split_gives_every_root_its_own() -> None:
    syn = unit("syn")
    roots = (unit("a", syn), unit("b", syn))
    units = {each.key: each for each in (syn, *roots)}
    (whole,) = group((syn, *roots))

    parts = split_recipe(whole, graph=MergedGraph(units), usages=[usage(syn, *roots)], links={})

    assert {part.keys for part in parts} == {tuple(sorted((syn.key, root.key))) for root in roots}


def test_manifest_names_exact_packages_on_their_sides() -> None:
    (recipe,) = group((unit("log", features=("std",), version="0.4.29"), unit("syn", sides=HOST)))

    manifest = tomllib.loads(recipe.manifest())

    assert manifest["dependencies"] == {
        "log_0_4_29": {"package": "log", "version": "=0.4.29", "default-features": False, "features": ["std"]}
    }
    assert [each["package"] for each in manifest["build-dependencies"].values()] == ["syn"]
    assert manifest["workspace"]["resolver"] == "2"
    assert "package" not in manifest["profile"]["release"]


def test_two_versions_and_two_registries_stand_side_by_side() -> None:
    other = package("log", "2.0.0", "registry+https://crates.example.com/index")

    (recipe,) = group((unit("log"), unit("log", version="2.0.0"), unit("log", package=other)))

    dependencies = tomllib.loads(recipe.manifest())["dependencies"]
    assert len(dependencies) == 3
    assert [each.get("registry-index") for each in dependencies.values()].count("https://crates.example.com/index") == 1


def test_git_packages_whose_names_differ_in_letters_beyond_ascii_stand_side_by_side() -> None:
    names = ("größe", "grüße")
    packages = [package(name, source="git+https://example.com/measures#00") for name in names]

    (recipe,) = group(tuple(unit(each.name, package=each) for each in packages))

    dependencies = tomllib.loads(recipe.manifest())["dependencies"]
    assert [table["package"] for table in dependencies.values()] == list(names)
    assert all(alias.isascii() for alias in dependencies)


def test_settings_are_written_as_a_profile() -> None:
    odd = unit("odd", profile=replace(RELEASE, lto="true", codegen_units=1, opt_level="1"))
    plain = [unit(name, profile=replace(RELEASE, lto="true", codegen_units=1)) for name in ("a", "b")]

    (recipe,) = group((odd, *plain))

    assert tomllib.loads(recipe.manifest())["profile"]["release"] == {
        "codegen-units": 1,
        "lto": True,
        "package": {"odd@1.0.0": {"opt-level": 1}},
    }


def test_custom_profile_inherits_release() -> None:
    (recipe,) = group((unit("a", profile=replace(RELEASE, name="dist")),))

    assert tomllib.loads(recipe.manifest())["profile"] == {"dist": {"inherits": "release"}}
    assert recipe.cargo_args == ("build", "--workspace", "--profile", "dist")


def test_platform_and_flags_are_those_of_the_units(tmp_path: Path) -> None:
    flagged = unit("a", platform="aarch64-unknown-linux-musl", rustflags=("-C", "target-cpu=neoverse-n1"))

    (recipe,) = group((flagged,))
    recipe.write(tmp_path)

    assert recipe.cargo_args[-2:] == recipe.clean_args[-2:] == ("--target", "aarch64-unknown-linux-musl")
    config = tomllib.loads((tmp_path / ".cargo" / "config.toml").read_text())
    assert config == {"target": {"cfg(all())": {"rustflags": ["-C", "target-cpu=neoverse-n1"]}}}


@pytest.mark.parametrize(
    ("own", "configured", "files"),
    [
        ((), (), set()),
        (("-g",), (), {"config.toml"}),
        (("-g",), ("-g",), set()),
        (("-g", "-O"), ("-g",), {"config.toml"}),
        ((), ("-g",), {"no-rustflags"}),
    ],
)
def test_flags_that_the_cargo_home_sets_are_not_set_again(
    tmp_path: Path, own: tuple[str, ...], configured: tuple[str, ...], files: set[str]
) -> None:
    (recipe,) = group((unit("a", rustflags=own),))

    recipe.write(tmp_path, configured=configured)

    assert {path.name for path in tmp_path.rglob("*") if path.name in {"config.toml", "no-rustflags"}} == files
    assert recipe.cook_environment(configured) == ({"CARGO_ENCODED_RUSTFLAGS": ""} if "no-rustflags" in files else {})


def test_library_that_holds_both_has_a_member_that_asks_for_it(tmp_path: Path) -> None:
    fat = replace(RELEASE, lto="fat")
    both = unit("a", profile=fat, lto=LtoDemand.OBJECT_AND_BITCODE)

    (recipe,) = group((both, unit("b", profile=fat, lto=LtoDemand.ONLY_BITCODE)))
    recipe.write(tmp_path)

    member = tomllib.loads((tmp_path / "objects" / "Cargo.toml").read_text())
    assert list(member["dependencies"]) == ["a_1_0_0"]
    assert member["lib"]["crate-type"] == ["cdylib", "rlib"]
    assert recipe.own_packages == (recipe.name, member["package"]["name"])
    assert all(name in recipe.clean_args for name in recipe.own_packages)


def test_files_are_those_that_cargo_needs(tmp_path: Path) -> None:
    (recipe,) = group((unit("a"), unit("syn", sides=HOST)))

    recipe.write(tmp_path)

    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "Cargo.lock",
        "Cargo.toml",
        "build.rs",
        "clean.args",
        "cook.args",
        "src/lib.rs",
    }
    assert {entry.package.name for entry in parse_lock(recipe.lock).packages} == {"a", "syn"}
