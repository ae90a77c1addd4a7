"""Groups of repositories with a layer each: merged so that least is pulled, and written as profiles."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.config.layers import LayerProfile, LayerTree, load_layer_profiles
from factory.errors import ConfigurationError
from factory.planning.groups import Group, Load, endings, groupings, layers_for
from factory.planning.propose import possible_numbers, profile_text, proposals_to_json, propose
from tests.unit.builders import chain, organisation
from tests.unit.test_explain import choice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from random import Random

TREE = chain("core", "web", web="axum")
REPOS = tuple("abcdef")


def load(repos: str, size: int, layer: str = "core") -> Load:
    """What these repositories, a letter each, share."""
    return Load(repos=frozenset(repos), layer=layer, bytes=size)


def grouped(found: Sequence[Load], number: int, *, homes: Mapping[str, str] | None = None, **builds: float) -> set[str]:
    """The groups of the repositories of some loads, each as a word; all belong to core unless said otherwise."""
    repos = sorted(set().union(*(one.repos for one in found)))
    by_number = groupings(
        found,
        homes=dict.fromkeys(repos, "core") | dict(homes or {}),
        builds=dict.fromkeys(repos, 1.0) | builds,
        tree=TREE,
        numbers=[number],
    )
    return {"".join(group.repos) for group in by_number[number]}


# Which repositories come together


def test_those_that_share_most_come_together() -> None:
    found = [load("ab", 50), load("cd", 90), load("abcd", 500), *(load(repo, 10) for repo in "abcd")]
    assert grouped(found, 3) == {"a", "b", "cd"}
    assert grouped(found, 2) == {"ab", "cd"}


def test_those_with_little_of_their_own_come_together_where_nothing_is_shared() -> None:
    assert grouped([load("a", 10), load("b", 1), load("c", 2), load("d", 20)], 3) == {"a", "bc", "d"}


def test_who_builds_often_is_not_made_to_pull_what_others_need() -> None:
    found = [load("a", 10), load("b", 12), load("c", 14)]
    assert grouped(found, 2) == {"ab", "c"}
    assert grouped(found, 2, a=100.0) == {"a", "bc"}


def test_repositories_of_different_layers_are_in_no_group_together() -> None:
    found = [load("ab", 90), load("a", 1), load("b", 1), load("c", 50)]
    assert grouped(found, 2, homes={"b": "web"}) == {"ac", "b"}
    with pytest.raises(ConfigurationError, match=r"too few groups: 1\. The repositories belong to 2 layers") as caught:
        grouped(found, 1, homes={"b": "web"})
    assert caught.value.advice == "Ask for 2 to 3."
    with pytest.raises(ConfigurationError, match="too few groups: 2") as only:
        grouped(found, 2, homes={"b": "web", "c": "db"})
    assert only.value.advice == "Ask for 3."


def test_there_are_no_more_groups_than_repositories() -> None:
    with pytest.raises(
        ConfigurationError, match=r"too many groups: 3\. Of the repositories, 2 have no layer to themselves"
    ) as caught:
        grouped([load("ab", 90)], 3)
    assert caught.value.advice == "Ask for 1 to 2."


def test_who_has_a_layer_keeps_it_and_what_others_share_with_it_stays_below() -> None:
    tree = LayerTree(layers=(*TREE.layers, LayerProfile(name="team", parent="core", repos=frozenset("d"))))
    found = groupings(
        [load("ab", 10), load("bcd", 500), load("bc", 50), *(load(repo, 1) for repo in "abcd")],
        homes=dict.fromkeys("abc", "core") | {"d": "team"},
        builds=dict.fromkeys("abcd", 1.0),
        tree=tree,
        numbers=[2],
    )
    assert found[2] == (Group("core", ("a",)), Group("core", ("b", "c")))


def pulled(
    groups: Sequence[Group], found: Sequence[Load], homes: Mapping[str, str], builds: Mapping[str, float]
) -> float:
    """The bytes that all builds pull, by the meaning of groups: a load is in one of them, or where it was."""
    of_layer: dict[str, float] = defaultdict(float)
    for repo, home in homes.items():
        for layer in TREE.path_to_root(home):
            of_layer[layer] += builds[repo]
    return sum(
        one.bytes
        * next(
            (sum(builds[repo] for repo in group.repos) for group in groups if one.repos <= set(group.repos)),
            of_layer[one.layer],
        )
        for one in found
    )


def merged(groups: Sequence[Group], one: Group, other: Group) -> list[Group]:
    rest = [group for group in groups if group not in (one, other)]
    return [*rest, Group(one.parent, tuple(sorted(one.repos + other.repos)))]


worlds = st.tuples(
    st.lists(
        st.builds(
            Load,
            repos=st.frozensets(st.sampled_from(REPOS), min_size=1),
            layer=st.just("core"),
            bytes=st.integers(0, 50),
        ),
        max_size=12,
    ),
    st.fixed_dictionaries(dict.fromkeys(REPOS, st.sampled_from(("core", "web")))),
    st.fixed_dictionaries(dict.fromkeys(REPOS, st.sampled_from((0.0, 1.0, 2.0, 7.0)))),
)


@given(worlds)
def test_each_merge_is_one_after_which_least_is_pulled(
    world: tuple[list[Load], dict[str, str], dict[str, float]],
) -> None:
    found, homes, builds = world
    numbers = range(len(set(homes.values())), len(REPOS) + 1)
    by_number = groupings(found, homes=homes, builds=builds, tree=TREE, numbers=numbers)
    assert len(by_number[len(REPOS)]) == len(REPOS)
    for fewer, more in pairwise(numbers):
        least = min(
            pulled(merged(by_number[more], one, other), found, homes, builds)
            for one, other in combinations(by_number[more], 2)
            if one.parent == other.parent
        )
        assert pulled(by_number[fewer], found, homes, builds) == pytest.approx(least)
        assert sorted(repo for group in by_number[fewer] for repo in group.repos) == list(REPOS)
        assert all({homes[repo] for repo in group.repos} == {group.parent} for group in by_number[fewer])


@given(worlds, st.randoms(use_true_random=False))
def test_the_order_of_the_input_decides_nothing(
    world: tuple[list[Load], dict[str, str], dict[str, float]], shuffle: Random
) -> None:
    found, homes, builds = world
    numbers = [len(set(homes.values())), len(REPOS) - 1]
    again, order = list(found), list(REPOS)
    shuffle.shuffle(again)
    shuffle.shuffle(order)
    assert groupings(found, homes=homes, builds=builds, tree=TREE, numbers=numbers) == groupings(
        again, homes={repo: homes[repo] for repo in order}, builds=builds, tree=TREE, numbers=numbers[::-1]
    )


# Their layers


def test_each_group_has_a_layer_on_that_of_its_repositories() -> None:
    taken = LayerProfile(name="web-1", parent="web")
    tree = replace(TREE, layers=(*TREE.layers, taken))
    groups = [Group("core", ("x/a", "x/b")), Group("web", ("x/c",)), Group("web", ("y/b",))]
    grown = LayerTree(layers=(*tree.layers, *layers_for(groups, tree)))
    added = {layer.name: (layer.parent, set(layer.repos)) for layer in grown.layers if layer.repos}
    assert added == {"core-1": ("core", {"a", "x/b"}), "web-2": ("web", {"c"}), "web-3": ("web", {"y/b"})}
    assert grown.layer_naming("x/b") == "core-1"
    assert grown.layer_naming("y/b") == "web-3"


def test_a_repository_is_named_by_as_little_as_tells_it_apart() -> None:
    repos = ["./a", "./team/a", "https://git.example.org/x/b.git#main"]
    assert endings(repos) == {"./a": "./a", "./team/a": "team/a", "https://git.example.org/x/b.git#main": "b"}


# What they bring, for a selection


def test_fewer_bytes_are_pulled_by_more_groups_and_the_same_is_saved() -> None:
    made = choice(organisation())
    assert possible_numbers(made) == (3, 3)
    as_it_is, groups = propose(made, [3])
    assert (as_it_is.tree, as_it_is.added) == (made.policy.tree, ())
    assert [layer.name for layer in groups.added] == ["core-1", "db-1", "web-1"]
    assert as_it_is.saved == groups.saved > 0
    assert as_it_is.stored == groups.stored == 10_000_000 * len(made.selection.chosen)
    # serde and serde_derive lie in core, hyper in web; clap, axum and sqlx with those who have them.
    assert groups.sizes == {
        "core": 20_000_000,
        "web": 10_000_000,
        "db": 0,
        "core-1": 10_000_000,
        "web-1": 10_000_000,
        "db-1": 10_000_000,
    }
    assert groups.pulled == pytest.approx((30 + 40 + 40) * 1e6 / 3)
    assert groups.largest == 40_000_000
    # Before, who has sqlx pulled axum as well, and everybody clap.
    assert as_it_is.pulled == pytest.approx((30 + 50 + 60) * 1e6 / 3)


def test_a_group_without_anything_of_its_own_has_no_layer() -> None:
    # Room for what all have, serde_derive and serde.
    _, groups = propose(choice(organisation(), total=20_000_000), [3])
    assert groups.added == ()


def test_repositories_that_are_built_more_often_count_as_often() -> None:
    analysis = organisation()
    often = tuple(replace(row, builds=4.0 if row.repo == "cli" else 1.0) for row in analysis.workspaces)
    _, groups = propose(choice(replace(analysis, workspaces=often)), [3])
    assert groups.pulled == pytest.approx((4 * 30 + 40 + 40) * 1e6 / 6)


def test_what_is_written_is_the_tree_that_was_proposed(tmp_path: Path) -> None:
    _, found = propose(choice(organisation()), [3])
    for name, text in {"core": "", "web": 'parent = "core"', "db": 'parent = "web"'}.items():
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    for layer in found.added:
        (tmp_path / f"{layer.name}.toml").write_text(profile_text(layer), encoding="utf-8")
    read = load_layer_profiles(tmp_path)
    assert {layer.name: (layer.parent, layer.repos) for layer in read.layers} == {
        layer.name: (layer.parent, layer.repos) for layer in found.tree.layers
    }


def test_proposals_are_json_values() -> None:
    document = proposals_to_json(propose(choice(organisation()), [3]))
    first, second = document["proposals"]
    assert (first["groups"], first["images"], second["groups"], second["images"]) == (0, 3, 3, 6)
    assert {"name": "db-1", "parent": "db", "bytes": 10_000_000, "repos": ["db"]} in second["layers"]
