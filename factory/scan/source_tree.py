"""The only way to read a scanned folder: bounded, and never out of it."""

from __future__ import annotations

import errno
import os
import stat
from codecs import BOM_UTF8
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NoReturn

from factory.scan.model import FoundWorkspace, SkipReason, UnscannableError

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_LOCK_BYTES = 16 * 1024 * 1024
CHECK_OUT = "check out what belongs there, a submodule for instance"
"""What to do about a file that a manifest names and that is not there."""

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, weakref_slot=True)
class SourceTree:
    """One look at a scanned folder; `scan_root` is absolute and free of symbolic links, `label` its display path."""

    scan_root: Path
    label: str
    roots: dict[Path, Path | None] = field(default_factory=dict)
    """The workspace root found for each manifest."""
    _repo_roots: dict[Path, Path] = field(default_factory=dict)
    _real_folders: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, workspace: FoundWorkspace) -> SourceTree:
        """Return the tree in which `workspace` was found."""
        return cls(scan_root=workspace.scan_root, label=workspace.label)

    def display(self, path: Path) -> str:
        """Return the display path of a path below the scanned folder."""
        if path == self.scan_root:
            return self.label
        return f"{self.label}/{escaped(PurePosixPath(path.relative_to(self.scan_root)))}"

    def holds(self, path: Path) -> bool:
        """Whether the normalised `path` is the scanned folder or lies below it."""
        return path.is_relative_to(self.scan_root)

    def repo_root(self, folder: Path) -> Path:
        """Return the repository of a folder of this tree: see `FoundWorkspace.repo_root`."""
        known = self._repo_roots.get(folder)
        if known is None:
            known = self._find_repo_root(folder)
            self._repo_roots[folder] = known
        return known

    def exists(self, path: Path) -> bool:
        """Whether something other than a folder is at `path`, links followed; nothing is read."""
        status = self._status(path)
        return status is not None and not stat.S_ISDIR(status.st_mode)

    def is_folder(self, path: Path) -> bool:
        """Whether `path` is a folder and not a symbolic link to one."""
        try:
            return stat.S_ISDIR(path.lstat().st_mode)
        except OSError as error:
            if error.errno in _ABSENT:
                return False
            self._refuse(path, error)

    def names(self, folder: Path) -> tuple[tuple[str, bool], ...]:
        """Return the entries of a folder, sorted, each with whether it is a real folder; none if it is not
        there.

        A folder reached through a symbolic link is read only where it stays in the same repository.
        """
        try:
            if not self._real(folder):
                return ()
            with os.scandir(folder) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError as error:
            if error.errno in _ABSENT:
                return ()
            self._refuse(folder, error)
        return tuple(sorted(found))

    def read(self, path: Path, *, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        """Read a regular file of at most `limit` bytes; raise `UnscannableError` for anything else."""
        try:
            return self._read(path, limit)
        except OSError as error:
            self._refuse(path, error)

    def read_text(self, path: Path, *, reason: SkipReason = SkipReason.MALFORMED_MANIFEST) -> str:
        """Read a small UTF-8 file as text, without the byte order mark that cargo and rustup skip too.

        Raises `UnscannableError` with `reason` for other encodings.
        """
        content = self.read(path)
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise UnscannableError(
                reason, f"{self.display(path)}:{line}: not UTF-8", advice="save the file as UTF-8"
            ) from error

    def mark(self, path: Path) -> str:
        """Return the byte order mark at the head of a file, which `read_text` leaves out; "" where it has none."""
        return BOM_UTF8.decode() if self.read(path).startswith(BOM_UTF8) else ""

    def line_of(self, path: Path, text: str) -> str:
        """Return `file:line` of the first line of a file that holds `text`, or just `file`."""
        for number, line in enumerate(self.read(path).split(b"\n"), start=1):
            if text.encode("utf-8", "surrogateescape") in line:
                return f"{self.display(path)}:{number}"
        return self.display(path)

    def _find_repo_root(self, folder: Path) -> Path:
        for candidate in (folder, *folder.parents):
            if os.path.lexists(candidate / ".git"):
                return candidate
            if candidate == self.scan_root:
                break
        if folder == self.scan_root or os.path.lexists(self.scan_root / "Cargo.toml"):
            return self.scan_root
        return self.scan_root / folder.relative_to(self.scan_root).parts[0]

    def _status(self, path: Path) -> os.stat_result | None:
        try:
            return path.stat()
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            self._refuse(path, error)

    def _real(self, path: Path) -> str:
        """Where `path` leads, or "" where a symbolic link takes it out of its repository."""
        folder = str(path.parent)
        real_folder = self._real_folders.get(folder)
        if real_folder is None:
            real_folder = os.path.realpath(folder)
            self._real_folders[folder] = real_folder
        real = f"{real_folder}/{path.name}"
        if real == str(path) and not path.is_symlink():
            return real if self.holds(path) else ""
        real = os.path.realpath(real)
        return real if Path(real).is_relative_to(self.repo_root(path.parent)) else ""

    def _read(self, path: Path, limit: int) -> bytes:
        real = self._real(path)
        if not real:
            what = f"{self.display(path)}: a symbolic link that leaves the repository"
            raise UnscannableError(SkipReason.SYMLINK_OUTSIDE, what, advice="replace it by the file itself")
        # Not blocking: opening a FIFO would wait for its writer for ever.
        handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            what = f"{self.display(path)}: not a regular file"
            raise UnscannableError(SkipReason.UNREADABLE, what, advice="replace it by one, or remove it")
        with os.fdopen(handle, "rb") as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            what = f"{self.display(path)}: larger than {limit // 1024 // 1024} MiB"
            raise UnscannableError(SkipReason.UNREADABLE, what, advice="no file of its kind is: remove it")
        return content

    def _refuse(self, path: Path, error: OSError) -> NoReturn:
        what = f"{self.display(path)}: {(error.strerror or 'cannot be read').lower()}"
        if isinstance(error, PermissionError):
            advice = "let the user who runs this read it"
            raise UnscannableError(SkipReason.PERMISSION_DENIED, what, advice=advice) from error
        if isinstance(error, IsADirectoryError):
            what = f"{self.display(path)}: a folder, not a file"
            raise UnscannableError(SkipReason.UNREADABLE, what, advice="replace it by one, or remove it") from error
        advice = CHECK_OUT if isinstance(error, FileNotFoundError) else "mend it, or remove it"
        raise UnscannableError(SkipReason.UNREADABLE, what, advice=advice) from error


def escaped(path: PurePosixPath | str) -> str:
    """Return a path that can be printed: backslashes and what is not printable escaped, so that none are
    confused.
    """
    text = str(path)
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in text)


def is_utf8(path: Path | str) -> bool:
    """Whether a path is UTF-8 on disk: Python shows other bytes as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in str(path))


def normalised(path: Path) -> Path:
    """Resolve `.` and `..` by the text alone, as cargo does."""
    return Path(os.path.normpath(path))
