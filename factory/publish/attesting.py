"""Who vouches for an index, and for what: the crates in it, and what it was made from."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from factory.files import cache_directory, write_text
from factory.platforms import Platform
from factory.publish.provenance import provenance
from factory.publish.sbom import bill_of_materials, cooked_crates
from factory.publish.signing import PROVENANCE, SBOM, Cosign, Identity, public_key
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from factory.config.model import Settings
    from factory.engine import Engine
    from factory.planning.plan import Plan
    from factory.publish.model import LayerPush

ANYBODY = Identity(identity=".*", issuer=".*")
"""Whoever signed without a key: enough to see that somebody has, as only our own push asks it."""


class Attestor:
    """Signs indexes, with the bill of materials and the provenance of their layers attached; a `push.Signer`."""

    def __init__(
        self,
        cosign: Cosign,
        settings: Settings,
        plans: Mapping[str, Plan],
        *,
        bases: Sequence[str],
        who: Identity,
        engine: Engine,
    ) -> None:
        self._cosign = cosign
        self._settings = settings
        self._plans = plans
        self._bases = bases
        self._who = who
        self._engine = engine

    def has_signed(self, reference: str) -> bool:
        """Whether an index, by digest, has signature and attestations already."""
        return all(check.ok for check in self._cosign.verify(reference, self._who))

    def sign(self, layer: LayerPush, reference: str) -> None:
        """Attest what is in an index and what it was made from, and sign it."""
        key = self._settings.push.key if self._settings.push.sign == "key" else None
        self._cosign.sign(reference, key, self._statements(layer))

    def _statements(self, layer: LayerPush) -> Mapping[str, Any]:
        """Return what is attested of a layer, by cosign's name for its type."""
        repository = self._settings.image.repository
        for image in layer.images:
            if image.digest:
                # Built elsewhere: what is in it only it can say.
                self._engine.require_image(f"{repository}@{image.digest}", Platform(image.platform))
        images = [f"{repository}@{image.digest}" if image.digest else image.id for image in layer.images]
        crates = cooked_crates(self._engine, images, self._plans.values(), homes=_homes())
        bases = {base.partition("@")[0]: self._engine.manifest_digest(base) for base in self._bases}
        settings, plans, rust = self._settings, self._plans, self._settings.toolchain
        return {
            SBOM: bill_of_materials(crates, layer=layer.layer, rust=rust, plan=layer.immutable[0]),
            PROVENANCE: provenance(layer.layer, plans, settings, bases=sorted(bases.items())),
        }


@contextlib.contextmanager
def verifying_identity(settings: Settings) -> Iterator[Identity]:
    """Yield who has to have signed for our own signature to be there.

    Raises `EnvironmentFaultError` where the key cannot be used: before anything is pushed.
    """
    if settings.push.sign != "key" or settings.push.key is None:
        yield ANYBODY
        return
    with scratch("factory-key-") as folder:
        write_text(folder / "cosign.pub", public_key(settings.push.key))
        yield Identity(key=str(folder / "cosign.pub"))


def _homes() -> tuple[Path, ...]:
    # Where analyzing and planning download to.
    return (cache_directory() / "cargo-home",)
