"""Temporary directories in which cargo finds no configuration and no workspace but ours."""

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

    Cargo looks into every folder above the one it runs in: raises `EnvironmentFaultError` where there is a
    `.cargo/config.toml`, as it could set flags, wrappers and registries, or a `Cargo.toml`, as cargo takes packages
    without a `[workspace]` for parts of that one.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    try:
        _refuse_cargo_files_above(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_cargo_files_above(folder: Path) -> None:
    for parent in folder.parents:
        for name in (".cargo/config", ".cargo/config.toml", "Cargo.toml"):
            path = parent / name
            if path.exists():
                raise EnvironmentFaultError(
                    f"{path}: cargo would obey this file in every temporary directory",
                    advice=f"Set TMPDIR to a folder that is not below a `{name.partition('/')[0]}`, and that the "
                    "engine sees too, if one is used: beside a checkout, not in it. "
                    "Or remove a file that is there by mistake.",
                )
