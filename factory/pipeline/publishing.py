"""From proofs to the registry, and back to a proof of what is there."""

from __future__ import annotations

import contextlib
import enum
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from factory.engine import Engine
from factory.epoch import build_date
from factory.errors import BadAnswerError, ConfigurationError, EnvironmentFaultError
from factory.labels import Label
from factory.pipeline.building import DryRun, image_tags
from factory.proof.model import Proof
from factory.publish import push as push_stage
from factory.publish.attempts import Patience
from factory.publish.attesting import Attestor, verifying_identity
from factory.publish.distribution import Distribution, parse_reference
from factory.publish.model import BuiltImage, Published, VerifiedImage
from factory.publish.record import passed_record, read_records, require_passed, write_record
from factory.publish.signing import PROVENANCE, SBOM, Cosign, require_cosign, sign_commands
from factory.publish.tags import layer_push, plan_tag, require_registry, stem
from factory.publish.uploads import Uploads, join_command, push_command

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
    write_record(proof, min_hit=min_hit, day=build_date(), copy=copy)


class Held(enum.Enum):
    """Where the images of a build are when they are joined."""

    HERE = "in the engine, verified on this machine or another"
    STAGED = "in the registry, where the machine that built and verified them put them"
    PUBLISHED = "in the registry, as what its tags stand for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What the run of one platform built: its plan, the image of every layer, and where these are."""

    run: Run
    plan: Plan
    platform: str
    images: tuple[BuiltImage, ...]
    held: Held


def built_by(run: Run, plan: Plan, held: Held = Held.HERE) -> Built:
    """Return what the build of a plan made, for the platform of the run."""
    platform = Engine().platform if run.platform is None else str(run.platform)
    images = (
        BuiltImage(
            layer=layer,
            image_layer=plan.image_layer(layer),
            platform=platform,
            reference=tags[0],
            plan_digest=plan.layer_digest(layer),
        )
        for layer, tags in image_tags(run, plan).items()
    )
    return Built(run=run, plan=plan, platform=platform, images=tuple(images), held=held)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushWishes:
    """What the user of `push` named: records of proofs beside those of this machine, and the push's number."""

    proofs: tuple[Path, ...] = ()
    serial: int = 1


def push(builds: Sequence[Built], wishes: PushWishes) -> tuple[PushedLayer, ...]:
    """Push the images of all layers and platforms, and move the tags to them; `builds` has one for each platform.

    Raises `BadAnswerError` for images that did not pass `verify`, `ConfigurationError` where a layer lacks a platform,
    `NothingToDoError` where all of it is there already, `RegistryFaultError` for what the registry does not do.
    """
    engine = Engine()
    require_registry(builds[0].run.settings.image)
    _require_platforms(builds)
    layers = _layers(builds, wishes, engine=engine)
    for layer, below in {image.layer: image.image_layer for built in builds for image in built.images}.items():
        if layer != below:
            builds[0].run.output.say(f"{layer}: nothing is planned for it alone, so its tags stand for {below}'s image")
    with _signer(builds) as signer:
        return push_stage.push(_request(builds[0].run, layers, engine, signer))


def stage(built: Built, wishes: PushWishes) -> tuple[str, ...]:
    """Bring the images of one platform up for another machine to join, and return their references; no tag moves.

    Raises as `push` does.
    """
    engine = Engine()
    require_registry(built.run.settings.image)
    return push_stage.stage(_request(built.run, _layers([built], wishes, engine=engine), engine, None))


def require_pushable(runs: Sequence[Run], *, whole: bool) -> None:
    """Raise for what would stop a push after hours of building; `whole` where the images are joined as well."""
    run = runs[0]
    require_registry(run.settings.image)
    if not whole:
        return
    built = {each.platform for each in runs}
    lacking = [str(platform) for platform in run.platforms if platform not in built]
    if lacking:
        raise ConfigurationError(
            f"an index would lack {', '.join(lacking)}, which `platforms` lists",
            advice="Build all platforms, or bring this one up by --stage and join them: `factory push --join`.",
        )
    if run.settings.push.sign != "none":
        require_cosign()
        with verifying_identity(run.settings):
            pass


def dry_run_push(builds: Sequence[Built], wishes: PushWishes) -> DryRun:
    """Return the commands of a push to a registry that has nothing of it; nothing is asked of any registry.

    Digests of indexes are known only when they are there: their immutable tags stand in their places.
    """
    _require_platforms(builds)
    layers = _layers(builds, wishes, engine=Engine())
    settings = builds[0].run.settings
    repository = settings.image.repository
    commands = list(_staging_commands(repository, layers))
    for layer in layers:
        sources = [f"{repository}:{image.staged}" for image in layer.images]
        commands.append(join_command(sources, [f"{repository}:{tag}" for tag in layer.immutable]))
    for layer in layers:
        if settings.push.sign != "none":
            index = f"{repository}:{layer.immutable[0]}"
            commands += sign_commands(index, settings.push.key, {SBOM: "SBOM", PROVENANCE: "PROVENANCE"})
    for layer in layers:
        if layer.moving:
            index = f"{repository}:{layer.immutable[0]}"
            commands.append(join_command([index], [f"{repository}:{tag}" for tag in layer.moving]))
    return DryRun(commands=tuple(commands))


