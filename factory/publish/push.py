"""The push: images up, indexes joined and signed under tags of their own, and the moving tags last, all together."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from factory import process
from factory.engine import GONE_ADVICE
from factory.errors import EnvironmentFaultError, NothingToDoError, RegistryFaultError, TagTakenError
from factory.exclusive import exclusive
from factory.files import cache_directory, digest
from factory.publish.model import PushedLayer
from factory.publish.prunable import pushes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.engine import Engine
    from factory.output import Output
    from factory.publish.distribution import Distribution, Manifest
    from factory.publish.model import LayerPush, VerifiedImage
    from factory.publish.uploads import Uploads


class Signer(Protocol):
    """What vouches for an index before anything moves to it."""

    def has_signed(self, reference: str) -> bool:
        """Whether an index, by digest, has all of our signatures already."""

    def sign(self, layer: LayerPush, reference: str, index: Manifest) -> None:
        """Sign an index, by digest, and attach what is attested of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One push into one repository: what goes there, how, and who signs it (`None`: nobody)."""

    repository: str
    layers: tuple[LayerPush, ...]
    engine: Engine
    registry: Distribution
    uploads: Uploads
    signer: Signer | None
    output: Output

    def name(self, tag: str) -> str:
        """Return a tag's whole reference."""
        return f"{self.repository}:{tag}"

    def pinned(self, found: str) -> str:
        """Return the reference of a digest."""
        return f"{self.repository}@{found}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """A layer with what its moving tags stand for, and the index that all of them do, if it has these images.

    It is `done` where nothing is left to do: the index is signed, and has the tags that it should.
    """

    layer: LayerPush
    before: Mapping[str, Manifest | None]
    there: Manifest | None
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """A layer's moving tags on their way from what they stood for to an index, by digest."""

    layer: LayerPush
    before: Mapping[str, str | None]
    index: str


def push(request: Push) -> tuple[PushedLayer, ...]:
    """Push every layer that is not in the registry yet, then move all tags to them.

    Raises `NothingToDoError` where every tag stands for these very images, and `RegistryFaultError` for what the
    registry does not do: before the tags move nothing that anybody pulls has changed, and tags that moved are moved
    back where that is possible, and named, whatever stopped the others. Signals wait while tags move.
    """
    with alone(request.repository):
        standings = [_standing(request, layer) for layer in request.layers]
        if all(row.done for row in standings):
            # Made, and found good, again: the day of their tags is what tells any other machine how old they are.
            tags = request.registry.tags()
            standings = [replace(row, done=not _is_newer(request, row, tags)) for row in standings]
        if all(row.done for row in standings):
            raise NothingToDoError(
                f"nothing to push: {request.repository} has these images", advice="Build, and verify, other ones first."
            )
        indexes: dict[str, Manifest] = {}
        for row in standings:
            indexes[row.layer.layer] = row.there if row.there is not None and row.done else _upload(request, row)
        changed = [row for row in standings if not row.done]
        if request.signer is not None:
            for row in changed:
                _sign(request, request.signer, row.layer, indexes[row.layer.layer])
        _move_all(request, [_move(row, indexes[row.layer.layer].digest) for row in changed])
        return tuple(_pushed(request, row, indexes[row.layer.layer]) for row in standings)


def stage(request: Push) -> tuple[str, ...]:
    """Bring every layer's images up under tags of their own, for another machine to join; return these references.

    Nothing that anybody pulls changes. Raises `NothingToDoError` where the registry has all of them.
    """
    with alone(request.repository):
        # A layer that adds nothing to the one below has its image, under the same tag.
        images = {image.staged: (layer, image) for layer in reversed(request.layers) for image in layer.images}
        there = {tag: staged_digest(request, image) for tag, (_, image) in images.items()}
        if all(there.values()):
            raise NothingToDoError(
                f"nothing to stage: {request.repository} has these images", advice="Join them: `factory push --join`."
            )
        tags = list(reversed(images))
        for tag in tags:
            if not there[tag]:
                _upload_image(request, *images[tag])
        return tuple(request.name(tag) for tag in tags)


def alone(repository: str) -> contextlib.AbstractContextManager[None]:
    """Hold a repository against other pushes, and against prunes, of this machine."""
    return exclusive(cache_directory() / "pushes" / f"{digest(repository)[:16]}.lock", using=repository)


