"""On which line of a TOML file each key stands, and where one is none: parsed tables have no lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import tomli

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_INDEXED_LINES = 20_000
"""Keys further down in a file have no line."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KEY = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_KEYS = rf"(?P<keys>{_KEY}(?:[ \t]*+\.[ \t]*+{_KEY})*+)[ \t]*+"
_HEADER_LINE = re.compile(rf"[ \t]*+\[{{1,2}}[ \t]*+{_KEYS}\]")
_VALUE_LINE = re.compile(rf"[ \t]*+{_KEYS}=")


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
    """Return the first line of each key of a TOML text, counted from 1; long strings may mislead it."""
    found: dict[tuple[str, ...], int] = {}
    header: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n", MAX_INDEXED_LINES)[:MAX_INDEXED_LINES], start=1):
        if match := _HEADER_LINE.match(line):
            header = _parts(match["keys"])
            found.setdefault(header, number)
        elif match := _VALUE_LINE.match(line):
            found.setdefault((*header, *_parts(match["keys"])), number)
    return found


def line_of_key(lines: Mapping[tuple[str, ...], int], parts: tuple[str, ...]) -> int | None:
    """Return the line of a key, or of the inline table that it stands in, or of the first one below it."""
    for length in range(len(parts), 0, -1):
        if parts[:length] in lines:
            return lines[parts[:length]]
    return next((number for keys, number in lines.items() if keys[: len(parts)] == parts), None)


def _parts(keys: str) -> tuple[str, ...]:
    try:
        table: object = tomli.loads(f"{keys} = 0")
    except tomli.TOMLDecodeError:
        return ()
    parts: list[str] = []
    while isinstance(table, dict):
        key, table = next(iter(table.items()))
        parts.append(key)
    return tuple(parts)