def dry_run_stage(built: Built, wishes: PushWishes) -> DryRun:
    """Return the commands that bring the images of one platform up."""
    layers = _layers([built], wishes, engine=Engine())
    return DryRun(commands=tuple(_staging_commands(built.run.settings.image.repository, layers)))


def _staging_commands(repository: str, layers: Sequence[LayerPush]) -> Iterator[tuple[str, ...]]:
    images = {image.staged: image for layer in layers for image in layer.images}
    for tag, image in images.items():
        if not image.digest:
            name = f"{repository}:{tag}"
            yield from (("docker", "tag", image.id, name), push_command(name))


def _request(run: Run, layers: tuple[LayerPush, ...], engine: Engine, signer: Signer | None) -> push_stage.Push:
    return push_stage.Push(
        repository=run.settings.image.repository,
        layers=layers,
        engine=engine,
        registry=_registry(run),
        uploads=Uploads(patience=_patience(run), seconds=run.settings.push.timeout, output=run.output),
        signer=signer,
        output=run.output,
    )


def published(run: Run, plan: Plan) -> dict[str, Published]:
    """Return, for each layer of a plan, what its image in the registry was made from.

    A layer whose first moving tag is not there, or is no image of ours for the run's platform, has none. Raises
    `RegistryFaultError` where the registry does not answer.
    """
    registry = _registry(run)
    tags = registry.tags()
    found = {}
    for image in built_by(run, plan).images:
        moving = run.settings.image.moving_tags_of(layer=image.layer, rust=run.settings.toolchain)
        indexes = [registry.manifest(tag) for tag in moving]
        first = next(iter(indexes), None)
        if first is None or image.platform not in first.images:
            continue
        labels = registry.labels(first.images[image.platform])
        found[image.layer] = Published(
            plan=labels.get(Label.PLAN, ""),
            settings=labels.get(Label.SETTINGS, ""),
            base=labels.get(Label.BASE_DIGEST, ""),
            day=push_stage.pushed_day(
                registry, tags, index=first.digest, stem=stem(image.layer, run.settings, cell=run.cell)
            ),
            whole=all(index is not None and index.digest == first.digest for index in indexes),
        )
    return found


def _published(registry: Distribution, built: Built, image: BuiltImage) -> str:
    """Return the digest of the image that a layer's first moving tag stands for on a platform, or ""."""
    settings = built.run.settings
    moving = settings.image.moving_tags_of(layer=image.layer, rust=settings.toolchain)
    found = registry.manifest(moving[0]) if moving else None
    return "" if found is None else found.images.get(image.platform, "")


def verify_signature(run: Run, image: str, who: Identity) -> Proof:
    """Verify the signature of an image in its registry, by digest, and what is attested of it."""
    cosign = Cosign(patience=_patience(run), output=run.output)
    registry, name, reference = parse_reference(image)
    found = Distribution(registry, name, patience=_patience(run), output=run.output).manifest(reference)
    if found is None:
        raise ConfigurationError(f"{image}: its registry has no such image", advice="Name one that was pushed.")
    pinned = f"{registry}/{name}@{found.digest}" if registry else f"{name}@{found.digest}"
    return Proof(target=pinned, repos=(), checks=cosign.verify(pinned, who))


def _registry(run: Run) -> Distribution:
    image = run.settings.image
    return Distribution(image.registry, image.name, patience=_patience(run), output=run.output)


def _patience(run: Run) -> Patience:
    return Patience(attempts=run.settings.push.attempts)


@contextlib.contextmanager
def _signer(builds: Sequence[Built]) -> Iterator[Signer | None]:
    run = builds[0].run
    if run.settings.push.sign == "none":
        yield None
        return
    plans = {built.platform: built.plan for built in builds}
    cosign = Cosign(patience=_patience(run), output=run.output)
    with verifying_identity(run.settings) as who:
        yield Attestor(cosign, run.settings, plans, who=who, registry=_registry(run))


def _layers(builds: Sequence[Built], wishes: PushWishes, *, engine: Engine) -> tuple[LayerPush, ...]:
    """Return what is pushed, in the order of the layers, once all of it is known to be there, whole and verified."""
    date = build_date()
    for built in builds:
        _require_clock(date, built.plan)
    found = _verified_images(builds, read_records(wishes.proofs), engine=engine)
    run = builds[0].run
    return tuple(
        layer_push(
            name,
            [verified for image, verified in found.items() if image.layer == name],
            run.settings,
            cell=run.cell,
            date=date,
            plan=plan_tag(image.plan_digest for image in found if image.layer == name),
            serial=wishes.serial,
        )
        for name in dict.fromkeys(image.layer for image in found)
    )


