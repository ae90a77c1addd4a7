"""The plan: which units each layer holds, the recipes that make them, and what every repository will find fresh."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from factory.cargo.events import Identity, identity
from factory.files import digest
from factory.planning.contract import contract_to_json
from factory.planning.recipe import recipe_to_json
from factory.unit_json import packages_by_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from factory.costs.model import UnitCost
    from factory.model import PackageId, Unit, UnitKey
    from factory.planning.agreement import Agreement
    from factory.planning.baseline import Baseline
    from factory.planning.contract import Contract
    from factory.planning.recipe import Recipe
    from factory.planning.selection import Quality


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
    workspace from all of it, such as a toolchain pin; mostly it is empty. `aligned` says what it has of the baseline
    (`versions, features`), and is empty for a workspace as it is.
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
    aligned: str = ""


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
        locked = {entry.package for recipe in recipes for entry in recipe.parsed_lock.packages}
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
        layers = [
            [layer.name, layer.parent, sorted(layer.keys), packages_by_source(layer.index)] for layer in self.layers
        ]
        return digest([contract_to_json(self.contract), layers, [recipe_to_json(recipe) for recipe in self.recipes]])

    def layer_digest(self, layer: str) -> str:
        """A digest of what the image of a layer holds: equal as long as nothing of it or of its parents moves.

        A layer that adds nothing has that of the one whose image it is.
        """
        by_name = {planned.name: planned for planned in self.layers}
        names = [name for name in self.chain(layer) if by_name[name].adds]
        layers = [
            [name, sorted(by_name[name].keys), sorted(by_name[name].packages), packages_by_source(by_name[name].index)]
            for name in names
        ]
        recipes = [recipe_to_json(recipe) for name in names for recipe in self.recipes_of(name)]
        return digest([contract_to_json(self.contract), layers, recipes])
