"""What goes up to a registry, by docker and buildx: what is there already is not sent again, and a push goes on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from factory import process
from factory.publish.attempts import Patience, persist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from factory.output import Output

INDEX_SECONDS = 120.0
"""How long a registry may take to write an index of some hundred bytes."""


class Uploads:
    """Uploads images and tags them; every call is repeated with patience while nobody answers."""

    def __init__(self, *, patience: Patience, seconds: float, output: Output) -> None:
        self._patience = patience
        self._seconds = seconds
        self._output = output

    def push(self, reference: str) -> None:
        """Upload a local image by its name; what is there already is not sent again."""
        self._persist(f"pushing {reference}", push_command(reference), self._seconds)

    def join(self, sources: Sequence[str], names: Sequence[str]) -> None:
        """Give an index of `sources`, or a single one that is an index, all `names` at once."""
        self._persist(f"tagging {', '.join(names)}", join_command(sources, names), INDEX_SECONDS)

    def _persist(self, what: str, command: Sequence[str], seconds: float) -> None:

        def call() -> process.Completed:
            # Colours and progress bars would stand between the words that say what is wrong.
            environment = {**os.environ, "BUILDKIT_PROGRESS": "plain", "NO_COLOR": "1"}
            return process.run(command, env=environment, timeout=seconds, check=False)

        persist(what, call, self._patience, self._output)


def push_command(reference: str) -> tuple[str, ...]:
    """Return the command that uploads a local image."""
    return ("docker", "push", reference)


def join_command(sources: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the command that gives an index of `sources` all `names`."""
    return ("docker", "buildx", "imagetools", "create", *(f"--tag={name}" for name in names), *sources)
