"""What older releases of cargo do otherwise: `build.target-dir` instead of `build.build-dir`, and no `include`."""

from __future__ import annotations

import enum

FIRST_WITH_BUILD_DIR = (1, 91)
"""The first cargo with a stable `build.build-dir`."""

FIRST_WITH_INCLUDE = (1, 94)
"""The first cargo that reads what a configuration includes; older ones pass over it in silence."""


def reads_includes(version: str) -> bool:
    """Whether a release of cargo, such as `1.95.0`, reads what a configuration includes."""
    return _numbers(version) >= FIRST_WITH_INCLUDE


def _numbers(version: str) -> tuple[int, int]:
    major, minor = (int(part) for part in version.split(".")[:2])
    return major, minor


class Layout(enum.StrEnum):
    """The key of cargo's `[build]` table that names the directory of the units."""

    BUILD_DIR = "build-dir"
    """The units alone: a consumer's final binaries get into its own `target/`."""
    TARGET_DIR = "target-dir"
    """Everything that cargo makes, the consumers' binaries too."""

    @classmethod
    def of(cls, version: str) -> Layout:
        """Return the layout for a release of cargo, such as `1.95.0`."""
        return cls.BUILD_DIR if _numbers(version) >= FIRST_WITH_BUILD_DIR else cls.TARGET_DIR

    def apart(self, folder: str) -> tuple[str, ...]:
        """Return the arguments that keep what is no unit out of the shared directory, in `folder`.

        None where cargo knows one directory only: `--target-dir` would lead it away from the units.
        """
        return ("--target-dir", folder) if self is Layout.BUILD_DIR else ()
