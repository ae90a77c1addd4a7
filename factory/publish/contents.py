"""What pushed images say of themselves: read from the registry, a few kilobytes of each, so that nothing is pulled."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.errors import RegistryFaultError
from factory.image_archive import UNREADABLE, unpacked
from factory.labels import SHARE, Label
from factory.model import PackageId

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from factory.publish.distribution import Distribution, Manifest

CONTENTS = "contents.json"
_BROUGHT_BY = ("/run/factory/contents.sh", f"{SHARE}/")
"""What the history says of layers with such lists: the step of `layer.Dockerfile` that brings them, or a path."""

_ADVICE = "Build it by this version of factory."


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an image says: features by the packages that were cooked, and the name and digest of its base image.

    Both are "" where it does not say, the digest alone where no registry knew the base image.
    """

    cooked: Mapping[PackageId, frozenset[str]]
    base: str
    base_digest: str


def said_by(registry: Distribution, digest: str) -> Said:
    """Return what the image of a digest says; raise `RegistryFaultError` where it lists no contents."""
    image = registry.image(digest)
    configuration = registry.configuration(image)
    cooked: dict[PackageId, frozenset[str]] = {}
    try:
        labels = configuration["config"].get("Labels") or {}
        lists = list(_lists(registry, image, configuration))
        for unit in (unit for listed in lists for unit in listed["units"]):
            package = PackageId(unit["crate"], unit["version"], unit["source"])
            cooked[package] = cooked.get(package, frozenset()) | frozenset(unit["features"])
    except UNREADABLE as error:
        raise RegistryFaultError(f"{digest}: its contents cannot be read: {error!r}", advice=_ADVICE) from error
    if not lists:
        raise RegistryFaultError(f"{digest}: does not list what was cooked ({SHARE}/*/{CONTENTS})", advice=_ADVICE)
    return Said(
        cooked=cooked,
        base=str(labels.get(Label.BASE_NAME, "")),
        base_digest=str(labels.get(Label.BASE_DIGEST, "")),
    )


def _lists(registry: Distribution, image: Manifest, configuration: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the lists of an image; of its layers, those alone are read that have one."""
    steps = [row.get("created_by", "") for row in configuration["history"] if not row.get("empty_layer")]
    for step, layer in zip(steps, image.layers, strict=True):
        if any(mark in step for mark in _BROUGHT_BY):
            yield from _listed(registry.blob(image, layer))


def _listed(layer: bytes) -> Iterator[dict[str, Any]]:
    with unpacked(io.BytesIO(layer)) as stream, tarfile.open(fileobj=stream, mode="r|") as members:
        for member in members:
            content = members.extractfile(member) if _is_list(member.name) and member.isreg() else None
            if content is not None:
                yield json.load(content)


def _is_list(name: str) -> bool:
    return f"/{name}".startswith(f"{SHARE}/") and name.endswith(f"/{CONTENTS}")
