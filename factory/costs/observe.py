"""What one cook of a recipe tells about its units: seconds from cargo's timings, bytes from the build directory."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from factory.costs.timings import Work, core_seconds
from factory.model import Mode, PackageId, SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from factory.costs.timings import Spell, Tick
    from factory.model import Unit, UnitKey

_HASH = re.compile(r"-([0-9a-f]{16})(?=[./]|$)")
"""By what cargo tells the files of one unit from those of another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooked:
    """What is known of one cook: cargo's JSON messages in the order in which they came, its timings, and the ticks."""

    messages: str
    spells: tuple[Spell, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one cook took for one unit, in core seconds, and the bytes of its own files."""

    seconds: float
    bytes: int


class _Group(NamedTuple):
    """What the timings say of a unit; the messages say it too, but of a run only the package."""

    crate: str
    version: str
    work: Work
    features: tuple[str, ...]


class _Identity(NamedTuple):
    """What a message says of a unit beyond its group."""

    group: _Group
    opt_level: str
    debuginfo: str
    debug_assertions: bool
    overflow_checks: bool


@dataclass(frozen=True, slots=True)
class _Made:
    identity: _Identity
    folder_hash: str


def observe(units: Mapping[UnitKey, Unit], cooked: Cooked, sizes: Mapping[str, int]) -> dict[UnitKey, Observation]:
    """Return what was seen of the units that this cook compiled or ran; those it found fresh are not among them.

    `sizes` are the bytes by the hash in the names of files: see `sizes_by_hash`. Cargo's timings and its messages both
    come in the order in which units end, which tells units apart that the timings call the same. Units that even
    cargo's messages call the same (one package for two sides) get the mean; where only some of these were compiled,
    they get nothing, as nobody can tell which.
    """
    seconds: dict[_Group, list[float]] = defaultdict(list)
    for spell, taken in zip(cooked.spells, core_seconds(cooked.spells, cooked.ticks), strict=True):
        seconds[_Group(spell.crate, spell.version, spell.work, spell.features)].append(taken)
    made, runs = _made(cooked.messages)
    return _compiled(units, made, seconds, sizes) | _ran(units, runs, seconds, sizes)


def sizes_by_hash(files: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Add up files of a build directory, given as path and bytes, by the hash of the unit that they belong to."""
    found: dict[str, int] = defaultdict(int)
    for path, size in files:
        match = _HASH.search(path)
        if match is not None:
            found[match[1]] += size
    return dict(found)


def files_below(folder: Path) -> Iterable[tuple[str, int]]:
    """Yield path (below `folder`) and bytes of every file; one with two names only once, as it is stored once."""
    seen: set[tuple[int, int]] = set()
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if path.is_file() and not path.is_symlink() and (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            yield path.relative_to(folder).as_posix(), status.st_size


def _compiled(
    units: Mapping[UnitKey, Unit],
    made: Sequence[_Made],
    seconds: Mapping[_Group, Sequence[float]],
    sizes: Mapping[str, int],
) -> dict[UnitKey, Observation]:
    in_order: dict[_Group, list[_Made]] = defaultdict(list)
    for one in made:
        in_order[one.identity.group].append(one)
    seen: dict[_Identity, list[Observation]] = defaultdict(list)
    for group, ended in in_order.items():
        if len(ended) != len(seconds.get(group, ())):
            continue
        for one, taken in zip(ended, seconds[group], strict=True):
            seen[one.identity].append(Observation(seconds=taken, bytes=sizes.get(one.folder_hash, 0)))
    same: dict[_Identity, list[UnitKey]] = defaultdict(list)
    for key, unit in units.items():
        if unit.mode is not Mode.RUN_CUSTOM_BUILD:
            same[_identity_of_unit(unit)].append(key)
    return {
        key: _mean(seen[identity])
        for identity, keys in same.items()
        if len(seen.get(identity, ())) == len(keys)
        for key in keys
    }


def _ran(
    units: Mapping[UnitKey, Unit],
    runs: Mapping[PackageId, Sequence[str]],
    seconds: Mapping[_Group, Sequence[float]],
    sizes: Mapping[str, int],
) -> dict[UnitKey, Observation]:
    same: dict[tuple[PackageId, _Group], list[UnitKey]] = defaultdict(list)
    for key, unit in units.items():
        if unit.mode is Mode.RUN_CUSTOM_BUILD:
            group = _Group(unit.package.name, unit.package.version, Work.RUN, unit.features)
            same[unit.package, group].append(key)
    found: dict[UnitKey, Observation] = {}
    for (package, group), keys in same.items():
        taken = seconds.get(group, ())
        folders = runs.get(package, ())
        if len(taken) != len(keys) or not folders:
            continue
        # The messages do not say which of a package's runs had which features: mostly there is one.
        size = round(fmean(sizes.get(name, 0) for name in folders))
        found |= dict.fromkeys(keys, Observation(seconds=fmean(taken), bytes=size))
    return found


def _mean(observations: Sequence[Observation]) -> Observation:
    return Observation(
        seconds=fmean(one.seconds for one in observations), bytes=round(fmean(one.bytes for one in observations))
    )


def _made(messages: str) -> tuple[list[_Made], dict[PackageId, list[str]]]:
    """Return what was compiled, in order, and the hashes of the output folders of each package's runs."""
    made: list[_Made] = []
    runs: dict[PackageId, list[str]] = defaultdict(list)
    for line in messages.splitlines():
        if not line.startswith('{"reason":"compiler-artifact"') and not line.startswith('{"reason":"build-script-'):
            continue
        message = json.loads(line)
        package = PackageId.parse(message["package_id"])
        if package.kind is not SourceKind.REGISTRY:
            continue
        if message["reason"] == "build-script-executed":
            runs[package].append(_hash_in(message["out_dir"]))
        elif not message["fresh"]:
            made.append(_Made(_identity_of_message(package, message), _hash_in(message["filenames"][0])))
    return made, runs


def _identity_of_message(package: PackageId, message: Mapping[str, Any]) -> _Identity:
    profile = message["profile"]
    names = message["filenames"]
    if message["target"]["kind"] == ["custom-build"]:
        work = Work.SCRIPT
    else:
        work = Work.CHECK if all(name.endswith(".rmeta") for name in names) else Work.LIBRARY
    return _Identity(
        _Group(package.name, package.version, work, tuple(sorted(message["features"]))),
        profile["opt_level"],
        str(profile["debuginfo"] or 0),
        profile["debug_assertions"],
        profile["overflow_checks"],
    )


def _identity_of_unit(unit: Unit) -> _Identity:
    if unit.target_kind == "custom-build":
        work = Work.SCRIPT
    else:
        work = Work.CHECK if unit.mode is Mode.CHECK else Work.LIBRARY
    profile = unit.profile
    return _Identity(
        _Group(unit.package.name, unit.package.version, work, unit.features),
        profile.opt_level,
        profile.debuginfo,
        profile.debug_assertions,
        profile.overflow_checks,
    )


def _hash_in(path: str) -> str:
    found = _HASH.findall(path)
    return str(found[-1]) if found else ""
