"""Who vouches for an index, and for what: the crates in it, and what it was made from."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from factory.cargo.home import user_cargo_home
from factory.files import write_text
from factory.publish.contents import said_by
from factory.publish.provenance import provenance
from factory.publish.sbom import bill_of_materials, cooked_crates
from factory.publish.signing import PROVENANCE, SBOM, Cosign, Identity, public_key
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from factory.config.model import Settings
    from factory.planning.plan import Plan
    from factory.publish.distribution import Distribution, Manifest
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
        who: Identity,
        registry: Distribution,
    ) -> None:
        self._cosign = cosign
        self._settings = settings
        self._plans = plans
        self._who = who
        self._registry = registry
        self._signed: set[str] = set()

    def has_signed(self, reference: str) -> bool:
        """Whether an index, by digest, has signature and attestations already."""
        # The index of a layer that adds nothing is that of the one below, and no signature goes away meanwhile.
        if reference in self._signed or all(check.ok for check in self._cosign.verify(reference, self._who)):
            self._signed.add(reference)
            return True
        return False

    def sign(self, layer: LayerPush, reference: str, index: Manifest) -> None:
        """Attest what is in an index and what it was made from, and sign it."""
        key = self._settings.push.key if self._settings.push.sign == "key" else None
        self._cosign.sign(reference, key, self._statements(layer, index))
        self._signed.add(reference)

    def _statements(self, layer: LayerPush, index: Manifest) -> Mapping[str, Any]:
        """Return what is attested of a layer, by cosign's name for its type: what its images themselves say.

        They may have been built on other machines, on a base image that this one does not have.
        """
        said = [said_by(self._registry, digest) for digest in index.images.values()]
        crates = cooked_crates(said, self._plans.values(), homes=_homes())
        bases = sorted({(image.base, image.base_digest) for image in said if image.base})
        settings, plans, rust = self._settings, self._plans, self._settings.toolchain
        return {
            SBOM: bill_of_materials(crates, layer=layer.layer, rust=rust, plan=layer.immutable[0]),
            PROVENANCE: provenance(layer.layer, plans, settings, bases=bases),
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
    return (user_cargo_home(),)
