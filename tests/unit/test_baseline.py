"""Tests of the baseline: its rules one by one, its form in JSON, and what the registry's index says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from factory.analysis.model import Analysis, Status, VariantUse, Workspace
from factory.cargo.index_cache import (
    CrateFacts,
    CrateIndex,
    index_path,
    parse_index_line,
    split_index_file,
)
from factory.cargo.lock import Lock
from factory.cargo.profile_table import derive_profile_table
from factory.errors import FactoryError
from factory.model import PackageId, Side
from factory.planning.baseline import baseline_from_json, baseline_to_json
from factory.planning.baseline_rules import BaselineRules, derive_baseline, rust_release
from factory.planning.behaviour import BehaviourFeatures, Rule, read_behaviour_features
from factory.planning.plan_file import plan_from_json, plan_to_json
from tests.unit.builders import FACTS, plan_for
from tests.unit.unit_builder import RELEASE, needs, package, unit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from factory.model import Unit

PLAIN = CrateFacts(yanked=False, rust_version=None, links=None, features=frozenset({"std", "derive", "full", "alloc"}))


def analysis(
    repos: Mapping[str, tuple[Unit, ...]], *, rust: Mapping[str, str] | None = None, order: int = 1
) -> Analysis:
    """An analysis of one workspace for each repository; `rust` are their `rust-version`s."""
    workspaces = tuple(
        Workspace(
            path=f"repos/{repo}",
            repo=repo,
            status=Status.RESOLVED,
            reason="",
            rust_version=(rust or {}).get(repo),
            variants={
                "release": VariantUse(
                    keys=tuple(one.key for one in units), profile=derive_profile_table(units), rustflags=()
                )
            },
            lock=Lock(()),
        )
        for repo, units in list(repos.items())[::order]
    )
    units = {one.key: one for some in repos.values() for one in some}
    return Analysis(toolchain=FACTS, variants=("release",), workspaces=workspaces, units=units, links={})


def rules(
    *,
    never: tuple[Rule, ...] = (),
    share: float = 0.8,
    facts: Mapping[str, CrateFacts] | None = None,
    versions: tuple[str, ...] = (),
) -> BaselineRules:
    """Rules with a threshold of two; `facts` by `name@version`, all else is plain; each crate has all `versions`."""
    known = facts or {}
    return BaselineRules(
        min_repos=2,
        msrv_share=share,
        never=BehaviourFeatures(never),
        facts=lambda one: known.get(one.label, PLAIN),
        versions=lambda _name: versions,
    )


def serde(version: str, *features: str, **changes: Any) -> Unit:  # noqa: ANN401 - any field of a unit
    return unit("serde", version=version, features=tuple(sorted(features)), **changes)


def test_newest_version_in_use_is_taken_by_number_not_by_text() -> None:
    made = derive_baseline(analysis({"a": (serde("1.0.9"),), "b": (serde("1.0.10"),)}), rules())
    assert [(crate.range, crate.version, crate.repos) for crate in made.crates] == [("1", "1.0.10", 2)]


def test_ranges_stand_side_by_side_and_those_of_one_repository_are_in_as_it_has_them() -> None:
    found = analysis(
        {
            "a": (serde("1.0.9", "alloc"), serde("0.9.1")),
            "b": (serde("1.0.9"), serde("0.8.0", "std")),
            "c": (serde("0.9.2"),),
        }
    )
    made = derive_baseline(found, rules())
    assert [(crate.range, crate.version, crate.features_target) for crate in made.crates] == [
        ("0.8", "0.8.0", ("std",)),
        ("0.9", "0.9.2", ()),
        ("1", "1.0.9", ()),
    ]


def test_a_yanked_version_is_passed_over_with_its_reason() -> None:
    found = analysis({"a": (serde("1.0.9"),), "b": (serde("1.0.10"),)})
    made = derive_baseline(found, rules(facts={"serde@1.0.10": replace(PLAIN, yanked=True)}))
    assert [crate.version for crate in made.crates] == ["1.0.9"]
    assert [(row.crate, row.reason) for row in made.left_out] == [("serde@1.0.10", "yanked")]


def test_a_range_of_which_all_is_yanked_is_not_in_the_baseline() -> None:
    found = analysis({"a": (serde("1.0.9"),), "b": (serde("1.0.9"),)})
    made = derive_baseline(found, rules(facts={"serde@1.0.9": replace(PLAIN, yanked=True)}))
    assert made.crates == ()
    assert [(row.crate, row.repos, row.reason) for row in made.left_out] == [("serde@1.0.9", 2, "yanked")]


def test_where_all_in_use_is_yanked_the_next_that_suits_is_taken() -> None:
    found = analysis({"a": (serde("1.0.8"),), "b": (serde("1.0.9"),)}, rust={"a": "1.70", "b": "1.70"})
    yanked, too_new = replace(PLAIN, yanked=True), replace(PLAIN, rust_version="1.80")
    facts = {"serde@1.0.8": yanked, "serde@1.0.9": yanked, "serde@1.0.10": yanked, "serde@1.0.11": too_new}
    there = ("2.0.0", "1.0.13", "1.0.12", "1.0.11", "1.0.10", "1.0.9", "1.0.8", "1.0.7")
    made = derive_baseline(found, rules(facts=facts, versions=there))
    assert [(crate.version, crate.repos) for crate in made.crates] == [("1.0.12", 2)]
    assert [row.crate for row in made.left_out] == ["serde@1.0.8", "serde@1.0.9"]


@pytest.mark.parametrize(("share", "expected", "held_back"), [(0.5, "1.0.10", 1), (0.6, "1.0.9", 0)])
def test_a_version_is_taken_where_enough_repositories_may_by_their_rust_version(
    share: float, expected: str, held_back: int
) -> None:
    found = analysis({"a": (serde("1.0.9"),), "b": (serde("1.0.10"),)}, rust={"a": "1.70", "b": "1.80.0"})
    made = derive_baseline(found, rules(share=share, facts={"serde@1.0.10": replace(PLAIN, rust_version="1.80")}))
    assert [(crate.version, crate.held_back) for crate in made.crates] == [(expected, held_back)]


def test_where_no_version_suits_enough_the_one_that_most_can_take_is_taken() -> None:
    found = analysis(
        {"a": (serde("1.0.9"),), "b": (serde("1.0.10"),), "c": (serde("1.0.11"),)},
        rust={"a": "1.60", "b": "1.70", "c": "1.90"},
    )
    needs = {"serde@1.0.9": "1.65", "serde@1.0.10": "1.65", "serde@1.0.11": "1.80"}
    made = derive_baseline(
        found, rules(share=1.0, facts={label: replace(PLAIN, rust_version=release) for label, release in needs.items()})
    )
    assert [(crate.version, crate.held_back) for crate in made.crates] == [("1.0.10", 1)]
    assert made.rust_version == "1.65"


@pytest.mark.parametrize(("fixture_uses_it", "expected"), [(False, "1.0.10"), (True, "1.0.9")])
def test_a_workspace_that_does_not_use_a_range_holds_nobody_back(fixture_uses_it: bool, expected: str) -> None:
    """Fixtures of tests declare old releases, and stand in the repository beside what is built."""
    fixture = serde("1.0.9") if fixture_uses_it else unit("other")
    found = analysis(
        {"a": (serde("1.0.10"),), "b": (serde("1.0.9"),), "fixture": (fixture,)},
        rust={"a": "1.91", "fixture": "1.58"},
    )
    rows = tuple(replace(row, repo="a") if row.repo == "fixture" else row for row in found.workspaces)
    needed = rules(share=1.0, facts={"serde@1.0.10": replace(PLAIN, rust_version="1.80")})
    made = derive_baseline(replace(found, workspaces=rows), needed)
    assert [crate.version for crate in made.crates if crate.name == "serde"] == [expected]


@pytest.mark.parametrize(
    ("demand", "newer", "expected"),
    [
        ("=1.0.9", ("c",), "1.0.9"),
        # Half of its users are not most of them.
        ("=1.0.9", ("c", "d"), "1.0.10"),
        ("^1.0.9", ("c",), "1.0.10"),
        # About a range that stands beside this one.
        ("^2", ("c",), "1.0.10"),
    ],
)
def test_a_version_goes_with_what_most_of_its_users_have_above_it(
    demand: str, newer: tuple[str, ...], expected: str
) -> None:
    old, new = serde("1.0.9"), serde("1.0.10")
    with_both = (unit("above", old), old)
    found = analysis({"a": with_both, "b": with_both, **dict.fromkeys(newer, (new,))})
    asks = replace(PLAIN, dependencies=(needs("serde", demand),))
    made = derive_baseline(found, rules(facts={"above@1.0.0": asks}))
    assert {crate.name: crate.version for crate in made.crates} == {"above": "1.0.0", "serde": expected}
    told = [(row.crate, row.reason) for row in made.left_out]
    why = f"above@1.0.0 wants `{demand}`, and most of its users have both"
    assert told == ([("serde@1.0.10", why)] if expected == "1.0.9" else [])


def test_a_repository_without_rust_version_holds_nothing_back() -> None:
    found = analysis({"a": (serde("1.0.9"),), "b": (serde("1.0.10"),)})
    made = derive_baseline(found, rules(share=1.0, facts={"serde@1.0.10": replace(PLAIN, rust_version="1.94")}))
    assert [crate.version for crate in made.crates] == ["1.0.10"]
    assert made.rust_version == "1.94"


def test_features_need_enough_repositories_each_side_by_itself() -> None:
    host = {"sides": (Side.HOST,)}
    found = analysis(
        {
            "a": (serde("1.0.9", "std", "derive"), serde("1.0.9", "full", **host)),
            "b": (serde("1.0.9", "std", "alloc"), serde("1.0.9", "full", "derive", **host)),
        }
    )
    (crate,) = derive_baseline(found, rules()).crates
    assert (crate.features_target, crate.features_host) == (("std",), ("full",))
    assert crate.features(Side.HOST) == ("full",)


def test_a_unit_reached_from_both_sides_counts_for_both() -> None:
    both = serde("1.0.9", "std", sides=(Side.TARGET, Side.HOST))
    (crate,) = derive_baseline(analysis({"a": (both,), "b": (both,)}), rules()).crates
    assert (crate.features_target, crate.features_host) == (("std",), ("std",))


def test_features_that_change_behaviour_are_never_in_and_say_why() -> None:
    found = analysis({"a": (serde("1.0.9", "std", "full"),), "b": (serde("1.0.9", "std", "full"),)})
    made = derive_baseline(found, rules(never=(Rule(crate="ser*", features=("fu*",), why="changes all"),)))
    assert made.crates[0].features_target == ("std",)
    assert [(row.crate, row.feature, row.repos, row.reason) for row in made.left_out] == [
        ("serde@1.0.9", "full", 2, "changes all")
    ]


def test_a_feature_that_is_harmless_with_another_is_in_where_that_is_in() -> None:
    never = (Rule(crate="serde", features=("full",), why="changes all", unless="std"),)
    with_std = analysis({"a": (serde("1.0.9", "std", "full"),), "b": (serde("1.0.9", "std", "full"),)})
    assert derive_baseline(with_std, rules(never=never)).crates[0].features_target == ("full", "std")
    without = analysis({"a": (serde("1.0.9", "std", "full"),), "b": (serde("1.0.9", "full"),)})
    assert derive_baseline(without, rules(never=never)).crates[0].features_target == ()


def test_features_that_the_version_has_not_are_left_out() -> None:
    found = analysis({"a": (serde("1.0.9", "old"),), "b": (serde("1.0.9", "old"),), "c": (serde("1.0.10"),)})
    made = derive_baseline(found, rules())
    assert (made.crates[0].version, made.crates[0].features_target) == ("1.0.10", ())
    assert [(row.feature, row.reason) for row in made.left_out] == [("old", "this version has no such feature")]


def test_build_scripts_say_nothing_about_features() -> None:
    script = serde("1.0.9", "full", target_kind="custom-build", sides=(Side.HOST,))
    (crate,) = derive_baseline(analysis({"a": (serde("1.0.9"), script), "b": (serde("1.0.9"), script)}), rules()).crates
    assert crate.features_host == ()


def test_most_used_profile_is_the_one_and_the_others_are_named() -> None:
    thin = serde("1.0.9", profile=replace(RELEASE, lto="thin"))
    found = analysis({"a": (serde("1.0.9"),), "b": (thin,), "c": (thin,)})
    (profile,) = derive_baseline(found, rules()).profiles
    assert (profile.variant, profile.table.base, profile.workspaces) == ("release", (("lto", "thin"),), 2)
    assert profile.others == ("repos/a",)


def test_cargos_own_profile_wins_a_tie() -> None:
    thin = serde("1.0.9", profile=replace(RELEASE, lto="thin"))
    baseline = derive_baseline(analysis({"a": (thin,), "b": (serde("1.0.9"),)}), rules())
    profile = baseline.profile_of("release")
    assert profile is not None
    assert profile.table.base == ()
    assert baseline.profile_of("dev") is None


def test_order_of_the_input_does_not_matter_and_json_gives_the_same_back() -> None:
    thin = serde("1.0.10", "std", "full", profile=replace(RELEASE, lto="thin"))
    repos = {"a": (serde("1.0.9", "std", "gone"),), "b": (thin,), "c": (serde("1.0.9", "full", "gone"),)}
    one = baseline_to_json(derive_baseline(analysis(repos), rules()))
    other = baseline_to_json(derive_baseline(analysis(repos, order=-1), rules()))
    assert json.dumps(one) == json.dumps(other)
    read = baseline_from_json(json.loads(json.dumps(one)))
    assert read == derive_baseline(analysis(repos), rules())
    assert read.left_out
    assert read.by_range["serde", package("serde").source, "1"].label == "serde@1.0.10"


@pytest.mark.parametrize("change", [{"more": 1}, {"crates": [{"name": "serde"}]}, {"profiles": [{"variant": "x"}]}])
def test_json_of_another_form_is_refused(change: dict[str, Any]) -> None:
    document = baseline_to_json(derive_baseline(analysis({"a": (serde("1.0.9"),)}), rules()))
    with pytest.raises((ValueError, TypeError, KeyError)):
        baseline_from_json(document | change)


@pytest.mark.parametrize(
    ("text", "release"), [("1.70", (1, 70, 0)), ("1.80.1", (1, 80, 1)), ("1", (1, 0, 0)), ("x", (0, 0, 0))]
)
def test_rust_versions_compare_as_numbers(text: str, release: tuple[int, ...]) -> None:
    assert rust_release(text) == release


# What is shipped


def test_shipped_list_names_what_it_keeps_out_and_leaves_the_harmless_alone() -> None:
    shipped = read_behaviour_features()
    for crate, feature in [
        ("serde_json", "preserve_order"),
        ("serde_json", "arbitrary_precision"),
        ("log", "release_max_level_off"),
        ("openssl-sys", "vendored"),
        ("rustls", "aws_lc_rs"),
        ("tokio-rustls", "ring"),
        ("anything", "nightly-simd"),
        ("once_cell", "critical-section"),
    ]:
        assert shipped.why_never(crate, feature, ()), f"{crate}/{feature}"
    for crate, feature in [
        ("serde_json", "std"),
        ("tokio", "full"),
        ("syn", "full"),
        ("cc", "parallel"),
        ("ring", "std"),
    ]:
        assert shipped.why_never(crate, feature, ()) is None, f"{crate}/{feature}"
    assert shipped.why_never("once_cell", "critical-section", {"alloc", "std"}) is None


def test_every_shipped_rule_has_a_reason_of_its_own_words_and_names_features() -> None:
    for rule in read_behaviour_features().rules:
        assert rule.crate
        assert rule.features
        assert len(rule.why) > 20
    names = [(rule.crate, feature) for rule in read_behaviour_features().rules for feature in rule.features]
    assert len(names) == len(set(names))


def test_a_damaged_list_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text("[[never]]\ncrate = 'a'\n", encoding="utf-8")
    with pytest.raises(FactoryError, match=r"list\.toml"):
        read_behaviour_features(tmp_path / "list.toml")


# What the registry's index says

ROW = {"req": "^1", "features": ["f"], "default_features": False, "target": None, "kind": "normal"}
LINE = {
    "name": "serde",
    "vers": "1.0.9",
    "deps": [
        ROW | {"name": "serde_derive", "optional": True},
        ROW | {"name": "hidden", "optional": True, "kind": "build", "target": "cfg(unix)"},
        ROW | {"name": "always", "optional": False, "package": "really"},
    ],
    "cksum": "0f",
    "features": {"std": []},
    "features2": {"more": ["dep:hidden"]},
    "yanked": True,
    "rust_version": "1.56",
    "links": "z",
}


def test_index_lines_tell_what_a_version_is(tmp_path: Path) -> None:
    index = CrateIndex(tmp_path)
    assert index.versions("serde") == (), "a new CARGO_HOME has no index yet"
    content = b"\x03\x02\x00\x00\x00etag: x\x001.0.9\x00" + json.dumps(LINE).encode() + b"\x001.0.10\x00{}\x00"
    folder = tmp_path / "registry" / "index" / "index.crates.io-abc" / ".cache" / "se" / "rd"
    folder.mkdir(parents=True)
    (folder / "serde").write_bytes(content)
    assert index.versions("serde") == ("1.0.9", "1.0.10")
    facts = index(package("serde", "1.0.9"))
    assert facts is not None
    assert (facts.yanked, facts.rust_version, facts.links, facts.checksum) == (True, "1.56", "z", "0f")
    assert facts.features == frozenset({"std", "more", "serde_derive"})
    assert facts.feature_table == {"std": (), "more": ("dep:hidden",)}
    assert [(row.name, row.package, row.kind, row.target) for row in facts.dependencies] == [
        ("serde_derive", "serde_derive", "normal", None),
        ("hidden", "hidden", "build", "cfg(unix)"),
        ("always", "really", "normal", None),
    ]
    assert index(package("serde", "1.0.10")) is None
    assert index(package("serde", "2.0.0")) is None
    assert index(package("other", "1.0.0")) is None
    assert index(PackageId("serde", "1.0.9", "registry+https://else.example/index")) is None
    (folder / "serde").write_bytes(content.replace(b"1.0.10\x00{}", b"1.0.11\x00" + json.dumps(LINE).encode()))
    assert index(package("serde", "1.0.11")) == facts, "what cargo asked for in the meantime is known"


def test_index_file_of_another_version_of_cargo_says_nothing() -> None:
    assert split_index_file(b"\x04\x02\x00\x00\x00etag\x001.0.9\x00{}\x00") == {}
    assert parse_index_line(b"{") is None


@pytest.mark.parametrize(("name", "path"), [("a", "1/a"), ("cc", "2/cc"), ("Syn", "3/s/syn"), ("serde", "se/rd/serde")])
def test_index_path(name: str, path: str) -> None:
    assert index_path(name) == path


def test_plan_carries_the_baseline_and_its_digest_does_not_depend_on_it() -> None:
    found = analysis({"a": (serde("1.0.9", "std"),), "b": (serde("1.0.10", "std"),)})
    plain = plan_for({"core": [serde("1.0.9", "std")]})
    made = replace(plain, baseline=derive_baseline(found, rules()))
    assert plan_from_json(json.loads(json.dumps(plan_to_json(made)))) == made
    assert plan_to_json(plain)["baseline"] is None
    assert made.digest == plain.digest
