"""From proofs to the registry, and back to a proof of what is there."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.engine import Engine
from factory.errors import BadAnswerError, ConfigurationError, EnvironmentFaultError
from factory.pipeline.building import DryRun, image_build
from factory.proof.model import Proof
from factory.publish import push as push_stage
from factory.publish.attempts import Patience
from factory.publish.attesting import Attestor, verifying_identity
from factory.publish.model import BuiltImage, LocalImage
from factory.publish.record import read_records, require_passed, write_record
from factory.publish.registry import Registry, join_command, push_command
from factory.publish.signing import PROVENANCE, SBOM, Cosign, sign_commands
from factory.publish.tags import layer_push, plan_tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from factory.pipeline.run import Run
    from factory.planning.plan import Plan
    from factory.publish.model import LayerPush, PushedLayer
    from factory.publish.push import Signer
    from factory.publish.record import ProofRecord
    from factory.publish.signing import Identity


def record_proof(proof: Proof, *, min_hit: float, copy: Path | None) -> None:
    """Keep what `push` asks for: the verdict on an image, in the cache and where `copy` says."""
    write_record(proof, min_hit=min_hit, copy=copy)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushWishes:
    """What the user of `push` named: records of proofs beside those of this machine, and the push's number."""

    proofs: tuple[Path, ...] = ()
    serial: int = 1


def built_images(run: Run, plan: Plan, platform: str | None = None) -> tuple[BuiltImage, ...]:
    """Return the images that a plan's build gave the engine; `platform` is the plan's, `None` the engine's own.

    Where the configuration has several platforms, the names end in their architectures.
    """
    engine = Engine()
    chosen = platform or engine.platform
    ending = f"-{chosen.rpartition('/')[2]}" if len(run.platforms) > 1 else ""
    build = image_build(run, plan, engine)
    return tuple(
        BuiltImage(
            layer=layer.name,
            platform=chosen,
            reference=f"{build.tags(layer.name)[0]}{ending}",
            plan_digest=plan.layer_digest(layer.name),
        )
        for layer in plan.layers
    )


def push(
    run: Run, plans: Mapping[str, Plan], images: Sequence[BuiltImage], wishes: PushWishes
) -> tuple[PushedLayer, ...]:
    """Push the images of all layers and platforms, and move the tags to them; `plans` are by platform.

    Raises `BadAnswerError` for images that did not pass `verify`, `ConfigurationError` where a layer lacks a platform,
    `NothingToDoError` where all of it is there already, `RegistryFaultError` for what the registry does not do.
    """
    engine = Engine()
    layers = _layers(run, plans, images, wishes, engine=engine)
    with _signer(run, plans, engine=engine) as signer:
        request = push_stage.Push(
            repository=run.settings.image.repository,
            layers=layers,
            engine=engine,
            registry=_registry(run),
            signer=signer,
            output=run.output,
        )
        return push_stage.push(request)


def dry_run_push(run: Run, plans: Mapping[str, Plan], images: Sequence[BuiltImage], wishes: PushWishes) -> DryRun:
    """Return the commands of a push to a registry that has nothing of it; nothing is asked of any registry.

    Digests of indexes are known only when they are there: their immutable tags stand in their places.
    """
    layers = _layers(run, plans, images, wishes, engine=Engine())
    repository = run.settings.image.repository
    commands: list[tuple[str, ...]] = []
    for layer in layers:
        for image in layer.images:
            name = f"{repository}:{layer.staged(image)}"
            commands += [("docker", "tag", image.id, name), push_command(name)]
        sources = [f"{repository}:{layer.staged(image)}" for image in layer.images]
        commands.append(join_command(sources, [f"{repository}:{tag}" for tag in layer.immutable]))
    for layer in layers:
        if run.settings.push.sign != "none":
            index = f"{repository}:{layer.immutable[0]}"
            commands += sign_commands(index, run.settings.push.key, {SBOM: "SBOM", PROVENANCE: "PROVENANCE"})
    for layer in layers:
        if layer.moving:
            index = f"{repository}:{layer.immutable[0]}"
            commands.append(join_command([index], [f"{repository}:{tag}" for tag in layer.moving]))
    return DryRun(commands=tuple(commands))


def published_plans(run: Run, plan: Plan) -> dict[str, str]:
    """Return, for each layer of a plan, the plan that its image in the registry was made from.

    A layer whose first moving tag is not there, or is no image of ours for the engine's platform, has none. Raises
    `RegistryFaultError` where the registry does not answer.
    """
    engine, registry = Engine(), _registry(run)
    build = image_build(run, plan, engine)
    found = {}
    for layer in plan.layers:
        remote = registry.find(build.tags(layer.name)[0])
        image = None if remote is None else remote.images.get(engine.platform)
        if image is not None:
            labels = registry.labels(f"{run.settings.image.repository}@{image}")
            found[layer.name] = labels.get("io.rust-warm-factory.plan", "")
    return found


