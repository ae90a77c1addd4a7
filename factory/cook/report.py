"""What came out of cooking a layer: the units that are there, and those that could not be cooked, with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from factory.cargo.events import BuildEvents, Failure, keys_done
from factory.cook.facts import facts_to_json
from factory.cook.sizes import Weight
from factory.cook.warm_list import cargo_profiles
from factory.errors import BuildFailedError
from factory.files import DISK_FULL
from factory.planning.system_packages import missing_packages, read_table
from factory.process import MEMORY_ADVICE, OUT_OF_MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from factory.costs.observe import Observation
    from factory.model import UnitKey
    from factory.planning.plan import Plan
    from factory.planning.recipe import Recipe

SCHEMA = 1

_KILLED = (-9, 137)
"""How cargo ends that was killed itself: as a child of factory, and of a shell."""

ROOM_ADVICE = "Make room on the disk that is written to, and run the command again."


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Dropped:
    """A planned unit that is not there: it failed to compile, or stands on one that did."""

    key: UnitKey
    label: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """One layer, cooked: the keys of its own units that are there, what was dropped, and how long it took.

    `images` are the full names of its image, none for a local directory and for a layer that is over budget.
    `observed` is what its units took and weigh, where that was measured: those that were compiled in this cook.
    """

    layer: str
    cooked: tuple[UnitKey, ...]
    dropped: tuple[Dropped, ...]
    seconds: float
    images: tuple[str, ...] = ()
    observed: Mapping[UnitKey, Observation] = field(default_factory=dict)
    saved_seconds: float = 0.0
    """What the cooked units cost whoever compiles them, in core seconds by the plan."""
    weight: Weight = field(default_factory=lambda: Weight(bytes=0, crates=()))
    """What the cook added, unpacked."""
    budget_bytes: int | None = None
    """What the layer may weigh; `None` where only the budget of all layers counts."""
    over_budget: str = ""
    """What is wrong where a budget is broken: such a layer is the last one, and nothing was tagged."""
    pulled_bytes: int | None = None
    """What a pull of the layer transfers; `None` where the engine does not keep compressed layers, and locally."""

    @property
    def saved_per_megabyte(self) -> float | None:
        """Seconds saved per MB (10^6 bytes) pulled; `None` where it is not known what a pull transfers."""
        return self.saved_seconds / (self.pulled_bytes / 1e6) if self.pulled_bytes else None


def require_cooked(label: str, events: BuildEvents, *, exit_code: int, log: str) -> None:
    """Raise `BuildFailedError` where cargo failed and no crate is to blame: nothing tells what to drop, or all of it.

    `log` is what cargo wrote to stderr, `label` the words for the recipe.
    """
    if exit_code == 0:
        return
    if DISK_FULL.search(log):
        raise BuildFailedError(f"{label}: no space left on device\n{log.strip()[-1500:]}", advice=ROOM_ADVICE)
    if OUT_OF_MEMORY.search(log) or exit_code in _KILLED:
        said = "\n".join(failure.detail for failure in events.failures) or log.strip()[-1500:]
        raise BuildFailedError(
            f"{label}: out of memory: a program was killed, or got none\n{said}".rstrip(), advice=MEMORY_ADVICE
        )
    if events.failures:
        return
    raise BuildFailedError(
        f"{label}: cargo exited with {exit_code} before compiling anything:\n{log.strip()[-1500:]}".rstrip(),
        advice="Run `factory plan` again: the recipe and this toolchain do not fit together.",
    )


def report_layer(
    plan: Plan,
    layer: str,
    events: Iterable[tuple[Recipe, BuildEvents]],
    *,
    seconds: float,
    images: tuple[str, ...] = (),
    suite: str | None = None,
) -> LayerReport:
    """Compare what the recipes of a layer were to make with what cargo says it made.

    `suite` is the Debian suite of the image, `None` for a cook on this machine.
    """
    wanted = {key for planned in plan.layers if planned.name == layer for key in planned.keys}
    done: set[UnitKey] = set()
    failures: list[Failure] = []
    for recipe, said in events:
        identities = {key: plan.units[key].identity for key in recipe.keys if key in plan.units}
        done |= keys_done(identities, said.done)
        failures += said.failures
    return LayerReport(
        layer=layer,
        cooked=tuple(sorted(wanted & done)),
        saved_seconds=round(sum(plan.units[key].cost.seconds for key in sorted(wanted & done)), 1),
        dropped=tuple(sorted(_dropped(plan, layer, key, failures, suite) for key in wanted - done)),
        seconds=round(seconds, 1),
        images=images,
    )


def contents(plan: Plan, report: LayerReport) -> dict[str, Any]:
    """Return `contents.json`: every unit of the layer's own, and what was dropped."""
    variants = cargo_profiles(plan)
    return {
        "schema": SCHEMA,
        "layer": report.layer,
        "bytes": report.weight.bytes,
        "budget_bytes": report.budget_bytes,
        "units": [_content(plan, key, variants.get(key, ())) for key in report.cooked],
        "dropped": [{"key": row.key, "unit": row.label, "reason": row.reason} for row in report.dropped],
        "parent": next(planned.parent for planned in plan.layers if planned.name == report.layer),
        "facts": facts_to_json(plan, report.cooked),
    }


