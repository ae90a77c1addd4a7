"""Temporary directories in which cargo finds no configuration but ours."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from factory.errors import EnvironmentFaultError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """Yield a new directory that only this user can enter, with no link in its path; it is removed afterwards.

    Cargo reads `.cargo/config.toml` of every folder above the one it runs in: raises `EnvironmentFaultError` where
    there is one, as it could set flags, wrappers and registries.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    try:
        _refuse_configuration(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_configuration(folder: Path) -> None:
    for parent in folder.parents:
        for name in ("config", "config.toml"):
            path = parent / ".cargo" / name
            if path.exists():
                raise EnvironmentFaultError(
                    f"{path}: cargo would obey this file in every temporary directory",
                    advice="Set TMPDIR to a folder that has no `.cargo` above it, or remove the file.",
                )
