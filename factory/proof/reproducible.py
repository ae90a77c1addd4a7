"""Whether an image can be made again: its plan is built without any cache, and the two are compared, layer by layer."""

from __future__ import annotations

import calendar
import json
import re
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from factory.cook.image_build import image_build
from factory.cook.images import build_uncached
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.image_archive import differences, read_layers
from factory.labels import SHARE, Label
from factory.model import CRATE_NAME
from factory.platforms import Platform
from factory.proof.model import Check
from factory.proof.target import verified_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from factory.cargo.fetching import Fetching
    from factory.config.model import Settings
    from factory.engine import Container, Engine, ImageFacts
    from factory.output import Output
    from factory.planning.plan import Plan

NAME = "rust-warm-factory/reproduced"
"""Where second builds are tagged, and removed again."""

_MOST_FINDINGS = 20
_HASHED = re.compile(rf"(?:lib)?(?P<crate>{CRATE_NAME})-(?P<hash>[0-9a-f]{{16}})(?:\..+)?")
_OF_THE_COOK = ("cook.jsonl", "errors.log")
"""What the cook itself writes into a layer's share: everything else there came in as a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The image in question: its facts, the layers of the plan that it holds, the time of its files, and what each
    layer brings as files, by layer and name."""

    image: str
    facts: ImageFacts
    layers: tuple[str, ...]
    epoch: int
    files: Mapping[str, Mapping[str, str]]
    packages: Mapping[str, str]
    """Packages, as `name@version`, by the hash in the names of their files."""


def verify_reproducible(
    image: str, plan: Plan, settings: Settings, *, fetching: Fetching, folder: Path, engine: Engine, output: Output
) -> Check:
    """Build the plan of an image once more, without a cache and under a name of its own, and compare the digests.

    `fetching` is how sources are fetched anew; `folder` is where the second build happens. Raises `ConfigurationError`
    where the image was not made from this plan, or holds layers that are not the factory's.
    """
    plan = plan.of_images()
    original = _original(image, plan, engine)
    names = f"{NAME}:{secrets.token_hex(6)}"
    its = Platform(original.facts.platform)
    platform = None if its == engine.platform else its
    build = replace(image_build(plan, settings, folder, platform=platform, fetching=fetching), epoch=original.epoch)
    output.say(f"building {', '.join(original.layers)} again, without a cache")
    try:
        labels = original.facts.labels
        build_uncached(build, original.layers, original.files, tag=names, labels=labels, engine=engine, output=output)
        again = engine.image(names)
        if again.layers == original.facts.layers:
            return _same_layers(original, again)
        return _explain(original, names, again, plan, engine)
    finally:
        engine.remove_image(names)


def _original(image: str, plan: Plan, engine: Engine) -> Original:
    facts = verified_image(image, engine)
    try:
        made_from, layer = facts.labels[Label.PLAN], facts.labels[Label.LAYER]
        created = facts.labels["org.opencontainers.image.created"]
    except KeyError as error:
        raise ConfigurationError(
            f"{image}: not an image that factory built ({error} is missing)", advice="Name one that it did."
        ) from error
    planned = plan.layer_digest(layer) if any(one.name == layer for one in plan.layers) else "without that layer"
    if made_from != planned:
        raise ConfigurationError(
            f"{image} was made from the plan {made_from[:12]}, and this one is {planned[:12]}",
            advice="Name the plan of the image with --plan.",
        )
    layers = plan.chain(layer)
    with engine.container(image, mounts={}) as container:
        files = {name: _files(container, name) for name in layers}
        packages = _packages(_read(container, f"{SHARE}/{name}/cook.jsonl") for name in layers)
    return Original(
        image=image,
        facts=facts,
        layers=layers,
        epoch=calendar.timegm(time.strptime(created, "%Y-%m-%dT%H:%M:%SZ")),
        files=files,
        packages=packages,
    )


def _files(container: Container, layer: str) -> dict[str, str]:
    without = [word for name in _OF_THE_COOK for word in ("!", "-name", name)]
    listed = container.run(["find", f"{SHARE}/{layer}", "-type", "f", *without, "-print"], user="0")
    paths = sorted(listed.stdout.splitlines())
    return {path.removeprefix(f"{SHARE}/{layer}/"): _read(container, path) for path in paths}


