"""`plan.json`, the images' lockfile: sorted, diffable, and all that `factory build` reads beside the configuration."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from factory.costs.model import UnitCost
from factory.errors import ConfigurationError
from factory.files import flaw
from factory.model import UnitKey
from factory.planning.agreement import agreement_from_json, agreement_to_json
from factory.planning.baseline import baseline_from_json, baseline_to_json
from factory.planning.contract import contract_from_json, contract_to_json
from factory.planning.plan import Exclusion, Forecast, Plan, PlannedLayer, PlannedUnit
from factory.planning.recipe import recipe_from_json, recipe_to_json
from factory.planning.selection import Quality
from factory.unit_json import (
    cargo_profiles_from_json,
    cargo_profiles_to_json,
    number_profiles,
    packages_by_source,
    packages_from_sources,
    unit_from_json,
    unit_to_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.model import CargoProfile, PackageId

SCHEMA = 5

_UNIT_POLICY = frozenset({"layer", "why", "repos", "saves", "seconds", "bytes", "measured"})
"""What `plan.json` says of a unit beside what cargo resolves."""


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON values; the order of everything depends on the content alone."""
    profiles = number_profiles(planned.unit for planned in plan.units.values())
    return {
        "schema": SCHEMA,
        "contract": contract_to_json(plan.contract),
        "layers": [
            {
                "name": layer.name,
                "parent": layer.parent,
                "budget_bytes": layer.budget_bytes,
                "estimated_bytes": layer.estimated_bytes,
                "keys": sorted(layer.keys),
                "packages": sorted(layer.packages),
                "index": packages_by_source(layer.index),
            }
            for layer in plan.layers
        ],
        "profiles": cargo_profiles_to_json(profiles),
        "units": {key: _planned_to_json(planned, profiles) for key, planned in plan.units.items()},
        "recipes": [recipe_to_json(recipe) for recipe in plan.recipes],
        "excluded": [
            {"package": row.package, "reason": row.reason, "units": row.units, "repos": row.repos}
            for row in plan.excluded
        ],
        "forecast": [_forecast_to_json(row) for row in plan.forecast],
        "selection": asdict(plan.quality),
        "baseline": None if plan.baseline is None else baseline_to_json(plan.baseline),
        "agreement": None if plan.agreement is None else agreement_to_json(plan.agreement),
    }


def plan_from_json(document: Any) -> Plan:  # noqa: ANN401 - any JSON value
    """Read what `plan_to_json` wrote; raise `ConfigurationError` on anything else."""
    try:
        plan = _plan(document)
        _check_names(plan)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ConfigurationError(
            f"not a plan that this version of factory reads: {flaw(error)}", advice="Run `factory plan` again."
        ) from error
    return plan


def _check_names(plan: Plan) -> None:
    """Raise `ValueError` for what a plan edited by hand could have: names of nothing, or parents in a circle."""
    known: set[str | None] = {None}
    for layer in plan.layers:
        if layer.parent not in known:
            message = f"the parent of layer {layer.name} does not come before it"
            raise ValueError(message)
        known.add(layer.name)
        unknown = [key for key in layer.keys if key not in plan.units]
        if unknown:
            message = f"layer {layer.name}: there is no unit {unknown[0]}"
            raise ValueError(message)
    for key, planned in plan.units.items():
        missing = [edge.key for edge in planned.unit.dependencies if edge.key not in plan.units]
        if missing or planned.layer not in known:
            message = f"unit {key}: there is no {f'unit {missing[0]}' if missing else f'layer {planned.layer}'}"
            raise ValueError(message)
    strays = sorted({recipe.layer for recipe in plan.recipes} - known)
    if strays:
        message = f"there is no layer {strays[0]}"
        raise ValueError(message)


