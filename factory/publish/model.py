"""What is pushed, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.platforms import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCHEMA = 1
SHOWN_OF_ID = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image of a build: the layer and platform that it is for, its name in the engine, the digest of its plan.

    `image_layer` is the layer that it says it is: that below, where nothing was planned for `layer` alone.
    """

    layer: str
    image_layer: str
    platform: str
    reference: str
    plan_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedImage:
    """An image that may be pushed: its id says which it is, whatever its name stands for by then.

    `stem` is that of its layer, which is the one below where nothing was planned for the layer to push alone. `day`
    (YYYYMMDD) is that of its verification, "" for one that was published before; `digest` that of its manifest where
    the registry has it already, "" where it is in the engine.
    """

    platform: str
    reference: str
    id: str
    stem: str
    day: str
    digest: str = ""

    @property
    def staged(self) -> str:
        """The tag that carries it into the registry: by its id, so that it never moves.

        The day tells `factory prune` the age of one that no index took up.
        """
        shown = self.id.partition(":")[2][:SHOWN_OF_ID]
        return f"{self.stem}-{self.day}-{shown}-{Platform(self.platform).architecture}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPush:
    """One layer to push: an image for each platform, tags that never move again, and tags that move to it.

    `stem` is what those begin with that never move: the layer, and the toolchain or the cell of the matrix.
    """

    layer: str
    stem: str
    images: tuple[VerifiedImage, ...]
    immutable: tuple[str, ...]
    moving: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedLayer:
    """A layer in the registry: its index, the images in it by platform, its tags; `changed` where it was pushed now."""

    layer: str
    index: str
    images: Mapping[str, str]
    immutable: tuple[str, ...]
    moving: tuple[str, ...]
    changed: bool
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the registry tells of a layer: the digests of plan, settings and base that its image was made from.

    Each is "" where the image does not say. `day` (YYYYMMDD) is that of its newest push, `None` where no tag tells;
    `whole` is whether all moving tags stand for it.
    """

    plan: str
    settings: str
    base: str
    day: str | None
    whole: bool


def pushed_to_json(repository: str, layers: Sequence[PushedLayer]) -> dict[str, Any]:
    """Return what a push did as JSON values."""
    return {
        "schema": SCHEMA,
        "repository": repository,
        "layers": [
            {
                "layer": row.layer,
                "index": row.index,
                "platforms": dict(row.images),
                "tags": {"immutable": list(row.immutable), "moving": list(row.moving)},
                "changed": row.changed,
                "signed": row.signed,
            }
            for row in layers
        ],
    }
