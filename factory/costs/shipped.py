"""The measurements that come with the program, so that estimates are sensible on the first day.

docs/measurements.md says of which repositories, and how; `benchmarks/costs.py` makes such a file.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from factory.costs.exchange import from_lines

if TYPE_CHECKING:
    from factory.costs.samples import Record

FILE = Path(__file__).with_name("shipped.jsonl")


@cache
def shipped_records() -> tuple[Record, ...]:
    """Return the shipped measurements: facts about public crates."""
    return from_lines(FILE.read_text(encoding="utf-8"), FILE.name)
