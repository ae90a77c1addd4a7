"""What pydantic finds wrong, in words for people who never heard of pydantic."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from factory.config.quoting import quoted
from factory.config.schema import dotted, keys_at, leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic_core import ErrorDetails

    from factory.config.positions import Location

RENAMED = {"cook.cargo_profiles": "cook.variants"}
"""Keys of earlier versions, and what they are called now."""


def describe(error: ErrorDetails, *, schema: Mapping[str, Any], written: str | None = None) -> str:
    """Say what is wrong and what to do about it; `written` is a scalar as it stands in the file."""
    kind = error["type"]
    if kind == "extra_forbidden":
        return unknown_key(error["loc"], schema)
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "model_type":
        return _table(error, quoted(error["input"], written), keys_at(schema, error["loc"]))
    phrase = _PHRASES.get(kind)
    if phrase is None:
        return f"{error['msg'][:1].lower()}{error['msg'][1:]}; see the documentation of this key"
    return phrase(error, quoted(error["input"], written))


def unknown_key(location: Location, schema: Mapping[str, Any]) -> str:
    """Say that the last step of `location` is no key, and which key may have been meant."""
    name = str(location[-1])
    renamed = RENAMED.get(dotted(location))
    if renamed is not None:
        return f"unknown key; it is called {renamed} now"
    siblings = keys_at(schema, location[:-1])
    close = suggestion(name, siblings)
    if close:
        return f"unknown key; {close}"
    elsewhere = [leaf.key for leaf in leaves(schema) if leaf.location[-1] == name]
    if elsewhere:
        return f"unknown key here; did you mean {' or '.join(elsewhere)}?"
    known = f"known keys here are {', '.join(siblings)}" if siblings else "there are no keys here"
    return f"unknown key; remove it, {known}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "did you mean …?" for the nearest of `known`, or nothing when none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""


def _text(error: ErrorDetails, value: str) -> str:
    given = error["input"]
    if isinstance(given, bool):
        return f'{value} means yes or no here, and text is needed; quote it: "{value}"'
    if isinstance(given, float) and re.fullmatch(r"[0-9]+\.[0-9]+", value):
        return f'{value} is a number, which loses zeros at its end, and text is needed; quote it: "{value}"'
    if isinstance(given, int | float):
        return f'{value} is a number, and text is needed; quote it: "{value}"'
    if given is None:
        return "has no value; write one, or remove the key to get its default"
    return f"is {value}, and one text is needed; write it in one line"


def _whole_number(error: ErrorDetails, value: str) -> str:
    given = error["input"]
    if isinstance(given, str) and re.fullmatch(r"-?[0-9]+", given):
        return f"{value} is text, and a whole number is needed; remove the quotes"
    return f"is {value}, and a whole number is needed; write it in digits"


def _yes_or_no(error: ErrorDetails, value: str) -> str:
    meant = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
    given = str(error["input"]).lower()
    if isinstance(error["input"], str) and given in meant:
        return f"{value} is text in YAML 1.2, and yes or no is needed; write {meant[given]}, without quotes"
    return f"is {value}, and yes or no is needed; write true or false"


def _list(error: ErrorDetails, value: str) -> str:
    remedy = "write - before each item" if isinstance(error["input"], dict | None) else f"write [{value}]"
    return f"is {value}, and a list is needed; {remedy}"


def _table(error: ErrorDetails, value: str, keys: Iterable[str]) -> str:
    remedy = "put keys under it, or remove it" if error["input"] is None else 'write "key: value" lines under it'
    return f"is {value}, and keys are needed ({', '.join(keys)}); {remedy}"


def _choice(error: ErrorDetails, value: str) -> str:
    return f"{value} is not known; write {error['ctx']['expected'].replace(chr(39), '')}"


_PHRASES: Mapping[str, Callable[[ErrorDetails, str], str]] = {
    # What we hand over is JSON that we wrote: only its depth can be refused.
    "json_invalid": lambda _error, _value: "nested too deeply; keep to the keys of the documentation",
    "string_type": _text,
    "int_type": _whole_number,
    "int_from_float": _whole_number,
    "int_parsing": _whole_number,
    "int_parsing_size": lambda _error, value: f"{value} is far too large; write a smaller number",
    "bool_type": _yes_or_no,
    "tuple_type": _list,
    "list_type": _list,
    "enum": _choice,
    "literal_error": _choice,
    "missing": lambda _error, _value: "is missing; add it",
    "greater_than_equal": lambda error, value: f"{value} is too small; write {error['ctx']['ge']} or more",
    "less_than_equal": lambda error, value: f"{value} is too large; write {error['ctx']['le']} or less",
    "string_too_long": lambda error, value: (
        f"{value} is too long; write {error['ctx']['max_length']} characters at most"
    ),
}
