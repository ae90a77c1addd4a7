"""Which versions of a crate go with which, as cargo sees it: where one replaces another, and where both may stand.

The two agree for releases, and differ for pre-releases: `1.0.0-rc.1` shares the slot of `1.2.3`, and a repository that
asks for `1` is never given it.
"""

from __future__ import annotations

from functools import cache


@cache
def caret_range(version: str) -> str:
    """Return the range in which cargo lets one version take another's place: `1`, `0.12`, `0.0.3`.

    A pre-release is a range of its own: requirements that do not name one never take it, so those who lock it and those
    who lock releases cannot be asked to meet.
    """
    plain = version.partition("+")[0]
    return plain if "-" in plain else resolver_slot(plain)


def resolver_slot(version: str) -> str:
    """Return the slot of a version, of which cargo's resolver fills each with one version of a crate: `1`, `0.12`.

    It is made of the first number that is not zero, and those before it (`SemverCompatibility` in cargo's resolver):
    a graph with `1.0.0-rc.1` has no other version of 1 beside it.
    """
    numbers = version.partition("+")[0].partition("-")[0].split(".")
    first = next((index for index, number in enumerate(numbers) if number != "0"), len(numbers) - 1)
    return ".".join(numbers[: first + 1])
