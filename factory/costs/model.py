"""What cooking a unit costs: the seconds that everybody saves who finds it fresh, the bytes that everybody pulls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCost:
    """What one unit takes and weighs; nothing of what lies under it.

    `seconds` are core seconds: those that one core at full speed works on the unit's rustc call, or on running its
    build script with all that it starts. So they hardly depend on what else the measuring machine did, or on how many
    cores it had. Where nothing runs in parallel they are the wall seconds.

    `bytes` are those of the unit's own files in an image, unpacked. `measured`: whether this very unit (the same
    key, rustc and platform) was cooked and measured; otherwise both figures are estimates.
    """

    seconds: float
    bytes: int
    measured: bool
