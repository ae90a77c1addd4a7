"""What `factory check` finds: the forecast of every image, and the misses by root cause."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.consumer.check.causes import Root
    from factory.consumer.check.places import Place
    from factory.consumer.check.settings import Setting
    from factory.model import Side, Unit, UnitKey

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of registry units, and the seconds that compiling them takes, one by one."""

    units: int = 0
    seconds: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        """Return both together."""
        return Amount(self.units + other.units, self.seconds + other.seconds)

    def share_of(self, total: Amount, *, by: str) -> float:
        """Return the share of `total`, 0 to 1, by `units` or `seconds`; of nothing, all is there."""
        part, whole = (self.units, total.units) if by == "units" else (self.seconds, total.seconds)
        return part / whole if whole else 1.0

    def percent_of(self, total: Amount, *, by: str) -> str:
        """Return the share as people read it, rounded down: 99.9 % must not read as all."""
        return f"{int(self.share_of(total, by=by) * 100 + 1e-9)} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """One root cause with all that misses because of it.

    `lost` are its seconds: a unit with several root causes counts for each of them in equal parts, so that the seconds
    of all causes add up to those of all missing units. `units` counts every unit that has this cause, and `alone` are
    those that come back when this cause alone is mended: those that have no other, and of a cargo profile what the
    forecast finds warm under the one of the remedy.
    """

    root: Root
    settings: tuple[Setting, ...]
    repo: str
    workspaces: tuple[str, ...]
    """The workspaces that have it, sorted: one of a variant of a workspace, one or more of a report."""
    sides: tuple[Side, ...]
    """Of the crate that has the cause, where it is one: what is compiled for the program, or for the host."""
    place: Place
    remedy: str
    units: int
    lost: float
    alone: Amount
    crates: tuple[str, ...]
    """The crates that have the cause themselves (`name@version`), the most expensive first."""
    dependents: tuple[str, ...]
    """The crates that miss only because they stand on it, the most expensive first."""

    @property
    def identity(self) -> tuple[object, ...]:
        """What two misses have in common that one edit of one line mends."""
        return (self.repo, self.root, self.place, self.settings, self.remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedUnit:
    """A registry unit that cargo will compile; `causes` are indices into the misses of its variant."""

    unit: Unit
    seconds: float
    bytes: int
    causes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantCheck:
    """The forecast of one variant of one workspace. `misses` and `missed` are those of the image `image`."""

    variant: str
    image: str
    total: Amount
    images: Mapping[str, Amount]
    wall_cold: float
    """Predicted wall seconds of the registry units where nothing is warm: see `factory.planning.wall`."""
    wall_warm: Mapping[str, float]
    """The same on each image."""
    hits: tuple[UnitKey, ...]
    misses: tuple[Miss, ...]
    missed: tuple[MissedUnit, ...]

    @property
    def hit(self) -> Amount:
        """What is warm in the image."""
        return self.images[self.image]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceCheck:
    """One workspace: its variants, or why there are none; `remarks` tell what the forecast does not cover."""

    path: str
    repo: str
    skipped: str
    remarks: tuple[str, ...]
    variants: Mapping[str, VariantCheck]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The forecast of a repository on what is warm, with the variant and the image that the totals are of."""

    warm: str
    plan: str
    rustc: str
    variant: str
    image: str
    images: tuple[str, ...]
    jobs: int
    """Parallel jobs of the machine that the wall seconds are of."""
    workspaces: tuple[WorkspaceCheck, ...]

    @property
    def chosen(self) -> tuple[VariantCheck, ...]:
        """The forecasts of the variant that the totals are of."""
        return tuple(w.variants[self.variant] for w in self.workspaces if self.variant in w.variants)

    @property
    def total(self) -> Amount:
        """All registry units of the variant."""
        return _sum(check.total for check in self.chosen)

    @property
    def hit(self) -> Amount:
        """Those that are warm in the image."""
        return self.on(self.image)

    def on(self, image: str) -> Amount:
        """Return what is warm in one of the images."""
        return _sum(check.images[image] for check in self.chosen)

    @property
    def wall_cold(self) -> float:
        """Predicted wall seconds without anything warm, one workspace after the other."""
        return sum((check.wall_cold for check in self.chosen), 0.0)

    def wall_on(self, image: str) -> float:
        """Return the predicted wall seconds on one of the images."""
        return sum((check.wall_warm[image] for check in self.chosen), 0.0)

    @property
    def misses(self) -> tuple[Miss, ...]:
        """The misses of the variant, those of all workspaces that one line makes as one, the most seconds first."""
        same: dict[tuple[object, ...], list[Miss]] = defaultdict(list)
        for miss in sorted((miss for check in self.chosen for miss in check.misses), key=most_lost_first):
            same[miss.identity].append(miss)
        return tuple(sorted(map(_together, same.values()), key=most_lost_first))

    @property
    def skipped(self) -> tuple[WorkspaceCheck, ...]:
        """The workspaces without a forecast of the variant."""
        return tuple(w for w in self.workspaces if self.variant not in w.variants)


