"""`FACTORY_*` variables: one for each key of `registry-config.yaml`, derived from its schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.config.schema import leaves
from factory.config.wording import RENAMED, suggestion
from factory.program_variables import ProgramVariable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.config.positions import Location
    from factory.config.schema import Leaf

PREFIX = "FACTORY_"

_SPLIT_AT_BLANKS = frozenset({"contract.rustflags"})
"""Lists whose items may hold commas; written as in RUSTFLAGS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A value that a variable sets instead of the file."""

    variable: str
    location: Location
    value: Any


def variables(schema: Mapping[str, Any]) -> dict[str, Leaf]:
    """Return every variable that sets a key, with that key; lists of tables (`matrix`, `sources`) have none."""
    return {variable_of(leaf.key): leaf for leaf in leaves(schema) if "object" not in leaf.of}


def read_environment(
    environ: Mapping[str, str], schema: Mapping[str, Any]
) -> tuple[tuple[Override, ...], tuple[str, ...]]:
    """Return what `FACTORY_*` variables set, and a complaint for each that is unknown; both sorted."""
    known, programs = variables(schema), frozenset(ProgramVariable)
    overrides: list[Override] = []
    complaints: list[str] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in programs:
            continue
        if name not in known:
            complaints.append(f"environment: {name}: {_unknown(name, known)}")
        elif not environ[name].isprintable():
            complaints.append(f"environment: {name}: holds unprintable characters; write plain UTF-8 text")
        else:
            leaf = known[name]
            overrides.append(Override(variable=name, location=leaf.location, value=_value(environ[name], leaf)))
    return tuple(overrides), tuple(complaints)


def variable_of(key: str) -> str:
    """Return the variable that sets a dotted key."""
    return PREFIX + re.sub(r"[^A-Z0-9]", "_", key.upper())


def _unknown(name: str, known: Mapping[str, Leaf]) -> str:
    renamed = {variable_of(old): variable_of(new) for old, new in RENAMED.items()}
    if name in renamed:
        return f"unknown variable; it is called {renamed[name]} now"
    close = suggestion(name, (*known, *ProgramVariable))
    return f"unknown variable; {close or 'unset it, `factory config show` lists the keys'}"


def _value(text: str, leaf: Leaf) -> object:
    """Return what `text` means for the type of the key; what does not fit stays text for the validation."""
    if text == "" and "null" in leaf.kinds:
        return None
    if "array" in leaf.kinds:
        items = text.split() if leaf.key in _SPLIT_AT_BLANKS else text.split(",")
        return [item.strip() for item in items if item.strip()]
    if "integer" in leaf.kinds and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if "boolean" in leaf.kinds and text in {"true", "false"}:
        return text == "true"
    return text
