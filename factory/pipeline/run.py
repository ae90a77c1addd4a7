"""What every stage needs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from factory.config.model import Settings
    from factory.output import Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What every stage needs: the settings, and where words go."""

    settings: Settings
    output: Output
    sources: tuple[str, ...] = ()
    """Paths and git URLs to analyse where the command line names none."""
    builds: Mapping[str, float] = field(default_factory=dict)
    """How often what is in a source is built, by the text that names the source; the others as `worth.builds` says."""
    platforms: tuple[str, ...] = ()
    """The platforms that the user asks for; none for the engine's own, whatever it is."""
    cell: str = ""
    """The row of the matrix that the settings are of; empty where there is no matrix."""

    def file(self, path: Path) -> Path:
        """Return the row's own file for one such as `plan.json`: `plan-1.95.0-bookworm.json`."""
        return path.with_stem(f"{path.stem}-{self.cell}") if self.cell else path

    @property
    def jobs(self) -> int:
        """How many programs may run at once."""
        return self.settings.limits.jobs or os.cpu_count() or 1
