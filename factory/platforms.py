"""Platforms that images are built for, by the names of OCI, of Rust and of Debian."""

from __future__ import annotations

import enum
import os


class Platform(enum.StrEnum):
    """A platform that images can be built for, as OCI names it."""

    LINUX_AMD64 = "linux/amd64"
    LINUX_ARM64 = "linux/arm64"

    @property
    def rust_target(self) -> str:
        """The target triple that rustc has as its host on this platform."""
        return _RUST_TARGETS[self]

    @property
    def architecture(self) -> str:
        """The architecture as OCI and Debian name it: `arm64`."""
        return self.value.rpartition("/")[2]

    @property
    def file_ending(self) -> str:
        """The platform as a part of a file's name: `linux-arm64`."""
        return self.value.replace("/", "-")


_RUST_TARGETS = {
    Platform.LINUX_AMD64: "x86_64-unknown-linux-gnu",
    Platform.LINUX_ARM64: "aarch64-unknown-linux-gnu",
}

_MACHINES = {
    "x86_64": Platform.LINUX_AMD64,
    "amd64": Platform.LINUX_AMD64,
    "aarch64": Platform.LINUX_ARM64,
    "arm64": Platform.LINUX_ARM64,
}


def machine_platform() -> Platform | None:
    """Return the platform that containers of this machine have, or `None` where no image is built for it."""
    return _MACHINES.get(os.uname().machine)
