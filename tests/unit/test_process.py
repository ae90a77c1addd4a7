"""Real, small processes: what `factory.process` promises about streams, limits and failures."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory import process
from factory.errors import EnvironmentFaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.runs_programs

MORE_THAN_A_PIPE_HOLDS = 1024 * 1024


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_commands_are_shown_before_they_start_as_long_as_somebody_wants_them() -> None:
    shown: list[Sequence[str]] = []
    process.show_commands(shown.append)
    with pytest.raises(EnvironmentFaultError):
        process.run(["no-such-program", "a b"])
    process.show_commands(None)
    process.run(python(""))
    assert shown == [("no-such-program", "a b")]


def test_returns_both_streams_and_the_code() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    done = process.run(python(code), check=False)
    assert (done.stdout, done.stderr, done.returncode, done.ok) == ("out\n", "err\n", 3, False)


def test_drains_both_pipes_at_once() -> None:
    code = f"import sys; n = {MORE_THAN_A_PIPE_HOLDS}; sys.stderr.write('e' * n); sys.stdout.write('o' * n)"
    done = process.run(python(code), timeout=30)
    assert (len(done.stdout), len(done.stderr)) == (MORE_THAN_A_PIPE_HOLDS, MORE_THAN_A_PIPE_HOLDS)


def test_feeds_more_than_a_pipe_holds_while_it_reads() -> None:
    code = "import sys\nfor line in sys.stdin: sys.stdout.write(line)"
    text = "a line of text\n" * (MORE_THAN_A_PIPE_HOLDS // 15)
    assert process.run(python(code), stdin=text, timeout=30).stdout == text


def test_gives_an_empty_stdin_where_none_is_given() -> None:
    assert process.run(python("import sys; print(repr(sys.stdin.read()))"), timeout=30).stdout == "''\n"


def test_a_program_may_ignore_its_stdin() -> None:
    done = process.run(python("print('done')"), stdin="x" * MORE_THAN_A_PIPE_HOLDS, timeout=30)
    assert done.stdout == "done\n"


def test_the_limit_holds_while_stdin_is_not_read() -> None:
    start = time.monotonic()
    with pytest.raises(EnvironmentFaultError, match=r"did not finish within 0\.5 s"):
        process.run(python("import time; time.sleep(60)"), stdin="x" * MORE_THAN_A_PIPE_HOLDS, timeout=0.5)
    assert time.monotonic() - start < 30


def test_bytes_that_are_no_text_are_replaced() -> None:
    code = r"import sys; sys.stdout.buffer.write(b'a\xffb\r\nc')"
    assert process.run(python(code)).stdout == "a\ufffdb\nc"


def test_runs_in_a_folder_with_only_the_given_environment(tmp_path: Path) -> None:
    code = "import os; print(os.getcwd()); print(sorted(n for n in os.environ if n != 'LC_CTYPE'))"
    done = process.run(python(code), cwd=tmp_path, env={"ONLY": "this"})
    assert done.stdout.splitlines() == [str(tmp_path), "['ONLY']"]


def test_sinks_get_each_line_while_the_program_runs() -> None:
    code = "import sys; print('ready', flush=True); print('later', file=sys.stderr); sys.stdin.read()"
    seen: list[tuple[str, str]] = []
    done = process.run(
        python(code),
        on_stdout=lambda line: seen.append(("out", line)),
        on_stderr=lambda line: seen.append(("err", line)),
    )
    assert sorted(seen) == [("err", "later"), ("out", "ready")]
    assert (done.stdout, done.stderr) == ("ready\n", "later\n")


def test_a_sink_sees_a_line_before_the_program_ends(tmp_path: Path) -> None:
    signal_file = tmp_path / "go"
    code = (
        "import pathlib, time; print('waiting', flush=True)\n"
        f"path = pathlib.Path({str(signal_file)!r})\n"
        "for _ in range(2000):\n    if path.exists(): break\n    time.sleep(0.01)\n"
        "print(path.exists())"
    )

    def answer(line: str) -> None:
        if line == "waiting":
            signal_file.touch()

    assert process.run(python(code), on_stdout=answer, timeout=60).stdout == "waiting\nTrue\n"


def test_a_sinks_failure_reaches_the_caller_after_the_program_ended() -> None:
    def refuse(line: str) -> None:
        message = f"bad line: {line}"
        raise ValueError(message)

    with pytest.raises(ValueError, match="bad line: 0"):
        process.run(python("for n in range(100000): print(n)"), on_stdout=refuse, timeout=30)


def test_an_unexpected_code_raises_with_command_and_the_end_of_stderr() -> None:
    code = "import sys; [print('line', n, file=sys.stderr) for n in range(50)]; sys.exit(7)"
    with pytest.raises(process.ProgramFailedError) as caught:
        process.run(python(code))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"`{sys.executable} -S -c '")
    assert lines[0].endswith("` exited with 7")
    assert lines[1:] == [f"line {n}" for n in range(30, 50)]
    assert caught.value.exit_code == EnvironmentFaultError.exit_code == 4
    assert caught.value.completed.returncode == 7


def test_a_missing_program_is_an_environment_fault_with_advice() -> None:
    with pytest.raises(EnvironmentFaultError) as caught:
        process.run(["no-such-program-anywhere", "--version"])
    assert caught.value.what == "cannot start `no-such-program-anywhere`: No such file or directory"
    assert caught.value.advice == "Install no-such-program-anywhere or put it on PATH."


def test_a_missing_folder_is_not_taken_for_a_missing_program(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(EnvironmentFaultError) as caught:
        process.run(python(""), cwd=missing)
    assert caught.value.what.endswith(f"in {missing}: No such file or directory")


def test_a_zero_byte_in_an_argument_is_explained() -> None:
    with pytest.raises(EnvironmentFaultError, match="null byte"):
        process.run([sys.executable, "a\0b"])


@pytest.mark.parametrize(
    "grandchild",
    [
        pytest.param("sleep 120", id="polite"),
        pytest.param("trap '' INT TERM; sleep 120", id="deaf"),
    ],
)
def test_a_timeout_stops_the_whole_group(grandchild: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.5)
    started: list[int] = []
    script = f'sh -c "echo \\$\\$; {grandchild}" & echo $$; wait'
    with pytest.raises(EnvironmentFaultError, match="did not finish within 1 s"):
        process.run(["sh", "-c", script], timeout=1, on_stdout=lambda line: started.append(int(line)))
    assert len(started) == 2
    assert [pid for pid in started if not gone(pid)] == []


def test_an_interrupt_stops_the_whole_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.5)
    started: list[int] = []

    def interrupt(line: str) -> None:
        started.append(int(line))
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    # Whoever starts the tests in the background lets them ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            process.run(["sh", "-c", "sleep 120 & echo $!; wait"], on_stdout=interrupt, timeout=60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(started) == 1
    assert gone(started[0])


def test_what_a_program_leaves_behind_neither_blocks_nor_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.5)
    done = process.run(["sh", "-c", "sleep 120 & echo $!"], timeout=30)
    assert gone(int(done.stdout))


def test_what_a_program_detached_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.5)
    script = "import os, subprocess; print(subprocess.Popen(['sleep', '20'], start_new_session=True).pid)"
    start = time.monotonic()
    done = process.run(python(script), timeout=30)
    assert time.monotonic() - start < 15
    os.kill(int(done.stdout), signal.SIGKILL)


def test_which_finds_only_what_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, mode in ((first, 0o644), (second, 0o755)):
        folder.mkdir()
        (folder / "tool").write_text("#!/bin/sh\n", encoding="utf-8")
        (folder / "tool").chmod(mode)
    monkeypatch.setenv("PATH", f"{first}{os.pathsep}{second}")
    assert process.which("tool", advice="") == second / "tool"
    with pytest.raises(EnvironmentFaultError) as caught:
        process.which("other", advice="Install it.")
    assert (caught.value.what, caught.value.advice) == ("`other` was not found on PATH", "Install it.")


def gone(pid: int) -> bool:
    """Whether a process ends within ten seconds; one that nobody has waited for yet counts as ended."""
    return within(10, lambda: state(pid) in {"", "Z"})


def state(pid: int) -> str:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return status.rpartition(")")[2].split()[0]


def within(seconds: float, true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return true()


def test_after_the_end_no_program_is_started_until_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread whose program was stopped must not go on with the next one."""
    monkeypatch.setattr(process, "_ending", threading.Event())

    def run_until_it_is_stopped() -> None:
        # The end may come just after the start, too.
        with contextlib.suppress(EnvironmentFaultError):
            process.run([sys.executable, "-c", "import time; time.sleep(60)"])

    started = threading.Thread(target=run_until_it_is_stopped)
    started.start()
    deadline = time.monotonic() + 10
    while not process._running and time.monotonic() < deadline:
        time.sleep(0.01)
    process.end()
    started.join(20)
    assert not started.is_alive()
    with pytest.raises(EnvironmentFaultError, match="interrupted"):
        process.run([sys.executable, "-c", ""])
    process.begin()
    assert process.run([sys.executable, "-c", ""]).ok


def test_a_program_that_is_started_while_all_are_stopped_is_stopped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end stops what it finds running; a thread that was about to start a program has to see that itself."""
    monkeypatch.setattr(process, "_ending", threading.Event())
    process.show_commands(lambda _: process.end())
    start = time.monotonic()
    with pytest.raises(EnvironmentFaultError, match="interrupted"):
        process.run([sys.executable, "-c", "import time; time.sleep(60)"])
    process.show_commands(None)
    assert time.monotonic() - start < 30
    assert not process._running
