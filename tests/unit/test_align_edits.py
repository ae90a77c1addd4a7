"""Features by edits of dependencies: which places are meant, and that nothing else of a manifest changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from factory.consumer.align.edits import DirectDependencies, Place, with_features
from factory.model import Side
from tests.unit.unit_builder import package

if TYPE_CHECKING:
    from collections.abc import Mapping

MANIFEST = """\
[package] # ours
name = "app"

[dependencies]   # what ships
plain   = '1.0'   # why
inline = { version = "1", features = ["a"] }  # x
tight = {version="1"}
several = { version = "1", features = [
    "a",   # first
    "b"
] }
shared.workspace = true # w
shared-too = { workspace = true }
renamed = { package = "real", version = "1" }
elsewhere = { path = "../elsewhere", version = "1" }
older = "0.9"
wild = "1.*"
built = "=1.2.3+x.4"
before = "1.2.3-rc.1"

[dependencies.table]
version = "1" # t

# on Unix
[target.'cfg(unix)'.dependencies]
only-here = "1"

[target.'cfg(windows)'.dependencies]
only-there = "1"

[build-dependencies]
plain = "1"
"""
WORKSPACE = '[workspace.dependencies]\nshared = "1"\nshared-too = { package = "other", version = "1" }\n'


@pytest.mark.parametrize(
    ("keys", "line", "instead"),
    [
        (("plain",), "plain   = '1.0'   # why", 'plain   = { version = \'1.0\', features = ["x", "y"] }   # why'),
        (("inline",), 'features = ["a"] }  # x', 'features = ["a", "x", "y"] }  # x'),
        (("tight",), 'tight = {version="1"}', 'tight = {version="1", features = ["x", "y"]}'),
        (("several",), '    "b"\n', '    "b",\n    "x",\n    "y"\n'),
        (
            ("shared",),
            "shared.workspace = true # w\n",
            'shared.workspace = true # w\nshared.features = ["x", "y"]\n',
        ),
        (("shared-too",), "{ workspace = true }", '{ workspace = true, features = ["x", "y"] }'),
        (("table",), 'version = "1" # t\n', 'version = "1" # t\nfeatures = ["x", "y"]\n'),
    ],
)
def test_only_the_features_of_one_dependency_change(keys: tuple[str, ...], line: str, instead: str) -> None:
    place = Place(manifest="Cargo.toml", keys=("dependencies", *keys))
    made = with_features({"Cargo.toml": MANIFEST, "other": "x"}, {place: {"y", "x"}})
    assert MANIFEST.count(line) == 1
    assert made == {"Cargo.toml": MANIFEST.replace(line, instead), "other": "x"}


def test_a_table_of_one_platform_is_edited_in_its_place() -> None:
    place = Place(manifest="Cargo.toml", keys=("target", "cfg(unix)", "dependencies", "only-here"))
    made = with_features({"Cargo.toml": MANIFEST}, {place: {"x"}})["Cargo.toml"]
    assert made == MANIFEST.replace('only-here = "1"', 'only-here = { version = "1", features = ["x"] }')


def test_features_that_are_there_are_not_written_twice() -> None:
    place = Place(manifest="Cargo.toml", keys=("dependencies", "inline"))
    assert with_features({"Cargo.toml": MANIFEST}, {place: {"a"}}) == {"Cargo.toml": MANIFEST}


def test_what_is_no_dependency_that_can_have_features_is_refused() -> None:
    place = Place(manifest="Cargo.toml", keys=("dependencies", "nobody"))
    with pytest.raises(ValueError, match=r"Cargo\.toml: nobody: cannot be edited"):
        with_features({"Cargo.toml": MANIFEST}, {place: {"x"}})


def places(name: str, side: Side = Side.TARGET, *, is_macro: bool = False, version: str = "1.2.3") -> list[str]:
    texts: Mapping[str, str] = {"Cargo.toml": WORKSPACE, "app/Cargo.toml": MANIFEST, "lib/Cargo.toml": ""}
    named = DirectDependencies.read(
        texts, ["app/Cargo.toml", "lib/Cargo.toml"], "Cargo.toml", lambda key: "unix" in key
    )
    return [".".join(place.keys) for place in named.of(package(name, version), side, is_macro=is_macro)]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("plain", ["dependencies.plain"]),
        ("real", ["dependencies.renamed"]),
        ("shared", ["dependencies.shared"]),
        ("other", ["dependencies.shared-too"]),
        ("table", ["dependencies.table"]),
        ("only-here", ["target.cfg(unix).dependencies.only-here"]),
        ("only-there", []),
        ("renamed", []),
        ("elsewhere", []),
        ("older", []),
        ("wild", ["dependencies.wild"]),
        ("built", ["dependencies.built"]),
        ("before", ["dependencies.before"]),
        ("nobody", []),
    ],
)
def test_a_dependency_is_found_by_the_crate_and_version_that_it_means(name: str, found: list[str]) -> None:
    assert places(name) == found


def test_each_side_has_its_own_table_and_a_macro_stands_in_either() -> None:
    assert places("plain", Side.HOST) == ["build-dependencies.plain"]
    assert places("inline", Side.HOST) == []
    assert places("inline", Side.HOST, is_macro=True) == ["dependencies.inline"]
