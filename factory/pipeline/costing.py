"""What units cost: asked before a plan, kept after a cook."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from factory.cargo.home import user_cargo_home
from factory.costs.estimate import costs_of, fit, how_sure
from factory.costs.record import records_of
from factory.costs.shipped import shipped_records
from factory.costs.sources import Sources
from factory.costs.store import open_store, store_url
from factory.errors import FactoryError
from factory.files import cache_directory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from factory.analysis.model import Analysis, ToolchainFacts
    from factory.cook.report import LayerReport
    from factory.costs.estimate import Estimator
    from factory.costs.model import UnitCost
    from factory.model import UnitKey
    from factory.pipeline.run import Run
    from factory.planning.plan import Plan


def costs_of_analysis(run: Run, analysis: Analysis) -> Mapping[UnitKey, UnitCost]:
    """Return what every unit costs, by what was measured so far, and say how sure that is."""
    with open_store(store_url(run.settings.costs.url)) as store:
        records = store.records()
    rustc, platform = _compiler(analysis.toolchain)
    measured = {r.key: r.cost for r in records if (r.rustc, r.platform) == (rustc, platform)}
    estimator = fit([*shipped_records(), *records])
    unseen = {
        unit.package
        for key, unit in analysis.units.items()
        if key not in measured and unit.is_registry and unit.package not in analysis.sizes
    }
    if unseen:
        run.output.warn(
            f"the sources of {len(unseen)} crates were not among cargo's downloads when they were analysed, so seconds "
            "and bytes are estimated without their size"
        )
    costs = costs_of(analysis.units, measured, estimator, analysis.sizes.get)
    run.output.say(how_sure(costs, estimator))
    return costs


def with_sizes(analysis: Analysis) -> Analysis:
    """Return an analysis that says how large its crates' sources are, as far as they were downloaded here."""
    sources, packages = crate_sources([]), sorted(analysis.packages)
    sources.weigh(packages)
    sources.remember()
    sizes = {package: sources(package) for package in packages}
    return replace(analysis, sizes={package: found for package, found in sizes.items() if found is not None})


def weighed_costs(
    analysis: Analysis, known: Mapping[UnitKey, UnitCost], estimator: Estimator, sources: Sources
) -> dict[UnitKey, UnitCost]:
    """Return what every unit costs: as `known`, or estimated by its sources, which are weighed and remembered.

    For analyses that are not kept: of those that are, `with_sizes` weighs all, once.
    """
    sources.weigh(unit.package for key, unit in analysis.units.items() if key not in known)
    costs = costs_of(analysis.units, known, estimator, sources)
    sources.remember()
    return costs


def require_store(run: Run) -> None:
    """Raise the store's own error before a cook that could not be recorded."""
    if run.settings.costs.record:
        with open_store(store_url(run.settings.costs.url)):
            pass


def record(run: Run, plan: Plan, reports: Sequence[LayerReport], *, homes: Sequence[Path]) -> None:
    """Keep what a cook measured; a store that is gone by now must not make a good build a failed one."""
    observed = {key: seen for report in reports for key, seen in report.observed.items()}
    if not observed:
        return
    url = store_url(run.settings.costs.url)
    sources = crate_sources(homes)
    rustc, platform = _compiler(plan.contract.toolchain)
    units = {key: planned.unit for key, planned in plan.units.items()}
    records = records_of(observed, units, rustc=rustc, platform=platform, sources=sources)
    try:
        with open_store(url) as store:
            store.add(records)
        sources.remember()
    except FactoryError as error:
        run.output.warn(f"not all that this cook measured is kept: {error}")
        return
    seconds = sum(seen.seconds for seen in observed.values())
    run.output.say(f"measured {len(observed)} units, {seconds:.0f} core seconds: kept in {url.text}")


def crate_sources(homes: Sequence[Path]) -> Sources:
    """Return what knows how large crates' sources are: those in CARGO_HOMEs, and those that were weighed before.

    The user's own is one of them: whatever resolves downloads into it.
    """
    return Sources([*homes, user_cargo_home()], cache_directory() / "crate-sizes.json")


def _compiler(toolchain: ToolchainFacts) -> tuple[str, str]:
    """Return what measurements are kept by beside the key: the compiler, and where it runs."""
    return toolchain.rustc_verbose.partition("\n")[0], toolchain.host
