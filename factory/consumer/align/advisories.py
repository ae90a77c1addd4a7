"""Advisories of a checkout of RustSec's advisory-db (https://github.com/rustsec/advisory-db), as far as versions go."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import semver

from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from factory.model import PackageId

_FRONT_MATTER = re.compile(r"```toml\n(?P<toml>.*?)\n```", re.DOTALL)
_COMPARATOR = re.compile(r"(?P<operator>[<>]=?|=|\^|~)?\s*(?P<version>\d+(?:\.\d+){0,2}(?:-[0-9A-Za-z.-]+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """A warning about the versions of a crate that are neither `patched` nor `unaffected` (requirements)."""

    id: str
    patched: tuple[str, ...]
    unaffected: tuple[str, ...]

    def warns_of(self, version: str) -> bool:
        """Whether a version is affected."""
        return not any(is_met(requirement, version) for requirement in (*self.patched, *self.unaffected))


@dataclass(frozen=True, slots=True)
class Advisories:
    """All advisories that were not withdrawn, by crate."""

    by_crate: Mapping[str, Sequence[Advisory]]

    def of(self, package: PackageId) -> frozenset[str]:
        """Return the ids of those that warn of a package."""
        return frozenset(row.id for row in self.by_crate.get(package.name, ()) if row.warns_of(package.version))


def read_advisories(folder: Path) -> Advisories:
    """Read a checkout; raise `ConfigurationError` where it is none, or a file in it is malformed."""
    files = sorted(folder.glob("crates/*/RUSTSEC-*.md"))
    if not files:
        raise ConfigurationError(
            f"{folder}: holds no advisories",
            advice="Name a checkout: `git clone https://github.com/rustsec/advisory-db`.",
        )
    found: dict[str, list[Advisory]] = defaultdict(list)
    for path in files:
        try:
            match = _FRONT_MATTER.search(path.read_text(encoding="utf-8"))
            document = tomllib.loads(match["toml"] if match else "")
            head = document["advisory"]
            # What is merely unmaintained is no reason against one version and for another.
            if "withdrawn" not in head and head.get("informational") is None:
                found[head["package"]].append(_advisory(head, document.get("versions", {})))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path}: not an advisory: {error!r}", advice="Update the checkout.") from error
    return Advisories(dict(found))


def _advisory(head: Mapping[str, Any], versions: Mapping[str, Any]) -> Advisory:
    return Advisory(
        id=head["id"],
        patched=tuple(versions.get("patched", ())),
        unaffected=tuple(versions.get("unaffected", ())),
    )


def is_met(requirement: str, version: str) -> bool:
    """Whether a version meets a requirement as cargo reads it; raise `ValueError` for what is none."""
    parsed = semver.Version.parse(version)
    return all(_meets(part.strip(), parsed) for part in requirement.split(","))


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
