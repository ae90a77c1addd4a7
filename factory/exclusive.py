"""One build or push at a time where two would write into each other's files or tags."""

from __future__ import annotations

import contextlib
import fcntl
from typing import TYPE_CHECKING

from factory.errors import ConfigurationError, EnvironmentFaultError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def exclusive(lock: Path, *, using: Path | str) -> Iterator[None]:
    """Hold the lock file `lock`, which is made where it is missing and stays, while the block uses `using`.

    Never waits: raises `EnvironmentFaultError` where another build holds it, and `ConfigurationError` where the file
    cannot be made. The lock ends with the process, however it ends.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("a", encoding="utf-8")
    except OSError as error:
        what = f"{lock}: cannot be written: {error.strerror}"
        raise ConfigurationError(what, advice="Name a place that is writable and has room.") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EnvironmentFaultError(
                f"another factory is using {using}", advice="Wait for its end, and run the command again."
            ) from error
        except OSError as error:
            raise EnvironmentFaultError(
                f"{lock}: cannot be locked: {error.strerror}", advice="Use a file system that has locks."
            ) from error
        yield
