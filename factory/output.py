"""Where words go: the answer to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from factory.files import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

WIDTH_WITHOUT_TERMINAL = 120


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDTH_WITHOUT_TERMINAL
    # Markup and highlighting off everywhere: `tokio[full]` must print as it is.
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)


@dataclass(frozen=True, kw_only=True)
class Output:
    """Prints for one run of the program; `verbosity` is -1 (quiet), 0, 1 (stages) or 2 (commands too)."""

    verbosity: int = 0
    _stderr: Console = field(default_factory=lambda: _console(stderr=True))
    _stdout: Console = field(default_factory=lambda: _console(stderr=False))

    @property
    def is_verbose(self) -> bool:
        """Whether all is to be shown: from -v on."""
        return self.verbosity >= 1

    def say(self, text: str) -> None:
        """Tell what is going on: one line on stderr, not with --quiet."""
        if self.verbosity >= 0:
            self._stderr.print(text, soft_wrap=True)

    def detail(self, text: str) -> None:
        """Tell more: shown from -v on."""
        if self.is_verbose:
            self._stderr.print(text, style="dim", soft_wrap=True)

    def command(self, args: Sequence[object]) -> None:
        """Show a command before it runs: from -v on."""
        self.detail("+ " + shlex.join(str(arg) for arg in args))

    def warn(self, text: str) -> None:
        """Warn on stderr, always."""
        self._stderr.print(f"warning: {text}", style="yellow", soft_wrap=True)
        self._annotate("warning", text)

    def error(self, text: str) -> None:
        """Print an error on stderr, always."""
        self._stderr.print(f"error: {text}", style="red", soft_wrap=True)
        self._annotate("error", text)

    def answer(self, text: str) -> None:
        """Print the answer of a command to stdout."""
        self._stdout.print(text, soft_wrap=True)

    def answer_json(self, value: Any) -> None:  # noqa: ANN401 - any JSON value
        """Print the answer as canonical JSON to stdout."""
        sys.stdout.write(canonical_json(value))
        sys.stdout.flush()

    def answer_table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        right: Sequence[str] = (),
    ) -> None:
        """Print a table to stdout; the columns named in `right` are aligned right."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        if title:
            # Not as the table's own title: that is folded to the width of the table.
            self._stdout.print(title, style="italic", soft_wrap=True)
        self._stdout.print(table)
        self._stdout.print()

    @contextlib.contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[str], None]]:
        """Yield a function to call once for each of `total` things done: a bar on a terminal, plain lines elsewhere."""
        if self.verbosity < 0 or total == 0:
            yield lambda _name: None
        elif self._stderr.file.isatty() and not self._stderr.is_dumb_terminal:  # FORCE_COLOR is no terminal
            yield from self._bar(label, total)
        else:
            yield from self._lines(label, total)

    @contextlib.contextmanager
    def counter(self, label: str) -> Iterator[Callable[[int], Callable[[str], None]]]:
        """Like `progress`, for a total that is known only later: yield a function that takes it."""
        with contextlib.ExitStack() as stack:
            yield lambda total: stack.enter_context(self.progress(label, total))

    def _bar(self, label: str, total: int) -> Iterator[Callable[[str], None]]:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[name]}", markup=False),
        )
        with Progress(*columns, console=self._stderr, transient=True) as bar:
            task = bar.add_task(label, total=total, name="")
            yield lambda name: bar.update(task, advance=1, name=name)

    def _lines(self, label: str, total: int) -> Iterator[Callable[[str], None]]:
        done = 0
        step = max(1, total // 10)
        lock = threading.Lock()  # it is called from the threads that do the things

        def advance(name: str) -> None:
            nonlocal done
            with lock:
                done += 1
                if done == total or done % step == 0:
                    self.say(f"{label}: {done}/{total} {name}")

        yield advance

    def _annotate(self, kind: str, text: str) -> None:
        # https://docs.github.com/actions/reference/workflow-commands: the value must be escaped, or it ends early.
        if os.environ.get("GITHUB_ACTIONS") == "true":
            escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
            sys.stderr.write(f"::{kind}::{escaped}\n")
