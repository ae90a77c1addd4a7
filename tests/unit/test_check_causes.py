"""Root causes: the unit at the bottom is named, what stands on it is not, and every miss has a cause."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.cargo.sources import CRATES_IO_ONLY, CookableSources
from factory.consumer.check.causes import Cause, Explained, Root, Situation, explain_misses
from factory.consumer.check.settings import Setting
from factory.cook.facts import WarmUnit
from factory.costs.model import UnitCost
from factory.graph import MergedGraph
from factory.model import LtoDemand, Side
from factory.planning.plan import Exclusion
from tests.unit.unit_builder import DEV, DEV_HOST, RELEASE, RELEASE_HOST, package, unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from factory.model import Unit

HOST = (Side.HOST,)
BOTH = (Side.HOST, Side.TARGET)


PRIVATE = unit("own", package=package("own", source="registry+https://crates.example.org/index"))


def warm(*units: Unit, repos: int = 1) -> dict[Any, WarmUnit]:
    cost = UnitCost(seconds=1.0, bytes=1, measured=False)
    return {one.key: WarmUnit(unit=one, layer="core", cost=cost, repos=repos) for one in units}


def explain(mine: Sequence[Unit], there: Iterable[Unit], **changes: Any) -> Explained:  # noqa: ANN401 - any field
    situation = Situation(
        graph=MergedGraph({one.key: one for one in mine}),
        warm=warm(*there),
        elsewhere={},
        dropped={},
        excluded=(),
        profile="release",
        overrides=frozenset(),
        sources=CRATES_IO_ONLY,
        rustflags=(),
    )
    changed = replace(situation, **changes)
    misses = [one.key for one in mine if one.key not in changed.warm and one.is_registry]
    return explain_misses(changed, misses)


def causes(explained: Explained, one: Unit) -> set[tuple[Cause, str]]:
    return {(root.cause, root.subject) for root in explained.roots[one.key]}


def only_root(explained: Explained, one: Unit) -> Root:
    (root,) = explained.roots[one.key]
    return root


# Below


def test_what_stands_on_another_version_has_no_cause_of_its_own() -> None:
    there = [bottom := unit("ident"), middle := unit("quote", bottom), unit("syn", middle)]
    mine = [low := unit("ident", version="1.0.1"), mid := unit("quote", low), unit("syn", mid)]
    explained = explain(mine, there)
    for one in mine:
        assert only_root(explained, one) == Root(
            cause=Cause.VERSION, subject="ident@1.0.1", warm="1.0.0", yours="1.0.1", name="ident", version="1.0.1"
        )
    assert [bool(explained.own[one.key]) for one in mine] == [True, False, False]


def test_a_unit_with_two_causes_below_and_one_of_its_own_has_three() -> None:
    there = [a := unit("a"), b := unit("b"), unit("top", a, b, features=("std",))]
    mine = [a2 := unit("a", version="1.2.0"), b2 := unit("b", features=("x",)), top := unit("top", a2, b2)]
    explained = explain(mine, there)
    assert causes(explained, top) == {
        (Cause.VERSION, "a@1.2.0"),
        (Cause.FEATURES, "b@1.0.0"),
        (Cause.FEATURES, "top@1.0.0"),
    }
    missing = next(root for root in explained.roots[top.key] if root.subject == "top@1.0.0")
    assert (missing.missing, missing.extra) == (("std",), ())


def test_two_warm_crates_that_nobody_combined_are_named_by_what_lies_below() -> None:
    old, new = unit("libc"), unit("libc", version="1.0.1")
    there = [old, new, unit("socket", old), unit("other", new)]
    mine = [new, socket := unit("socket", new)]
    assert causes(explain(mine, there), socket) == {(Cause.VERSION, "libc@1.0.1")}


def test_a_dependency_that_the_warm_unit_has_not_got_is_told_where_nothing_else_differs() -> None:
    there = [a := unit("a"), b := unit("b"), unit("top", a)]
    mine = [a, b, top := unit("top", a, b)]
    root = only_root(explain(mine, there), top)
    assert (root.cause, root.subject, root.yours) == (Cause.DEPENDENCIES, "top@1.0.0", "b@1.0.0")
    back = [a, alone := unit("top")]
    root = only_root(explain(back, there), alone)
    assert (root.cause, root.warm) == (Cause.DEPENDENCIES, "a@1.0.0")


def test_dependencies_that_come_with_a_feature_are_not_causes() -> None:
    there = [a := unit("a"), b := unit("b"), unit("top", a)]
    mine = [a, b, top := unit("top", a, b, features=("b",))]
    assert causes(explain(mine, there), top) == {(Cause.FEATURES, "top@1.0.0")}


def test_a_dependency_of_another_range_is_no_version_to_update_to() -> None:
    """`cargo update --precise` stays within a range; which one it is decides whoever asks for the crate."""
    there = [old := unit("itoa", version="0.4.8"), new := unit("itoa"), unit("http", new), unit("user", old)]
    mine = [old, http := unit("http", old)]
    root = only_root(explain(mine, there), http)
    assert (root.cause, root.warm, root.yours) == (Cause.DEPENDENCIES, "itoa@1.0.0", "itoa@0.4.8")
    newer = unit("http", old, version="1.0.1")
    assert causes(explain([old, newer], there), newer) == {(Cause.VERSION, "http@1.0.1")}


def test_what_differs_in_nothing_that_is_recorded_still_has_a_cause() -> None:
    there = [a := unit("a"), unit("top", a)]
    renamed = unit("top", a, dependencies=tuple(replace(edge, extern_name="b") for edge in unit("x", a).dependencies))
    assert causes(explain([a, renamed], there), renamed) == {(Cause.DEPENDENCIES, "top@1.0.0")}


# What is compared


def test_the_version_that_most_repositories_have_is_the_one_to_move_to() -> None:
    rare, common = unit("serde", version="1.0.9"), unit("serde", version="1.0.5")
    mine = unit("serde", version="1.0.3")
    there = warm(rare, repos=1) | warm(common, repos=7)
    explained = explain([mine], (), warm=there)
    assert only_root(explained, mine).warm == "1.0.5"
    newest = explain([mine], (), warm=warm(rare) | warm(common))
    assert only_root(newest, mine).warm == "1.0.9"


def test_the_same_version_is_compared_before_any_other() -> None:
    there = [unit("serde", version="1.0.3", features=("a", "b", "c")), unit("serde", version="1.0.5")]
    mine = unit("serde", version="1.0.3")
    assert causes(explain([mine], there), mine) == {(Cause.FEATURES, "serde@1.0.3")}


def test_the_warm_unit_with_the_fewest_other_features_is_compared() -> None:
    there = [unit("tokio", features=("fs", "io", "net", "rt")), unit("tokio", features=("net", "signal"))]
    mine = unit("tokio", features=("net", "rt"))
    root = only_root(explain([mine], there), mine)
    assert (root.missing, root.extra) == (("fs", "io"), ()) or (root.missing, root.extra) == (("signal",), ("rt",))
    assert len(root.missing) + len(root.extra) == 2


def test_incompatible_versions_are_no_relatives() -> None:
    mine = unit("getrandom", version="0.2.1")
    root = only_root(explain([mine], [unit("getrandom", version="0.3.1")]), mine)
    assert (root.cause, root.subject) == (Cause.NOT_PLANNED, "only other versions are warm")


def test_the_host_side_is_not_compared_with_the_target_side() -> None:
    there = [unit("libc", sides=HOST, profile=RELEASE_HOST)]
    mine = unit("libc")
    root = only_root(explain([mine], there), mine)
    assert (root.cause, root.subject) == (Cause.NOT_PLANNED, "warm for build scripts and macros only")


# Surroundings


def test_a_cargo_profile_is_one_cause_with_all_its_settings() -> None:
    there = [a := unit("a"), unit("b", a)]
    other = replace(RELEASE, lto="fat", codegen_units=1)
    mine = [x := unit("a", profile=other, lto=LtoDemand.ONLY_BITCODE), y := unit("b", x, profile=other)]
    explained = explain(mine, there)
    assert causes(explained, x) == causes(explained, y) == {(Cause.CARGO_PROFILE, "profile.release")}
    (settings,) = explained.settings.values()
    assert settings == (Setting("codegen-units", "default", "1"), Setting("lto", "false", "fat"))


def test_stripping_that_follows_from_debug_information_is_no_setting() -> None:
    mine = unit("a", profile=replace(RELEASE, debuginfo="1", strip="none"))
    (settings,) = explain([mine], [unit("a")]).settings.values()
    assert settings == (Setting("debug", "0", "1"),)


@pytest.mark.parametrize(
    ("overrides", "sides", "subject"),
    [
        ((), HOST, "profile.release.build-override"),
        (("build-override",), HOST, "profile.release.build-override"),
        (("build-override",), BOTH, "profile.release"),
        (("a",), HOST, "profile.release.package.a"),
        (("a@1.0.0", "a"), BOTH, "profile.release.package.a@1.0.0"),
        (("b",), BOTH, "profile.release"),
    ],
)
def test_the_table_that_decides_is_named(overrides: tuple[str, ...], sides: tuple[Side, ...], subject: str) -> None:
    there = unit("a", sides=sides, profile=RELEASE)
    mine = unit("a", sides=sides, profile=replace(RELEASE, opt_level="1"))
    explained = explain([mine], [there], overrides=frozenset(overrides))
    assert causes(explained, mine) == {(Cause.CARGO_PROFILE, subject)}


def test_debug_information_that_sharing_decides_is_not_a_cargo_profile() -> None:
    there = unit("a", sides=BOTH, profile=replace(DEV, strip=DEV_HOST.strip))
    mine = unit("a", sides=HOST, profile=DEV_HOST)
    root = only_root(explain([mine], [there]), mine)
    assert (root.cause, root.warm, root.yours) == (Cause.SIDES, "host+target", "host")


def test_flags_target_and_linkage_are_named() -> None:
    mine = unit("a", rustflags=("--cfg", "x"), platform="x86_64-unknown-linux-musl")
    assert {root.cause for root in explain([mine], [unit("a")]).roots[mine.key]} == {Cause.RUSTFLAGS, Cause.TARGET}
    linked = unit("b", lto=LtoDemand.OBJECT_AND_BITCODE)
    assert {root.cause for root in explain([linked], [unit("b")]).roots[linked.key]} == {Cause.LTO}


CFG = ("--cfg", "x")
IMAGES = ("-Ctarget-feature=-crt-static",)


@pytest.mark.parametrize("images", [(), IMAGES])
def test_flags_of_others_are_nothing_to_remove_here(images: tuple[str, ...]) -> None:
    """A repository without flags was told to remove them."""
    mine = unit("a", rustflags=images)
    there = [unit("a", rustflags=(*images, *CFG))]
    rows = (Exclusion(package="a@1.0.0", reason="over the budget", units=1, repos=1),)
    assert causes(explain([mine], there, rustflags=images, excluded=rows), mine) == {
        (Cause.NOT_PLANNED, "over the budget")
    }
    assert causes(explain([mine], there, rustflags=images), mine) == {
        (Cause.NOT_PLANNED, "warm under other RUSTFLAGS only")
    }
    own = unit("a", rustflags=(*images, "--cfg", "y"))
    assert causes(explain([own], there, rustflags=images), own) == {(Cause.RUSTFLAGS, "RUSTFLAGS")}


@pytest.mark.parametrize("other", [{"rustflags": CFG}, {"platform": "x86_64-unknown-linux-musl"}])
def test_a_relative_under_the_same_flags_and_target_goes_before_the_same_version(other: dict[str, Any]) -> None:
    mine = unit("a", version="1.0.1")
    explained = explain([mine], [unit("a", version="1.0.1", **other), unit("a", version="1.0.0")])
    assert causes(explained, mine) == {(Cause.VERSION, "a@1.0.1")}


# What nobody can cook


def test_a_foreign_source_below_hides_everything_else() -> None:
    git = "git+https://git.example.org/fork.git?branch=main#0123456"
    there = [a := unit("a"), unit("b", a)]
    fork = unit("a", package=package("a", source=git))
    mine = [fork, b := unit("b", fork, features=("x",)), c := unit("c", b)]
    explained = explain(mine, there)
    assert fork.key not in explained.roots
    for one in (b, c):
        root = only_root(explained, one)
        assert (root.cause, root.subject) == (Cause.FOREIGN_SOURCE, "a@1.0.0")
        assert root.yours == "git https://git.example.org/fork.git?branch=main"


def test_private_registries_linkers_and_flags_of_one_machine_are_final() -> None:
    linked = unit("a", linker="clang")
    native = unit("b", rustflags=("-Ctarget-cpu=native",))
    explained = explain([PRIVATE, linked, native, on := unit("c", native, rustflags=("-Ctarget-cpu=native",))], [])
    assert causes(explained, PRIVATE) == {(Cause.PRIVATE_REGISTRY, "own@1.0.0")}
    assert "does not name" in only_root(explained, PRIVATE).detail
    assert causes(explained, linked) == {(Cause.LINKER, "linker")}
    assert causes(explained, on) == causes(explained, native) == {(Cause.RUSTFLAGS, "RUSTFLAGS")}
    assert "another processor" in only_root(explained, native).detail


@pytest.mark.parametrize("flags", [CFG, ("-Ctarget-cpu=native",)])
def test_a_linker_does_not_hide_flags(flags: tuple[str, ...]) -> None:
    mine = [a := unit("a", linker="clang", rustflags=flags), b := unit("b", a, linker="clang", rustflags=flags)]
    explained = explain(mine, [there := unit("a"), unit("b", there)])
    for one in (a, b):
        assert causes(explained, one) == {(Cause.LINKER, "linker"), (Cause.RUSTFLAGS, "RUSTFLAGS")}
    shared = explain(mine, [there := unit("a", rustflags=CFG), unit("b", there, rustflags=CFG)])
    assert ((Cause.RUSTFLAGS, "RUSTFLAGS") in causes(shared, a)) == (flags != CFG)


def test_what_is_cooked_from_a_configured_source_is_explained_as_all_else() -> None:
    sources = CookableSources(registries=frozenset({"https://crates.example.org/index"}))
    explained = explain([PRIVATE], [], sources=sources)
    assert causes(explained, PRIVATE) == {(Cause.NOT_PLANNED, "no repository of the plan has this crate")}
    newer = unit("own", package=replace(PRIVATE.package, version="1.0.1"))
    assert causes(explain([PRIVATE], [newer], sources=sources), PRIVATE) == {(Cause.VERSION, "own@1.0.0")}


def test_what_is_warm_could_be_cooked_though_nothing_is_configured_here() -> None:
    git = "git+https://git.example.org/fork.git?branch=main#"
    cooked = [PRIVATE.package, package("fork", source=f"{git}0123456")]
    sources = CRATES_IO_ONLY.with_those_of(cooked)
    assert [sources.why_not(each) for each in cooked] == [None, None]
    assert "at commit 7654321" in str(sources.why_not(package("fork", source=f"{git}7654321")))
    assert sources.why_not(package("other", source="git+https://git.example.org/other#0123456"))


def test_a_crate_on_a_patched_one_is_never_cooked_though_that_one_is() -> None:
    fork = unit("a", package=package("a", source="git+https://git.example.org/fork.git?branch=main#0123456"))
    on = unit("b", fork)
    explained = explain([fork, on], [fork], sources=CRATES_IO_ONLY.with_those_of([fork.package]))
    assert causes(explained, on) == {(Cause.FOREIGN_SOURCE, "a@1.0.0")}


# What was planned or not


def test_the_plans_reason_is_the_cause() -> None:
    rows = (Exclusion(package="big@1.0.0", reason="over the budget", units=2, repos=3),)
    big, new = unit("big"), unit("new")
    explained = explain([big, new], [], excluded=rows)
    assert causes(explained, big) == {(Cause.NOT_PLANNED, "over the budget")}
    assert causes(explained, new) == {(Cause.NOT_PLANNED, "no repository of the plan has this crate")}
    unknown = explain([big], [], excluded=None)
    assert causes(unknown, big) == {(Cause.NOT_PLANNED, "not among the warm crates")}


def test_units_of_another_image_and_those_that_failed_to_cook_say_so() -> None:
    sqlx, udev = unit("sqlx"), unit("udev")
    explained = explain(
        [sqlx, udev], [], elsewhere={sqlx.key: "db"}, dropped={udev.key: "pkg-config found no libudev\nmore"}
    )
    assert causes(explained, sqlx) == {(Cause.OTHER_IMAGE, "db")}
    assert causes(explained, udev) == {(Cause.NOT_COOKED, "pkg-config found no libudev")}


NAMES = tuple("abcdef")


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Unit], list[Unit]]:
    """Two graphs of the same crates that differ here and there."""

    def graph() -> list[Unit]:
        made: list[Unit] = []
        for name in NAMES:
            below = draw(st.lists(st.sampled_from(made), unique_by=lambda one: one.package.name)) if made else []
            made.append(
                unit(
                    name,
                    *below,
                    version=draw(st.sampled_from(("1.0.0", "1.0.1", "2.0.0"))),
                    features=draw(st.sampled_from(((), ("x",), ("x", "y")))),
                    profile=draw(st.sampled_from((RELEASE, replace(RELEASE, opt_level="2")))),
                )
            )
        return made

    return graph(), graph()


@given(worlds())
def test_every_miss_has_a_cause_and_roots_come_from_the_unit_or_from_below(
    world: tuple[list[Unit], list[Unit]],
) -> None:
    mine, there = world
    explained = explain(mine, there)
    by_key = {one.key: one for one in mine}
    assert set(explained.roots) == {one.key for one in mine} - {one.key for one in there}
    for key, roots in explained.roots.items():
        assert roots
        assert explained.own[key] <= roots
        if explained.own[key]:
            continue
        missing_below = [edge.key for edge in by_key[key].dependencies if edge.key in explained.roots]
        below = set[Root]().union(*(explained.roots[edge] for edge in missing_below))
        warm_below = [edge.key for edge in by_key[key].dependencies if edge.key not in explained.roots]
        assert roots <= below or warm_below or any(root.cause is Cause.DEPENDENCIES for root in roots)
