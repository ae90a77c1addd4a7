"""What the layers of an image hold twice: files of a lower layer that changed nothing but owner, mode or time.

An image keeps the whole file again for it. A `chown -R` in a later step doubles everything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from factory.files import read_json, write_json
from factory.image_archive import content_digest, opened
from factory.proof.model import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from factory.image_archive import ImageArchive

SCHEMA = 1
_MOST_FINDINGS = 20
_BLOB = re.compile(r"blobs/sha256/(?P<digest>[0-9a-f]{64})")
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A file with the same bytes as in a lower layer; `layer` counts from 1, the lowest."""

    path: str
    bytes: int
    layer: int


def copies(archive: Path, share: str, *, within: Sequence[str], cache: Path) -> tuple[Copy, ...]:
    """Return the copies in an archive of `docker save`, from the first layer with the directory `share` upwards.

    What lies below that layer is the base image's own affair, and so is what lies outside of the directories `within`:
    programs such as useradd and apt-get write files anew that stay as they were. Empty files and hard links take no
    room and are not copies. What a layer holds is kept in the folder `cache`: to read a base image takes a while, and
    many images have the same. Raises `EnvironmentFaultError` for an archive that cannot be read.
    """
    roots = tuple(f"{folder}/" for folder in within)
    with opened(archive) as image:
        return tuple(copy for copy in _copies(image, share.strip("/"), cache) if copy.path.startswith(roots))


def own_layers(image: ImageArchive, share: str, cache: Path) -> Iterator[tuple[int, str]]:
    """Yield number and name of the layers of an archive from the first with the directory `share` upwards."""
    ours = False
    for number, name in enumerate(image.layers, start=1):
        ours = ours or share.strip("/") in _known_layer(image, name, cache).directories
        if ours:
            yield number, name


def growth_check(found: tuple[Copy, ...]) -> Check:
    """Return the check that no layer grew by owners, modes or times alone."""
    total = sum(copy.bytes for copy in found)
    heaviest = sorted(found, key=lambda copy: (-copy.bytes, copy.path))[:_MOST_FINDINGS]
    return Check(
        name="no copies",
        ok=not found,
        detail=(
            f"{len(found)} files are in two layers with the same bytes: {total / _MEGABYTE:.1f} MB for nothing"
            if found
            else "owners and modes cost 0 bytes: no layer repeats a warm file of a lower one"
        ),
        findings=tuple(f"{copy.path}: {copy.bytes} bytes again in layer {copy.layer}" for copy in heaviest),
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    """The files of a layer (size and digest by path), the paths it removes, and its directories."""

    files: Mapping[str, tuple[int, str]]
    removed: frozenset[str]
    directories: frozenset[str]


def _copies(image: ImageArchive, share: str, cache: Path) -> Iterator[Copy]:
    known: dict[str, tuple[int, str]] = {}
    ours = False
    for number, name in enumerate(image.layers, start=1):
        layer = _known_layer(image, name, cache)
        ours = ours or share in layer.directories
        if ours:
            for path in sorted(layer.files.keys() & known.keys()):
                size, _ = layer.files[path]
                if size and layer.files[path] == known[path]:
                    yield Copy(path=f"/{path}", bytes=size, layer=number)
        for path in layer.removed:
            for gone in [other for other in known if f"{other}/".startswith(f"{path}/")]:
                del known[gone]
        known.update(layer.files)


def _known_layer(image: ImageArchive, name: str, cache: Path) -> _Layer:
    """Return a layer, from the cache where its name is the digest of what it holds."""
    match = _BLOB.fullmatch(name)
    if match is None:
        return _read_layer(image, name)
    kept = cache / f"{match['digest']}.json"
    if kept.exists():
        document = read_json(kept, made_by="factory verify")
        files = {path: (int(size), str(digest)) for path, (size, digest) in document["files"].items()}
        return _Layer(files, frozenset(document["removed"]), frozenset(document["directories"]))
    layer = _read_layer(image, name)
    lists = {"removed": sorted(layer.removed), "directories": sorted(layer.directories)}
    write_json(kept, {"schema": SCHEMA, "files": {path: list(facts) for path, facts in layer.files.items()}} | lists)
    return layer


def _read_layer(image: ImageArchive, name: str) -> _Layer:
    files: dict[str, tuple[int, str]] = {}
    removed: set[str] = set()
    directories: set[str] = set()
    for entry, content in image.entries(name):
        path = entry.name.removeprefix("./").strip("/")
        last = PurePosixPath(path).name
        if last.startswith(_WHITEOUT) and last != _OPAQUE:
            removed.add(str(PurePosixPath(path).with_name(last.removeprefix(_WHITEOUT))))
        elif entry.isdir():
            directories.add(path)
        elif entry.isreg():
            files[path] = (entry.size, content_digest(content))
    return _Layer(files, frozenset(removed), frozenset(directories))