def _pushed(request: Push, row: _Standing, index: Manifest) -> PushedLayer:
    return PushedLayer(
        layer=row.layer.layer,
        index=index.digest,
        images=index.images,
        # An unchanged layer keeps the tag of the day on which it was pushed.
        immutable=() if row.done else row.layer.immutable,
        moving=row.layer.moving,
        changed=not row.done,
        signed=request.signer is not None,
    )


# What is there


def _standing(request: Push, layer: LayerPush) -> _Standing:
    before = {tag: request.registry.manifest(tag) for tag in layer.moving}
    found = list(before.values())
    if not layer.moving:
        found = [request.registry.manifest(tag) for tag in layer.immutable]
    first = found[0]
    same = all(remote is not None and first is not None and remote.digest == first.digest for remote in found)
    there = first if same and first is not None and _holds(request, first, layer) else None
    done = there is not None
    if there is not None and request.signer is not None:
        done = request.signer.has_signed(request.pinned(there.digest))
    return _Standing(layer=layer, before=before, there=there, done=done)


def _is_newer(request: Push, row: _Standing, tags: Sequence[str]) -> bool:
    """Whether an image of a layer was verified on a later day than its index was pushed."""
    there = "" if row.there is None else row.there.digest
    day = pushed_day(request.registry, tags, index=there, stem=row.layer.stem)
    return day is not None and max(image.day for image in row.layer.images) > day


def pushed_day(registry: Distribution, tags: Sequence[str], *, index: str, stem: str) -> str | None:
    """Return the day (YYYYMMDD) of the newest of `tags` that stays with an index, `None` where none of them does."""
    for day, tag in pushes_of(stem, tags):
        found = registry.manifest(tag)
        if found is not None and found.digest == index:
            return day
    return None


def _holds(request: Push, index: Manifest, layer: LayerPush) -> bool:
    """Whether an index has exactly the images of a layer."""
    if set(index.images) != {image.platform for image in layer.images}:
        return False
    return all(is_image(request, index.images[image.platform], image) for image in layer.images)


def is_image(request: Push, found: str, image: VerifiedImage) -> bool:
    """Whether a manifest in the registry is that of a local image.

    With the containerd image store, an image's id is the digest of its manifest; elsewhere that of its configuration.
    """
    if image.digest:
        return found == image.digest
    return found == image.id or request.registry.image(found).configuration == image.id


# Up


def _upload(request: Push, row: _Standing) -> Manifest:
    """Bring a layer's images up, and join them under its immutable tags; return the index."""
    layer = row.layer
    found = {tag: request.registry.manifest(tag) for tag in layer.immutable}
    for tag, remote in found.items():
        if remote is not None and not _holds(request, remote, layer):
            raise TagTakenError(
                f"{request.name(tag)} is there already, and it is another image; such a tag never moves",
                advice="Where these images are to stand beside it, give them a number of their own: --serial 2.",
            )
    there = row.there or next((remote for remote in found.values() if remote is not None), None)
    if there is None:
        sources = [request.pinned(_upload_image(request, layer, image)) for image in layer.images]
    else:
        sources = [request.pinned(there.digest)]
    missing = [request.name(tag) for tag, remote in found.items() if remote is None]
    if missing:
        request.uploads.join(sources, missing)
    return _joined(request, layer, layer.immutable[0])


def _upload_image(request: Push, layer: LayerPush, image: VerifiedImage) -> str:
    """Push one platform's image, unless the registry has it, and return the digest of its manifest."""
    # Brought up before: by another machine, a push that was cut off, or as that of the layer below.
    if there := image.digest or staged_digest(request, image):
        return there
    name = request.name(image.staged)
    request.output.say(f"{layer.layer}: pushing {image.platform}")
    # By its id: the name may stand for another image since it was verified.
    request.engine.tag(image.id, name)
    try:
        request.uploads.push(name)
    except RegistryFaultError as error:
        if not request.engine.answers():
            raise EnvironmentFaultError(
                f"the Docker engine went away while it pushed {name}\n{error.what}", advice=GONE_ADVICE
            ) from error
        raise
    finally:
        # An engine that is gone keeps the name until the next push, and must not hide why this one ended.
        with contextlib.suppress(EnvironmentFaultError):
            request.engine.remove_image(name)
    found = staged_digest(request, image)
    if not found:
        raise RegistryFaultError(
            f"{name} is not the image that was pushed", advice="Somebody pushes to it as well: run the command again."
        )
    return found


