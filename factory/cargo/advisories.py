"""Advisories of a checkout of RustSec's advisory-db (https://github.com/rustsec/advisory-db), as far as versions go."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.cargo.requirement import check_requirement, is_met_in_order
from factory.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from factory.model import PackageId

_NO_WARNINGS = frozenset({"unmaintained", "notice"})
"""What an `informational` advisory may be that says nothing against one version and for another; `unsound` does."""

_FRONT_MATTER = re.compile(r"```toml\n(?P<toml>.*?)\n```", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """A warning about the versions of a crate that are neither `patched` nor `unaffected` (requirements)."""

    id: str
    patched: tuple[str, ...]
    unaffected: tuple[str, ...]

    def warns_of(self, version: str) -> bool:
        """Whether a version is affected."""
        return not any(is_met_in_order(requirement, version) for requirement in (*self.patched, *self.unaffected))


@dataclass(frozen=True, slots=True)
class Advisories:
    """All advisories that warn of versions and were not withdrawn, by crate."""

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
            if "withdrawn" not in head and head.get("informational") not in _NO_WARNINGS:
                found[head["package"]].append(_advisory(head, document.get("versions", {})))
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise ConfigurationError(
                f"{path}: not an advisory that can be read: {why}", advice="Update the checkout, or mend the file."
            ) from error
    return Advisories(dict(found))


def _advisory(head: Mapping[str, Any], versions: Mapping[str, Any]) -> Advisory:
    return Advisory(
        id=head["id"], patched=_requirements(versions, "patched"), unaffected=_requirements(versions, "unaffected")
    )


def _requirements(versions: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = versions.get(key, [])
    if not isinstance(found, list) or not all(isinstance(requirement, str) for requirement in found):
        message = f"`versions.{key}` is not a list of requirements"
        raise ValueError(message)
    for requirement in found:
        try:
            check_requirement(requirement)
        except ValueError as error:
            message = f"`versions.{key}`: {error}"
            raise ValueError(message) from error
    return tuple(found)
