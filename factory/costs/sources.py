"""How large the sources of crates are: what a CARGO_HOME has downloaded is measured once and remembered."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

from factory.files import write_json
from factory.model import SourceSizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from factory.model import PackageId

SCHEMA = 1

_NATIVE = frozenset({"c", "cc", "cpp", "cxx", "s", "asm", "pl", "m", "mm"})
"""Endings, in lower case, of what a C, C++ or assembler compiler works through."""

_NO_PART = frozenset({"tests", "test", "examples", "benches", "fuzz", "docs"})
"""Folders of a crate that its library is not made of."""


class Sources:
    """The sizes of crates that lie, as `.crate` files, in the downloads of some CARGO_HOMEs."""

    def __init__(self, homes: Sequence[Path], memory: Path) -> None:
        """Look in `homes`; keep what was found in the file `memory`, which may be missing or damaged."""
        self._homes = tuple(homes)
        self._memory = memory
        self._known = _remembered(memory)
        self._absent: set[str] = set()
        self._added = False

    def __call__(self, package: PackageId) -> SourceSizes | None:
        """Return the sizes of a package's sources; `None` where it was not downloaded."""
        name = _file_stem(package)
        if name not in self._known and name not in self._absent:
            self._keep({name: self._measured(name)})
        return self._known.get(name)

    def weigh(self, packages: Iterable[PackageId]) -> None:
        """Measure what is not known of many packages: side by side, as most of it is decompressing.

        What is not there now is not looked for again before the next time.
        """
        names = sorted({_file_stem(package) for package in packages} - self._known.keys())
        with ThreadPoolExecutor() as pool:
            self._keep(dict(zip(names, pool.map(self._measured, names), strict=True)))

    def remember(self) -> None:
        """Write down what was found, for the next time."""
        if self._added:
            crates = {name: asdict(sizes) for name, sizes in self._known.items()}
            write_json(self._memory, {"schema": SCHEMA, "crates": crates})

    def _keep(self, measured: Mapping[str, SourceSizes | None]) -> None:
        found = {name: sizes for name, sizes in measured.items() if sizes is not None}
        self._known |= found
        self._absent = (self._absent | measured.keys()) - found.keys()
        self._added |= bool(found)

    def _measured(self, name: str) -> SourceSizes | None:
        found = next(self._downloads(name), None)
        return None if found is None else _sizes(found)

    def _downloads(self, name: str) -> Iterator[Path]:
        for home in self._homes:
            yield from home.glob(f"registry/cache/*/{name}.crate")


def _file_stem(package: PackageId) -> str:
    return f"{package.name}-{package.version}"


def _remembered(memory: Path) -> dict[str, SourceSizes]:
    try:
        document = json.loads(memory.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            return {}
        return {name: SourceSizes(**raw) for name, raw in document["crates"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A cache: what is lost is measured again.
        return {}


def _sizes(crate: Path) -> SourceSizes | None:
    try:
        # At once: Python lets other threads run while it decompresses, and a crate is a few megabytes.
        unpacked = gzip.decompress(crate.read_bytes())
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
            return sizes_of((member.name.partition("/")[2], member.size) for member in archive if member.isfile())
    except (OSError, EOFError, tarfile.TarError, zlib.error):
        # A download that was interrupted: cargo fetches it again, and then it is measured.
        return None


def sizes_of(files: Iterable[tuple[str, int]]) -> SourceSizes:
    """Add up files of a crate, given as path below its root and bytes."""
    rust = script = native = 0
    for path, size in files:
        folder, _, rest = path.partition("/")
        ending = path.rpartition(".")[2].lower()
        if path == "build.rs" or (folder == "build" and ending == "rs"):
            script += size
        elif rest and folder in _NO_PART:
            continue
        elif ending == "rs":
            rust += size
        elif ending in _NATIVE:
            native += size
    return SourceSizes(rust=rust, script=script, native=native)