def verify_signature(run: Run, image: str, who: Identity) -> Proof:
    """Verify the signature of an image in its registry, by digest, and what is attested of it."""
    cosign = Cosign(patience=_patience(run), output=run.output)
    remote = _registry(run).find(image)
    if remote is None:
        raise ConfigurationError(f"{image}: its registry has no such image", advice="Name one that was pushed.")
    name = re.sub(r"(@.*|:[^/:]*)$", "", image)
    return Proof(target=f"{name}@{remote.digest}", repos=(), checks=cosign.verify(f"{name}@{remote.digest}", who))


def _registry(run: Run) -> Registry:
    settings = run.settings.push
    return Registry(patience=_patience(run), upload_seconds=settings.timeout, output=run.output)


def _patience(run: Run) -> Patience:
    return Patience(attempts=run.settings.push.attempts)


@contextlib.contextmanager
def _signer(run: Run, plans: Mapping[str, Plan], *, engine: Engine) -> Iterator[Signer | None]:
    if run.settings.push.sign == "none":
        yield None
        return
    cosign = Cosign(patience=_patience(run), output=run.output)
    with verifying_identity(run.settings) as who:
        yield Attestor(cosign, run.settings, plans, who=who, engine=engine)


def _layers(
    run: Run, plans: Mapping[str, Plan], images: Sequence[BuiltImage], wishes: PushWishes, *, engine: Engine
) -> tuple[LayerPush, ...]:
    """Return what is pushed, in the order of the layers, once all of it is known to be there, whole and verified."""
    _require_platforms(run.platforms or tuple(plans), plans, images)
    date = image_build(run, next(iter(plans.values())), engine).date
    for plan in plans.values():
        _require_clock(date, plan)
    local = _local_images(images, read_records(wishes.proofs), engine=engine)
    return tuple(
        layer_push(
            name,
            [local[image] for image in images if image.layer == name],
            run.settings,
            cell=run.cell,
            date=date,
            plan=plan_tag(image.plan_digest for image in images if image.layer == name),
            serial=wishes.serial,
        )
        for name in dict.fromkeys(image.layer for image in images)
    )


def _require_platforms(wanted: Sequence[str], plans: Mapping[str, Plan], images: Sequence[BuiltImage]) -> None:
    """Raise `ConfigurationError` where an index would lack a platform that was asked for."""
    layers = dict.fromkeys(layer.name for plan in plans.values() for layer in plan.layers)
    there = {(image.layer, image.platform) for image in images}
    lacking = [f"{layer} for {platform}" for layer in layers for platform in wanted if (layer, platform) not in there]
    if lacking:
        raise ConfigurationError(
            f"`platforms` lists {', '.join(wanted)}, and there is no image of {', '.join(lacking)}",
            advice="Build, and verify, the images of every platform first.",
        )


def _local_images(
    images: Sequence[BuiltImage], records: Mapping[str, ProofRecord], *, engine: Engine
) -> dict[BuiltImage, LocalImage]:
    """Return the engine's images, each of them verified; raise `BadAnswerError` that names all that are not."""
    found: dict[BuiltImage, LocalImage] = {}
    unproven: list[BadAnswerError] = []
    for image in images:
        facts = engine.image(image.reference)
        labels = {name: facts.labels.get(f"io.rust-warm-factory.{name}", "") for name in ("layer", "plan")}
        if labels != {"layer": image.layer, "plan": image.plan_digest} or facts.platform != image.platform:
            raise ConfigurationError(
                f"{image.reference} is layer {labels['layer'] or 'none'} of plan {labels['plan'][:12] or 'none'} for "
                f"{facts.platform}, not {image.layer} of {image.plan_digest[:12]} for {image.platform}",
                advice="Name the plan that it was built from (--plan), or run `factory build`.",
            )
        try:
            require_passed(facts, image.reference, records)
        except BadAnswerError as error:
            unproven.append(error)
        found[image] = LocalImage(platform=image.platform, reference=image.reference, id=facts.id)
    if unproven:
        advice = "\n".join(error.advice for error in unproven)
        raise BadAnswerError("\n".join(error.what for error in unproven), advice=advice)
    return found


def _require_clock(date: str, plan: Plan) -> None:
    """Raise `EnvironmentFaultError` for a day before the compiler's: tags with it would never be right again."""
    made = re.search(r"^commit-date: (\d{4})-(\d\d)-(\d\d)$", plan.contract.toolchain.rustc_verbose, re.MULTILINE)
    if made is not None and date < "".join(made.groups()):
        raise EnvironmentFaultError(
            f"today is {date} here, and rustc {plan.contract.toolchain.version} is of {''.join(made.groups())}",
            advice="Set this machine's clock (or SOURCE_DATE_EPOCH): the day gets into tags that never move.",
        )
