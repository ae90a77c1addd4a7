"""Who uses what in an analysis: crates by repositories, cargo profiles, toolchain pins."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.analysis.model import Status

if TYPE_CHECKING:
    from factory.analysis.model import Analysis, Workspace
    from factory.model import Unit


# rustup takes `1.95.0` and `stable` with a host behind it; `1.95.0-beta.1` is another release.
_PIN_WITH_HOST = re.compile(
    r"(?P<channel>stable|\d+(?:\.\d+){0,2})-(?!beta|alpha|rc)[A-Za-z]\w*-\w+(?:-\w+){0,2}", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrateUse:
    """How an organisation uses one crate: repositories, and how many of them have each version and feature set."""

    name: str
    repos: int
    versions: tuple[tuple[str, int], ...]
    feature_sets: int
    units: int


def crate_uses(analysis: Analysis) -> tuple[CrateUse, ...]:
    """Return the registry crates that are compiled, the most used first."""
    repos: dict[str, set[str]] = defaultdict(set)
    versions: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    units: dict[str, set[Unit]] = defaultdict(set)
    for workspace in analysis.resolved:
        for use in workspace.variants.values():
            for unit in (analysis.units[key] for key in use.keys):
                if unit.is_library:
                    name = unit.package.name
                    repos[name].add(workspace.repo)
                    versions[name][unit.package.version].add(workspace.repo)
                    units[name].add(unit)
    uses = (
        CrateUse(
            name=name,
            repos=len(users),
            versions=_counted({version: len(those) for version, those in versions[name].items()}),
            feature_sets=len({unit.features for unit in units[name]}),
            units=len(units[name]),
        )
        for name, users in repos.items()
    )
    return tuple(sorted(uses, key=lambda use: (-use.repos, use.name)))


def profile_uses(analysis: Analysis) -> tuple[tuple[str, int], ...]:
    """Return each cargo profile in use, as its differences from cargo's defaults, with its number of workspaces."""
    counted: Counter[str] = Counter()
    for workspace in analysis.resolved:
        for variant, use in workspace.variants.items():
            if use.profile is not None:
                settings = [f"{key}={value}" for key, value in use.profile.base]
                settings += [f"build-override.{key}={value}" for key, value in use.profile.build_override]
                settings += ["overrides of single packages"] if use.profile.packages else []
                settings += [f"RUSTFLAGS={' '.join(use.rustflags)}"] if use.rustflags else []
                counted[f"{variant}: {', '.join(settings) or 'defaults'}"] += 1
    return _counted(counted)


def pin_uses(analysis: Analysis) -> tuple[tuple[str, int], ...]:
    """Return each toolchain pin with its number of workspaces."""
    return _counted(Counter(w.toolchain_pin or "no pin" for w in analysis.workspaces if w.status is Status.RESOLVED))


def pinned_channel(pin: str) -> str:
    """Return the channel that a toolchain pin names, without the host behind it: `1.95.0`, `nightly-2026-01-01`."""
    with_host = _PIN_WITH_HOST.fullmatch(pin)
    return pin if with_host is None else with_host["channel"]


def pin_conflict(workspace: Workspace, version: str) -> str | None:
    """Say why a workspace's toolchain pin keeps it from using images with rustc `version`; `None` when it does not."""
    pin = workspace.toolchain_pin
    channel = None if pin is None else pinned_channel(pin)
    if channel is None or channel == "stable" or version == channel or version.startswith(f"{channel}."):
        return None
    return f"rust-toolchain pins {pin}: fresh only when it is built with {version}"


def forecast_doubts(workspace: Workspace, version: str) -> str:
    """Say why a workspace may find less warm than its units are, on images with rustc `version`; "" for no doubt."""
    return "; ".join(filter(None, (pin_conflict(workspace, version), *workspace.doubts)))


def _counted(counts: dict[str, int] | Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
