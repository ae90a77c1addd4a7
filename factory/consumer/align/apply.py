"""Writing what `align` found: all files or none, and only over what git can bring back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory import process
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_SECONDS = 60.0


def require_clean(folder: Path) -> None:
    """Raise `ConfigurationError` where git could not bring back what is there now: changes, or no repository."""
    if not (folder / ".git").exists():
        raise ConfigurationError(
            f"{folder}: no git repository, so nothing could bring the files back",
            advice="Commit them to git first, or give --force.",
        )
    done = process.run([*_GIT, "-C", folder, "status", "--porcelain"], timeout=_SECONDS, check=False)
    if not done.ok:
        raise EnvironmentFaultError(f"{folder}: git does not say whether it is clean: {done.stderr.strip()[:300]}")
    if done.stdout.strip():
        changed = done.stdout.splitlines()
        raise ConfigurationError(
            f"{folder}: {len(changed)} files are not committed, such as {changed[0][3:]}",
            advice="Commit or stash them first, or give --force.",
        )


def write_files(folder: Path, files: Mapping[str, str | None]) -> None:
    """Replace files below `folder`, `None` for one to remove; all of them, or none where one cannot be written."""
    before = {path: _text(folder / path) for path in files}
    done: list[str] = []
    try:
        for path, text in sorted(files.items()):
            done.append(path)
            _put(folder / path, text)
    except BaseException:
        for path in done:
            _put(folder / path, before[path])
        raise


def _text(path: Path) -> str | None:
    if path.is_symlink():
        raise ConfigurationError(f"{path}: a symbolic link", advice="Replace it by the file itself.")
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}", advice="Let this user read it.") from error


def _put(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
    else:
        write_text(path, text)
