"""The cost of every unit: measured where it is known, else estimated from what kind of unit it is.

The constants are means over the cooked closures of real services and tools with default release settings
(docs/measurements.md says how the bytes were obtained).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.costs.model import UnitCost
from factory.model import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.model import Unit, UnitKey

_LIBRARY = UnitCost(seconds=1.0, bytes=2_000_000, measured=False)
_PROC_MACRO = UnitCost(seconds=1.5, bytes=6_000_000, measured=False)
_BUILD_SCRIPT = UnitCost(seconds=0.4, bytes=1_000_000, measured=False)
_BUILD_SCRIPT_RUN = UnitCost(seconds=0.1, bytes=60_000, measured=False)
_CHECKED = UnitCost(seconds=0.5, bytes=700_000, measured=False)


def costs_of(units: Mapping[UnitKey, Unit], measured: Mapping[UnitKey, UnitCost]) -> dict[UnitKey, UnitCost]:
    """Return the cost of every unit: from `measured` where it is there, else an estimate."""
    return {key: measured.get(key) or estimated_cost(unit) for key, unit in units.items()}


def estimated_cost(unit: Unit) -> UnitCost:
    """Return the estimated cost of a unit that was never cooked."""
    if unit.mode is Mode.RUN_CUSTOM_BUILD:
        return _BUILD_SCRIPT_RUN
    if unit.target_kind == "custom-build":
        return _BUILD_SCRIPT
    if unit.target_kind == "proc-macro":
        return _PROC_MACRO
    return _CHECKED if unit.mode is Mode.CHECK else _LIBRARY
