"""The shipped samples through all stages: what a new user sees first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from factory.config.layers import load_layer_profiles
from factory.cook.budgets import require_within_budgets
from factory.engine import Engine
from factory.errors import FactoryError
from factory.files import cache_directory
from factory.pipeline import analyzing, building, planning, proving
from factory.proof.model import Proof
from factory.resources import shipped

if TYPE_CHECKING:
    from factory.config.model import Settings
    from factory.pipeline.run import Run
    from factory.planning.plan import Plan

IMAGE_NAME = "rust-warm-factory/demo"
"""The demo must not move the tags that the configuration names."""


def demo(run: Run, *, use_docker: bool | None) -> Proof:
    """Take the samples through analyze, plan, build and verify; `use_docker`: `None` takes Docker where it is usable.

    Every sample is verified on the lowest image that has all it can have, or on the one local directory.
    """
    if use_docker is None:
        use_docker = _docker_is_usable(run)
    run.output.say(f"backend: {'docker' if use_docker else 'local'}")
    run = replace(run, settings=_with_own_name(run))
    samples = str(shipped("samples"))
    analysis = analyzing.analyze(run, analyzing.scan(run, [samples]), offline=False)
    made = planning.plan(run, analysis, load_layer_profiles(None))
    if not use_docker:
        folder = cache_directory() / "demo"
        require_within_budgets(building.build_locally(run, made, folder))
        return _verify(run, str(folder), samples)
    require_within_budgets(building.build_images(run, made))
    tags = building.image_tags(run, made)
    repos = sorted({row.repo for row in made.forecast})
    proofs = [
        _verify(run, tags[_lowest_image(made, repo)][0], f"{samples}/{repo.rpartition('/')[2]}") for repo in repos
    ]
    return Proof(
        target=f"the images of {IMAGE_NAME}",
        repos=tuple(repo for proof in proofs for repo in proof.repos),
        checks=tuple(check for proof in proofs for check in proof.checks if not check.ok),
    )


def _with_own_name(run: Run) -> Settings:
    image = run.settings.image.model_copy(update={"name": IMAGE_NAME, "registry": ""})
    return run.settings.model_copy(update={"image": image})


def _verify(run: Run, target: str, repo: str) -> Proof:
    return proving.verify(run, target, [repo], variant="release", skeleton=False, cold=True)


def _docker_is_usable(run: Run) -> bool:
    try:
        Engine().require_image(run.settings.base_image, run.platform)
    except FactoryError as error:
        run.output.say(f"Docker is not used: {error.what}")
        return False
    return True


def _lowest_image(made: Plan, repo: str) -> str:
    hits = {layer.name: sum(row.hits[layer.name] for row in made.forecast if row.repo == repo) for layer in made.layers}
    return next(name for name, count in hits.items() if count == max(hits.values()))