def _read(container: Container, path: str) -> str:
    answer = container.run(["cat", path], user="0")
    if not answer.ok:
        raise EnvironmentFaultError(f"{path} cannot be read in the image: {answer.stderr.strip()[:300]}")
    return answer.stdout


def _packages(reports: Iterable[str]) -> dict[str, str]:
    """Return packages by the hashes in the paths that cargo reported for them."""
    packages = {}
    for line in (line for report in reports for line in report.splitlines()):
        said = json.loads(line)
        name, _, version = str(said.get("package_id", "")).rpartition("#")[2].partition("@")
        for path in (*said.get("filenames", ()), said.get("out_dir") or ""):
            for found in filter(None, map(_HASHED.fullmatch, str(path).split("/"))):
                packages[found["hash"]] = f"{name}@{version}"
    return packages


# What differs


def _same_layers(original: Original, again: ImageFacts) -> Check:
    same = again.id == original.facts.id
    return Check(
        name="reproducible",
        ok=same,
        detail=(
            f"built again without a cache, the image has the same digest, {again.id}"
            if same
            else f"all {len(again.layers)} layers are the same, but {again.id} is not {original.facts.id}: the image's "
            "configuration or its compression differs"
        ),
    )


def _explain(original: Original, names: str, again: ImageFacts, plan: Plan, engine: Engine) -> Check:
    before, after = original.facts.layers, again.layers
    if len(before) != len(after):
        detail = f"the image has {len(before)} layers, built again {len(after)}: not all of them are the factory's"
        return Check(name="reproducible", ok=False, detail=detail)
    numbers = [number for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    with engine.layers_of(original.image) as here, engine.layers_of(names) as there:
        one, other = read_layers(here, numbers), read_layers(there, numbers)
    found = {path: what for number in numbers for path, what in differences(one[number], other[number]).items()}
    ranked = rank(found, original.packages, plan)
    causes = list(dict.fromkeys(crate for crate, _, _ in ranked if crate))
    return Check(
        name="reproducible",
        ok=False,
        detail=(
            f"{len(numbers)} of {len(before)} layers differ when built again, in {len(found)} paths"
            + (f"; it begins with {causes[0]}" if causes else "")
        ),
        findings=tuple(f"{crate or 'no crate'}: {path}: {what}" for crate, path, what in ranked[:_MOST_FINDINGS]),
    )


def rank(found: Mapping[str, str], packages: Mapping[str, str], plan: Plan) -> list[tuple[str, str, str]]:
    """Return differences as (crate, path, what): those first that nothing under them explains.

    A crate that differs makes all differ that stand on it, as each library has the digests of those it was made with.
    """
    rows = [(_crate(path, packages), path, what) for path, what in found.items()]
    differing = {crate for crate, _, _ in rows if crate}
    below = _below(plan)
    explained = {crate for crate in differing if below.get(crate, frozenset()) & (differing - {crate})}
    # Of one crate, what its build script wrote comes before what was compiled from it.
    return sorted(rows, key=lambda row: (not row[0], row[0] in explained, "/out/" not in row[1], row))


def _crate(path: str, packages: Mapping[str, str]) -> str:
    named = [found for found in map(_HASHED.fullmatch, path.split("/")) if found]
    known = [packages[found["hash"]] for found in named if found["hash"] in packages]
    return known[0] if known else named[0]["crate"] if named else ""


def _below(plan: Plan) -> dict[str, frozenset[str]]:
    """Return for each package, as `name@version`, all packages under it."""
    direct: dict[str, set[str]] = {}
    for planned in plan.units.values():
        keys = (dependency.key for dependency in planned.unit.dependencies)
        deps = (plan.units[key].identity.package.label for key in keys if key in plan.units)
        direct.setdefault(planned.identity.package.label, set()).update(deps)
    return {package: frozenset(_reached(package, direct)) for package in direct}


def _reached(package: str, direct: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting: Sequence[str] = [package]
    while waiting:
        waiting = sorted({dep for each in waiting for dep in direct.get(each, ())} - reached)
        reached.update(waiting)
    return reached - {package}
