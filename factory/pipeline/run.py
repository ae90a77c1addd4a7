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
    from factory.platforms import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What every stage needs: the settings, and where words go."""

    settings: Settings
    output: Output
    sources: tuple[str, ...] = ()
    """Paths and git URLs to analyse where the command line names none."""
    builds: Mapping[str, float] = field(default_factory=dict)
    """How often what is in a source is built, by the text that names the source; the others as `worth.builds` says."""
    platforms: tuple[Platform, ...] = ()
    """The platforms that the user asks for; none for this machine's own, whatever it is."""
    platform: Platform | None = None
    """The one of them that this run is for; `None` for this machine's own."""
    cell: str = ""
    """The cell of the matrix that the settings are of; empty where there is no matrix."""

    @property
    def name(self) -> str:
        """What tells this run from the others: `1.95.0-bookworm`, `linux-arm64`; empty where there is only one."""
        platform = self.platform.file_ending if self.platform is not None and len(self.platforms) > 1 else ""
        return "-".join(filter(None, (self.cell, platform)))

    @property
    def tag_ending(self) -> str:
        """What tags of the engine's images end in, where those of several platforms lie side by side: `-arm64`."""
        return f"-{self.platform.architecture}" if self.platform is not None and len(self.platforms) > 1 else ""

    def file(self, path: Path) -> Path:
        """Return the run's own file for one such as `plan.json`: `plan-1.95.0-bookworm-linux-arm64.json`."""
        return path.with_stem(f"{path.stem}-{self.name}") if self.name else path

    def file_to_read(self, path: Path) -> Path:
        """Return the run's own file, or the very one that is named where only that is there."""
        own = self.file(path)
        return path if path.exists() and not own.exists() else own

    def folder(self, path: Path) -> Path:
        """Return the run's own folder in one that all share: `rebuild/linux-arm64`."""
        return path / self.name if self.name else path

    @property
    def jobs(self) -> int:
        """How many programs may run at once."""
        return self.settings.limits.jobs or os.cpu_count() or 1
