"""What is pushed, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SCHEMA = 1
SHOWN_OF_ID = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image of a build: the layer and platform that it is for, its name in the engine, the digest of its plan."""

    layer: str
    platform: str
    reference: str
    plan_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedImage:
    """An image that may be pushed: its id says which it is, whatever its name stands for by then.

    `day` (YYYYMMDD) is that of its verification; `digest` that of its manifest where the registry has it already, and
    empty where it is in the engine.
    """

    platform: str
    reference: str
    id: str
    day: str
    digest: str = ""

    @property
    def architecture(self) -> str:
        """The platform as the end of a tag: `amd64`."""
        return self.platform.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPush:
    """One layer to push: an image for each platform, tags that never move again, and tags that move to it.

    `stem` is what the tag of every image of it begins with: the layer, and the toolchain or the row of the matrix.
    """

    layer: str
    stem: str
    images: tuple[VerifiedImage, ...]
    immutable: tuple[str, ...]
    moving: tuple[str, ...]

    def staged(self, image: VerifiedImage) -> str:
        """Return the tag that carries one platform's image into the registry: by its id, so that it never moves.

        The day tells `factory prune` the age of one that no index took up.
        """
        return f"{self.stem}-{image.day}-{image.id.partition(':')[2][:SHOWN_OF_ID]}-{image.architecture}"


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
