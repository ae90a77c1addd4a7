"""`profiles/*.toml`: a tree of layers, with every fault of every file told at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.config.layers import LayerProfile, LayerTree, layer_json_schema, load_layer_profiles
from factory.config.model import Settings
from factory.config.schema import leaves
from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]


def tree(**parents: str | None) -> LayerTree:
    return LayerTree(layers=tuple(LayerProfile(name=name, parent=parent) for name, parent in parents.items()))


def load(folder: Path, files: Mapping[str, str | bytes]) -> LayerTree:
    for name, text in files.items():
        content = text if isinstance(text, bytes) else text.encode("utf-8")
        (folder / f"{name}.toml").write_bytes(content)
    return load_layer_profiles(folder)


def faults(folder: Path, files: Mapping[str, str | bytes]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, files)
    return [line.removeprefix(f"{folder}/") for line in caught.value.what.splitlines()]


def documented_rows() -> list[str]:
    """The table of keys in docs/configuration.md."""
    return [
        f"| `{leaf.key}` | `{json.dumps(leaf.default)}` | {leaf.description} |" for leaf in leaves(layer_json_schema())
    ]


# What is shipped


def test_the_shipped_layers_are_a_chain_within_the_budget() -> None:
    shipped = load_layer_profiles(None)
    assert [profile.name for profile in shipped.layers] == ["core", "web", "db"]
    assert shipped.path_to_root("db") == ("db", "web", "core")
    budgets = [profile.budget_bytes for profile in shipped.layers]
    assert None not in budgets
    assert sum(budget or 0 for budget in budgets) <= Settings().budget.total
    assert all(profile.description for profile in shipped.layers)


def test_the_shipped_anchors_are_those_that_the_design_names() -> None:
    shipped = load_layer_profiles(None)
    assert shipped.layer("core").anchors == frozenset()
    assert {"axum", "actix-web", "hyper", "tonic", "reqwest"} <= shipped.layer("web").anchors
    assert {"sqlx", "diesel", "sea-orm", "tokio-postgres", "redis", "rusqlite"} <= shipped.layer("db").anchors


def test_the_documentation_has_every_key() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert [row for row in documented_rows() if row not in text] == []


# A profile


def test_a_profile_is_read(tmp_path: Path) -> None:
    text = (
        'parent = "base"\ndescription = "x"\nanchors = ["axum", "tower_http"]\nbudget = "1.5 MiB"\nmin_repos = 3\n'
        'repos = ["shop/orders"]\nalways = ["serde"]\nnever = ["rocksdb"]\n'
    )
    read = load(tmp_path, {"base": "", "web": text})
    assert read.layer("web") == LayerProfile(
        name="web",
        parent="base",
        description="x",
        anchors=frozenset({"axum", "tower_http"}),
        repos=frozenset({"shop/orders"}),
        budget_bytes=1_572_864,
        min_repos=3,
        always=frozenset({"serde"}),
        never=frozenset({"rocksdb"}),
    )
    assert read.root == LayerProfile(name="base")


ONE_FAULT = {
    "unknown key": ('anchor = ["a"]\n', "core.toml:1: anchor: unknown key; did you mean anchors?"),
    "unknown table": (
        "[zzz]\na = 1\n",
        "core.toml:1: [zzz]: unknown key; remove it, known keys here are parent, description, anchors, repos, "
        "budget, min_repos, always, never, packages, never_packages",
    ),
    "table for a value": (
        "[budget]\nsize = 1\n",
        'core.toml:1: [budget]: a size needs a number and a unit; write it like "500 MB" or "1.5 GiB"',
    ),
    "size": (
        'budget = "much"\n',
        'core.toml:1: budget: "much" is not a size; write a number and a unit, like "500 MB" or "1.5 GiB"',
    ),
    "size without unit": (
        "budget = 500\n",
        'core.toml:1: budget: a size needs a number and a unit; write it like "500 MB" or "1.5 GiB"',
    ),
    "number": (
        'min_repos = "2"\n',
        'core.toml:1: min_repos: "2" is text, and a whole number is needed; remove the quotes',
    ),
    "small number": ("min_repos = 0\n", "core.toml:1: min_repos: 0 is too small; write 1 or more"),
    "list": ('anchors = "axum"\n', 'core.toml:1: anchors: is "axum", and a list is needed; write ["axum"]'),
    "text": ("description = 1\n", 'core.toml:1: description: 1 is a number, and text is needed; quote it: "1"'),
    "crate with version": (
        'never = ["a", "b@1.0"]\n',
        'core.toml:1: never.1: "b@1.0" does not fit; write the name of a crate alone, without version or features',
    ),
    "crate twice": (
        'always = ["tokio-util", "tokio_util"]\n',
        "core.toml:1: always: tokio_util is listed twice; name each crate once",
    ),
    "repository as a folder": (
        'repos = ["orders/"]\n',
        'core.toml:1: repos.0: "orders/" does not fit; write the name of a repository, or the end of its path or URL',
    ),
    "repository twice": ('repos = ["a", "a"]\n', "core.toml:1: repos: a is listed twice; name each once"),
    "always and never": (
        'always = ["a", "b"]\nnever = ["b"]\n',
        "core.toml:2: never: b is in always too; keep it in one of them",
    ),
    "parent's name": (
        'parent = "../x"\n',
        'core.toml:1: parent: "../x" does not fit; write the name of a layer: the name of its file without .toml',
    ),
    "unknown parent": ('parent = "cor"\n', "core.toml:1: parent: there is no layer cor; did you mean core?"),
    "parent of itself": (
        'parent = "core"\n',
        "core.toml:1: parent: core → core is a circle; let one of them stand on a layer outside of it",
    ),
    "syntax": (
        'budget = "1 MB"\nanchors = [a]\n',
        "core.toml:2:12: invalid value; correct the syntax",
    ),
    "unfinished": (
        'budget = "1 MB',
        "core.toml:1: unterminated string at the end of the file; correct the syntax",
    ),
    "duplicate key": (
        "min_repos = 1\nmin_repos = 2\n",
        "core.toml:2:14: cannot overwrite a value; correct the syntax",
    ),
    "nested deeply": (
        f"anchors = {'[' * 210}{']' * 210}\n",
        "core.toml: nested too deeply; keep to the keys of the documentation",
    ),
    "not UTF-8": (b"description = '\xff'\n", "core.toml: not UTF-8; save the file as UTF-8"),
}


@pytest.mark.parametrize(("text", "expected"), ONE_FAULT.values(), ids=ONE_FAULT)
def test_a_fault_has_its_place_and_its_remedy(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert faults(tmp_path, {"core": text}) == [expected]


def test_a_date_is_no_text(tmp_path: Path) -> None:
    assert faults(tmp_path, {"core": "min_repos = 2026-01-01\n"}) == [
        'core.toml:1: min_repos: is "2026-01-01", and a whole number is needed; write it in digits'
    ]


def test_a_layers_name_can_be_part_of_a_tag(tmp_path: Path) -> None:
    assert faults(tmp_path, {"Core": ""}) == [
        "Core.toml: not a layer's name; call the file in lower-case letters and digits, like web.toml"
    ]


def test_a_profile_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "core.toml").mkdir()
    assert faults(tmp_path, {}) == ["core.toml: Is a directory; make it readable"]


@pytest.mark.parametrize("folder", ["", "missing"])
def test_a_folder_without_profiles(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no layer profiles"):
        load_layer_profiles(tmp_path / folder)


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    files = {
        "core": "budgte = 1\nmin_repos = 0\n",
        "db": 'parent = "wbe"\nanchors = ["axum"]\n',
        "other": 'anchors = ["Axum", "x"]\n',
        "web": "[",
        "zoo": 'anchors = ["x"]\n',
    }
    assert faults(tmp_path, files) == [
        "core.toml:2: min_repos: 0 is too small; write 1 or more",
        "core.toml:1: budgte: unknown key; did you mean budget?",
        "web.toml:1: invalid initial character for a key part at the end of the file; correct the syntax",
        "db.toml:1: parent: there is no layer wbe; did you mean web?",
        'zoo.toml: parent: is missing, and other has none either; write one, like parent = "other"',
        "other.toml:1: anchors: Axum is an anchor of db too; keep it in one of them",
        "zoo.toml:1: anchors: x is an anchor of other too; keep it in one of them",
    ]


def test_a_repository_belongs_to_one_layer(tmp_path: Path) -> None:
    files = {
        "core": "",
        "web": 'parent = "core"\nrepos = ["orders", "b"]\n',
        "zoo": 'parent = "core"\nrepos = ["b.git"]\n',
    }
    assert faults(tmp_path, files) == ["zoo.toml:2: repos: b.git belongs to web too; keep it in one of them"]


@pytest.mark.parametrize(
    ("repo", "layer"),
    [
        ("orders", "web"),
        ("./repos/orders", "web"),
        ("https://git.example.org/shop/orders.git#main", "web"),
        ("https://git.example.org/bank/orders.git", "bank"),
        ("./repos/reorders", None),
        ("./repos/orders/tools", None),
    ],
)
def test_the_longest_end_of_a_repositorys_name_decides(repo: str, layer: str | None) -> None:
    layers = (
        LayerProfile(name="core"),
        LayerProfile(name="web", parent="core", repos=frozenset({"orders", "bills"})),
        LayerProfile(name="bank", parent="core", repos=frozenset({"bank/orders"})),
    )
    assert LayerTree(layers=layers).layer_naming(repo) == layer


# The tree


def test_the_order_is_by_depth_and_name() -> None:
    layers = tree(z="web", db="web", web="core", cli="core", core=None).layers
    assert [profile.name for profile in layers] == ["core", "cli", "web", "db", "z"]


def test_the_way_to_the_root() -> None:
    chain = tree(db="web", web="core", core=None)
    assert chain.ancestors("db") == ("web", "core")
    assert chain.ancestors("core") == ()
    assert (chain.parent("db"), chain.parent("core")) == ("web", None)
    assert chain.path_to_root("web") == ("web", "core")
    with pytest.raises(KeyError):
        chain.parent("no")


def test_an_unknown_layer_is_the_users_fault() -> None:
    with pytest.raises(ConfigurationError, match=r"there is no layer we") as caught:
        tree(web=None).layer("we")
    assert caught.value.advice == "Did you mean web?"
    with pytest.raises(ConfigurationError) as caught:
        tree(web=None).layer("core")
    assert caught.value.advice == "The layers are web."


def test_the_lowest_common_ancestor() -> None:
    forked = tree(core=None, web="core", grpc="web", db="web", cli="core")
    assert forked.lowest_common_ancestor(["db"]) == "db"
    assert forked.lowest_common_ancestor(["db", "grpc"]) == "web"
    assert forked.lowest_common_ancestor(["db", "web"]) == "web"
    assert forked.lowest_common_ancestor(["db", "grpc", "cli"]) == "core"
    with pytest.raises(ValueError, match=r"no layers given"):
        forked.lowest_common_ancestor([])
    with pytest.raises(KeyError):
        forked.lowest_common_ancestor(["db", "no"])


@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        ({}, "layers: there are none; define one at least"),
        ({"a": None, "b": "x"}, "b: parent: there is no layer x; the layers are a, b"),
        ({"a": None, "b": None}, 'b: parent: is missing, and a has none either; write one, like parent = "a"'),
        (
            {"r": None, "c": "b", "b": "a", "a": "c", "d": "c"},
            "a: parent: a → c → b → a is a circle; let one of them stand on a layer outside of it",
        ),
    ],
)
def test_what_is_no_tree(parents: dict[str, str | None], expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tree(**parents)
    assert caught.value.what == expected


def test_two_circles_are_two_faults() -> None:
    with pytest.raises(ConfigurationError) as caught:
        tree(r=None, a="b", b="a", x="y", y="x")
    assert [line[:2] for line in caught.value.what.splitlines()] == ["a:", "x:"]


def test_a_layer_defined_twice() -> None:
    with pytest.raises(ConfigurationError) as caught:
        LayerTree(layers=(LayerProfile(name="a"), LayerProfile(name="a")))
    assert caught.value.what == "a: is defined twice; give each layer a name of its own"


@st.composite
def random_parents(draw: st.DrawFn) -> dict[str, str | None]:
    """A tree of up to 12 layers: each stands on one of those before it, and the order is shuffled."""
    count = draw(st.integers(min_value=1, max_value=12))
    parents: dict[str, str | None] = {"l0": None}
    for number in range(1, count):
        parents[f"l{number}"] = f"l{draw(st.integers(min_value=0, max_value=number - 1))}"
    return {name: parents[name] for name in draw(st.permutations(sorted(parents)))}


@given(random_parents())
def test_parents_come_before_children_in_any_tree(parents: dict[str, str | None]) -> None:
    names = [profile.name for profile in tree(**parents).layers]
    assert sorted(names) == sorted(parents)
    assert all(parent is None or names.index(parent) < names.index(name) for name, parent in parents.items())
    assert tree(**parents) == tree(**dict(sorted(parents.items())))


@given(random_parents(), st.data())
def test_the_lowest_common_ancestor_of_any_layers(parents: dict[str, str | None], data: st.DataObject) -> None:
    any_tree = tree(**parents)
    names = data.draw(st.lists(st.sampled_from(sorted(parents)), min_size=1))
    found = any_tree.lowest_common_ancestor(names)
    shared = [layer for layer in parents if all(_stands_on(name, layer, parents) for name in names)]
    assert found in shared
    assert all(_stands_on(found, layer, parents) for layer in shared)


def _stands_on(name: str, layer: str, parents: Mapping[str, str | None]) -> bool:
    """Whether `layer` is `name` or under it, found step by step."""
    here: str | None = name
    for _ in range(len(parents)):
        if here == layer:
            return True
        here = None if here is None else parents[here]
    return False
