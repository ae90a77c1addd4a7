"""From images or a directory to a proof."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from factory.cargo.home import user_mirror
from factory.cargo.variants import Variant
from factory.config.access import fetching
from factory.engine import Engine
from factory.errors import ConfigurationError
from factory.files import cache_directory
from factory.pipeline.analyzing import require_manifests, scan
from factory.pipeline.toolchains import engine_of
from factory.proof.image import verify_image
from factory.proof.local import verify_directory
from factory.proof.model import ProofRequest
from factory.proof.reproducible import verify_reproducible
from factory.proof.target import cooked_directory
from factory.scan.model import Scan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.config.model import Settings
    from factory.pipeline.run import Run
    from factory.planning.plan import Plan
    from factory.proof.model import Proof


def verify(run: Run, target: str, repos: Sequence[str], *, variant: str, skeleton: bool, cold: bool) -> Proof:
    """Verify an image or a cooked directory, building the given repositories on it."""
    try:
        chosen = Variant.parse(variant)
    except ValueError as error:
        raise ConfigurationError(str(error), advice="It names one of `cook.variants`.") from error
    found = Scan(workspaces=(), skipped=())
    if repos:
        found = scan(run, repos)
        require_manifests(found)
    for row in found.skipped:
        run.output.warn(f"{row.path}: {row.reason}: {row.detail}")
    timeout = run.settings.limits.cook_timeout
    request = ProofRequest(
        variant=chosen, skeleton=skeleton, cold=cold, timeout=timeout, tokens=_tokens_here(run.settings)
    )
    folder = cooked_directory(target)
    if folder is not None:
        access = fetching(run.settings).with_tokens_here()
        return verify_directory(folder, found, request, fetching=access, output=run.output)
    return verify_image(target, found, request, engine=Engine(), output=run.output)


def reproduce(run: Run, proof: Proof, plan: Plan) -> Proof:
    """Add to the proof of an image whether building its plan again, without a cache, gives the same digest."""
    if cooked_directory(proof.target) is not None:
        raise ConfigurationError(
            f"{proof.target}: a directory has no digest to compare", advice="Leave out --reproducible."
        )
    check = verify_reproducible(
        proof.target,
        plan,
        run.settings,
        fetching=fetching(run.settings, user_mirror=user_mirror()),
        folder=cache_directory() / "bake" / f"{plan.digest[:12]}-again",
        engine=engine_of(run),
        output=run.output,
    )
    return replace(proof, checks=(*proof.checks, check))


def _tokens_here(settings: Settings) -> Mapping[str, str]:
    """Return the tokens that the configuration names, as far as they are here: verifying takes none of them."""
    found = {}
    for token in fetching(settings).tokens:
        with contextlib.suppress(ConfigurationError, OSError):
            found[token.label] = token.read()
    return found
