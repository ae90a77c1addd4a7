"""In which order modules are begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest


def bring_forward(items: list[pytest.Item], modules: Sequence[Path]) -> None:
    """Run these modules first, in this order: whatever is begun last, the other workers wait for it."""
    places = {module: place for place, module in enumerate(modules)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