def most_lost_first(miss: Miss) -> tuple[float, int, Root, tuple[str, ...]]:
    """Sort misses by their seconds; equal ones by units and name."""
    return (-round(miss.lost, 3), -miss.units, miss.root, miss.workspaces)


def _together(misses: Sequence[Miss]) -> Miss:
    """Return what one line makes miss in several workspaces as one, the most expensive of them first."""
    crates = tuple(dict.fromkeys(label for miss in misses for label in miss.crates))
    above = dict.fromkeys(label for miss in misses for label in miss.dependents)
    return replace(
        misses[0],
        workspaces=tuple(sorted(path for miss in misses for path in miss.workspaces)),
        sides=tuple(sorted({side for miss in misses for side in miss.sides})),
        units=sum(miss.units for miss in misses),
        lost=sum(miss.lost for miss in misses),
        alone=_sum(miss.alone for miss in misses),
        crates=crates,
        dependents=tuple(label for label in above if label not in crates),
    )


def check_to_json(report: CheckReport) -> dict[str, Any]:
    """Return the report as JSON values; the totals at the top are of the report's variant and image."""
    return {
        "schema": SCHEMA,
        "warm": report.warm,
        "plan": report.plan,
        "rustc": report.rustc,
        "variant": report.variant,
        "image": report.image,
        **_amounts(report.total, report.hit),
        "wall": _wall(report.jobs, report.wall_cold, report.wall_on(report.image)),
        "images": [
            {
                "image": name,
                **_amounts(report.total, report.on(name)),
                "wall": _wall(report.jobs, report.wall_cold, report.wall_on(name)),
            }
            for name in report.images
        ],
        "misses": [_miss_to_json(miss) for miss in report.misses],
        "workspaces": [
            {
                "path": workspace.path,
                "repo": workspace.repo,
                "skipped": workspace.skipped,
                "remarks": list(workspace.remarks),
                "variants": {name: _variant_to_json(check) for name, check in workspace.variants.items()},
            }
            for workspace in report.workspaces
        ],
    }


def _variant_to_json(check: VariantCheck) -> dict[str, Any]:
    return {
        "image": check.image,
        **_amounts(check.total, check.hit),
        "images": {name: _amounts(check.total, amount) for name, amount in check.images.items()},
        "misses": [_miss_to_json(miss) for miss in check.misses],
        "missed": [
            {
                "key": row.unit.key,
                "unit": row.unit.label,
                "crate": row.unit.package.name,
                "version": row.unit.package.version,
                "features": list(row.unit.features),
                "seconds": _seconds(row.seconds),
                "causes": list(row.causes),
            }
            for row in check.missed
        ],
    }


def _miss_to_json(miss: Miss) -> dict[str, Any]:
    root = miss.root
    return {
        "cause": root.cause.value,
        "subject": root.subject,
        "crate": root.name,
        "version": root.version,
        "warm": root.warm,
        "yours": root.yours,
        "sides": [side.value for side in miss.sides],
        "features": {"missing": list(root.missing), "extra": list(root.extra)},
        "settings": [setting._asdict() for setting in miss.settings],
        "detail": root.detail,
        "workspace": miss.workspaces[0],
        "workspaces": list(miss.workspaces),
        "file": miss.place.file,
        "line": miss.place.line,
        "remedy": miss.remedy,
        "units": {"lost": miss.units, "alone": miss.alone.units},
        "seconds": {"lost": _seconds(miss.lost), "alone": _seconds(miss.alone.seconds)},
        "crates": list(miss.crates),
        "dependents": list(miss.dependents),
    }


def _wall(jobs: int, cold: float, warm: float) -> dict[str, Any]:
    return {"jobs": jobs, "cold": _seconds(cold), "warm": _seconds(warm)}


def _amounts(total: Amount, hit: Amount) -> dict[str, Any]:
    return {
        "units": {"total": total.units, "hit": hit.units},
        "seconds": {"total": _seconds(total.seconds), "hit": _seconds(hit.seconds)},
    }


def _seconds(value: float) -> float:
    """Milliseconds are more than a forecast is worth."""
    return round(value, 3)


def _sum(amounts: Iterable[Amount]) -> Amount:
    total = Amount()
    for amount in amounts:
        total += amount
    return total
