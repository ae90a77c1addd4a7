"""The LTO demand of every unit, computed as cargo does.

Cargo hashes this value into a unit's fingerprint, but `--unit-graph` does not show it: whether a library must hold
objects, bitcode or both depends on what links it. Source: `core/compiler/lto.rs` of cargo 0.96 (Rust 1.95).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.model import LtoDemand

if TYPE_CHECKING:
    from collections.abc import Sequence

_CAN_LTO = frozenset({"bin", "staticlib", "cdylib"})
_DYNAMIC = frozenset({"dylib", "cdylib", "proc-macro"})
_RUNS = frozenset({LtoDemand.RUN, LtoDemand.RUN_THIN, LtoDemand.RUN_FAT})


@dataclass(frozen=True, slots=True)
class LtoNode:
    """What the computation needs of a unit; `dependencies` are indices into the same sequence."""

    crate_types: tuple[str, ...]
    for_host: bool
    """Whether the target itself is a proc-macro or build script (not: whether it is compiled for one)."""
    is_test: bool
    lto_setting: str
    dependencies: tuple[int, ...]


def lto_demands(nodes: Sequence[LtoNode], roots: Sequence[int]) -> list[LtoDemand]:
    """Return the demand of each node, by index; every node has to be reachable from `roots`."""
    demands: dict[int, LtoDemand] = {}
    # (node, parent's demand); the order does not matter, as merging only ever widens a demand.
    pending = [(root, _root_demand(nodes[root])) for root in reversed(roots)]
    while pending:
        index, parent = pending.pop()
        demand = _demand(nodes[index], parent)
        known = demands.get(index)
        merged = demand if known is None else _merge(demand, known)
        if merged == known:
            continue
        demands[index] = merged
        pending.extend((dependency, merged) for dependency in reversed(nodes[index].dependencies))
    return [demands[index] for index in range(len(nodes))]


def _root_demand(node: LtoNode) -> LtoDemand:
    if node.lto_setting == "false":
        return LtoDemand.ONLY_OBJECT
    if node.lto_setting == "off":
        return LtoDemand.OFF
    if node.for_host:
        return LtoDemand.ONLY_OBJECT
    if _needs_object(node.crate_types):
        return _when_object_is_needed(node.crate_types)
    return LtoDemand.ONLY_BITCODE


def _demand(node: LtoNode, parent: LtoDemand) -> LtoDemand:
    crate_types = ("bin",) if node.is_test else node.crate_types
    if node.for_host:
        return LtoDemand.ONLY_OBJECT
    if all(kind in _CAN_LTO for kind in crate_types):
        return _linked_demand(node.lto_setting)
    needs_object = _needs_object(crate_types)
    if parent in _RUNS and not needs_object:
        return LtoDemand.ONLY_BITCODE
    if needs_object and (parent in _RUNS or parent is LtoDemand.ONLY_BITCODE):
        return _when_object_is_needed(crate_types)
    return parent


def _linked_demand(setting: str) -> LtoDemand:
    named = {
        "false": LtoDemand.ONLY_OBJECT,
        "off": LtoDemand.OFF,
        "true": LtoDemand.RUN,
        "thin": LtoDemand.RUN_THIN,
        "fat": LtoDemand.RUN_FAT,
    }
    return named[setting]


def _needs_object(crate_types: tuple[str, ...]) -> bool:
    return any(kind in _CAN_LTO or kind in _DYNAMIC for kind in crate_types)


def _when_object_is_needed(crate_types: tuple[str, ...]) -> LtoDemand:
    only_dylib = all(kind == "dylib" for kind in crate_types)
    return LtoDemand.ONLY_OBJECT if only_dylib else LtoDemand.OBJECT_AND_BITCODE


def _merge(one: LtoDemand, other: LtoDemand) -> LtoDemand:
    if one == other:
        return one
    for demand in (one, other):
        if demand in _RUNS:
            return demand
    if LtoDemand.OFF in {one, other}:
        return LtoDemand.OFF
    return LtoDemand.OBJECT_AND_BITCODE