def _plan(document: Mapping[str, Any]) -> Plan:
    if document["schema"] != SCHEMA:
        message = f"schema {document['schema']}, not {SCHEMA}"
        raise ValueError(message)
    profiles = cargo_profiles_from_json(document["profiles"])
    packages: dict[tuple[str, str, str], PackageId] = {}
    units = [(UnitKey(key), raw) for key, raw in document["units"].items()]
    return Plan(
        contract=contract_from_json(document["contract"]),
        layers=tuple(
            PlannedLayer(
                **raw
                | {
                    "keys": tuple(UnitKey(key) for key in raw["keys"]),
                    "packages": tuple(raw["packages"]),
                    "index": packages_from_sources(raw["index"]),
                }
            )
            for raw in document["layers"]
        ),
        units={key: _planned(key, raw, profiles, packages) for key, raw in units},
        recipes=tuple(recipe_from_json(raw) for raw in document["recipes"]),
        excluded=tuple(Exclusion(**raw) for raw in document["excluded"]),
        forecast=tuple(_forecast(raw) for raw in document["forecast"]),
        quality=Quality(**document["selection"]),
        baseline=None if document["baseline"] is None else baseline_from_json(document["baseline"]),
        agreement=None if document["agreement"] is None else agreement_from_json(document["agreement"]),
    )


def _planned_to_json(planned: PlannedUnit, profiles: Mapping[CargoProfile, int]) -> dict[str, Any]:
    return unit_to_json(planned.unit, profiles) | {
        "layer": planned.layer,
        "why": planned.why,
        "repos": sorted(planned.repos),
        "saves": _seconds(planned.saves),
        "seconds": _seconds(planned.cost.seconds),
        "bytes": planned.cost.bytes,
        "measured": planned.cost.measured,
    }


def _planned(
    key: UnitKey,
    raw: Mapping[str, Any],
    profiles: Sequence[CargoProfile],
    packages: dict[tuple[str, str, str], PackageId],
) -> PlannedUnit:
    unit = unit_from_json(key, raw, profiles, packages)
    unknown = raw.keys() - unit_to_json(unit, dict.fromkeys(profiles, 0)).keys() - _UNIT_POLICY
    if unknown:
        message = f"unit {key}: unknown key {min(unknown)}"
        raise ValueError(message)
    return PlannedUnit(
        unit=unit,
        layer=raw["layer"],
        why=raw["why"],
        repos=tuple(raw["repos"]),
        saves=raw["saves"],
        cost=UnitCost(seconds=raw["seconds"], bytes=raw["bytes"], measured=raw["measured"]),
    )


def _forecast_to_json(row: Forecast) -> dict[str, Any]:
    return {
        "path": row.path,
        "repo": row.repo,
        "variant": row.variant,
        "remark": row.remark,
        **({"aligned": row.aligned} if row.aligned else {}),
        "units": {"total": row.total, "hit": dict(row.hits)},
        "seconds": {"total": _seconds(row.seconds_total), "hit": _each_in_seconds(row.seconds_hit)},
        "wall": {"jobs": row.jobs, "cold": _seconds(row.wall_cold), "warm": _each_in_seconds(row.wall_warm)},
    }


def _forecast(raw: Mapping[str, Any]) -> Forecast:
    return Forecast(
        path=raw["path"],
        repo=raw["repo"],
        variant=raw["variant"],
        remark=raw["remark"],
        aligned=raw.get("aligned", ""),
        total=raw["units"]["total"],
        hits=raw["units"]["hit"],
        seconds_total=raw["seconds"]["total"],
        seconds_hit=raw["seconds"]["hit"],
        jobs=raw["wall"]["jobs"],
        wall_cold=raw["wall"]["cold"],
        wall_warm=raw["wall"]["warm"],
    )


def _seconds(value: float) -> float:
    """Milliseconds are more than any of these figures is worth."""
    return round(float(value), 3)


def _each_in_seconds(values: Mapping[str, float]) -> dict[str, float]:
    return {name: _seconds(value) for name, value in values.items()}
