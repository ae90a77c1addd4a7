"""The newest Rust that crates may need in a repository: by its `rust-version`, and by the toolchain that it pins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.analysis.uses import pinned_channel
from factory.planning.baseline_rules import rust_release

if TYPE_CHECKING:
    from factory.scan.model import FoundWorkspace

_MINOR = re.compile(r"\d+\.\d+", re.ASCII)
_PATCH = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
_ANY_PATCH = 1_000_000
"""Above every patch release: rustup takes the newest one of a pin that names none."""


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class RustLimit:
    """A Rust release that nothing may be newer than; `says` tells for people who says so, and what."""

    release: tuple[int, ...]
    says: str

    def excludes(self, needed: str | None) -> bool:
        """Whether a crate with this `rust-version` needs a newer one; one that declares none needs nothing."""
        return needed is not None and rust_release(needed) > self.release


def rust_limit(found: FoundWorkspace) -> RustLimit | None:
    """Return the lower of a workspace's `rust-version` and its toolchain pin; `None` where neither is a version.

    What the pinned compiler refuses, nobody there can build: cargo ends with an error for every such crate.
    """
    limits = []
    if found.rust_version is not None:
        says = f"the repository says {found.rust_version}"
        limits.append(RustLimit(release=rust_release(found.rust_version), says=says))
    pinned = _pinned_release(found.toolchain_pin)
    if pinned is not None:
        limits.append(RustLimit(release=pinned, says=f"rust-toolchain pins {found.toolchain_pin}"))
    return min(limits, default=None)


def _pinned_release(pin: str | None) -> tuple[int, ...] | None:
    """Return the newest release that a pin can mean; `None` for a channel that moves, or is no release."""
    channel = "" if pin is None else pinned_channel(pin)
    if _PATCH.fullmatch(channel):
        return rust_release(channel)
    return (*rust_release(channel)[:2], _ANY_PATCH) if _MINOR.fullmatch(channel) else None
