"""Estimated bytes of units in an image, until they have been measured.

Means over the cooked closures of real services and tools with default release settings (docs/measurements.md says
how they were obtained). A single unit can be ten times larger; a layer of hundreds comes out within a fifth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.model import Mode

if TYPE_CHECKING:
    from factory.model import Unit

_LIBRARY = 2_000_000
_PROC_MACRO = 6_000_000
_BUILD_SCRIPT = 1_000_000
_BUILD_SCRIPT_RUN = 60_000
_CHECKED = 700_000


def estimated_bytes(unit: Unit) -> int:
    """Return the estimated size of a unit's own files, in bytes."""
    if unit.mode is Mode.RUN_CUSTOM_BUILD:
        return _BUILD_SCRIPT_RUN
    if unit.target_kind == "custom-build":
        return _BUILD_SCRIPT
    if unit.target_kind == "proc-macro":
        return _PROC_MACRO
    return _CHECKED if unit.mode is Mode.CHECK else _LIBRARY
