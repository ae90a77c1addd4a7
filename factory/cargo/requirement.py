"""Version requirements as cargo reads them, and as RustSec does.

Both write them the same, and differ about pre-releases. Cargo (`VersionReq` of the crate `semver`) takes one only where
the requirement names a pre-release of that very version: `1` is not met by `1.3.0-rc.1`. For an advisory a pre-release
has its place in the order like any other version: `>= 1.2.0` is met by `1.3.0-rc.1`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import semver

_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRE_RELEASE = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_BUILD = r"[0-9A-Za-z-]+"
_COMPARATOR = re.compile(
    rf" *(?P<operator>[<>]=?|=|\^|~)? *(?P<numbers>{_NUMBER}(?:\.{_NUMBER}){{0,2}})(?P<wildcards>(?:\.[*xX])*)"
    rf"(?:-(?P<pre>{_PRE_RELEASE}(?:\.{_PRE_RELEASE})*))?(?:\+{_BUILD}(?:\.{_BUILD})*)? *"
)
_ANY_VERSION = re.compile(r" *[*xX] *")
_PARTS = 3


def is_met(requirement: str, version: str) -> bool:
    """Whether a version meets a requirement as cargo reads it; raise `ValueError` for what is none."""
    comparators, parsed = _parsed(requirement), semver.Version.parse(version)
    return all(one.is_met(parsed) for one in comparators) and (
        not parsed.prerelease or any(one.names_pre_release_of(parsed) for one in comparators)
    )


@cache
def allows(requirement: str, version: str) -> bool:
    """Whether a version meets a requirement; one that we cannot read is left to cargo."""
    try:
        return is_met(requirement, version)
    except ValueError:
        return True


def is_met_in_order(requirement: str, version: str) -> bool:
    """Whether a version is within a requirement's bounds, as RustSec reads it; raise `ValueError` for what is none."""
    parsed = semver.Version.parse(version)
    return all(one.has_in_order(parsed) for one in _parsed(requirement))


def check_requirement(requirement: str) -> None:
    """Raise `ValueError` for what is no requirement."""
    _parsed(requirement)


@dataclass(frozen=True, slots=True)
class _Comparator:
    """One part of a requirement; `least` is its version, with 0 for the numbers that are not given."""

    operator: str
    numbers: tuple[int, ...]
    least: semver.Version

    def is_met(self, version: semver.Version) -> bool:
        """Compare as cargo does: a version that begins with all numbers that are given is neither above nor below."""
        given = self.numbers
        begins = _numbers(version)[: len(given)]
        if self._is_full:
            same, above, below = version == self.least, version > self.least, version < self.least
        else:
            same, above, below = begins == given and not version.prerelease, begins > given, begins < given
        match self.operator:
            case ">=":
                return same or above
            case "<=":
                return same or below
            case ">":
                return above
            case "<":
                return below
            case "=":
                return same
            case "~":
                return begins[:2] == given[:2] and (same or above)
            case _:
                fixed = self._significant
                return begins[:fixed] == given[:fixed] and (same or above if self._is_full else begins >= given)

    def names_pre_release_of(self, version: semver.Version) -> bool:
        """Whether the comparator is about a pre-release of the version that this is one of."""
        return bool(self.least.prerelease) and self.numbers == _numbers(version)

    def has_in_order(self, version: semver.Version) -> bool:
        """Compare by order alone, with pre-releases in their places."""
        least, given = self.least, len(self.numbers)
        match self.operator:
            case ">=":
                return version >= least
            case "<":
                return version < least
            case ">":
                return version > least if self._is_full else version >= self._after(given)
            case "<=":
                return version <= least if self._is_full else version < self._after(given)
            case "=":
                return version == least if self._is_full else least <= version < self._after(given)
            case "~":
                return least <= version < self._after(min(given, 2))
            case _:
                return least <= version < self._after(self._significant)

    @property
    def _is_full(self) -> bool:
        return len(self.numbers) == _PARTS

    @property
    def _significant(self) -> int:
        """How many numbers no compatible version changes: up to the first that is not zero."""
        return next((index for index, number in enumerate(self.numbers, start=1) if number), len(self.numbers))

    def _after(self, parts: int) -> semver.Version:
        """Return the version after all that begin with the first `parts` numbers."""
        return (self.least.bump_major, self.least.bump_minor, self.least.bump_patch)[parts - 1]()


@cache
def _parsed(requirement: str) -> tuple[_Comparator, ...]:
    """Return the comparators of a requirement, none for `*`; raise `ValueError` for what is no requirement."""
    if _ANY_VERSION.fullmatch(requirement):
        return ()
    return tuple(_comparator(part) for part in requirement.split(","))


def _comparator(text: str) -> _Comparator:
    match = _COMPARATOR.fullmatch(text)
    numbers = match["numbers"].split(".") if match else []
    wildcards = match["wildcards"].count(".") if match else 0
    is_partial = len(numbers) < _PARTS
    if match is None or len(numbers) + wildcards > _PARTS or (is_partial and re.search(r"[-+]", text)):
        message = f"not a requirement: {text.strip()!r}"
        raise ValueError(message)
    filled = ".".join([*numbers, "0", "0"][:_PARTS])
    least = semver.Version.parse(f"{filled}-{match['pre']}" if match["pre"] else filled)
    # What a wildcard leaves open may be anything, however small the version.
    operator = match["operator"] or ("=" if wildcards else "^")
    return _Comparator(operator, tuple(int(number) for number in numbers), least)


def _numbers(version: semver.Version) -> tuple[int, ...]:
    return (version.major, version.minor, version.patch)
