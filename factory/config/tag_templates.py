"""The templates of images' tags, such as `{layer}-{rust}-{suite}`: which may be written, and what becomes of them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from factory.config.quoting import quoted
from factory.config.texts import SOME_NAMES, refuse, some_names

_OF_A_BUILD = ("layer", "rust", "date", "plan")
_MINOR = "minor"
"""Stands for the first two parts of {rust}: images of 1.95.1 take `web-1.95` over from those of 1.95.0."""
_OF_A_CELL = ("suite", "label")
"""Filled in first, in the settings of a cell: see `factory.config.cells`."""


def fill(template: str, *, layer: str, rust: str, date: str, plan: str) -> str:
    """Return a template with what a build fills in; `rust` is a version such as 1.95.0."""
    values = {"layer": layer, "rust": rust, "date": date, "plan": plan, _MINOR: ".".join(rust.split(".")[:2])}
    return _with(template, values)


def fill_cell(template: str, *, suite: str, label: str) -> str:
    """Return a template with what a cell of the matrix fills in."""
    return _with(template, {"suite": suite, "label": label})


def _with(template: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def _checked(template: str) -> str:
    placeholders = (*_OF_A_BUILD, _MINOR, *_OF_A_CELL)
    unknown = sorted(set(re.findall(r"\{([^{}]*)\}", template)) - set(placeholders))
    known = ", ".join(f"{{{name}}}" for name in placeholders)
    if unknown:
        refuse(f"{{{unknown[0]}}} is not a placeholder; use {known}")
    if "{layer}" not in template:
        refuse(f"{quoted(template)} would be the same tag for every layer; put {{layer}} into it")
    example = fill_cell(template, suite="sid", label="dev")
    example = fill(example, layer="x", rust="1.95.0", date="20260101", plan="0")
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", example) is None:
        refuse(f'{quoted(template)} does not make a tag; use letters, digits, "_", "." and "-" beside {known}')
    return template


TagTemplate = Annotated[str, AfterValidator(_checked)]
TagTemplates = Annotated[tuple[TagTemplate, ...], SOME_NAMES, AfterValidator(some_names)]
