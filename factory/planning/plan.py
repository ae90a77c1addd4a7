"""The plan: which units each layer holds, the recipes that make them, and what every repository will find fresh.

`plan.json` is the images' lockfile: sorted, diffable, and the only thing that `factory build` reads beside the
configuration.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from factory.analysis.model import (
    ToolchainFacts,
    cargo_profiles_from_json,
    number_profiles,
    profile_table_from_json,
    profile_table_to_json,
    unit_from_json,
    unit_to_json,
)
from factory.cargo.events import Identity, identity
from factory.cargo.layout import Layout
from factory.cargo.lock import parse_lock
from factory.costs.model import UnitCost
from factory.errors import ConfigurationError
from factory.files import digest, flaw
from factory.model import PackageId, Side, UnitKey
from factory.planning.agreement import agreement_from_json, agreement_to_json
from factory.planning.baseline import baseline_from_json, baseline_to_json
from factory.planning.recipe import Recipe, RecipeContext, RecipePackage
from factory.planning.selection import Quality

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.model import CargoProfile, Unit
    from factory.planning.agreement import Agreement
    from factory.planning.baseline import Baseline

SCHEMA = 5

_UNIT_POLICY = frozenset({"layer", "why", "repos", "saves", "seconds", "bytes", "measured"})
"""What `plan.json` says of a unit beside what cargo resolves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The surroundings in which cooked units stay fresh."""

    cargo_home: str
    build_dir: str
    toolchain: ToolchainFacts
    variants: tuple[str, ...]
    rustflags: tuple[str, ...] = ()
    """What the CARGO_HOME sets as `build.rustflags` for everybody."""
    layout: Layout = Layout.BUILD_DIR
    """As what the CARGO_HOME sets `build_dir`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedUnit:
    """A chosen unit: what it is to cargo, with its direct dependencies; where it is and why, who has it, its cost."""

    unit: Unit
    layer: str
    why: str
    repos: tuple[str, ...]
    saves: float
    """Wall seconds that it is worth, in as many builds as repositories make: see `factory.planning.worth`."""
    cost: UnitCost

    @property
    def identity(self) -> Identity:
        """What cargo's JSON says of the unit."""
        return identity(self.unit)

    @property
    def features(self) -> tuple[str, ...]:
        """The features that it is compiled with, sorted."""
        return self.unit.features

    @property
    def side(self) -> str:
        """`target`, `host`, or `host+target` where both sides reach it."""
        return "+".join(sorted(self.unit.sides))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLayer:
    """A layer with its parent, the budget (bytes, `None`: only the total one) and what it takes by estimate.

    `packages` are the Debian packages that it installs before it cooks, those of its parents left out. `index` are
    registry packages that are locked by the repositories of this layer and that no recipe up to here locks: images have
    their entries of the registry's index, so that cargo resolves such locks without a network.
    """

    name: str
    parent: str | None
    budget_bytes: int | None
    estimated_bytes: int
    keys: tuple[UnitKey, ...]
    packages: tuple[str, ...] = ()
    index: tuple[PackageId, ...] = ()

    @property
    def adds(self) -> bool:
        """Whether its image holds anything that its parent's does not; the lowest one has the contract at least."""
        return self.parent is None or bool(self.keys or self.packages or self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Units of one crate that some repository has and the plan has not, for one reason."""

    package: str
    reason: str
    units: int
    repos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What one variant of one workspace will find fresh: registry units and their compile seconds, by image.

    `seconds_*` are sums over units; `wall_*` the seconds that these units take on a machine with `jobs` jobs, as
    `factory.planning.wall` predicts them: without any warm unit, and on each image. `remark` tells what would keep the
    workspace from all of it, such as a toolchain pin; mostly it is empty.
    """

    path: str
    repo: str
    variant: str
    total: int
    hits: Mapping[str, int]
    seconds_total: float
    seconds_hit: Mapping[str, float]
    jobs: int
    wall_cold: float
    wall_warm: Mapping[str, float]
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of it; `recipes` are in the order in which they are cooked, layer by layer."""

    contract: Contract
    layers: tuple[PlannedLayer, ...]
    units: Mapping[UnitKey, PlannedUnit]
    recipes: tuple[Recipe, ...]
    excluded: tuple[Exclusion, ...]
    forecast: tuple[Forecast, ...]
    quality: Quality
    baseline: Baseline | None = None
    """What repositories are asked to meet at; `None` where it was not asked for."""
    agreement: Agreement | None = None
    """What meeting there would bring; there is one where there is a baseline."""

    def recipes_of(self, layer: str) -> tuple[Recipe, ...]:
        """Return the recipes of one layer, in cooking order."""
        return tuple(recipe for recipe in self.recipes if recipe.layer == layer)

    def keys_with_parents(self, layer: str) -> frozenset[UnitKey]:
        """Return what the image of a layer holds: its own units and those of all layers under it."""
        by_name = {planned.name: planned for planned in self.layers}
        keys: set[UnitKey] = set()
        current: str | None = layer
        while current is not None:
            keys.update(by_name[current].keys)
            current = by_name[current].parent
        return frozenset(keys)

    def chain(self, layer: str) -> tuple[str, ...]:
        """Return the layers that the image of `layer` holds, lowest first."""
        parents = {planned.name: planned.parent for planned in self.layers}
        names = [layer]
        while (below := parents[names[-1]]) is not None:
            names.append(below)
        return tuple(reversed(names))

    def image_for(self, row: Forecast) -> str:
        """Return the layer whose image has most compile seconds of a workspace; of several, the smallest."""
        most = max(row.seconds_hit.values())
        # Layers come parents first.
        return next(layer.name for layer in self.layers if row.seconds_hit[layer.name] == most)

    def image_layer(self, layer: str) -> str:
        """Return the layer whose image the tags of `layer` stand for: itself, or the nearest below that adds something.

        Dockerfiles begin `FROM …:db` whether or not anything is planned for db: that has to be an image, and is the one
        below.
        """
        by_name = {planned.name: planned for planned in self.layers}
        return next(name for name in reversed(self.chain(layer)) if by_name[name].adds)

    @property
    def shared_images(self) -> Mapping[str, str]:
        """The layers that add nothing, each with the one whose image its tags stand for."""
        return {planned.name: self.image_layer(planned.name) for planned in self.layers if not planned.adds}

    def of_images(self) -> Plan:
        """Return the plan with those layers alone that are images of their own, each on the one that it stands on."""
        layers = (
            replace(planned, parent=None if planned.parent is None else self.image_layer(planned.parent))
            for planned in self.layers
            if planned.adds
        )
        return replace(self, layers=tuple(layers))

    def indexed(self, layer: str) -> frozenset[PackageId]:
        """Return the packages that a consumer's lock may name without a network: cargo finds them in the index.

        They are those of the recipes' locks, and of the repositories' whole locks, of a layer and of those under it.
        """
        chain = self.chain(layer)
        recipes = [recipe for name in chain for recipe in self.recipes_of(name)]
        locked = {entry.package for recipe in recipes for entry in parse_lock(recipe.lock).packages}
        return frozenset(locked.union(*(planned.index for planned in self.layers if planned.name in chain)))

    def locked_list(self, layers: Iterable[str]) -> str:
        """Return a line `name version` for each package that is `indexed` in one of the layers."""
        found = {(package.name, package.version) for layer in layers for package in self.indexed(layer)}
        return "".join(f"{name} {version}\n" for name, version in sorted(found))

    def to_ask(self, layer: str) -> tuple[PackageId, ...]:
        """Return the packages of a layer's `index` that the images under it do not know yet."""
        (planned,) = (planned for planned in self.layers if planned.name == layer)
        known = frozenset() if planned.parent is None else self.indexed(planned.parent)
        return tuple(package for package in planned.index if package not in known)

    @property
    def crates(self) -> frozenset[str]:
        """The names of all crates that have a unit in the plan."""
        return frozenset(unit.identity.package.name for unit in self.units.values())

    @property
    def digest(self) -> str:
        """A digest of what is cooked and where: not of forecast and costs, which move with every measurement."""
        document = plan_to_json(self)
        layers = [[layer["name"], layer["parent"], layer["keys"], layer["index"]] for layer in document["layers"]]
        return digest([document["contract"], layers, document["recipes"]])

    def layer_digest(self, layer: str) -> str:
        """A digest of what the image of a layer holds: equal as long as nothing of it or of its parents moves.

        A layer that adds nothing has that of the one whose image it is.
        """
        by_name = {planned.name: planned for planned in self.layers}
        names = [name for name in self.chain(layer) if by_name[name].adds]
        layers = [
            [name, sorted(by_name[name].keys), sorted(by_name[name].packages), _by_source(by_name[name].index)]
            for name in names
        ]
        recipes = [_recipe_to_json(recipe) for name in names for recipe in self.recipes_of(name)]
        return digest([_contract_to_json(self.contract), layers, recipes])


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON values; the order of everything depends on the content alone."""
    profiles = number_profiles(planned.unit for planned in plan.units.values())
    return {
        "schema": SCHEMA,
        "contract": _contract_to_json(plan.contract),
        "layers": [
            {
                "name": layer.name,
                "parent": layer.parent,
                "budget_bytes": layer.budget_bytes,
                "estimated_bytes": layer.estimated_bytes,
                "keys": sorted(layer.keys),
                "packages": sorted(layer.packages),
                "index": _by_source(layer.index),
            }
            for layer in plan.layers
        ],
        "profiles": [asdict(profile) for profile in profiles],
        "units": {key: _planned_to_json(planned, profiles) for key, planned in plan.units.items()},
        "recipes": [_recipe_to_json(recipe) for recipe in plan.recipes],
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
    contract = document["contract"]
    profiles = cargo_profiles_from_json(document["profiles"])
    packages: dict[tuple[str, str, str], PackageId] = {}
    units = [(UnitKey(key), raw) for key, raw in document["units"].items()]
    return Plan(
        contract=Contract(
            cargo_home=contract["cargo_home"],
            build_dir=contract["build_dir"],
            layout=Layout(contract["layout"]),
            toolchain=ToolchainFacts(**contract["toolchain"]),
            variants=tuple(contract["variants"]),
            rustflags=tuple(contract["rustflags"]),
        ),
        layers=tuple(
            PlannedLayer(
                **raw
                | {
                    "keys": tuple(UnitKey(key) for key in raw["keys"]),
                    "packages": tuple(raw["packages"]),
                    "index": _from_sources(raw["index"]),
                }
            )
            for raw in document["layers"]
        ),
        units={key: _planned(key, raw, profiles, packages) for key, raw in units},
        recipes=tuple(_recipe(raw) for raw in document["recipes"]),
        excluded=tuple(Exclusion(**raw) for raw in document["excluded"]),
        forecast=tuple(_forecast(raw) for raw in document["forecast"]),
        quality=Quality(**document["selection"]),
        baseline=None if document["baseline"] is None else baseline_from_json(document["baseline"]),
        agreement=None if document["agreement"] is None else agreement_from_json(document["agreement"]),
    )


def _by_source(packages: Iterable[PackageId]) -> dict[str, list[str]]:
    """Return `name version` of each package, by source."""
    found: dict[str, list[str]] = {}
    for package in sorted(packages, key=lambda package: (package.source, package)):
        found.setdefault(package.source, []).append(f"{package.name} {package.version}")
    return found


def _from_sources(raw: Mapping[str, Sequence[str]]) -> tuple[PackageId, ...]:
    pairs = [(source, *label.split(" ", 1)) for source, labels in raw.items() for label in labels]
    return tuple(sorted(PackageId(name, version, source) for source, name, version in pairs))


def _contract_to_json(contract: Contract) -> dict[str, Any]:
    toolchain = contract.toolchain
    return {
        "cargo_home": contract.cargo_home,
        "build_dir": contract.build_dir,
        "layout": contract.layout.value,
        "toolchain": {
            "version": toolchain.version,
            "host": toolchain.host,
            "rustc_verbose": toolchain.rustc_verbose,
        },
        "variants": list(contract.variants),
        "rustflags": list(contract.rustflags),
    }


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


def _recipe_to_json(recipe: Recipe) -> dict[str, Any]:
    context = recipe.context
    return {
        "name": recipe.name,
        "layer": recipe.layer,
        "command": context.command,
        "profile": profile_table_to_json(context.profile),
        "platform": context.platform,
        "rustflags": list(context.rustflags),
        "packages": [
            {
                "package": [entry.package.name, entry.package.version, entry.package.source],
                "side": entry.side.value,
                "features": list(entry.features),
                "needs_objects": entry.needs_objects,
                "checked": entry.checked,
            }
            for entry in recipe.packages
        ],
        "lock": recipe.lock.splitlines(),
        "keys": sorted(recipe.keys),
    }


def _recipe(raw: Mapping[str, Any]) -> Recipe:
    return Recipe(
        name=raw["name"],
        layer=raw["layer"],
        context=RecipeContext(
            command=raw["command"],
            profile=profile_table_from_json(raw["profile"]),
            platform=raw["platform"],
            rustflags=tuple(raw["rustflags"]),
        ),
        packages=tuple(
            RecipePackage(
                package=PackageId(*entry["package"]),
                side=Side(entry["side"]),
                features=tuple(entry["features"]),
                needs_objects=entry["needs_objects"],
                checked=entry["checked"],
            )
            for entry in raw["packages"]
        ),
        lock="".join(f"{line}\n" for line in raw["lock"]),
        keys=tuple(UnitKey(key) for key in raw["keys"]),
    )
