"""Why the units of a crate are in the plan, and where, or what kept them out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from factory.config.layers import folded
from factory.config.wording import suggestion
from factory.errors import ConfigurationError
from factory.planning.selection import LeftOut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.model import Unit, UnitKey
    from factory.planning.choose import Choice
    from factory.planning.plan import Plan

SCHEMA = 1

_BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitExplanation:
    """One unit: what it costs by itself, whom it saves what, and the verdict with its reason.

    `density` is what taking it would save by MB, everything included that is not in yet and would come along; `cut` is
    the least that its layer takes (both in seconds a MB). Both are `None` where no budget decided.
    """

    key: UnitKey
    unit: str
    is_library: bool
    features: tuple[str, ...]
    side: str
    planned: bool
    layer: str | None
    why: str
    seconds: float
    bytes: int
    measured: bool
    repos: tuple[str, ...]
    saves: Mapping[str, float]
    density: float | None
    cut: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All units of a crate, the planned ones first, then by what they save."""

    crate: str
    units: tuple[UnitExplanation, ...]
    confirmed: bool
    """Whether there was a plan that says what cargo confirmed."""


def explain_crate(choice: Choice, crate: str, made: Plan | None) -> Explanation:
    """Explain `NAME` or `NAME@VERSION`; `made` is the plan of the same analysis, if there is one."""
    name, _, version = crate.partition("@")
    found = [
        key
        for key, unit in choice.graph.units.items()
        if folded(unit.package.name) == folded(name) and version in ("", unit.package.version) and choice.users.get(key)
    ]
    if not found:
        raise _unknown(choice, name, version)
    rows = (_explain(key, choice, made) for key in found)
    return Explanation(
        crate=crate,
        units=tuple(sorted(rows, key=lambda row: (not row.planned, -sum(row.saves.values()), row.key))),
        confirmed=made is not None,
    )


def explanation_to_json(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as JSON values."""
    return {"schema": SCHEMA} | asdict(explanation)


def _explain(key: UnitKey, choice: Choice, made: Plan | None) -> UnitExplanation:
    unit, cost = choice.graph.units[key], choice.costs[key]
    placement = choice.demand.placements.get(key)
    chosen = key in choice.selection.chosen
    lost = chosen and made is not None and key not in made.units
    why, density, cut = _reason(key, choice)
    if lost and made is not None:
        why = _loss(unit, made)
    return UnitExplanation(
        key=key,
        unit=unit.label,
        is_library=unit.is_library,
        features=unit.features,
        side="+".join(sorted(unit.sides)),
        planned=chosen and not lost,
        layer=None if placement is None else placement.layer,
        why=why,
        seconds=round(cost.seconds, 3),
        bytes=cost.bytes,
        measured=cost.measured,
        repos=tuple(sorted(choice.users[key])),
        saves={repo: round(seconds, 3) for repo, seconds in sorted(choice.savings.get(key, {}).items())},
        density=density,
        cut=cut,
    )


def _reason(key: UnitKey, choice: Choice) -> tuple[str, float | None, float | None]:
    """Return why a unit is where it is or left out, and, where a budget decided, its density and the cut."""
    placement = choice.demand.placements.get(key)
    if placement is not None and key in choice.selection.chosen:
        return placement.why, None, None
    reason = choice.why_left_out(key)
    if reason is None:
        return "comes with the library that needs it, which is left out", None, None
    if placement is None or reason != LeftOut.OVER_BUDGET:
        return reason, None, None
    missing = [each for each in choice.graph.closure(key) if each not in choice.selection.chosen]
    size = sum(choice.costs[each].bytes for each in missing)
    saved = sum(choice.demand.worth[each] for each in sorted(missing))
    density = saved / max(1, size) * _BYTES_PER_MB
    cut = choice.selection.quality.prices[placement.layer] * _BYTES_PER_MB
    with_others = f", with {len(missing) - 1} more that it needs" if len(missing) > 1 else ""
    return (
        f"{reason}: worth {saved:.1f} s for {size / _BYTES_PER_MB:.1f} MB{with_others}",
        round(density, 4),
        round(cut, 4),
    )


def _loss(unit: Unit, made: Plan) -> str:
    """Return why a chosen unit is not in the plan: cargo did not confirm it, or something below it."""
    reasons = [row.reason for row in made.excluded if row.package == unit.package.label]
    return reasons[0] if reasons else "the plan was made from another analysis: run `factory plan` again"


def _unknown(choice: Choice, name: str, version: str) -> ConfigurationError:
    packages = {choice.graph.units[key].package for key, users in choice.users.items() if users}
    versions = sorted({package.version for package in packages if folded(package.name) == folded(name)})
    if versions:
        return ConfigurationError(f"no repository uses {name} {version}", advice=f"In use are {', '.join(versions)}.")
    close = suggestion(name, sorted({package.name for package in packages}))
    return ConfigurationError(
        f"no repository of the analysis uses a crate {name}",
        advice=close.capitalize() if close else "`factory analyze` shows what they use.",
    )