def contract(plan: Plan, layer: str) -> dict[str, Any]:
    """Return `contract.json`: the surroundings in which the units of an image stay fresh."""
    toolchain = plan.contract.toolchain
    return {
        "schema": SCHEMA,
        "layer": layer,
        "cargo_home": plan.contract.cargo_home,
        "build_dir": plan.contract.build_dir,
        "layout": plan.contract.layout.value,
        "rustc": toolchain.rustc_verbose.splitlines(),
        "variants": list(plan.contract.variants),
        "rustflags": list(plan.contract.rustflags),
        "plan": plan.layer_digest(layer),
    }


def _content(plan: Plan, key: UnitKey, cargo_profiles: tuple[str, ...]) -> Mapping[str, Any]:
    unit = plan.units[key]
    package = unit.identity.package
    return {
        "key": key,
        "unit": unit.identity.label,
        "crate": package.name,
        "version": package.version,
        "source": package.source,
        "features": list(unit.features),
        "side": unit.side,
        "cargo_profiles": list(cargo_profiles),
        "why": unit.why,
        "repos": len(unit.repos),
        # As the plan knew them: those of this cook would make every image another one.
        "seconds": unit.cost.seconds,
        "bytes": unit.cost.bytes,
        "measured": unit.cost.measured,
    }


def _dropped(plan: Plan, layer: str, key: UnitKey, failures: list[Failure], suite: str | None) -> Dropped:
    unit = plan.units[key]
    package = unit.identity.package
    own = [said for said in failures if said.package_name == package.name and said.version in (None, package.version)]
    names = sorted({said.package_name for said in failures})
    if own:
        reason = own[0].detail + _advice(own[0], layer, suite)
    elif names:
        reason = f"stands on what could not be compiled: {', '.join(names)}"
    else:
        reason = "cargo did not report it"
    return Dropped(key=key, label=unit.identity.label, reason=reason)


def _advice(failure: Failure, layer: str, suite: str | None) -> str:
    """Name the Debian packages that a failed crate asks for, where its words tell."""
    packages = missing_packages(failure.package_name, failure.detail, suite=suite or "bookworm", table=read_table())
    if not packages:
        return ""
    if suite is None:
        return f"\nmissing on this machine; on Debian: apt-get install {' '.join(packages)}"
    names = ", ".join(f'"{package}"' for package in packages)
    return (
        f"\nmissing in the image: Debian's {', '.join(packages)}; write packages = [{names}] in profiles/{layer}.toml"
    )


def report_to_json(reports: Iterable[LayerReport]) -> dict[str, Any]:
    """Return the reports of a build as JSON values."""
    return {
        "schema": SCHEMA,
        "layers": [
            {
                "layer": report.layer,
                "cooked": list(report.cooked),
                "dropped": [{"key": row.key, "unit": row.label, "reason": row.reason} for row in report.dropped],
                "seconds": report.seconds,
                "images": list(report.images),
                "measured": {
                    "units": len(report.observed),
                    "core_seconds": round(sum(seen.seconds for seen in report.observed.values()), 1),
                    "bytes": sum(seen.bytes for seen in report.observed.values()),
                },
                "saved_seconds": report.saved_seconds,
                "bytes": {
                    "unpacked": report.weight.bytes,
                    "pulled": report.pulled_bytes,
                    "budget": report.budget_bytes,
                    "heaviest": [{"crate": share.crate, "bytes": share.bytes} for share in report.weight.crates],
                },
                "over_budget": report.over_budget,
            }
            for report in reports
        ],
    }
