"""The toolchain that a result was cooked with, as its `contract.json` says, beside the one that builds on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from factory.cargo.layout import Layout
from factory.errors import ConfigurationError
from factory.proof.model import Check

if TYPE_CHECKING:
    from collections.abc import Sequence


def recorded_rustc(text: str, *, where: str) -> tuple[str, ...]:
    """Return the lines of `rustc -vV` from the text of a `contract.json`; raise `ConfigurationError` for another."""
    try:
        lines = json.loads(text)["rustc"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_contract(where) from error
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines) or not release(lines):
        raise _no_contract(where)
    return tuple(lines)


def recorded_layout(text: str, *, where: str) -> Layout:
    """Return how the directory of the units is set, from the text of a `contract.json`; raise `ConfigurationError`."""
    try:
        return Layout(json.loads(text)["layout"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(
            f"{where}: does not say as what cargo's configuration names the directory of the units",
            advice="Run `factory build` again.",
        ) from error


def release(rustc: Sequence[str]) -> str:
    """Return the version in the lines of `rustc -vV`, or "" where none is named."""
    return next((line.removeprefix("release: ") for line in rustc if line.startswith("release: ")), "")


def toolchain_check(cooked: Sequence[str], found: Sequence[str]) -> Check:
    """Compare the lines of `rustc -vV` of the two: cargo hashes all of them into every unit."""
    same = tuple(cooked) == tuple(found)
    versions = f"cooked with {_version(cooked)}, and {_version(found)} builds on it"
    return Check(
        name="toolchain",
        ok=same,
        detail=f"{_version(cooked)}, with which it was cooked" if same else f"{versions}: no unit is fresh",
        findings=() if same else _differences(cooked, found),
    )


def _version(rustc: Sequence[str]) -> str:
    return rustc[0] if rustc else "no rustc that runs"


def _differences(cooked: Sequence[str], found: Sequence[str]) -> tuple[str, ...]:
    here, there = set(found), set(cooked)
    return (
        *(f"cooked with: {line}" for line in cooked if line not in here),
        *(f"found: {line}" for line in found if line not in there),
    )


def _no_contract(where: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: does not say which rustc cooked it", advice="Run `factory build` again.")
