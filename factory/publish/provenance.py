"""From what an image was made, as a predicate of SLSA provenance 1.0: https://slsa.dev/spec/v1.0/provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from factory import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.config.model import Settings
    from factory.planning.plan import Plan

BUILD_TYPE = "urn:rust-warm-factory:layer:v1"


def provenance(
    layer: str, plans: Mapping[str, Plan], settings: Settings, *, bases: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return the predicate for a layer: its plans by platform, and the base images with their digests ("" unknown).

    It has no time in it: the same input gives the same bytes.
    """
    materials = [
        {"name": f"plan {platform}", "digest": {"sha256": plan.digest}} for platform, plan in sorted(plans.items())
    ]
    materials += [
        {"uri": f"docker-image://{name}"} | ({"digest": _digests(digest)} if digest else {}) for name, digest in bases
    ]
    source = {"uri": settings.image.source, "revision": settings.image.revision}
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "layer": layer,
                "platforms": sorted(plans),
                "source": {name: value for name, value in source.items() if value},
                "toolchain": settings.toolchain,
                "variants": sorted({variant for plan in plans.values() for variant in plan.contract.variants}),
            },
            "internalParameters": {},
            "resolvedDependencies": materials,
        },
        "runDetails": {"builder": {"id": f"urn:rust-warm-factory:factory:{__version__}"}},
    }


def _digests(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}
