"""One build or push at a time where two would write into each other's files or tags."""

from __future__ import annotations

import contextlib
import fcntl
from pathlib import Path
from typing import TYPE_CHECKING

from factory import process
from factory.errors import ConfigurationError, EnvironmentFaultError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = 5
_HELD_ADVICE = (
    "Wait for its end, and run the command again. What a run that was killed had started holds on until it has ended."
)


@contextlib.contextmanager
def exclusive(lock: Path, *, using: Path | str) -> Iterator[None]:
    """Hold the lock file `lock`, which is made where it is missing and stays, while the block uses `using`.

    Never waits: raises `EnvironmentFaultError` where another build holds it, and `ConfigurationError` where the file
    cannot be made. The lock ends with the process, however it ends, and with the programs that it has started: a cargo
    that outlives a killed factory still writes.
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
            holders = _holders(lock)
            more = f": {', '.join(holders[:_SHOWN])}" if holders else ""
            raise EnvironmentFaultError(f"another factory is using {using}{more}", advice=_HELD_ADVICE) from error
        except OSError as error:
            raise EnvironmentFaultError(
                f"{lock}: cannot be locked: {error.strerror}", advice="Use a file system that has locks."
            ) from error
        try:
            with process.passing_on(stream.fileno()):
                yield
        finally:
            # For all who hold it: a program that was left running on purpose, such as a cache server, would keep it.
            fcntl.flock(stream, fcntl.LOCK_UN)


def _holders(lock: Path) -> tuple[str, ...]:
    """Return who has a file open but ourselves, as `cargo (1234)`; none where the system does not tell."""
    own, wanted = Path("/proc/self").resolve(), str(lock.resolve())
    found = []
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda folder: int(folder.name)):
        # Processes end meanwhile, and those of others are closed to us.
        with contextlib.suppress(OSError):
            opened = (str(each.readlink()) for each in (folder / "fd").iterdir())
            if folder != own and wanted in opened:
                found.append(f"{(folder / 'comm').read_text().strip()} ({folder.name})")
    return tuple(found)
