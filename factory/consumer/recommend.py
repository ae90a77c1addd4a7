"""Which image a repository should build on: by the seconds that it saves against what has to be pulled for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.consumer.check.model import Amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.consumer.check.model import CheckReport, VariantCheck
    from factory.consumer.check.warm import Warm

SCHEMA = 1

EVERY_VARIANT = "each once"
"""The variant of a recommendation for a machine that pulls an image once and builds every variant on it."""

COMPRESSED: Mapping[str, float] = {"gzip": 0.37, "zstd": 0.22}
"""What is left of cooked units in a compressed layer: 97.4 and 57.7 MB of 261.6 (docs/measurements.md)."""

UNPACKED_PER_SECOND = 250_000_000
"""Bytes that an engine unpacks in a second: 485 to 763 MB took one to five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One image for one repository: what is warm, the wall seconds saved, and what its units weigh.

    `pulled` are compressed bytes, of the cooked units alone: the toolchain under them is pulled with every image.
    """

    image: str
    hit: Amount
    saved: float
    pulled: int
    pull_seconds: float

    @property
    def gain(self) -> float:
        """Seconds that a build on a machine without the image is faster by; negative where pulling takes longer."""
        return self.saved - self.pull_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The offers for one repository and variant, parents before children; `best` is `None` where none gains.

    `platform` is the target triple of the compiler in the images.
    """

    repo: str
    variant: str
    platform: str
    total: Amount
    offers: tuple[Offer, ...]
    problem: str = ""

    @property
    def best(self) -> Offer | None:
        """The offer that gains most; of equal ones, the one that is pulled faster."""
        gaining = [offer for offer in self.offers if offer.gain > 0]
        return max(gaining, key=lambda offer: (offer.gain, -offer.pulled), default=None)


def recommend(report: CheckReport, warm: Warm, *, bandwidth: int, compression: str) -> tuple[Recommendation, ...]:
    """Return a recommendation for every variant that compiles anything.

    `bandwidth` is in bytes a second, `compression` that of the layers: `gzip` or `zstd`.
    Where there are several, one for all of them together comes last: what is pulled is pulled once.
    """
    variants = [(variant,) for variant in sorted(warm.variants) if _forecasts(report, (variant,))]
    if not variants:
        return (without_offers(report.workspaces[0].repo, warm, "compiles nothing that comes from a registry"),)
    together = [tuple(sorted(variant for (variant,) in variants))] if len(variants) > 1 else []
    return tuple(
        _recommend(report, warm, names, bandwidth, COMPRESSED[compression]) for names in (*variants, *together)
    )


def without_offers(repo: str, warm: Warm, problem: str) -> Recommendation:
    """Return the row of a repository that no image can be weighed for."""
    platform = warm.toolchain.host
    return Recommendation(repo=repo, variant="", platform=platform, total=Amount(), offers=(), problem=problem)


def recommendations_to_json(found: Iterable[Recommendation]) -> dict[str, Any]:
    """Return recommendations as JSON values."""
    return {"schema": SCHEMA, "repos": [_to_json(recommendation) for recommendation in found]}


def _forecasts(report: CheckReport, variants: Sequence[str]) -> list[VariantCheck]:
    found = [workspace.variants.get(name) for workspace in report.workspaces for name in variants]
    return [forecast for forecast in found if forecast is not None and forecast.total.units]


def _recommend(
    report: CheckReport, warm: Warm, variants: tuple[str, ...], bandwidth: int, compressed: float
) -> Recommendation:
    forecasts = _forecasts(report, variants)
    weights = _weights(warm)
    offers = []
    for image in report.images:
        unpacked = sum(weights.get(layer, 0) for layer in warm.held_by(image))
        pulled = round(unpacked * compressed)
        offers.append(
            Offer(
                image=image,
                hit=sum((forecast.images[image] for forecast in forecasts), Amount()),
                saved=sum(forecast.wall_cold - forecast.wall_warm[image] for forecast in forecasts),
                pulled=pulled,
                pull_seconds=pulled / bandwidth + unpacked / UNPACKED_PER_SECOND,
            )
        )
    total = sum((forecast.total for forecast in forecasts), Amount())
    return Recommendation(
        repo=report.workspaces[0].repo,
        variant=variants[0] if len(variants) == 1 else EVERY_VARIANT,
        platform=warm.toolchain.host,
        total=total,
        offers=tuple(offers),
    )


def _weights(warm: Warm) -> Mapping[str, int]:
    weights: dict[str, int] = {}
    for unit in warm.units.values():
        weights[unit.layer] = weights.get(unit.layer, 0) + unit.cost.bytes
    return weights


def _to_json(found: Recommendation) -> dict[str, Any]:
    return {
        "repo": found.repo,
        "variant": found.variant,
        "platform": found.platform,
        "problem": found.problem,
        "best": None if found.best is None else found.best.image,
        "units": {"total": found.total.units},
        "seconds": {"total": found.total.seconds},
        "offers": [
            {
                "image": offer.image,
                "units": {"hit": offer.hit.units},
                "seconds": {"hit": offer.hit.seconds, "saved": offer.saved, "pull": offer.pull_seconds},
                "pulled_bytes": offer.pulled,
            }
            for offer in found.offers
        ],
    }
