"""Version requirements as cargo reads them."""

from __future__ import annotations

import re
from functools import cache

import semver

_COMPARATOR = re.compile(r"(?P<operator>[<>]=?|=|\^|~)?\s*(?P<version>\d+(?:\.\d+){0,2}(?:-[0-9A-Za-z.-]+)?)")


_ANY = semver.Version(0)


def is_met(requirement: str, version: str) -> bool:
    """Whether a version meets a requirement as cargo reads it; raise `ValueError` for what is none."""
    parsed = semver.Version.parse(version)
    return all(_meets(part.strip(), parsed) for part in requirement.split(","))


@cache
def allows(requirement: str, version: str) -> bool:
    """Whether a version meets a requirement; one that we cannot read is left to cargo."""
    try:
        return is_met(requirement, version)
    except ValueError:
        return True


def check_requirement(requirement: str) -> None:
    """Raise `ValueError` for what is no requirement."""
    for part in requirement.split(","):
        _meets(part.strip(), _ANY)


def _meets(comparator: str, version: semver.Version) -> bool:
    if comparator == "*":
        return True
    match = _COMPARATOR.fullmatch(comparator)
    if match is None:
        message = f"not a requirement: {comparator!r}"
        raise ValueError(message)
    given = match["version"].partition("-")[0].count(".") + 1
    least = semver.Version.parse(match["version"], optional_minor_and_patch=True)
    match match["operator"] or "^":
        case ">=":
            return version >= least
        case "<":
            return version < least
        case ">":
            return version >= _next(least, given) if given < 3 else version > least
        case "<=":
            return version < _next(least, given) if given < 3 else version <= least
        case "=":
            return least <= version < _next(least, given) if given < 3 else version == least
        case "~":
            return least <= version < _next(least, min(given, 2))
        case _:
            return least <= version < _next(least, min(given, _significant(least)))


def _next(version: semver.Version, parts: int) -> semver.Version:
    """Return the version after all that begin with the first `parts` numbers."""
    return (version.bump_major, version.bump_minor, version.bump_patch)[parts - 1]()


def _significant(version: semver.Version) -> int:
    if version.major:
        return 1
    return 2 if version.minor else 3
