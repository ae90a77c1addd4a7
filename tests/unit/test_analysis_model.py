"""analysis.json: the same bytes for the same content, read back as it was, and anything else refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.analysis.model import (
    Analysis,
    analysis_from_json,
    analysis_to_json,
    merge_units,
)
from factory.cargo.profile_table import ProfileTable
from factory.errors import ConfigurationError
from factory.files import canonical_json, read_json, write_json
from factory.model import CRATES_IO, Mode, PackageId, Side, SourceSizes, UnitKey
from factory.unit_json import profile_table_from_json, profile_table_to_json
from tests.unit.builders import graphs, organisation, shuffled, skipped, unit
from tests.unit.unit_builder import RELEASE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from factory.graph import MergedGraph

VARIANTS = ("release", "check:dev")


def complete() -> Analysis:
    """An analysis in which nothing is left at its default."""
    analysis = organisation(variants=VARIANTS)
    first, *others = analysis.workspaces
    told = replace(
        first,
        reason="rust-toolchain pins 1.80.0",
        toolchain_pin="1.80.0",
        rust_version="1.70",
        ignored=("repos/cli/.cargo/config.toml:3: build.rustc-wrapper: names a program",),
        variants={name: replace(use, rustflags=("--cfg", "loom")) for name, use in first.variants.items()},
    )
    odd = unit(
        "ffff",
        *list(analysis.units)[:2],
        source="git+https://git.example.org/odd?tag=v1#abc",
        target_kind="custom-build",
        mode=Mode.RUN_CUSTOM_BUILD,
        features=("a", "b"),
        sides=frozenset(Side),
        platform="wasm32-wasip1",
        profile=replace(RELEASE, name="dev", codegen_units=16, split_debuginfo="off", rustflags=("-g",)),
        rustflags=("--cfg", "loom"),
        linker="mold",
    )
    return replace(
        analysis,
        workspaces=(*others, skipped("repos/old", "no-lockfile: repos/old/Cargo.toml"), told),
        units={odd.key: odd, **analysis.units},
        sizes={odd.package: SourceSizes(rust=3, script=2, native=1)},
    )


def as_written(analysis: Analysis) -> str:
    return canonical_json(analysis_to_json(analysis))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    analysis = complete()
    write_json(tmp_path / "analysis.json", analysis_to_json(analysis))
    read = analysis_from_json(read_json(tmp_path / "analysis.json", made_by="factory analyze"))
    by_path = sorted(analysis.workspaces, key=lambda workspace: workspace.path)
    assert read == replace(
        analysis,
        workspaces=tuple(
            replace(w, variants={name: replace(use, keys=tuple(sorted(use.keys))) for name, use in w.variants.items()})
            for w in by_path
        ),
    )
    assert as_written(read) == (tmp_path / "analysis.json").read_text(encoding="utf-8")


@given(st.randoms(use_true_random=False))
def test_input_in_another_order_gives_the_same_bytes(random: Random) -> None:
    """Workspaces, units in cargo's graph, their edges and features, keys and variants: all of it shuffled."""
    assert as_written(organisation(random, variants=VARIANTS)) == as_written(organisation(variants=VARIANTS))


@given(graphs(), st.randoms(use_true_random=False))
def test_the_order_of_the_units_is_not_written(merged: MergedGraph, random: Random) -> None:
    analysis = replace(organisation(), workspaces=(), units=merged.units)
    assert as_written(replace(analysis, units=shuffled(merged.units, random))) == as_written(analysis)


def test_other_content_gives_other_bytes() -> None:
    analysis = complete()
    bytes_ = as_written(analysis)
    assert as_written(replace(analysis, variants=("dev",))) != bytes_
    assert (
        as_written(replace(analysis, units={key: replace(one, linker="ld") for key, one in analysis.units.items()}))
        != bytes_
    )


