from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.cargo.links import links_names
from factory.cargo.unit_graph import Surroundings, parse_unit_graph
from factory.errors import EnvironmentFaultError
from factory.model import CRATES_IO, LtoDemand, Side

if TYPE_CHECKING:
    from factory.model import Unit

HERE = Surroundings(rustc="rustc 1.95.0")
PROFILE = {
    "name": "release",
    "opt_level": "3",
    "lto": "false",
    "codegen_backend": None,
    "codegen_units": None,
    "debuginfo": 0,
    "split_debuginfo": None,
    "debug_assertions": False,
    "overflow_checks": False,
    "rpath": False,
    "incremental": False,
    "panic": "unwind",
    "strip": {"deferred": "None"},
}
APP, SERDE, DERIVE, SYN, LIBC, RUN, SCRIPT = range(7)


def raw(
    name: str,
    *dependencies: int,
    kind: str = "lib",
    mode: str = "build",
    source: str = CRATES_IO,
    **profile: Any,  # noqa: ANN401 - any JSON value
) -> dict[str, Any]:
    return {
        "pkg_id": f"{source}#{name}@1.0.0",
        "target": {"kind": [kind], "crate_types": [kind], "name": name},
        "profile": PROFILE | profile,
        "platform": None,
        "mode": mode,
        "features": [],
        "dependencies": [
            {"index": index, "extern_crate_name": f"crate{index}", "public": False} for index in dependencies
        ],
    }


def sample() -> list[dict[str, Any]]:
    """An application on serde, serde_derive (on syn) and libc with its build script."""
    return [
        raw("app", SERDE, LIBC, kind="bin", source="path+file:///src/app"),
        raw("serde", DERIVE),
        raw("serde_derive", SYN, kind="proc-macro", opt_level="0"),
        raw("syn", opt_level="0"),
        raw("libc", RUN),
        raw("libc", SCRIPT, kind="custom-build", mode="run-custom-build"),
        raw("libc", kind="custom-build", opt_level="0"),
    ]


def parse(units: list[dict[str, Any]], surroundings: Surroundings = HERE, **changes: Any) -> tuple[Unit, ...]:  # noqa: ANN401
    return parse_unit_graph(json.dumps({"version": 1, "units": units, "roots": [0]} | changes), surroundings)


def changed(units: list[dict[str, Any]], surroundings: Surroundings = HERE) -> set[int]:
    """Return the indices of the sample whose keys differ."""
    pairs = zip(parse(sample()), parse(units, surroundings), strict=True)
    return {index for index, (before, after) in enumerate(pairs) if before.key != after.key}


@given(st.permutations(range(7)))
def test_keys_do_not_depend_on_cargos_order(order: list[int]) -> None:
    place = {old: new for new, old in enumerate(order)}
    shuffled: list[dict[str, Any]] = [{} for _ in order]
    for old, unit in enumerate(sample()):
        edges = [edge | {"index": place[edge["index"]]} for edge in reversed(unit["dependencies"])]
        shuffled[place[old]] = unit | {"dependencies": edges}

    keys = [unit.key for unit in parse(shuffled, roots=[place[APP]])]

    assert [keys[place[old]] for old in range(7)] == [unit.key for unit in parse(sample())]


@pytest.mark.parametrize(
    ("index", "above"),
    [
        (SYN, {SYN, DERIVE, SERDE, APP}),
        (SERDE, {SERDE, APP}),
        (SCRIPT, {SCRIPT, RUN, LIBC, APP}),
        (APP, {APP}),
    ],
)
def test_a_feature_changes_the_keys_of_the_unit_and_of_what_stands_on_it(index: int, above: set[int]) -> None:
    units = sample()
    units[index]["features"] = ["std"]

    assert changed(units) == above


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("opt_level", "2"),
        ("lto", "off"),
        ("codegen_units", 1),
        ("codegen_backend", "cranelift"),
        ("debuginfo", 1),
        ("split_debuginfo", "packed"),
        ("debug_assertions", True),
        ("overflow_checks", True),
        ("rpath", True),
        ("panic", "abort"),
        ("strip", {"resolved": {"Named": "symbols"}}),
        ("rustflags", ["-Zfoo"]),
        ("trim_paths", ["all"]),
        ("name", "dist"),
    ],
)
def test_every_setting_of_the_profile_is_in_the_key(key: str, value: object) -> None:
    units = sample()
    units[SYN]["profile"][key] = value

    assert changed(units) == {SYN, DERIVE, SERDE, APP}


