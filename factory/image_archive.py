"""An image as `docker save` writes it: what each of its layers holds, and how two of them differ."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

import zstandard

from factory.errors import EnvironmentFaultError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_ZSTD = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One path of a layer: its type (a letter of `find`), mode, owner, time, link and the SHA-256 of its content."""

    kind: str
    mode: int
    owner: tuple[int, int]
    time: float
    link: str
    size: int
    sha256: str

    def difference(self, other: Member) -> str:
        """Say in which ways another member of the same path differs, "" where in none."""
        what = (
            ("type", self.kind != other.kind),
            ("content", (self.sha256, self.link, self.size) != (other.sha256, other.link, other.size)),
            ("mode", self.mode != other.mode),
            ("owner", self.owner != other.owner),
            ("time", self.time != other.time),
        )
        return ", ".join(name for name, differs in what if differs)


def read_layers(archive: Path, numbers: Sequence[int]) -> dict[int, dict[str, Member]]:
    """Return the members of some layers by path; layer 0 is the lowest.

    Raises `EnvironmentFaultError` for what is no archive of one image, or has fewer layers.
    """
    try:
        with tarfile.open(archive) as image:
            names = _layers(image)
            return {number: _members(image, names[number]) for number in numbers}
    except (tarfile.TarError, zstandard.ZstdError, KeyError, IndexError, TypeError, ValueError, EOFError) as error:
        raise EnvironmentFaultError(
            f"{archive}: the engine's export of an image cannot be read: {error!r}", advice="Use Docker 23 or newer."
        ) from error


def differences(one: Mapping[str, Member], other: Mapping[str, Member]) -> dict[str, str]:
    """Return what differs by path, for paths that differ or are in one of the two only."""
    found = {}
    for path in sorted(one.keys() | other.keys()):
        if path not in other:
            found[path] = "only in the image"
        elif path not in one:
            found[path] = "only in the second build"
        elif what := one[path].difference(other[path]):
            found[path] = what
    return found


def _layers(image: tarfile.TarFile) -> list[str]:
    manifest = image.extractfile("manifest.json")
    if manifest is None:
        raise KeyError("manifest.json")
    with manifest:
        (only,) = json.load(manifest)
    return [str(name) for name in only["Layers"]]


def _members(image: tarfile.TarFile, name: str) -> dict[str, Member]:
    members = {}
    with unpacked(image, name) as stream, tarfile.open(fileobj=stream, mode="r|") as layer:
        for entry in layer:
            members["/" + entry.name.rstrip("/")] = Member(
                kind=entry.type.decode("ascii", "replace"),
                mode=entry.mode,
                owner=(entry.uid, entry.gid),
                time=entry.mtime,
                link=entry.linkname,
                size=entry.size,
                sha256=_digest(layer, entry),
            )
    return members


@contextlib.contextmanager
def unpacked(image: tarfile.TarFile, name: str) -> Iterator[IO[bytes]]:
    """Yield a layer without its compression: gzip, zstd or none."""
    with cast("IO[bytes]", image.extractfile(name)) as raw:
        head = raw.read(4)
        raw.seek(0)
        if head == _ZSTD:
            with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
                yield cast("IO[bytes]", stream)
        elif head[:2] == b"\x1f\x8b":
            with gzip.open(raw) as stream:
                yield cast("IO[bytes]", stream)
        else:
            yield raw


def _digest(layer: tarfile.TarFile, entry: tarfile.TarInfo) -> str:
    content = layer.extractfile(entry) if entry.isreg() else None
    if content is None:
        return ""
    found = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        found.update(chunk)
    return found.hexdigest()
