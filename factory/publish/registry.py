"""The container registry, through docker and buildx: so credentials are Docker's own, and never pass through here."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory import process
from factory.errors import RegistryFaultError
from factory.publish.attempts import Fault, Patience, RegistryAnswerError, persist

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.output import Output

QUESTION_SECONDS = 120.0
"""How long a registry may take to answer a question, or to write an index of some hundred bytes."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_UNKNOWN = "unknown/unknown"
"""The platform of an index's entries that are attestations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """What a name stands for in a registry: a digest, and where it is an index, its images' digests by platform."""

    digest: str
    images: Mapping[str, str]


class Registry:
    """Asks, uploads and joins; every call is repeated with patience while nobody answers."""

    def __init__(self, *, patience: Patience, upload_seconds: float, output: Output) -> None:
        self.patience = patience
        self._upload_seconds = upload_seconds
        self._output = output

    def find(self, reference: str) -> Remote | None:
        """Return what a reference stands for, `None` where the registry says that there is no such thing.

        Raises `RegistryFaultError` where it does not answer, refuses, or answers what is no index.
        """
        command = find_command(reference)
        try:
            answer = self._persist(f"asking for {reference}", command, QUESTION_SECONDS)
        except RegistryAnswerError as error:
            if error.fault is Fault.ABSENT:
                return None
            raise
        return _remote(reference, answer.stdout)

    def configuration_digest(self, reference: str) -> str:
        """Return the digest of the configuration that an image's manifest names."""
        command = ("docker", "buildx", "imagetools", "inspect", "--raw", reference)
        answer = self._persist(f"asking for {reference}", command, QUESTION_SECONDS)
        try:
            return str(json.loads(answer.stdout)["config"]["digest"])
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable(reference, answer.stdout) from error

    def labels(self, reference: str) -> Mapping[str, str]:
        """Return the labels of the one image that a digest stands for."""
        command = ("docker", "buildx", "imagetools", "inspect", reference, "--format", "{{json .Image}}")
        answer = self._persist(f"asking for {reference}", command, QUESTION_SECONDS)
        try:
            labels = json.loads(answer.stdout)["config"].get("Labels") or {}
            return {str(name): str(value) for name, value in labels.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(reference, answer.stdout) from error

    def push(self, reference: str) -> None:
        """Upload a local image by its name; what is there already is not sent again."""
        self._persist(f"pushing {reference}", push_command(reference), self._upload_seconds)

    def join(self, sources: Sequence[str], names: Sequence[str]) -> None:
        """Give an index of `sources`, or a single one that is an index, all `names` at once."""
        self._persist(f"tagging {', '.join(names)}", join_command(sources, names), QUESTION_SECONDS)

    def _persist(self, what: str, command: Sequence[str], seconds: float) -> process.Completed:
        self._output.command(command)

        def call() -> process.Completed:
            # Colours and progress bars would stand between the words that say what is wrong.
            environment = {**os.environ, "BUILDKIT_PROGRESS": "plain", "NO_COLOR": "1"}
            return process.run(command, env=environment, timeout=seconds, check=False)

        return persist(what, call, self.patience, self._output)


def find_command(reference: str) -> tuple[str, ...]:
    """Return the command that tells what a reference stands for."""
    return ("docker", "buildx", "imagetools", "inspect", reference, "--format", "{{json .Manifest}}")


def push_command(reference: str) -> tuple[str, ...]:
    """Return the command that uploads a local image."""
    return ("docker", "push", reference)


def join_command(sources: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the command that gives an index of `sources` all `names`."""
    return ("docker", "buildx", "imagetools", "create", *(f"--tag={name}" for name in names), *sources)


def _remote(reference: str, text: str) -> Remote:
    try:
        document = json.loads(text)
        images: dict[str, str] = {}
        for entry in document.get("manifests") or ():
            _add(images, entry)
        if not _DIGEST.fullmatch(document["digest"]):
            raise _unreadable(reference, text)
        return Remote(digest=document["digest"], images=images)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(reference, text) from error


def _add(images: dict[str, str], entry: Mapping[str, Any]) -> None:
    platform = entry["platform"]
    name = f"{platform['os']}/{platform['architecture']}"
    if name != _UNKNOWN:
        images[name] = entry["digest"]


def _unreadable(reference: str, text: str) -> RegistryFaultError:
    return RegistryFaultError(
        f"{reference}: buildx told what is no manifest: {text.strip()[:200]!r}",
        advice="See whether buildx is 0.13 or newer.",
    )