def staged_digest(request: Push, image: VerifiedImage) -> str:
    """Return the digest of a staged image's manifest; "" where its tag is not there, or is of another image."""
    remote = request.registry.manifest(image.staged)
    found = "" if remote is None else remote.images.get(image.platform, remote.digest)
    return found if found and is_image(request, found, image) else ""


def _joined(request: Push, layer: LayerPush, tag: str) -> Manifest:
    """Return the index that a tag stands for; raise `RegistryFaultError` where it lacks a platform."""
    index = request.registry.manifest(tag)
    if index is None or not _holds(request, index, layer):
        has = "nothing" if index is None else ", ".join(sorted(index.images)) or "no platform"
        wanted = ", ".join(image.platform for image in layer.images)
        raise RegistryFaultError(
            f"{request.name(tag)} holds {has}, and {wanted} was put together: no tag was moved to it",
            advice="Run the command again with --serial 2, and look at what changes images in this registry.",
        )
    return index


def _sign(request: Push, signer: Signer, layer: LayerPush, index: Manifest) -> None:
    reference = request.pinned(index.digest)
    if not signer.has_signed(reference):
        request.output.say(f"{layer.layer}: signing {index.digest[:19]}")
        signer.sign(layer, reference, index)


# The moving tags


def _move(row: _Standing, index: str) -> _Move:
    before = {tag: None if remote is None else remote.digest for tag, remote in row.before.items()}
    return _Move(layer=row.layer, before=before, index=index)


def _move_all(request: Push, moves: Sequence[_Move]) -> None:
    """Move the tags of all layers, or of none; say which stand where if that cannot be had."""
    for move in moves:
        _require_unmoved(request, move)
    if moves:
        layers = ", ".join(move.layer.layer for move in moves)
        request.output.say(f"moving the tags of {layers}: an interruption waits until all have moved, or are back")
    tried: list[_Move] = []
    # Whatever ends this half-way, tags are moved back by programs, and an interrupted process starts none.
    with process.uninterrupted():
        try:
            for move in moves:
                tried.append(move)
                _move_tags(request, move)
        except BaseException:
            request.output.warn(_move_back(request, tried))
            raise
    for move in moves:
        _require_moved(request, move)


def _move_tags(request: Push, move: _Move) -> None:
    names = [request.name(tag) for tag, before in move.before.items() if before != move.index]
    if names:
        request.uploads.join([request.pinned(move.index)], names)


def _require_unmoved(request: Push, move: _Move) -> None:
    for tag, before in move.before.items():
        if (found := _digest_of(request, tag)) != before:
            raise RegistryFaultError(
                f"{request.name(tag)} was moved by somebody else during this push, to {found}: no tag was moved",
                advice="Run the command again: it starts from what is there then.",
            )


def _require_moved(request: Push, move: _Move) -> None:
    for tag in move.layer.moving:
        if (found := _digest_of(request, tag)) != move.index:
            raise RegistryFaultError(
                f"{request.name(tag)} stands for {found} after it was moved to {move.index}: somebody else pushes too",
                advice="Let one of them end, and run the command again.",
            )


def _move_back(request: Push, tried: Sequence[_Move]) -> str:
    """Put the tags back that have moved; return a sentence for each group of them: where they stand."""
    back, stay, others, unknown = [], [], [], []
    for move in tried:
        for tag, before in move.before.items():
            try:
                found = _digest_of(request, tag)
                if found == before:
                    continue
                if found != move.index:
                    # What another push has finished is not ours to undo.
                    others.append(tag)
                    continue
                if before is None:
                    # Nobody can have pulled it, and no command of a registry client takes a name away.
                    stay.append(tag)
                    continue
                request.uploads.join([request.pinned(before)], [request.name(tag)])
                back.append(tag)
            except Exception:  # noqa: BLE001 - whatever keeps one tag must not keep the others; why it began is raised
                unknown.append(f"{tag} (from {before or 'nothing'} to {move.index})")
    rows = [
        ("moved back", back),
        ("new, and left there", stay),
        ("moved by somebody else, and left there", others),
        ("not known whether moved", unknown),
    ]
    said = [f"{what}: {', '.join(tags)}" for what, tags in rows if tags]
    return "\n".join(said) or "no tag was moved"


def _digest_of(request: Push, tag: str) -> str | None:
    remote = request.registry.manifest(tag)
    return None if remote is None else remote.digest
