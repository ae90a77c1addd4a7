"""What is warm: the units of a plan, of a cooked directory, or of an image, with the contract under which they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.analysis.model import ToolchainFacts
from factory.cook.facts import WarmUnit, facts_from_json, planned_facts
from factory.cook.local import require_warm
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.labels import SHARE
from factory.model import UnitKey
from factory.proof.contract import recorded_rustc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from factory.engine import Engine
    from factory.planning.plan import Exclusion, Plan

_END = "--- end of file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """Warm units by key; `parents` has every layer with the one that it stands on, parents before children.

    `digest` is that of what the topmost layer holds (`Plan.layer_digest`).

    `excluded` are the plan's reasons for what is not there (`None`: an image does not know them), `dropped` the units
    that were planned and could not be cooked, each with the reason.
    """

    name: str
    digest: str
    toolchain: ToolchainFacts
    variants: tuple[str, ...]
    rustflags: tuple[str, ...]
    parents: Mapping[str, str | None]
    units: Mapping[UnitKey, WarmUnit]
    excluded: tuple[Exclusion, ...] | None = None
    dropped: Mapping[UnitKey, str]

    def held_by(self, layer: str) -> frozenset[str]:
        """Return the layers whose units the image of a layer holds: itself and all under it."""
        found: list[str] = []
        current: str | None = layer
        while current is not None:
            found.append(current)
            current = self.parents[current]
        return frozenset(found)

    @property
    def topmost(self) -> str:
        """The layer that all others lie under: an image's own."""
        return list(self.parents)[-1]

    def require_layer(self, layer: str) -> None:
        """Raise `ConfigurationError` where there is no layer of that name."""
        if layer not in self.parents:
            raise ConfigurationError(
                f"{self.name} has no layer {layer!r}", advice=f"Name one of: {', '.join(self.parents)}."
            )

    def require_variant(self, variant: str) -> None:
        """Raise `ConfigurationError` where nothing is cooked for a variant."""
        if variant not in self.variants:
            raise ConfigurationError(
                f"{self.name} has no variant {variant!r}", advice=f"Name one of: {', '.join(self.variants)}."
            )


def warm_from_plan(plan: Plan, *, name: str) -> Warm:
    """Return what will be warm once the plan is built."""
    contract = plan.contract
    return Warm(
        name=name,
        digest=plan.layer_digest(plan.layers[-1].name),
        toolchain=contract.toolchain,
        variants=contract.variants,
        rustflags=contract.rustflags,
        parents={layer.name: layer.parent for layer in plan.layers},
        units=planned_facts(plan),
        excluded=plan.excluded,
        dropped={},
    )


def warm_from_directory(folder: Path) -> Warm:
    """Read what a locally cooked directory holds; raise `ConfigurationError` for any other directory."""
    require_warm(folder)
    try:
        files = {str(path): path.read_text(encoding="utf-8") for path in sorted((folder / "share").glob("*/*.json"))}
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFaultError(f"{folder}: cannot be read: {error}", advice="Ask as its owner.") from error
    return _warm(files, name=str(folder))


def warm_from_image(engine: Engine, image: str) -> Warm:
    """Read what an image holds, with all images under it; pull it where it is not here.

    Raises `EnvironmentFaultError` where it cannot be had, `ConfigurationError` for an image of another making.
    """
    engine.require_image(image)
    script = f'for f in {SHARE}/*/*.json; do echo "$f"; cat "$f"; echo; echo "{_END}"; done'
    with engine.container(image, mounts={}) as container:
        answer = container.run(["sh", "-c", script])
    blocks = [block.strip("\n").partition("\n") for block in answer.stdout.split(f"\n{_END}\n")]
    return _warm({path: text for path, _, text in blocks if text}, name=image)


def _warm(files: Mapping[str, str], *, name: str) -> Warm:
    try:
        contracts = [_parsed(files, path) for path in files if path.endswith("/contract.json")]
        contents = [_parsed(files, path) for path in files if path.endswith("/contents.json")]
        return _of_documents(contracts, contents, name=name)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ConfigurationError(
            f"{name}: does not say what is warm in it: {error!r}",
            advice="Name an image or directory that this version of factory built, or build it again.",
        ) from error


def _parsed(files: Mapping[str, str], path: str) -> tuple[str, dict[str, Any]]:
    document = json.loads(files[path])
    if not isinstance(document, dict):
        message = f"{path} is no object"
        raise TypeError(message)
    return path, document


def _of_documents(
    contracts: Sequence[tuple[str, Mapping[str, Any]]],
    contents: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    name: str,
) -> Warm:
    units: dict[UnitKey, WarmUnit] = {}
    parents = _parents_first({document["layer"]: document["parent"] for _, document in contents})
    topmost = list(parents)[-1]
    [(path, contract)] = [(path, document) for path, document in contracts if document["layer"] == topmost]
    for _, document in contents:
        units |= facts_from_json(document["facts"], document["layer"])
    return Warm(
        name=name,
        digest=contract["plan"],
        toolchain=_toolchain(recorded_rustc(json.dumps(contract), where=path)),
        variants=tuple(contract["variants"]),
        rustflags=tuple(contract["rustflags"]),
        parents=parents,
        units=units,
        dropped={UnitKey(row["key"]): row["reason"] for _, document in contents for row in document["dropped"]},
    )


def _parents_first(parents: Mapping[str, str | None]) -> dict[str, str | None]:
    """Sort layers so that each stands after its parent; raise `ValueError` where one's parent is not there."""
    ordered: dict[str, str | None] = {}
    while len(ordered) < len(parents):
        ready = [name for name in sorted(parents) if name not in ordered and parents[name] in {None, *ordered}]
        if not ready:
            message = "a layer stands on one that is not there"
            raise ValueError(message)
        ordered |= {name: parents[name] for name in ready}
    return ordered


def _toolchain(rustc: Sequence[str]) -> ToolchainFacts:
    facts = dict(line.partition(": ")[::2] for line in rustc if ": " in line)
    # Cargo hashes the text with its last line break.
    return ToolchainFacts(version=facts["release"], host=facts["host"], rustc_verbose="\n".join((*rustc, "")))
