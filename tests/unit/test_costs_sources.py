"""How large a crate's sources are, read from what cargo has downloaded."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import TYPE_CHECKING

from factory.costs.sources import Sources
from factory.model import PackageId, SourceSizes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def package(name: str) -> PackageId:
    return PackageId(name=name, version="1.0.0", source="registry+https://github.com/rust-lang/crates.io-index")


def download(home: Path, name: str, files: Mapping[str, int]) -> Path:
    """Put a crate with files of these sizes where cargo would."""
    path = home / "registry" / "cache" / "index.crates.io-1949cf8c6b5b557f" / f"{name}-1.0.0.crate"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for inside, size in files.items():
            member = tarfile.TarInfo(f"{name}-1.0.0/{inside}")
            member.size = size
            archive.addfile(member, io.BytesIO(b"x" * size))
    return path


def test_many_crates_are_weighed_at_once_as_each_by_itself(tmp_path: Path) -> None:
    for number in range(9):
        download(tmp_path, f"crate-{number}", {"src/lib.rs": 10 + number, "build.rs": 3, "c/a.c": 5, "tests/t.rs": 7})
    together, single = Sources([tmp_path], tmp_path / "memory.json"), Sources([tmp_path], tmp_path / "none.json")
    packages = [package(f"crate-{number}") for number in range(9)]
    together.weigh(packages)
    assert together(packages[4]) == SourceSizes(rust=14, script=3, native=5)
    assert [together(one) for one in packages] == [single(one) for one in packages]


def test_what_was_weighed_is_remembered(tmp_path: Path) -> None:
    crate = download(tmp_path, "crate", {"src/lib.rs": 10})
    sources = Sources([tmp_path], tmp_path / "memory.json")
    sources.weigh([package("crate")])
    sources.remember()
    crate.unlink()
    assert Sources([tmp_path], tmp_path / "memory.json")(package("crate")) == SourceSizes(rust=10, script=0, native=0)


def test_downloads_that_are_missing_or_damaged_have_no_size(tmp_path: Path) -> None:
    cut = download(tmp_path, "cut", {"src/lib.rs": 5000})
    cut.write_bytes(cut.read_bytes()[:-30])
    download(tmp_path, "no-gzip", {}).write_bytes(b"not a gzip")
    download(tmp_path, "garbled", {}).write_bytes(gzip.compress(b"")[:10] + b"\xff" * 40)
    download(tmp_path, "no-archive", {}).write_bytes(gzip.compress(b"no archive at all" * 50))
    names = ("cut", "no-gzip", "garbled", "no-archive", "missing")
    sources = Sources([tmp_path], tmp_path / "memory.json")
    sources.weigh(map(package, names))
    assert [sources(package(name)) for name in names] == [None] * len(names)


def test_what_is_downloaded_later_is_found_when_crates_are_weighed_anew(tmp_path: Path) -> None:
    sources = Sources([tmp_path], tmp_path / "memory.json")
    sources.weigh([package("crate")])
    download(tmp_path, "crate", {"src/lib.rs": 10})
    assert sources(package("crate")) is None
    sources.weigh([package("crate")])
    assert sources(package("crate")) == SourceSizes(rust=10, script=0, native=0)
