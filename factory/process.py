"""The one door to other programs: nothing else in the package starts a process."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from factory.errors import EnvironmentFaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

OUT_OF_MEMORY = re.compile(
    r"\(signal: 9, SIGKILL: kill\)|terminated with signal 9|Killed signal terminated program"
    r"|memory allocation of [0-9]+ bytes failed|LLVM ERROR: out of memory|cannot allocate memory"
    r"|tried to allocate more memory than available|virtual memory exhausted",
    re.IGNORECASE,
)
"""In what words cargo, rustc, linkers and C compilers say that one was killed, or got no memory: no crate is to blame.
`Dockerfiles/cook.sh` knows them too."""

MEMORY_ADVICE = (
    "Let fewer compile at once (`limits.jobs`, or FACTORY_LIMITS_JOBS=1), or give the machine more memory or swap: one "
    "crate may take rustc gigabytes. Then run the command again."
)

GRACE_SECONDS = 5.0
"""How long a child may take to stop after SIGINT, and again after SIGTERM, before it is killed; and how long
its streams may stay open after it has ended, before what it left behind is killed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """A finished program: its command, exit code and both streams, decoded."""

    args: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the program exited with 0."""
        return self.returncode == 0

    @property
    def command(self) -> str:
        """The command as one would type it into a shell."""
        return shlex.join(self.args)


class ProgramFailedError(EnvironmentFaultError):
    """A program exited with a code that its caller did not expect."""

    def __init__(self, completed: Completed, *, advice: str = "") -> None:
        tail = "\n".join(completed.stderr.strip().splitlines()[-20:])
        super().__init__(f"`{completed.command}` exited with {completed.returncode}\n{tail}".rstrip(), advice=advice)
        self.completed = completed


class ProgramTimeoutError(EnvironmentFaultError):
    """A program ran longer than it may, and was stopped."""


LONGEST = 3600.0
"""Seconds that a program may take where its caller says nothing else."""


def nothing_beside(_session: int) -> contextlib.AbstractContextManager[None]:
    """Do nothing while a program runs."""
    return contextlib.nullcontext()


def run(
    args: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = LONGEST,
    check: bool = True,
    on_stdout: Callable[[str], None] | None = None,
    on_stderr: Callable[[str], None] | None = None,
    beside: Callable[[int], contextlib.AbstractContextManager[None]] = nothing_beside,
) -> Completed:
    """Run a program to its end and return both streams.

    `env` replaces the environment (default: ours). `on_stdout` and `on_stderr` get each line while the
    program runs; `beside` gets its process id, which is also that of its session, and is held open as long as the
    program runs. Raises `EnvironmentFaultError` when the program cannot be started, `ProgramTimeoutError` when it runs
    longer than `timeout` seconds, `ProgramFailedError` when `check` is set and it exits with another code than 0.
    """
    words = tuple(str(arg) for arg in args)
    _refuse_at_the_end(words)
    for show in _shown:
        show(words)
    child = _start(words, cwd=cwd, env=env, stdin=stdin)
    _running.add(child)
    try:
        readers = (_Reader(child.stdout, on_stdout), _Reader(child.stderr, on_stderr))
        # `end` may have come while the child was started: it did not see this one.
        _refuse_at_the_end(words)
        if stdin is not None:
            # In a thread, as a child that does not read would block us beyond any timeout.
            threading.Thread(target=_feed, args=(child, stdin), daemon=True).start()
        with beside(child.pid):
            child.wait(timeout)
    except subprocess.TimeoutExpired as error:
        _stop(child)
        message = f"`{shlex.join(words)}` did not finish within {timeout:g} s"
        raise ProgramTimeoutError(message) from error
    except BaseException:
        _stop(child)
        raise
    finally:
        _running.discard(child)
    stdout, stderr = (reader.result(child) for reader in readers)
    completed = Completed(args=words, returncode=child.returncode, stdout=stdout, stderr=stderr)
    if check and not completed.ok:
        raise ProgramFailedError(completed)
    return completed


def which(program: str, *, advice: str) -> Path:
    """Return the path of `program`; raise `EnvironmentFaultError` with `advice` where PATH has none."""
    for folder in os.get_exec_path():
        candidate = Path(folder) / program
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    message = f"`{program}` was not found on PATH"
    raise EnvironmentFaultError(message, advice=advice)


def end() -> None:
    """Stop every program that runs in any thread, and start no other until `begin`.

    Each is in a session of its own, where no Ctrl-C reaches it; and a thread whose program was stopped must not go on
    with the next.
    """
    _ending.set()
    for child in tuple(_running):
        _stop(child)


def begin() -> None:
    """Allow programs to be started: the state in which a process begins."""
    _ending.clear()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals that ask this process to end wait while the block runs: the first of them takes effect at its end.

    It is for what must not stay half done, takes a call or two, and needs programs to be undone. For the main thread,
    to which Python gives signals: raises `ValueError` in any other. SIGKILL waits for nobody.
    """
    asked: list[int] = []
    before = {number: signal.signal(number, lambda found, _frame: asked.append(found)) for number in _ASK_TO_END}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if asked:
            signal.raise_signal(asked[0])