@pytest.mark.parametrize(
    ("key", "value"),
    [("incremental", True), ("strip", {"resolved": "None"}), ("name", "bench")],
)
def test_what_cargo_does_not_hash_is_not_in_the_key(key: str, value: object) -> None:
    units = sample()
    units[SYN]["profile"] = units[SYN]["profile"] | {key: value}

    assert changed(units) == set()


def test_compiler_and_linker_are_in_every_key() -> None:
    assert changed(sample(), Surroundings(rustc="rustc 1.96.0")) == set(range(7))
    assert changed(sample(), Surroundings(rustc=HERE.rustc, linkers={None: "mold"})) == set(range(7))


def test_flags_are_in_every_key_without_target() -> None:
    flagged = Surroundings(rustc=HERE.rustc, rustflags={None: ("-Cdebuginfo=1",)})

    assert changed(sample(), flagged) == set(range(7))


def test_with_target_the_host_side_has_no_flags() -> None:
    units = sample()
    for index in (APP, SERDE, LIBC, RUN):
        units[index]["platform"] = "x86_64-unknown-linux-gnu"
    flags = ("-Cdebuginfo=1",)

    parsed = parse(units, Surroundings(rustc="", rustflags={None: flags, "x86_64-unknown-linux-gnu": flags}))

    assert {index for index, unit in enumerate(parsed) if unit.rustflags} == {APP, SERDE, LIBC, RUN}


def test_sides_follow_macros_and_build_scripts() -> None:
    host = {index for index, unit in enumerate(parse(sample())) if unit.sides == {Side.HOST}}

    assert host == {DERIVE, SYN, SCRIPT}


def test_a_unit_can_be_on_both_sides() -> None:
    units = sample()
    units[APP]["dependencies"].append({"index": SYN, "extern_crate_name": "syn", "public": False})

    assert parse(units)[SYN].sides == {Side.HOST, Side.TARGET}


def test_lto_demands_are_in_the_units() -> None:
    units = sample()
    for unit in units:
        unit["profile"]["lto"] = "fat"

    demands = {unit.label: unit.lto for unit in parse(units)}

    assert demands["libc@1.0.0 (lib)"] is LtoDemand.ONLY_BITCODE
    assert demands["syn@1.0.0 (lib)"] is LtoDemand.ONLY_OBJECT


@pytest.mark.parametrize(
    "text",
    ['{"version": 2, "units": [], "roots": []}', "[]", "", '{"version": 1, "units": [{}], "roots": [0]}'],
    ids=["another version", "another shape", "nothing", "a unit without anything"],
)
def test_an_unknown_format_is_refused(text: str) -> None:
    with pytest.raises(EnvironmentFaultError, match="unit graph"):
        parse_unit_graph(text, HERE)


def test_links_names_are_read_past_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "Cargo.toml").write_text('\ufeff[package]\nlinks = "z"\n', encoding="utf-8")
    unit = {
        "pkg_id": f"{CRATES_IO}#zlib@1.0.0",
        "mode": "run-custom-build",
        "target": {"src_path": str(tmp_path / "build.rs")},
    }
    assert list(links_names(json.dumps({"units": [unit]})).values()) == ["z"]


def patched(folder: str) -> tuple[Unit, ...]:
    """The units of the sample where syn is a path package, resolved in `folder`/app."""
    units = sample()
    units[SYN]["pkg_id"] = f"path+file://{folder.replace(' ', '%20')}/syn#1.0.0"
    text = json.dumps({"version": 1, "units": units, "roots": [0]})
    return parse_unit_graph(text, HERE, root=Path(folder) / "app")


def test_where_a_workspace_lies_changes_no_key_above_a_path_package() -> None:
    here, there = patched("/here/one"), patched("/some where/else")

    assert [unit.key for unit in here[SERDE:]] == [unit.key for unit in there[SERDE:]]
    assert here[SYN].package == there[SYN].package
    assert (here[SYN].package.name, here[SYN].package.source) == ("syn", "path+../syn")
    assert here[SYN].key != parse(sample())[SYN].key
