"""Target triples: the only values of a `--target` that a scanned repository may choose."""

from __future__ import annotations

import re

_TRIPLE = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)


def is_triple(text: str) -> bool:
    """Whether `text` can only be the name of a target.

    rustc reads more arguments from the file in `@file`, and a target's specification, which may name programs, from
    a path or a `.json` file.
    """
    return _TRIPLE.fullmatch(text) is not None and not text.endswith(".json")
