"""Taking pushed images away that nothing leads to any more."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from factory.epoch import chosen_epoch
from factory.errors import NothingToDoError
from factory.publish.attempts import Patience
from factory.publish.distribution import Distribution
from factory.publish.prunable import Inventory, Rules, bytes_freed, judge, leads_on
from factory.publish.push import alone
from factory.publish.tags import require_registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.config.model import Settings
    from factory.output import Output
    from factory.pipeline.run import Run
    from factory.publish.distribution import Manifest
    from factory.publish.prunable import Judgement

_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What went, or would: the verdict on every tagged manifest, and the bytes of those that go."""

    repository: str
    judgement: Judgement
    freed: Mapping[str, int]
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "schema": 1,
            "repository": self.repository,
            "dry_run": self.dry_run,
            "manifests": len(self.judgement.goes),
            "bytes": sum(self.freed.values()),
            "images": [
                {
                    "digest": row.digest,
                    "tags": list(row.tags),
                    "goes": row.goes,
                    "reason": row.reason,
                    "part_of": row.part_of,
                    "bytes": self.freed.get(row.digest, 0),
                }
                for row in self.judgement.verdicts
            ],
        }


def prune(runs: Sequence[Run], *, dry_run: bool) -> Pruned:
    """Delete what may go of the repository that all runs push to, or say what that is.

    Raises `ConfigurationError` without a registry, `NothingToDoError` where nothing may go, `EnvironmentFaultError`
    beside a push or prune of this machine, and `RegistryFaultError` for what the registry does not do.
    """
    run = runs[0]
    image = run.settings.image
    require_registry(image)
    registry = Distribution(image.registry, image.name, patience=_patience(run), output=run.output)
    rules = _rules([each.settings for each in runs])
    with alone(image.repository):
        run.output.say(f"reading {image.repository}")
        found = _inventory(registry, registry.tags())
        if not dry_run:
            found = _as_of_now(registry, found, rules)
        judgement = judge(found, rules, gone=lambda digest: not registry.has(digest))
        if not judgement.goes:
            raise NothingToDoError(
                f"nothing to prune: {len(found.tags)} tags of {image.repository} stay",
                advice="`prune` in registry-config.yaml says what does.",
            )
        pruned = Pruned(
            repository=image.repository,
            judgement=judgement,
            freed=bytes_freed(judgement, found),
            dry_run=dry_run,
        )
        if not dry_run:
            _delete(registry, judgement, run.output)
        return pruned


def _patience(run: Run) -> Patience:
    return Patience(attempts=run.settings.push.attempts)


def _rules(settings: Sequence[Settings]) -> Rules:
    templates = {tag for each in settings for tag in each.image.tags}
    chosen, now = chosen_epoch(), time.time()
    # Where pushes are dated back, so is today; and never ahead, where all of them would be old.
    today = datetime.fromtimestamp(now if chosen is None else min(chosen, now), UTC).date()
    return Rules(
        keep=settings[0].prune.keep,
        days=settings[0].prune.days,
        today=today,
        templates=tuple(sorted(tag for tag in templates if "{date}" in tag or "{plan}" in tag)),
    )


def _inventory(registry: Distribution, tags: Iterable[str]) -> Inventory:
    """Read what tags stand for, and all that is in it."""
    names = sorted(tags)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read = zip(names, pool.map(registry.manifest, names), strict=True)
        heads = {tag: head for tag, head in read if head is not None}
        manifests = {head.digest: head for head in heads.values()}
        while missing := sorted({one for each in manifests.values() for one in each.children} - manifests.keys()):
            children = list(pool.map(registry.manifest, missing))
            manifests |= {one.digest: one for one in children if one is not None}
            # An index may lack a platform's image: nothing to read, nothing to keep.
            absent = {digest for digest, one in zip(missing, children, strict=True) if one is None}
            manifests = {digest: _without(each, absent) for digest, each in manifests.items()}
    return Inventory(tags={tag: head.digest for tag, head in heads.items()}, manifests=manifests)


def _as_of_now(registry: Distribution, found: Inventory, rules: Rules) -> Inventory:
    """Read again what may have changed since: many tags take minutes, and another machine may push meanwhile."""
    names = registry.tags()
    again = _inventory(registry, [tag for tag in names if tag not in found.tags or leads_on(tag, rules)])
    kept = {tag: digest for tag, digest in found.tags.items() if tag in names and not leads_on(tag, rules)}
    return Inventory(tags={**kept, **again.tags}, manifests={**found.manifests, **again.manifests})


def _without(manifest: Manifest, absent: set[str]) -> Manifest:
    return replace(manifest, children=tuple(one for one in manifest.children if one not in absent))


def _delete(registry: Distribution, judgement: Judgement, output: Output) -> None:
    with output.progress("deleting", len(judgement.goes)) as advance:
        for digest in judgement.goes:
            # What is attached without a tag is known by its owner alone: a run that ends here finds it no more.
            attached = registry.referrers(digest) or ()
            registry.delete(digest)
            for one in attached:
                if one not in judgement.stays:
                    registry.delete(one)
            advance(digest[:19])
