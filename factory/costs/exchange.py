"""Records as JSON lines: sorted, one for each unit, so that two files can be compared, joined and put under version
control."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from factory.costs.samples import Record, Sample, chosen
from factory.costs.traits import Kind, Traits
from factory.errors import ConfigurationError
from factory.files import flaw
from factory.model import UnitKey

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = {"schema": 1, "what": "costs of units, measured by factory"}
"""The first line of a file."""


def to_lines(records: Iterable[Record]) -> str:
    """Return the records as text, the same for the same records in whatever order."""
    ordered = sorted(joined(records), key=lambda one: (one.traits, one.key, one.rustc, one.platform))
    return "".join(f"{json.dumps(line, sort_keys=True)}\n" for line in (FORMAT, *map(record_to_json, ordered)))


def from_lines(text: str, name: str) -> tuple[Record, ...]:
    """Read what `to_lines` wrote; `name` is the file's. Raises `ConfigurationError` with the number of a bad line."""
    records: list[Record] = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
            if number == 1:
                if row != FORMAT:
                    raise ValueError("not the first line of such a file")  # noqa: TRY301 - for the words below
                continue
            records.append(_record(row))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigurationError(
                f"{name}:{number}: no measured costs: {flaw(error)}", advice="Import what `factory costs export` wrote."
            ) from error
    if not text.strip():
        raise ConfigurationError(f"{name}: empty", advice="Import what `factory costs export` wrote.")
    return tuple(records)


def joined(records: Iterable[Record]) -> tuple[Record, ...]:
    """Return each unit once for a compiler and a platform, with the samples of all."""
    same: dict[tuple[str, str, str], Record] = {}
    for record in records:
        place = (record.key, record.rustc, record.platform)
        known = same.get(place)
        samples = record.samples if known is None else known.samples + record.samples
        traits = record.traits if known is None else max(known.traits, record.traits, key=_known_source)
        same[place] = Record(
            key=record.key,
            rustc=record.rustc,
            platform=record.platform,
            traits=traits,
            samples=chosen(samples),
        )
    return tuple(same[place] for place in sorted(same))


def record_to_json(record: Record) -> dict[str, Any]:
    """Return a record as JSON values; each sample is `[cook, seconds, bytes, cores]`."""
    traits = record.traits
    return {
        "crate": traits.crate,
        "version": traits.version,
        "kind": traits.kind.value,
        "opt_level": traits.opt_level,
        "features": list(traits.features),
        "source_bytes": traits.source_bytes,
        "key": record.key,
        "rustc": record.rustc,
        "platform": record.platform,
        "samples": [[sample.cook, sample.seconds, sample.bytes, sample.cores] for sample in record.samples],
    }


def _known_source(traits: Traits) -> int:
    return -1 if traits.source_bytes is None else traits.source_bytes


def _record(row: dict[str, Any]) -> Record:
    samples = [
        Sample(cook=str(cook), seconds=_number(seconds), bytes=int(_number(size)), cores=int(_number(cores)))
        for cook, seconds, size, cores in row["samples"]
    ]
    source = row["source_bytes"]
    if not samples:
        raise ValueError("no samples")
    return Record(
        key=UnitKey(str(row["key"])),
        rustc=str(row["rustc"]),
        platform=str(row["platform"]),
        traits=Traits(
            crate=str(row["crate"]),
            version=str(row["version"]),
            kind=Kind(row["kind"]),
            opt_level=str(row["opt_level"]),
            features=tuple(str(feature) for feature in row["features"]),
            source_bytes=None if source is None else int(_number(source)),
        ),
        samples=chosen(samples),
    )


def _number(value: Any) -> float:  # noqa: ANN401 - any JSON value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        raise ValueError(f"{value!r} is no size or time")
    return float(value)
