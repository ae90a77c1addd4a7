"""The tags of a pushed layer: those of one build, which never move again, and those that each build takes over."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from factory.errors import ConfigurationError
from factory.publish.model import LayerPush

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from factory.config.model import ImageSettings, Settings
    from factory.publish.model import VerifiedImage

LONGEST_TAG = 128
_SHOWN_OF_DIGEST = 12


def require_registry(image: ImageSettings) -> None:
    """Raise `ConfigurationError` where nobody said whose registry it is."""
    if not image.registry:
        raise ConfigurationError(
            "`image.registry` is empty, so the images would go to Docker Hub or nowhere",
            advice="Name the host of the registry; docker.io for Docker Hub.",
        )


def stem(layer: str, settings: Settings, *, cell: str) -> str:
    """Return what the tags of a layer's images begin with, but for those of the user's own: `web-1.95.0`."""
    return f"{layer}-{cell or settings.toolchain}"


def layer_push(
    layer: str, images: Sequence[VerifiedImage], settings: Settings, *, cell: str, date: str, plan: str, serial: int
) -> LayerPush:
    """Return a layer's push with its tags; `date` is the day of the push (YYYYMMDD), `serial` counts pushes of it.

    The first immutable tag is always `LAYER-RUST-DATE-PLAN`, with the cell of the matrix in the place of the toolchain.
    Raises `ConfigurationError` for a tag that no registry takes.
    """
    number = f"-{serial}" if serial > 1 else ""
    begins = stem(layer, settings, cell=cell)
    name = f"{begins}-{date}-{plan}"
    dated = settings.image.dated_tags_of(layer=layer, rust=settings.toolchain, date=date, plan=plan)
    moving = settings.image.moving_tags_of(layer=layer, rust=settings.toolchain)
    push = LayerPush(
        layer=layer,
        stem=begins,
        images=tuple(sorted(images, key=lambda image: image.platform)),
        immutable=tuple(dict.fromkeys(f"{tag}{number}" for tag in (name, *dated))),
        moving=moving,
    )
    longest = max((*push.immutable, *(image.staged for image in images)), key=len)
    if len(longest) > LONGEST_TAG:
        raise ConfigurationError(
            f"{longest}: longer than the {LONGEST_TAG} characters of a tag", advice="Give the layer a shorter name."
        )
    return push


def plan_tag(digests: Iterable[str]) -> str:
    """Return what stands for the plan in a tag: of several platforms' plans, a digest of their digests."""
    distinct = sorted(set(digests))
    digest = distinct[0] if len(distinct) == 1 else hashlib.sha256("\n".join(distinct).encode()).hexdigest()
    return digest[:_SHOWN_OF_DIGEST]
