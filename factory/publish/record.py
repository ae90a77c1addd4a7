"""What `factory verify` leaves of an image, so that `factory push` takes only what passed.

One small sorted file for each image, called by the image's id: in the cache, and wherever `--record FILE` puts a copy
for another job to read.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.errors import BadAnswerError, ConfigurationError
from factory.files import cache_directory, flaw, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from factory.engine import ImageFacts
    from factory.proof.model import Proof
    from factory.publish.model import BuiltImage

SCHEMA = 1
_MADE_BY = "factory verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRecord:
    """The verdict on one image, by its id, and its `day`; `failed` names what speaks against the image."""

    image: str
    day: str
    platform: str
    layer: str
    plan: str
    ok: bool
    failed: tuple[str, ...]


def record_to_json(proof: Proof, *, min_hit: float, day: str) -> dict[str, Any]:
    """Return the record of an image's proof on a day (YYYYMMDD).

    Raises `ConfigurationError` for the proof of a directory.
    """
    if proof.image is None:
        raise ConfigurationError(
            f"{proof.target}: a directory is not pushed, so there is no record of it", advice="Leave out --record."
        )
    image = proof.image
    return {
        "schema": SCHEMA,
        "day": day,
        "image": {"id": image.id, "platform": image.platform, "layer": image.layer, "plan": image.plan},
        "ok": proof.ok(min_hit),
        "min_hit": min_hit,
        "checks": {check.name: check.ok for check in proof.checks},
        "repos": [
            {
                "path": repo.path,
                "variant": repo.variant,
                "units": {"total": repo.total, "fresh": repo.fresh},
                "ok": not repo.problem and repo.hit_rate >= min_hit,
            }
            for repo in proof.repos
        ],
    }


def write_record(proof: Proof, *, min_hit: float, day: str, copy: Path | None) -> None:
    """Keep the record of an image's proof in the cache, in the place of an earlier one, and as the file `copy` too."""
    document = record_to_json(proof, min_hit=min_hit, day=day)
    write_json(_place(document["image"]["id"]), document)
    if copy is not None:
        write_json(copy, document)


def read_records(files: Sequence[Path]) -> Mapping[str, ProofRecord]:
    """Return the records in `files` by image id; raise `ConfigurationError` for what is none."""
    return {record.image: record for record in map(_read, files)}


def require_passed(facts: ImageFacts, reference: str, given: Mapping[str, ProofRecord]) -> ProofRecord:
    """Return the record of an image, of `given` before the cache; raise `BadAnswerError` unless it passed."""
    record = given.get(facts.id)
    if record is None:
        kept = _place(facts.id)
        record = _read(kept) if kept.exists() else None
    if record is None:
        raise BadAnswerError(
            f"{reference} ({facts.id[:19]}) was not verified",
            advice=f"Run `factory verify {shlex.quote(reference)}` first, or hand over what it wrote: --proof FILE.",
        )
    _require_ok(record, reference)
    return record


def passed_record(image: BuiltImage, given: Mapping[str, ProofRecord]) -> ProofRecord | None:
    """Return the record of an image that another machine built and verified, `None` where none of `given` is of it.

    Raises `BadAnswerError` where several are of this layer, platform and plan, or it did not pass.
    """
    wanted = (image.image_layer, image.platform, image.plan_digest)
    found = [record for record in given.values() if (record.layer, record.platform, record.plan) == wanted]
    what = f"{image.image_layer} for {image.platform}, plan {image.plan_digest[:12]}"
    if len(found) > 1:
        raise BadAnswerError(
            f"{what}: {len(found)} images have records among those of --proof", advice="Hand over the newest alone."
        )
    for record in found:
        _require_ok(record, what)
    return next(iter(found), None)


def _require_ok(record: ProofRecord, reference: str) -> None:
    if not record.ok:
        raise BadAnswerError(
            f"{reference} ({record.image[:19]}) did not pass its last verification: {', '.join(record.failed)}",
            advice=f"See `factory verify {shlex.quote(reference)}`, and build it again.",
        )


def _place(image: str) -> Path:
    return cache_directory() / "proofs" / f"{image.replace(':', '-')}.json"


def _read(path: Path) -> ProofRecord:
    document = read_json(path, made_by=_MADE_BY)
    try:
        _require_schema(document["schema"])
        failed = [name for name, ok in document["checks"].items() if not ok]
        failed += [row["path"] for row in document["repos"] if not row["ok"]]
        image = document["image"]
        return ProofRecord(
            image=image["id"],
            day=document["day"],
            platform=image["platform"],
            layer=image["layer"],
            plan=image["plan"],
            ok=document["ok"] is True,
            failed=tuple(failed),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"{path}: not a record that this version of factory reads: {flaw(error)}", advice=f"Run `{_MADE_BY}` again."
        ) from error


def _require_schema(found: object) -> None:
    if found != SCHEMA:
        message = f"schema {found}, not {SCHEMA}"
        raise ValueError(message)
