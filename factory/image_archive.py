"""An image as `docker save` writes it: what each of its layers holds, and how two of them differ."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

import zstandard

from factory.errors import EnvironmentFaultError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_ZSTD = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 20
UNREADABLE = (
    tarfile.TarError,
    zstandard.ZstdError,
    OSError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    EOFError,
)
"""What reading an archive, or a layer, that is damaged or none may raise."""


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


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """An open archive of one image."""

    _archive: tarfile.TarFile

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers, the lowest first."""
        return tuple(str(name) for name in self._manifest["Layers"])

    @property
    def configuration(self) -> Mapping[str, Any]:
        """The configuration of the image, with its history."""
        document: Mapping[str, Any] = self._json(self._manifest["Config"])
        return document

    def entries(self, layer: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
        """Yield what a layer holds, in its order: each entry, with its content where it is a file."""
        with (
            self._file(layer) as packed,
            unpacked(packed) as stream,
            tarfile.open(fileobj=stream, mode="r|") as members,
        ):
            for entry in members:
                yield entry, members.extractfile(entry) if entry.isreg() else None

    @property
    def _manifest(self) -> Mapping[str, Any]:
        (only,) = self._json("manifest.json")
        manifest: Mapping[str, Any] = only
        return manifest

    def _json(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        with self._file(name) as file:
            return json.load(file)

    def _file(self, name: str) -> IO[bytes]:
        file = self._archive.extractfile(name)
        if file is None:
            message = f"{name}: not a file"
            raise ValueError(message)
        return file


@contextlib.contextmanager
def unpacked(layer: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield a layer without its compression: gzip, zstd or none."""
    head = layer.read(4)
    layer.seek(0)
    if head == _ZSTD:
        with zstandard.ZstdDecompressor().stream_reader(layer, read_across_frames=True) as stream:
            yield cast("IO[bytes]", stream)
    elif head[:2] == b"\x1f\x8b":
        with gzip.open(layer) as stream:
            yield cast("IO[bytes]", stream)
    else:
        yield layer


@contextlib.contextmanager
def opened(archive: Path) -> Iterator[ImageArchive]:
    """Yield an archive as `docker save` writes it; raise `EnvironmentFaultError` for one that cannot be read."""
    try:
        with tarfile.open(archive) as image:
            yield ImageArchive(image)
    except UNREADABLE as error:
        raise EnvironmentFaultError(
            f"the layers of the image cannot be read: {error!r}",
            advice="`docker save` of Docker 23 or newer has to be able to write the image to TMPDIR, its layers plain, "
            "gzip or zstd.",
        ) from error


def read_layers(archive: Path, numbers: Sequence[int]) -> dict[int, dict[str, Member]]:
    """Return the members of some layers by path; layer 0 is the lowest.

    Raises `EnvironmentFaultError` for what is no archive of one image, or has fewer layers.
    """
    with opened(archive) as image:
        names = image.layers
        return {number: _members(image, names[number]) for number in numbers}


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


def content_digest(content: IO[bytes] | None) -> str:
    """Return the SHA-256 of a file's content, "" for what is no file."""
    if content is None:
        return ""
    found = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        found.update(chunk)
    return found.hexdigest()


def _members(image: ImageArchive, layer: str) -> dict[str, Member]:
    return {
        "/" + entry.name.rstrip("/"): Member(
            kind=entry.type.decode("ascii", "replace"),
            mode=entry.mode,
            owner=(entry.uid, entry.gid),
            time=entry.mtime,
            link=entry.linkname,
            size=entry.size,
            sha256=content_digest(content),
        )
        for entry, content in image.entries(layer)
    }
