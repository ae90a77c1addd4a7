"""Values of users inside messages: in one line, and never too long."""

from __future__ import annotations

import json

LONGEST_QUOTE = 60


def quoted(value: object, written: str | None = None) -> str:
    """Return a value for a message: what it is, and shortly how it is written."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a table of keys"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) or written is None else written
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
