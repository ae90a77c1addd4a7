"""What the last successful rebuild was made from: `rebuild-state.json`, written last and in one step.

A run that was killed leaves the state of the run before it, so the next one sees that there is still something to do.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from factory.errors import ConfigurationError
from factory.files import flaw, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = 1
FILE_NAME = "rebuild-state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Digests (hex) of what a rebuild is made from; `base` is that of the base image, "" where nobody knows it.

    `made_by` is that of the settings that decide an image's bytes beside its plan, "" in a state that does not say;
    `settings` that of all that say what is built.
    """

    repositories: str
    toolchain: str
    base: str
    settings: str
    made_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildState:
    """One successful rebuild: `target` is what was built, `layers` has the digest of each, `finished` is Unix time."""

    target: str
    inputs: Inputs
    plan: str
    layers: Mapping[str, str]
    finished: int

    def write(self, folder: Path) -> None:
        """Write the state into a folder: from now on, this rebuild counts as done."""
        write_json(folder / FILE_NAME, {"schema": SCHEMA, **asdict(self)})


def read_state(folder: Path, *, target: str) -> RebuildState | None:
    """Return the state in a folder, `None` where there is none; raise `ConfigurationError` for that of other images."""
    path = folder / FILE_NAME
    if not path.exists():
        return None
    document = read_json(path, made_by="factory rebuild")
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ConfigurationError(
            f"{path}: not a state of schema {SCHEMA}",
            advice="Remove it: the next rebuild builds everything, and writes it again.",
        )
    state = _state(document, path)
    if state.target != target:
        raise ConfigurationError(
            f"{path}: is the state of {state.target}, not of {target}",
            advice="Give each its own folder by --state.",
        )
    return state


def _state(document: Any, path: Path) -> RebuildState:  # noqa: ANN401 - any JSON value
    try:
        return RebuildState(
            target=document["target"],
            inputs=Inputs(**document["inputs"]),
            plan=document["plan"],
            layers={str(name): str(value) for name, value in document["layers"].items()},
            finished=int(document["finished"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"{path}: not a state that this version of factory reads: {flaw(error)}",
            advice="Remove it: the next rebuild builds everything, and writes it again.",
        ) from error
