"""The facts of cooked units, in the form in which images and directories carry them for `factory check`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from factory.costs.model import UnitCost
from factory.model import UnitKey
from factory.unit_json import (
    cargo_profiles_from_json,
    cargo_profiles_to_json,
    number_profiles,
    unit_from_json,
    unit_to_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from factory.model import PackageId, Unit
    from factory.planning.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUnit:
    """A unit that is warm: what it is to cargo, the layer that holds it, its cost, how many repositories have it."""

    unit: Unit
    layer: str
    cost: UnitCost
    repos: int


def planned_facts(plan: Plan) -> dict[UnitKey, WarmUnit]:
    """Return the facts of every unit that a plan has cooked."""
    return {
        key: WarmUnit(unit=planned.unit, layer=planned.layer, cost=planned.cost, repos=len(planned.repos))
        for key, planned in plan.units.items()
    }


def facts_to_json(plan: Plan, keys: Iterable[UnitKey]) -> dict[str, Any]:
    """Return the facts of some planned units as JSON values; names of repositories are not among them."""
    chosen = {key: plan.units[key] for key in sorted(keys)}
    profiles = number_profiles(planned.unit for planned in chosen.values())
    return {
        "profiles": cargo_profiles_to_json(profiles),
        "units": {
            key: unit_to_json(planned.unit, profiles) | asdict(planned.cost) | {"repos": len(planned.repos)}
            for key, planned in chosen.items()
        },
    }


def facts_from_json(document: Mapping[str, Any], layer: str) -> dict[UnitKey, WarmUnit]:
    """Read what `facts_to_json` wrote of a layer; raise `KeyError`, `TypeError` or `ValueError` on anything else."""
    profiles = cargo_profiles_from_json(document["profiles"])
    packages: dict[tuple[str, str, str], PackageId] = {}
    return {
        UnitKey(key): WarmUnit(
            unit=unit_from_json(UnitKey(key), raw, profiles, packages),
            layer=layer,
            cost=UnitCost(seconds=raw["seconds"], bytes=raw["bytes"], measured=raw["measured"]),
            repos=raw["repos"],
        )
        for key, raw in document["units"].items()
    }
