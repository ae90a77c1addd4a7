"""The baseline: what all repositories of an organisation could agree on, one version, features and cargo profile.

Two repositories share a compiled crate only if they agree on it and on all that lies below it. The baseline names, for
every crate and semver range that they use, the version and the features to meet at; `plan.json` carries it,
and repositories are aligned with it. It decides nothing about what is cooked: that is done by units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from factory.model import CRATES_IO, Side
from factory.unit_json import profile_table_from_json, profile_table_to_json

if TYPE_CHECKING:
    from factory.cargo.profile_table import ProfileTable


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class BaselineCrate:
    """The version and features at which the users of one crate in one semver range meet.

    `range` is that of a caret requirement (`1`, `0.12`, `0.0.3`); a version that is a pre-release is a range of its
    own. Features are sorted; those of a side that no repository compiles the crate for are empty. `repos` counts the
    repositories that use the range, `held_back` those of them whose `rust-version` is below what the version needs.
    """

    name: str
    range: str
    version: str
    source: str = CRATES_IO
    features_target: tuple[str, ...] = ()
    features_host: tuple[str, ...] = ()
    repos: int
    held_back: int = 0

    def features(self, side: Side) -> tuple[str, ...]:
        """Return the features of one side."""
        return self.features_target if side is Side.TARGET else self.features_host

    @property
    def label(self) -> str:
        """`name@version`, for people."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class BaselineProfile:
    """The cargo profile of one variant that most workspaces have, and the paths of those that have another."""

    variant: str
    table: ProfileTable
    rustflags: tuple[str, ...]
    workspaces: int
    others: tuple[str, ...]


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class NotInBaseline:
    """A crate, or one feature of it, that enough repositories use and the baseline has not, with the reason.

    `feature` is empty where the crate itself was left out, or its version not taken.
    """

    crate: str
    feature: str
    repos: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """All of it, sorted. `rust_version` is the highest that a crate declares to need, `None` where none is known."""

    crates: tuple[BaselineCrate, ...]
    profiles: tuple[BaselineProfile, ...]
    rust_version: str | None
    left_out: tuple[NotInBaseline, ...] = ()

    @property
    def by_range(self) -> Mapping[tuple[str, str, str], BaselineCrate]:
        """The crates by name, source and range."""
        return {(crate.name, crate.source, crate.range): crate for crate in self.crates}

    def profile_of(self, variant: str) -> BaselineProfile | None:
        """Return the cargo profile to meet at; `None` where no workspace builds the variant."""
        return next((profile for profile in self.profiles if profile.variant == variant), None)


def baseline_to_json(baseline: Baseline) -> dict[str, Any]:
    """Return the baseline as JSON values."""
    return {
        "crates": [_lists(asdict(crate)) for crate in sorted(baseline.crates)],
        "profiles": [
            {
                "variant": profile.variant,
                "profile": profile_table_to_json(profile.table),
                "rustflags": list(profile.rustflags),
                "workspaces": profile.workspaces,
                "others": sorted(profile.others),
            }
            for profile in baseline.profiles
        ],
        "rust_version": baseline.rust_version,
        "left_out": [asdict(row) for row in sorted(baseline.left_out)],
    }


def baseline_from_json(raw: Mapping[str, Any]) -> Baseline:
    """Read what `baseline_to_json` wrote; raise `KeyError`, `TypeError` or `ValueError` on anything else."""
    _require(raw, {"crates", "profiles", "rust_version", "left_out"})
    for row in raw["profiles"]:
        _require(row, {"variant", "profile", "rustflags", "workspaces", "others"})
    return Baseline(
        crates=tuple(
            BaselineCrate(
                **dict(row)
                | {side: tuple(str(feature) for feature in row[side]) for side in ("features_target", "features_host")}
            )
            for row in raw["crates"]
        ),
        profiles=tuple(
            BaselineProfile(
                variant=row["variant"],
                table=profile_table_from_json(row["profile"]),
                rustflags=tuple(row["rustflags"]),
                workspaces=row["workspaces"],
                others=tuple(row["others"]),
            )
            for row in raw["profiles"]
        ),
        rust_version=raw["rust_version"],
        left_out=tuple(NotInBaseline(**row) for row in raw["left_out"]),
    )


def _lists(raw: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in raw.items()}


def _require(raw: Any, keys: set[str]) -> None:  # noqa: ANN401 - any JSON value
    if not isinstance(raw, Mapping) or set(raw) != keys:
        message = f"expected the keys {sorted(keys)}"
        raise ValueError(message)
