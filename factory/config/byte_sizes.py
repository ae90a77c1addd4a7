"""Sizes as people write them ("1.5 GiB") and as the program counts them (whole bytes, never floats)."""

from __future__ import annotations

import re

from factory.config.quoting import quoted

_UNITS = {
    "TiB": 1024**4,
    "TB": 1000**4,
    "GiB": 1024**3,
    "GB": 1000**3,
    "MiB": 1024**2,
    "MB": 1000**2,
    "KiB": 1024,
    "kB": 1000,
    "KB": 1000,
    "B": 1,
}

SIZE_PATTERN = r"[0-9]{1,12}(\.[0-9]{1,9})? ?([kKMGT]B|[KMGT]iB|B)"
"""What `parse_size` accepts, as a regular expression that JSON Schema understands too."""

_SIZE = re.compile(r"(?P<whole>[0-9]{1,12})(\.(?P<part>[0-9]{1,9}))? ?(?P<unit>[A-Za-z]+)")


def parse_size(text: str) -> int:
    """Return the bytes that `text` means, rounded down; raise `ValueError` (for users to read) if none."""
    match = _SIZE.fullmatch(text)
    if match is None or match["unit"] not in _UNITS:
        message = f'{quoted(text)} is not a size; write a number and a unit, like "500 MB" or "1.5 GiB"'
        raise ValueError(message)
    part = match["part"] or ""
    size = int(match["whole"] + part) * _UNITS[match["unit"]] // int("1" + "0" * len(part))
    if size == 0:
        message = f'"{text}" is less than one byte; give a larger size'
        raise ValueError(message)
    return size


def format_size(size: int) -> str:
    """Return the shortest exact form of `size` bytes: `parse_size` gives the same number back."""
    for unit, factor in _UNITS.items():
        if size >= factor and size * 1000 % factor == 0:
            whole, thousandths = divmod(size * 1000 // factor, 1000)
            return f"{whole}.{thousandths:03}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{size} B"
