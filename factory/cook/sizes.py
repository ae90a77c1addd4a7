"""What a layer weighs: the files that its cook added, and whose they are."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from factory.model import CRATE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


HEAVIEST = 10
"""How many crates of a layer are named."""

_UNIT = re.compile(rf"(?:lib)?(?P<crate>{CRATE_NAME})-[0-9a-f]{{16}}(?:\..+)?")
_DOWNLOAD = re.compile(r"(?P<crate>[A-Za-z0-9_-]+?)-[0-9]+\.[0-9]+\.[0-9].*\.crate")
_FIELDS = 3


@dataclass(frozen=True, slots=True)
class CrateBytes:
    """The bytes of one crate's files in a layer: all its units, and its download."""

    crate: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What the cook of a layer added to the CARGO_HOME and the build directory, unpacked: in all, and by crate."""

    bytes: int
    crates: tuple[CrateBytes, ...]
    """The heaviest ones, heaviest first."""


def weight(now: Mapping[str, int], before: Mapping[str, int], crates: Iterable[str]) -> Weight:
    """Return what is in `now` and was not in `before`; both are sizes by path. `crates` are the names in the plan.

    A file that has another size than before counts in full: in an image the layer holds all of it.
    """
    added = {path: size for path, size in now.items() if before.get(path) != size}
    names = {crate.replace("-", "_"): crate for crate in crates}
    shares: Counter[str] = Counter()
    for path, size in added.items():
        shares[_crate(path, names)] += size
    ranked = sorted(shares.items(), key=lambda share: (-share[1], share[0]))
    return Weight(bytes=sum(added.values()), crates=tuple(CrateBytes(*share) for share in ranked[:HEAVIEST]))


def read_listing(text: str) -> dict[str, int]:
    """Return sizes by path from lines `BYTES INODE PATH`; raise `ValueError` for anything else.

    Of hard links to one file the first by path has its size, the others nothing.
    """
    rows = [line.split(" ", _FIELDS - 1) for line in text.splitlines()]
    return _once((path, int(size), inode) for size, inode, path in rows)


def list_sizes(folders: Sequence[Path], *, without: Sequence[Path] = ()) -> dict[str, int]:
    """Return the sizes of all files in folders by path, as `read_listing` does; `without` are not entered."""
    return _once(row for folder in folders for row in _files(folder, frozenset(map(str, without))))


def _once(rows: Iterable[tuple[str, int, str]]) -> dict[str, int]:
    seen: set[str] = set()
    sizes = {}
    for path, size, inode in sorted(rows):
        sizes[path] = 0 if inode in seen else size
        seen.add(inode)
    return sizes


def _files(folder: Path, without: frozenset[str]) -> Iterator[tuple[str, int, str]]:
    for root, names, files in os.walk(folder):
        names[:] = [name for name in names if os.path.join(root, name) not in without]  # noqa: PTH118 - many paths
        for name in files:
            path = os.path.join(root, name)  # noqa: PTH118 - as above
            facts = os.lstat(path)
            yield path, facts.st_size, str(facts.st_ino)


def _crate(path: str, names: Mapping[str, str]) -> str:
    """Return the crate that a file belongs to, by the names that cargo gives to files of units and to downloads."""
    for part in PurePosixPath(path).parts:
        found = _UNIT.fullmatch(part) or _DOWNLOAD.fullmatch(part)
        name = found["crate"].replace("-", "_") if found else ""
        if name in names:
            return names[name]
    return "(no crate's own)"
