"""Features that change what a program does: never added to a repository that did not choose them."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tomli

from factory.errors import FactoryError
from factory.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Features of a crate that nobody gets unasked; both are patterns as of the shell.

    They are harmless where the crate has a feature `unless` on; "" for nowhere.
    """

    crate: str
    features: tuple[str, ...]
    why: str
    unless: str = ""


class BehaviourFeatures:
    """The reviewed list."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)

    def why_never(self, crate: str, feature: str, on: Collection[str]) -> str | None:
        """Say why a feature is never added where a crate has the features `on`; `None` where it may be."""
        for rule in self.rules:
            if (
                rule.unless not in on
                and fnmatch.fnmatchcase(crate, rule.crate)
                and any(fnmatch.fnmatchcase(feature, pattern) for pattern in rule.features)
            ):
                return rule.why
        return None


def read_behaviour_features(path: Path | None = None) -> BehaviourFeatures:
    """Read the list that is shipped, or another; raise `FactoryError` where it is damaged."""
    path = path or shipped("behaviour-features.toml")
    try:
        document = tomli.loads(path.read_text(encoding="utf-8"))
        return BehaviourFeatures([Rule(**row | {"features": tuple(row["features"])}) for row in document["never"]])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FactoryError(f"{path}: not a list of features: {error!r}", advice="Install the program again.") from error
