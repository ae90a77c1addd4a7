"""Which cargo command a consumer runs: `release` is `cargo build --release`, `check:dev` is `cargo check`."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

_VARIANT = re.compile(r"(?:(?P<command>build|check|test):)?(?P<profile>[A-Za-z][A-Za-z0-9_-]*)")


class Command(enum.StrEnum):
    """The cargo command whose units a variant holds."""

    BUILD = "build"
    CHECK = "check"
    TEST = "test"


@dataclass(frozen=True, order=True, slots=True)
class Variant:
    """A cargo command with a cargo profile."""

    command: Command
    profile: str

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Parse `PROFILE` or `COMMAND:PROFILE`; raise `ValueError` when it is neither."""
        match = _VARIANT.fullmatch(text)
        if match is None:
            message = f"not a cargo profile or command:profile: {text!r}"
            raise ValueError(message)
        return cls(Command(match["command"] or "build"), match["profile"])

    def __str__(self) -> str:
        return self.profile if self.command is Command.BUILD else f"{self.command}:{self.profile}"

    @property
    def profile_args(self) -> tuple[str, ...]:
        """The arguments that pick the cargo profile."""
        return () if self.profile == "dev" else ("--profile", self.profile)

    @property
    def args(self) -> tuple[str, ...]:
        """The cargo arguments that a consumer would give; for tests, without running them."""
        no_run = ("--no-run",) if self.command is Command.TEST else ()
        return (self.command.value, *self.profile_args, *no_run)
