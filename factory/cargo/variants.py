"""Which cargo command a consumer runs: `release` is `cargo build --release`, `check:dev` is `cargo check`.

`release@wasm32-unknown-unknown` is `cargo build --release --target wasm32-unknown-unknown`, and
`test:dev+workspace+all-features` is `cargo test --workspace --all-features`.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from factory.triple import is_triple

_COMMANDS = r"(?:(?P<command>build|check|check-all|test):)?"
_PROFILE = r"(?P<profile>[A-Za-z][A-Za-z0-9_-]*)"
_SELECTIONS = r"(?P<selections>(?:\+(?:workspace|all-features)){0,2})"
VARIANT_PATTERN = re.sub(r"\?P<[a-z]+>", "?:", rf"{_COMMANDS}{_PROFILE}{_SELECTIONS}(?:@[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
"""The notation as a regular expression, for the schema of the configuration."""

_VARIANT = re.compile(rf"{_COMMANDS}{_PROFILE}{_SELECTIONS}(?:@(?P<target>.+))?", re.ASCII)


class Command(enum.StrEnum):
    """The cargo command whose units a variant holds."""

    BUILD = "build"
    CHECK = "check"
    CHECK_ALL = "check-all"
    """With the code of tests, examples and benchmarks: `--all-targets`."""
    TEST = "test"


class Selection(enum.StrEnum):
    """What of a workspace is built beside its default members with their default features: words for cargo."""

    WORKSPACE = "workspace"
    ALL_FEATURES = "all-features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A cargo command with a cargo profile, and a target triple where the consumer names one.

    `selections` are in the order of `Selection`, none of them twice.
    """

    command: Command
    profile: str
    target: str | None = None
    selections: tuple[Selection, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Parse `[COMMAND:]PROFILE[+workspace][+all-features][@TRIPLE]`.

        Raises `ValueError`, with what to write, for anything else.
        """
        match = _VARIANT.fullmatch(text)
        if match is None or not is_triple(match["target"] or "none"):
            message = (
                f'"{text}" is no variant; write PROFILE, COMMAND:PROFILE or PROFILE@TRIPLE, '
                "like release, check:dev, test:dev+workspace or release@wasm32-unknown-unknown"
            )
            raise ValueError(message)
        if match["profile"] == "debug":
            message = "cargo's profile is called dev, debug is only its directory; write dev"
            raise ValueError(message)
        command = Command(match["command"] or "build")
        named = match["selections"].split("+")
        selections = tuple(each for each in Selection if each in named)
        return cls(command=command, profile=match["profile"], target=match["target"], selections=selections)

    def __str__(self) -> str:
        command = "" if self.command is Command.BUILD else f"{self.command}:"
        target = "" if self.target is None else f"@{self.target}"
        return f"{command}{self.profile}{''.join(f'+{each}' for each in self.selections)}{target}"

    @property
    def profile_args(self) -> tuple[str, ...]:
        """The arguments that pick the cargo profile."""
        return () if self.profile == "dev" else ("--profile", self.profile)

    @property
    def target_args(self) -> tuple[str, ...]:
        """The arguments that pick the target; none where the consumer names none, which makes other units."""
        return () if self.target is None else ("--target", self.target)

    @property
    def args(self) -> tuple[str, ...]:
        """The cargo arguments that a consumer would give; for tests, without running them."""
        name, *more = _WORDS[self.command]
        selected = (f"--{each}" for each in self.selections)
        return (name, *self.profile_args, *self.target_args, *selected, *more)

    @property
    def cooked_by(self) -> str:
        """The cargo command that compiles these units as dependencies: tests stand on what `build` makes."""
        return "check" if self.command in {Command.CHECK, Command.CHECK_ALL} else "build"


_WORDS = {
    Command.BUILD: ("build",),
    Command.CHECK: ("check",),
    Command.CHECK_ALL: ("check", "--all-targets"),
    Command.TEST: ("test", "--no-run"),
}
