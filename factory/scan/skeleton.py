"""Copy a workspace as cargo's resolver needs it: manifests, lock, stub sources and a filtered configuration.

Nothing that a repository could have executed gets into a skeleton: no source, no build script, no toolchain
file, no configuration that names a program, no symbolic link, no executable file.
"""

from __future__ import annotations

import hashlib
import os
from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from factory import files
from factory.errors import ConfigurationError
from factory.scan.cargo_config import RecordedConfig, read_recorded
from factory.scan.membership import find_packages
from factory.scan.source_tree import MAX_LOCK_BYTES, SourceTree
from factory.scan.targets import TargetKind, find_targets

if TYPE_CHECKING:
    from collections.abc import Collection

    from factory.scan.model import FoundWorkspace

FORMAT = 2
"""Part of every digest: raise it when skeletons of the same repository come out different."""

_STUBS = {
    TargetKind.LIBRARY: b"",
    TargetKind.PROGRAM: b"fn main() {}\n",
    TargetKind.BUILD_SCRIPT: b"fn main() {}\n",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Skeleton:
    """A written skeleton."""

    root: Path
    """The workspace's folder in it: where to run cargo."""
    digest: str
    """See `skeleton_digest`."""
    recorded: RecordedConfig


def write_skeleton(workspace: FoundWorkspace, destination: Path, *, registries: Collection[str] = ()) -> Skeleton:
    """Write the skeleton of `workspace` into `destination`, which must be empty or not exist yet.

    Packages outside the workspace's folder (path dependencies, patches) keep their place relative to it. `registries`
    are the user's own: see `read_recorded`.
    Raises `UnscannableError` if the repository has become unusable since it was found.
    """
    content = _read(workspace, registries)
    if destination.exists() and any(destination.iterdir()):
        what = f"{destination}: not empty, a skeleton needs a folder of its own"
        raise ConfigurationError(what)
    for path, data in sorted(content.files.items()):
        _write(destination, path, data)
    root = destination / content.root
    if content.recorded.resolution:
        _write(destination, str(content.root / ".cargo/config.toml"), content.recorded.resolution.encode())
    return Skeleton(root=root, digest=content.digest(), recorded=content.recorded)


def skeleton_digest(workspace: FoundWorkspace, *, registries: Collection[str] = ()) -> str:
    """Return the SHA-256 (hex) over all that `write_skeleton` would write and record, without writing it.

    Equal digests mean that cargo resolves the same units; where a repository lies does not matter.
    """
    return _read(workspace, registries).digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Content:
    """Every file of a skeleton by its relative POSIX path, the merged configuration aside."""

    root: PurePosixPath
    files: dict[str, bytes]
    recorded: RecordedConfig

    def digest(self) -> str:
        return files.digest(
            {
                "format": FORMAT,
                "root": str(self.root),
                "files": {path: hashlib.sha256(data).hexdigest() for path, data in self.files.items()},
                "recorded": self.recorded.content(),
            }
        )


def _read(workspace: FoundWorkspace, registries: Collection[str]) -> _Content:
    tree = SourceTree.of(workspace)
    recorded = read_recorded(tree, workspace.root, registries=registries)
    manifests = find_packages(tree, workspace.root / "Cargo.toml", recorded.patch_folders)
    found: dict[Path, bytes] = {}
    for manifest in manifests:
        found.update((path, _STUBS[kind]) for path, kind in find_targets(tree, manifest).items())
    found.update((manifest, _unmarked(tree.read(manifest))) for manifest in manifests)
    found[workspace.lock] = _unmarked(tree.read(workspace.lock, limit=MAX_LOCK_BYTES))
    base = Path(os.path.commonpath([workspace.root, *(path.parent for path in found)]))
    return _Content(
        root=PurePosixPath(workspace.root.relative_to(base)),
        files={str(PurePosixPath(path.relative_to(base))): data for path, data in found.items()},
        recorded=recorded,
    )


def _unmarked(data: bytes) -> bytes:
    """Take away the byte order mark, which cargo skips: whoever reads the skeleton need not know of it."""
    return data.removeprefix(BOM_UTF8)


def _write(destination: Path, path: str, data: bytes) -> None:
    parts = PurePosixPath(path).parts
    if PurePosixPath(path).is_absolute() or ".." in parts:
        # Paths are checked where they are read; this is the last door before the disk.
        message = f"a skeleton's file would leave it: {path!r}"
        raise ValueError(message)
    target = destination.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
