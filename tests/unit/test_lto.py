from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.cargo.lto import LtoNode, lto_demands
from factory.model import LtoDemand

if TYPE_CHECKING:
    from collections.abc import Sequence

OBJECT, BITCODE, BOTH = LtoDemand.ONLY_OBJECT, LtoDemand.ONLY_BITCODE, LtoDemand.OBJECT_AND_BITCODE
CRATE_TYPES = (
    ("lib",),
    ("rlib",),
    ("bin",),
    ("cdylib",),
    ("dylib",),
    ("staticlib",),
    ("cdylib", "rlib"),
    ("dylib", "rlib"),
)


def node(*dependencies: int, types: tuple[str, ...] = ("lib",), lto: str = "fat", host: bool = False) -> LtoNode:
    return LtoNode(crate_types=types, for_host=host, is_test=False, lto_setting=lto, dependencies=tuple(dependencies))


@pytest.mark.parametrize(
    ("types", "lto", "root", "library"),
    [
        (("bin",), "false", OBJECT, OBJECT),
        (("bin",), "off", LtoDemand.OFF, LtoDemand.OFF),
        (("bin",), "true", LtoDemand.RUN, BITCODE),
        (("bin",), "thin", LtoDemand.RUN_THIN, BITCODE),
        (("bin",), "fat", LtoDemand.RUN_FAT, BITCODE),
        (("cdylib",), "fat", LtoDemand.RUN_FAT, BITCODE),
        (("staticlib", "cdylib"), "fat", LtoDemand.RUN_FAT, BITCODE),
        (("cdylib", "rlib"), "fat", BOTH, BOTH),
        (("dylib",), "fat", OBJECT, OBJECT),
        (("lib",), "fat", BITCODE, BITCODE),
        (("cdylib", "rlib"), "false", OBJECT, OBJECT),
    ],
)
def test_demand_of_a_root_and_of_what_it_links(
    types: tuple[str, ...], lto: str, root: LtoDemand, library: LtoDemand
) -> None:
    assert lto_demands([node(1, types=types, lto=lto), node(lto=lto)], [0]) == [root, library]


def test_host_side_takes_no_part_in_lto() -> None:
    macro = node(2, types=("proc-macro",), host=True)

    assert lto_demands([node(1, types=("bin",)), macro, node()], [0]) == [LtoDemand.RUN_FAT, OBJECT, OBJECT]


def test_library_under_both_sides_holds_both() -> None:
    macro = node(2, types=("proc-macro",), host=True)

    assert lto_demands([node(1, 2, types=("bin",)), macro, node()], [0])[2] is BOTH


def test_library_of_a_binary_and_a_mixed_library_holds_both() -> None:
    nodes = [node(2, types=("bin",)), node(2, types=("cdylib", "rlib")), node(3), node()]

    assert lto_demands(nodes, [0, 1]) == [LtoDemand.RUN_FAT, BOTH, BOTH, BOTH]


def test_a_test_is_linked_like_a_binary() -> None:
    test = LtoNode(crate_types=("lib",), for_host=False, is_test=True, lto_setting="thin", dependencies=(1,))

    assert lto_demands([test, node(lto="thin")], [0]) == [LtoDemand.RUN_THIN, BITCODE]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[LtoNode], list[int]]:
    """Acyclic graphs with one `lto` setting, as cargo has them; roots are what nothing depends on."""
    size = draw(st.integers(1, 9))
    lto = draw(st.sampled_from(["false", "off", "true", "thin", "fat"]))
    nodes = []
    for index in range(size):
        under = draw(st.sets(st.integers(index + 1, size - 1), max_size=4)) if index + 1 < size else set()
        host = draw(st.integers(0, 4)) == 0
        types = ("proc-macro",) if host else draw(st.sampled_from(CRATE_TYPES))
        nodes.append(node(*sorted(under), types=types, lto=lto, host=host))
    used = {dependency for each in nodes for dependency in each.dependencies}
    return nodes, [index for index in range(size) if index not in used]


@given(graphs())
def test_same_as_the_recursion_in_cargo(graph: tuple[list[LtoNode], list[int]]) -> None:
    nodes, roots = graph

    assert lto_demands(nodes, roots) == as_in_cargo(nodes, roots)


@given(graphs())
def test_order_of_roots_does_not_matter(graph: tuple[list[LtoNode], list[int]]) -> None:
    nodes, roots = graph

    assert lto_demands(nodes, roots[::-1]) == lto_demands(nodes, roots)


RUN = {"true": LtoDemand.RUN, "thin": LtoDemand.RUN_THIN, "fat": LtoDemand.RUN_FAT}


def as_in_cargo(nodes: Sequence[LtoNode], roots: Sequence[int]) -> list[LtoDemand]:
    """`core/compiler/lto.rs` as it stands there: recursive, depth first."""
    found: dict[int, LtoDemand] = {}

    def calculate(index: int, parent: LtoDemand) -> None:
        demand = own_demand(nodes[index], parent)
        if index in found:
            demand = merge(demand, found[index])
            if demand == found[index]:
                return
        found[index] = demand
        for dependency in nodes[index].dependencies:
            calculate(dependency, demand)

    for root in roots:
        calculate(root, start(nodes[root]))
    return [found[index] for index in range(len(nodes))]


def start(root: LtoNode) -> LtoDemand:
    if root.lto_setting in {"false", "off"}:
        return OBJECT if root.lto_setting == "false" else LtoDemand.OFF
    if root.for_host:
        return OBJECT
    return when_object(root.crate_types) if needs_object(root.crate_types) else BITCODE


def own_demand(each: LtoNode, parent: LtoDemand) -> LtoDemand:
    if each.for_host:
        return OBJECT
    if all(can_lto(kind) for kind in each.crate_types):
        return RUN.get(each.lto_setting, LtoDemand.OFF if each.lto_setting == "off" else OBJECT)
    if parent in RUN.values() and not needs_object(each.crate_types):
        return BITCODE
    if needs_object(each.crate_types) and parent in {*RUN.values(), BITCODE}:
        return when_object(each.crate_types)
    return parent


def merge(new: LtoDemand, old: LtoDemand) -> LtoDemand:
    if new == old:
        return new
    strongest = (*RUN.values(), LtoDemand.OFF)
    return next((demand for demand in strongest if demand in {new, old}), BOTH)


def can_lto(kind: str) -> bool:
    return kind in {"bin", "staticlib", "cdylib"}


def needs_object(types: tuple[str, ...]) -> bool:
    return any(can_lto(kind) or kind in {"dylib", "cdylib", "proc-macro"} for kind in types)


def when_object(types: tuple[str, ...]) -> LtoDemand:
    return OBJECT if all(kind == "dylib" for kind in types) else BOTH
