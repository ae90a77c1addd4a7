"""A folder that foreign programs may write into, put back as it was: what is new goes, what changed comes back."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from factory import process
from factory.errors import EnvironmentFaultError
from factory.files import let_owner_in, remove, write_text
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Facts = tuple[int, ...]
"""Of a file: mode, size in bytes, times of content and of status in ns, number. Of a folder: its mode.

A program can set the time of the content back, not that of the status.
"""


class Kept:
    """A folder with a copy of it, made before the first block of `put_back`: without any, nothing is copied.

    While a block runs there is the file `marker` with the text `says`. It stays where the folder was not put back: also
    where this process is killed, so that nobody takes what the block left for what was there.
    """

    def __init__(self, folder: Path, copy: Path, *, marker: Path, says: str) -> None:
        self._folder = folder
        self._copy = copy
        self._marker = marker
        self._says = says

    @contextlib.contextmanager
    def put_back(self) -> Iterator[None]:
        """Let the block do what it likes in the folder, and undo it at its end, however it ends.

        Signals that ask this process to end wait until it is undone: for the main thread, as they come there.

        Raises `EnvironmentFaultError` where the folder cannot be copied, and for what cannot be undone;
        `ConfigurationError` where the marker cannot be written.
        """
        if not self._copy.exists():
            copy_tree(self._folder, self._copy)
        before = facts_below(self._folder)
        times = {path: (self._folder / path).stat().st_mtime_ns for path, facts in before.items() if _is_folder(facts)}
        beside_ns = self._marker.parent.stat().st_mtime_ns
        write_text(self._marker, self._says)
        try:
            yield
        finally:
            with process.uninterrupted(), _told():
                self._undo(before)
                self._finish(before, times)
                self._marker.unlink(missing_ok=True)
                os.utime(self._marker.parent, ns=(beside_ns, beside_ns))

    def _undo(self, before: Mapping[Path, Facts]) -> None:
        """Bring back what is in the folder: all but the modes and the times of folders."""
        # What may not be entered cannot be seen either.
        let_owner_in(self._folder)
        after = facts_below(self._folder)
        # What stands in the place of another kind goes as well: nothing is restored through a link.
        strange = {path for path, facts in after.items() if not _is_kind_of(facts, before.get(path))}
        for path in sorted(strange):
            remove(self._folder / path)
        # Folders come before what is in them.
        for path, facts in sorted(before.items()):
            if path in strange or after.get(path) != facts:
                _restore(self._copy / path, self._folder / path, facts)

    def _finish(self, before: Mapping[Path, Facts], times: Mapping[Path, int]) -> None:
        # From below: a folder above may not be one to write into, or to enter.
        for path, time_ns in sorted(times.items(), reverse=True):
            folder, mode = self._folder / path, before[path][0]
            if folder.lstat().st_mode != mode:
                folder.chmod(stat.S_IMODE(mode))
            os.utime(folder, ns=(time_ns, time_ns))


@contextlib.contextmanager
def kept(folder: Path, *, marker: Path, says: str) -> Iterator[Kept]:
    """Yield what puts `folder` back; its copy is in the temporary directory, and removed afterwards."""
    with scratch("factory-kept-") as beside:
        yield Kept(folder, beside / "copy", marker=marker, says=says)


def copy_tree(source: Path, destination: Path) -> None:
    """Copy a folder with its times and links; raise `EnvironmentFaultError` where that is not possible."""
    try:
        shutil.copytree(source, destination, symlinks=True)
    except OSError as error:
        raise EnvironmentFaultError(
            f"{source}: cannot be copied to {destination.parent}: {str(error)[:300]}",
            advice="Set TMPDIR to a directory with room.",
        ) from error


def facts_below(folder: Path, *, without: Sequence[str] = ()) -> dict[Path, Facts]:
    """Return the facts of the folder (as `.`) and of all that is below it, by relative path.

    `without` are entries of the folder itself that are left out. What vanishes meanwhile is not there. Raises
    `EnvironmentFaultError` for what cannot be seen.
    """
    found: dict[Path, Facts] = {}
    waiting = [Path()]
    try:
        while waiting:
            path = waiting.pop()
            with contextlib.suppress(FileNotFoundError):
                found[path] = facts = _facts((folder / path).lstat())
                if _is_folder(facts):
                    names = (entry.name for entry in (folder / path).iterdir())
                    waiting += [path / name for name in names if path.parts or name not in without]
    except OSError as error:
        raise EnvironmentFaultError(
            f"{error.filename}: cannot be seen: {error.strerror}", advice="Let this user read and enter it."
        ) from error
    return found


def changes(before: Mapping[Path, Facts], after: Mapping[Path, Facts]) -> tuple[str, ...]:
    """Return the paths whose facts differ, those that are gone and those that are new among them."""
    return tuple(str(path) for path in sorted({*before, *after}) if before.get(path) != after.get(path))


def _facts(status: os.stat_result) -> Facts:
    if stat.S_ISDIR(status.st_mode):
        return (status.st_mode,)
    return (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _is_folder(facts: Facts) -> bool:
    return stat.S_ISDIR(facts[0])


def _is_kind_of(facts: Facts, before: Facts | None) -> bool:
    return before is not None and stat.S_IFMT(facts[0]) == stat.S_IFMT(before[0])


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentFaultError(
            f"{error.filename}: changed by a build, and cannot be put back: {error.strerror}",
            advice="Cook the directory again, and look at the build scripts that write there.",
        ) from error


def _restore(copy: Path, path: Path, facts: Facts) -> None:
    if _is_folder(facts):
        path.mkdir(exist_ok=True)
        return
    path.unlink(missing_ok=True)
    shutil.copy2(copy, path, follow_symlinks=False)
