"""On which line of a TOML file each key stands, and where one is none: parsed tables have no lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import tomli

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_INDEXED_CHARACTERS = 1_000_000
"""Keys further down in a file have no line."""
MAX_KEY_PARTS = 64
"""Keys of more parts have no line, and no manifest has one: work grows with the square of their length."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
# A string that does not end is taken to the end of its line or of the text: to try again within it takes forever.
_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\r]++|\#[^\n]*+)
    |(?P<text>
        \"\"\"(?:[^"\\]++|\\.|"(?!""))*+"{0,5}
        |'''(?:[^']++|'(?!''))*+'{0,5}
        |"(?:[^"\\\n]++|\\[^\n])*+"?
        |'[^'\n]*+'?
    )
    |(?P<word>[\w+:-]++)
    |(?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def fault(error: tomli.TOMLDecodeError) -> str:
    """Return where and why a text is no TOML, as `:line:column: what`; of one that ends too early, `:line: what`."""
    what = error.msg[:1].lower() + error.msg[1:]
    if error.pos >= len(error.doc):
        return f":{line_at(error.doc, len(error.doc.rstrip()))}: {what} at the end of the file"
    return f":{error.lineno}:{error.colno}: {what}"


def line_at(text: str, offset: int) -> int:
    """Return the line, counted from 1, of a character of a text."""
    return text.count("\n", 0, offset) + 1


def dotted(parts: Iterable[str]) -> str:
    """Return a key as TOML spells it: `target.'cfg(unix)'.rustflags`."""
    return ".".join(part if _BARE.fullmatch(part) else f"'{part}'" for part in parts)


def lines_of_keys(text: str) -> dict[tuple[str, ...], int]:
    """Return the first line of each key of a TOML text, counted from 1; what stands in arrays has none.

    A text that is no TOML has lines up to its fault, at least.
    """
    index = _Index()
    for token in _TOKEN.finditer(text, 0, MAX_INDEXED_CHARACTERS):
        index.take(token[0], str(token.lastgroup))
    return index.found


def line_of_key(lines: Mapping[tuple[str, ...], int], parts: tuple[str, ...]) -> int | None:
    """Return the line of a key, or of the table that it stands in, or of the first one below it."""
    for length in range(len(parts), 0, -1):
        if parts[:length] in lines:
            return lines[parts[:length]]
    return next((number for keys, number in lines.items() if keys[: len(parts)] == parts), None)


@dataclass(slots=True)
class _Index:
    """How far a text has been read, token by token, and what was found up to there."""

    found: dict[tuple[str, ...], int] = field(default_factory=dict)
    line: int = 1
    header: tuple[str, ...] = ()
    opened: list[tuple[str, ...] | None] = field(default_factory=list)
    """The key of each inline table around this place; `None` for an array, and for all that is in one."""
    parts: list[str] = field(default_factory=list)
    """The key that was read last, below what is around it."""
    in_header: bool = False
    in_value: bool = False

    def take(self, token: str, kind: str) -> None:
        """Take the next token."""
        if kind == "mark":
            self._mark(token)
        elif kind in {"text", "word"} and not self.in_value and len(self.parts) <= MAX_KEY_PARTS:
            self.parts.append(_plain(token))
        self.line += token.count("\n")

    def _mark(self, mark: str) -> None:
        match mark:
            case "=" if not self.in_value:
                self.in_value = True
                self._note(self._key())
            case "{" | "[" if self.in_value:
                self._open(mark)
            case "}" | "]" if self.opened:
                self.opened.pop()
                self.in_value = True
            case "[" | "\n" if not self.opened:
                self._expect_key(in_header=mark == "[")
            case "]" if self.in_header:
                self.header = tuple(self.parts)
                self._note(self.header)
                self._expect_key()
            case "," if self.opened and self.opened[-1] is not None:
                self._expect_key()

    def _open(self, mark: str) -> None:
        key = self._key()
        in_array = bool(self.opened) and self.opened[-1] is None
        if mark == "{" and not in_array and len(key) < MAX_KEY_PARTS:
            self.opened.append(key)
            self._expect_key()
        else:
            self.opened.append(None)

    def _expect_key(self, *, in_header: bool = False) -> None:
        self.parts, self.in_header, self.in_value = [], in_header, False

    def _key(self) -> tuple[str, ...]:
        around = self.opened[-1] if self.opened else self.header
        return (*(around or ()), *self.parts)

    def _note(self, key: tuple[str, ...]) -> None:
        if len(key) <= MAX_KEY_PARTS:
            self.found.setdefault(key, self.line)


def _plain(token: str) -> str:
    """Return a part of a key without its quotes; as it is written where it is none."""
    if token[0] not in "\"'":
        return token
    if "\\" not in token:
        return token[1:-1]
    try:
        return str(tomli.loads(f"key = {token}")["key"])
    except tomli.TOMLDecodeError:
        return token
