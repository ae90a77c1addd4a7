"""What every workspace will find fresh on every image: units, their compile seconds, and predicted wall seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.analysis.uses import forecast_doubts
from factory.planning.plan import Forecast
from factory.planning.wall import BuildModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from factory.analysis.model import Analysis, VariantUse, Workspace
    from factory.config.layers import LayerTree
    from factory.costs.model import UnitCost
    from factory.model import UnitKey


def forecast(
    analysis: Analysis,
    layer_of: Mapping[UnitKey, str],
    *,
    costs: Mapping[UnitKey, UnitCost],
    tree: LayerTree,
    jobs: int,
) -> tuple[Forecast, ...]:
    """Return a row for each variant of each workspace; `layer_of` has the planned units, and no others.

    The wall seconds are those of a machine that runs `jobs` jobs at once.
    """
    return tuple(
        _row(analysis, workspace, variant, use, layer_of, costs=costs, tree=tree, jobs=jobs)
        for workspace in sorted(analysis.resolved, key=lambda workspace: workspace.path)
        for variant, use in sorted(workspace.variants.items())
    )


def _row(
    analysis: Analysis,
    workspace: Workspace,
    variant: str,
    use: VariantUse,
    layer_of: Mapping[UnitKey, str],
    *,
    costs: Mapping[UnitKey, UnitCost],
    tree: LayerTree,
    jobs: int,
) -> Forecast:
    model = BuildModel(use.keys, units=analysis.units, costs=costs)
    warm = {
        profile.name: {key for key in use.keys if layer_of.get(key) in tree.path_to_root(profile.name)}
        for profile in tree.layers
    }
    return Forecast(
        path=workspace.path,
        repo=workspace.repo,
        variant=variant,
        total=len(use.keys),
        hits={layer: len(keys) for layer, keys in warm.items()},
        seconds_total=_sum(use.keys, costs),
        seconds_hit={layer: _sum(keys, costs) for layer, keys in warm.items()},
        jobs=jobs,
        wall_cold=round(model.wall_seconds(jobs), 3),
        wall_warm={layer: round(model.wall_seconds(jobs, warm=keys), 3) for layer, keys in warm.items()},
        remark=forecast_doubts(workspace, analysis.toolchain.version),
        aligned=workspace.aligned,
    )


def _sum(keys: Iterable[UnitKey], costs: Mapping[UnitKey, UnitCost]) -> float:
    # Sorted: a sum of floats depends on the order.
    return round(sum(costs[key].seconds for key in sorted(keys)), 3)