def test_the_fields_that_others_read_are_there() -> None:
    rows = analysis_to_json(complete())["workspaces"]
    assert [(row["path"], row["status"], row["registry_units"]) for row in rows] == [
        ("repos/cli", "resolved", 3),
        ("repos/db", "resolved", 4),
        ("repos/old", "skipped", 0),
        ("repos/web", "resolved", 4),
    ]
    assert rows[2]["reason"] == "no-lockfile: repos/old/Cargo.toml"


def test_registry_units_are_counted_once_for_all_variants() -> None:
    first = organisation().workspaces[0]
    (use,) = first.variants.values()
    both = {"release": use, "dev": replace(use, keys=(use.keys[0], UnitKey("other")))}
    assert replace(first, variants=both).registry_units == 4
    assert replace(first, variants=dict(reversed(both.items()))).registry_units == 4


def test_a_profile_table_is_read_back() -> None:
    table = ProfileTable(
        name="release",
        base=(("lto", "fat"), ("strip", "symbols")),
        build_override=(("opt-level", "3"),),
        packages=((PackageId("serde", "1.0.0", CRATES_IO), (("codegen-units", 1), ("opt-level", "z"))),),
    )
    assert profile_table_from_json(json.loads(json.dumps(profile_table_to_json(table)))) == table


# What is no analysis


def _edge_to_nowhere(document: dict[str, Any]) -> None:
    next(iter(document["units"].values()))["dependencies"].append(["x", False, "nowhere"])


def _circle(document: dict[str, Any]) -> None:
    for key, raw in document["units"].items():
        raw["dependencies"].append(["x", False, key])


def _use_of_nothing(document: dict[str, Any]) -> None:
    document["workspaces"][0]["variants"]["release"]["keys"].append("nothing")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda document: document.update(schema=1), "schema 1, not 4"),
        (lambda document: document.pop("schema"), "schema"),
        (lambda document: document.pop("units"), "units"),
        (lambda document: document.update(units=[]), "items"),
        (lambda document: document["workspaces"][0].update(status="broken"), "broken"),
        (lambda document: document["workspaces"][0].pop("lock"), "lock"),
        (lambda document: document["profiles"].clear(), "index out of range"),
        (lambda document: document["toolchain"].update(extra=1), "extra"),
        (lambda document: document["links"].append(["short"]), "not enough values"),
        (_edge_to_nowhere, "there is no unit nowhere"),
        (_use_of_nothing, "there is no unit nothing"),
        (_circle, "cycle"),
    ],
)
def test_a_damaged_analysis_is_refused_with_what_to_do(damage: Callable[[dict[str, Any]], object], told: str) -> None:
    document = analysis_to_json(complete())
    damage(document)
    with pytest.raises(ConfigurationError) as caught:
        analysis_from_json(document)
    assert caught.value.what.startswith("not an analysis that this version of factory reads: ")
    assert told in caught.value.what
    assert caught.value.advice == "Run `factory analyze` again."


@pytest.mark.parametrize("document", [None, [], {}, 1, "text", {"schema": 1}])
def test_other_json_is_refused(document: object) -> None:
    with pytest.raises(ConfigurationError, match="not an analysis"):
        analysis_from_json(document)


# Merging


def test_sides_are_united() -> None:
    host, target = unit("a", sides=frozenset({Side.HOST})), unit("a")
    both = unit("a", sides=frozenset(Side))
    assert merge_units([{host.key: host}, {target.key: target}]) == {both.key: both}


@given(st.permutations([("dev", Side.HOST), ("test", Side.TARGET), ("dev", Side.TARGET)]))
def test_whichever_comes_first_the_merged_unit_is_the_same(order: list[tuple[str, Side]]) -> None:
    units = [unit("a", profile=replace(RELEASE, name=name), sides=frozenset({side})) for name, side in order]
    assert merge_units({one.key: one} for one in units) == {
        "a": unit("a", profile=replace(RELEASE, name="dev"), sides=frozenset(Side))
    }


def test_merging_keeps_what_only_one_has() -> None:
    a, b = unit("a"), unit("b")
    one = {a.key: a}
    assert merge_units([one, {b.key: b}]) == {a.key: a, b.key: b}
    assert one == {a.key: a}