def _require_platforms(builds: Sequence[Built]) -> None:
    """Raise `ConfigurationError` where an index would lack a platform that was asked for."""
    wanted = [str(platform) for platform in builds[0].run.platforms] or [built.platform for built in builds]
    images = [image for built in builds for image in built.images]
    there = {(image.layer, image.platform) for image in images}
    layers = dict.fromkeys(image.layer for image in images)
    lacking = [f"{layer} for {platform}" for layer in layers for platform in wanted if (layer, platform) not in there]
    if lacking:
        raise ConfigurationError(
            f"`platforms` lists {', '.join(wanted)}, and there is no image of {', '.join(lacking)}",
            advice="Build, and verify, the images of every platform first; --stage brings those of one platform up.",
        )


def _verified_images(
    builds: Sequence[Built], records: Mapping[str, ProofRecord], *, engine: Engine
) -> dict[BuiltImage, VerifiedImage]:
    """Return every image, each of them verified; raise `BadAnswerError` that names all that are not."""
    found: dict[BuiltImage, VerifiedImage] = {}
    unproven: list[BadAnswerError] = []
    for built in builds:
        for image in built.images:
            try:
                found[image] = _verified(built, image, records, engine=engine)
            except BadAnswerError as error:
                unproven.append(error)
    if unproven:
        advice = "\n".join(dict.fromkeys(error.advice for error in unproven))
        raise BadAnswerError("\n".join(error.what for error in unproven), advice=advice)
    return found


def _verified(built: Built, image: BuiltImage, records: Mapping[str, ProofRecord], *, engine: Engine) -> VerifiedImage:
    if built.held is Held.HERE:
        return _image_here(built, image, records, engine=engine)
    record = passed_record(image, records) if built.held is Held.STAGED else None
    if record is not None:
        return _image_staged(built, image, record)
    registry = _registry(built.run)
    digest = _published(registry, built, image)
    if not digest or registry.labels(digest).get(Label.PLAN) != image.plan_digest:
        raise BadAnswerError(
            f"{image.layer} for {image.platform}, plan {image.plan_digest[:12]}: the registry's image is of another "
            "plan, or not there, and there is no record of one that was verified",
            advice="Hand over what `factory verify --record FILE` wrote where it was built: --proof FILE.",
        )
    verified = _verified_image(built, image, identity=digest, day="")
    return replace(verified, digest=digest)


def _verified_image(built: Built, image: BuiltImage, *, identity: str, day: str) -> VerifiedImage:
    return VerifiedImage(
        platform=image.platform,
        reference=image.reference,
        id=identity,
        stem=stem(image.image_layer, built.run.settings, cell=built.run.cell),
        day=day,
    )


def _image_here(
    built: Built, image: BuiltImage, records: Mapping[str, ProofRecord], *, engine: Engine
) -> VerifiedImage:
    facts = engine.image(image.reference)
    layer, plan = (facts.labels.get(name, "") for name in (Label.LAYER, Label.PLAN))
    if (layer, plan, facts.platform) != (image.image_layer, image.plan_digest, image.platform):
        raise ConfigurationError(
            f"{image.reference} is layer {layer or 'none'} of plan {plan[:12] or 'none'} for {facts.platform}, "
            f"not {image.image_layer} of {image.plan_digest[:12]} for {image.platform}",
            advice="Name the plan that it was built from (--plan), or run `factory build`.",
        )
    record = require_passed(facts, image.reference, records)
    return _verified_image(built, image, identity=facts.id, day=record.day)


def _image_staged(built: Built, image: BuiltImage, record: ProofRecord) -> VerifiedImage:
    """Return an image that another machine staged, once the registry is known to have the one that was verified.

    One that was joined before may have lost the tag that carried it: what the layer's own tag stands for does as well.
    """
    run = built.run
    verified = _verified_image(built, image, identity=record.image, day=record.day)
    request = _request(run, (), Engine(), None)
    digest = push_stage.staged_digest(request, verified)
    if not digest:
        joined = _published(request.registry, built, image)
        digest = joined if joined and push_stage.is_image(request, joined, verified) else ""
    if not digest:
        raise ConfigurationError(
            f"{run.settings.image.repository}:{verified.staged} is not in the registry",
            advice=f"Run `factory --platform {image.platform} push --stage` where that image was verified.",
        )
    return replace(verified, digest=digest)


def _require_clock(date: str, plan: Plan) -> None:
    """Raise `EnvironmentFaultError` for a day before the compiler's: tags with it would never be right again."""
    made = re.search(r"^commit-date: (\d{4})-(\d\d)-(\d\d)$", plan.contract.toolchain.rustc_verbose, re.MULTILINE)
    if made is not None and date < "".join(made.groups()):
        raise EnvironmentFaultError(
            f"today is {date} here, and rustc {plan.contract.toolchain.version} is of {''.join(made.groups())}",
            advice="Set this machine's clock (or SOURCE_DATE_EPOCH): the day gets into tags that never move.",
        )
