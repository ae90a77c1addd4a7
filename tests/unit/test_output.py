"""The answer goes to stdout and everything else to stderr, as it is; live drawing only on a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from factory.output import WIDTH_WITHOUT_TERMINAL, Output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

END = "<end>"
BRACKETS = "tokio[full] [red]x[/red] :smile: https://crates.io 1.0"


def test_the_answer_is_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(verbosity=2)
    output.say("said")
    output.detail("detail")
    output.command(["cargo", "build", "a b"])
    output.warn("careful")
    output.error("wrong")
    output.answer("answer")
    out, err = capsys.readouterr()
    assert out == "answer\n"
    assert err.splitlines() == ["said", "detail", "+ cargo build 'a b'", "warning: careful", "error: wrong"]


@pytest.mark.parametrize(("verbosity", "expected"), [(-1, []), (0, ["said"]), (1, ["said", "detail"])])
def test_verbosity_decides_what_is_told(
    verbosity: int, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output(verbosity=verbosity)
    output.say("said")
    output.detail("detail")
    output.warn("always")
    assert capsys.readouterr().err.splitlines() == [*expected, "warning: always"]


def test_text_is_printed_as_it_is_and_never_folded(capsys: pytest.CaptureFixture[str]) -> None:
    text = f"{BRACKETS} {'long ' * 60}end"
    output = Output()
    output.answer(text)
    output.say(text)
    output.error(text)
    out, err = capsys.readouterr()
    assert out == f"{text}\n"
    assert err == f"{text}\nerror: {text}\n"


def test_json_is_canonical_and_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Output().answer_json({"b": BRACKETS, "a": 1})
    assert capsys.readouterr().out == f'{{\n "a": 1,\n "b": "{BRACKETS}"\n}}\n'


def test_a_table_keeps_its_text_and_aligns(capsys: pytest.CaptureFixture[str]) -> None:
    Output().answer_table("Crates [all]", ["crate", "repos"], [(BRACKETS, 7), ("x", 1000)], right=["repos"])
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    title, header, first, second, *rest = printed
    assert title == "Crates [all]"
    assert header == f"{'crate':{len(BRACKETS)}}  repos"
    assert first == f"{BRACKETS}      7"
    assert second == f"{'x':{len(BRACKETS)}}   1000"
    assert rest == [""]


def test_a_long_cell_is_folded_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * (2 * WIDTH_WITHOUT_TERMINAL)
    Output().answer_table("t", ["a", "b"], [(long, "y")])
    assert capsys.readouterr().out.count("x") == len(long)


def test_progress_elsewhere_is_a_few_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as CI sets it: colours, but no terminal
    with Output().progress("cooking [core]", 100) as advance:
        for number in range(100):
            advance(f"crate-{number}")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1] == "cooking [core]: 100/100 crate-99"


def test_progress_counts_what_threads_do(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().progress("work", 2000) as advance, ThreadPoolExecutor(8) as pool:
        list(pool.map(advance, (str(number) for number in range(2000))))
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == [
        f"{tenth * 200}/2000" for tenth in range(1, 11)
    ]


@pytest.mark.parametrize(("verbosity", "total"), [(-1, 5), (0, 0)])
def test_progress_is_silent_when_quiet_or_empty(verbosity: int, total: int, capsys: pytest.CaptureFixture[str]) -> None:
    with Output(verbosity=verbosity).progress("work", total) as advance:
        for _ in range(total):
            advance("name")
    assert capsys.readouterr().err == ""


def test_a_total_may_be_known_later(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().counter("work") as begin:
        advance = begin(1)
        advance("name")
    assert capsys.readouterr().err == "work: 1/1 name\n"


def test_progress_on_a_terminal_is_a_bar_that_goes_away() -> None:
    with terminal() as (console, drawn):
        with Output(_stderr=console).progress("cooking [core]", 2) as advance:
            advance("tokio[full]")
            advance("syn")
        text = drawn()
    assert "cooking [core]" in text
    assert "2/2" in text
    assert text.rstrip().endswith("\x1b[2K")  # the line is erased


def test_an_exception_ends_the_bar_and_passes() -> None:
    def fail_in_the_middle(console: Console) -> None:
        with Output(_stderr=console).progress("work", 2) as advance:
            advance("one")
            raise ValueError(console)

    with terminal() as (console, drawn):
        with pytest.raises(ValueError, match="console"):
            fail_in_the_middle(console)
        console.print("after")
        assert drawn().endswith("after\r\n")


def test_github_gets_escaped_annotations(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    output = Output()
    output.error("50% wrong\nwhat to do")
    output.warn("careful")
    lines = capsys.readouterr().err.splitlines()
    assert "::error::50%25 wrong%0Awhat to do" in lines
    assert "::warning::careful" in lines


@contextlib.contextmanager
def terminal() -> Iterator[tuple[Console, Callable[[], str]]]:
    """Yield a console on a real pseudo-terminal, and a function that returns what was drawn there."""
    reader, writer = pty.openpty()
    environment = {"TERM": "xterm", "COLUMNS": "100", "LINES": "20"}
    with os.fdopen(reader, "rb") as screen, os.fdopen(writer, "w", encoding="utf-8") as stream:
        console = Console(file=stream, markup=False, highlight=False, emoji=False, _environ=environment)

        def drawn() -> str:
            stream.write(END)
            stream.flush()
            text = ""
            while not text.endswith(END):
                text += os.read(screen.fileno(), 65536).decode()
            return text.removesuffix(END)

        yield console, drawn