def show_commands(show: Callable[[Sequence[str]], None] | None) -> None:
    """Give every command to `show` before it starts, from now on; to nobody for `None`.

    Secrets are in no command: whoever may list the machine's processes would read them.
    """
    _shown.clear()
    if show is not None:
        _shown.append(show)


@contextlib.contextmanager
def passing_on(descriptor: int) -> Iterator[None]:
    """Let all programs that are started in the block, and what they start, hold an open file of ours as well."""
    _passed_on.add(descriptor)
    try:
        yield
    finally:
        _passed_on.discard(descriptor)


_ASK_TO_END = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""A terminal that goes away asks too."""

_shown: list[Callable[[Sequence[str]], None]] = []

_passed_on: set[int] = set()

_ending = threading.Event()

# What a signal handler has to find, whatever thread started it.
_running: set[subprocess.Popen[str]] = set()


class _Reader:
    """Drains one stream in a thread: two pipes read one after the other would block at 64 KiB."""

    def __init__(self, stream: IO[str] | None, sink: Callable[[str], None] | None) -> None:
        self._stream = stream
        self._sink = sink
        self._lines: list[str] = []
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        if self._stream is None:
            return
        with self._stream:
            for line in self._stream:
                self._lines.append(line)
                self._tell(line)

    def _tell(self, line: str) -> None:
        if self._sink is None or self._fault is not None:
            return
        try:
            self._sink(line.rstrip("\n"))
        except Exception as fault:  # noqa: BLE001 - kept, and raised in the caller's thread by result()
            self._fault = fault

    def result(self, child: subprocess.Popen[str]) -> str:
        """Return all that the ended `child` wrote; what it left running in its group is killed.

        A process that it left running elsewhere, such as a cache server, may hold the stream open for good.
        """
        self._thread.join(GRACE_SECONDS)
        if self._thread.is_alive():
            _signal(child, signal.SIGKILL)
            self._thread.join(GRACE_SECONDS)
        if self._fault is not None:
            raise self._fault
        return "".join(self._lines)


def _refuse_at_the_end(words: tuple[str, ...]) -> None:
    if _ending.is_set():
        raise EnvironmentFaultError(f"`{words[0]}` was not run: interrupted")


def _start(
    words: tuple[str, ...], *, cwd: Path | None, env: Mapping[str, str] | None, stdin: str | None
) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            words,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            pass_fds=tuple(_passed_on),
            # Its own group: cargo and buildx start children of their own, and all have to stop together.
            start_new_session=True,
        )
    except OSError as error:
        if cwd is not None and not cwd.is_dir():
            message = f"cannot start `{words[0]}` in {cwd}: {error.strerror}"
            raise EnvironmentFaultError(message) from error
        message = f"cannot start `{words[0]}`: {error.strerror}"
        raise EnvironmentFaultError(message, advice=f"Install {words[0]} or put it on PATH.") from error
    except ValueError as error:  # a zero byte
        message = f"cannot start `{shlex.join(words)}`: {error}"
        raise EnvironmentFaultError(message) from error


def _feed(child: subprocess.Popen[str], stdin: str) -> None:
    if child.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError), child.stdin:
        child.stdin.write(stdin)


def _stop(child: subprocess.Popen[str]) -> None:
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            _signal(child, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_SECONDS)
                return
    finally:
        # What the child started may have outlived it: a shell's background jobs ignore SIGINT.
        _signal(child, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)


def _signal(child: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
