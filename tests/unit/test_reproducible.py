"""Two images of one plan: what differs between their layers, and with which crate it begins."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import zstandard

from factory.errors import EnvironmentFaultError
from factory.image_archive import differences, read_layers
from factory.proof.reproducible import rank
from tests.unit.builders import plan_for, unit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOWER, UPPER = "0" * 16, "1" * 16


def layer(files: Mapping[str, str], *, time: int = 0, mode: int = 0o664) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime, entry.mode = len(text), time, mode
            archive.addfile(entry, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.LNKTYPE, next(iter(files))
        archive.addfile(link)
    return buffer.getvalue()


def image(path: Path, *layers: bytes) -> Path:
    names = [f"blobs/sha256/{number}" for number in range(len(layers))]
    manifest = json.dumps([{"Config": "x", "Layers": names}]).encode()
    with tarfile.open(path, "w") as archive:
        for name, content in (*zip(names, layers, strict=True), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_layers_are_compared_whatever_they_are_compressed_with(tmp_path: Path) -> None:
    one = layer({"same": "x", "text": "one", "gone": ""})
    other = layer({"same": "x", "text": "two", "new": ""})
    compressed = zstandard.ZstdCompressor().compress(other)
    here = read_layers(image(tmp_path / "here.tar", b"", gzip.compress(one), one), [1, 2])
    there = read_layers(image(tmp_path / "there.tar", b"", compressed, other), [1, 2])
    expected = {"/gone": "only in the image", "/new": "only in the second build", "/text": "content"}
    assert {number: differences(here[number], there[number]) for number in (1, 2)} == {1: expected, 2: expected}


def test_times_and_modes_are_compared_too(tmp_path: Path) -> None:
    one, other = layer({"x": ""}), layer({"x": ""}, time=1, mode=0o600)
    (here,) = read_layers(image(tmp_path / "one.tar", one), [0]).values()
    (there,) = read_layers(image(tmp_path / "other.tar", other), [0]).values()
    assert differences(here, here) == {}
    assert differences(here, there) == {"/x": "mode, time"}


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_image_is_explained(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image.tar").write_bytes(content)
    with pytest.raises(EnvironmentFaultError, match="cannot be read"):
        read_layers(tmp_path / "image.tar", [0])


def test_a_layer_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFaultError, match="cannot be read"):
        read_layers(image(tmp_path / "image.tar", layer({"x": ""})), [1])


def test_the_crate_that_explains_the_others_comes_first() -> None:
    plan = plan_for({"core": [unit("aa", name="ahash"), unit("bb", "aa", name="hashbrown")]})
    packages = {LOWER: "ahash@1.0.0", UPPER: "hashbrown@1.0.0"}
    found = dict.fromkeys(
        (
            f"/b/deps/libahash-{LOWER}.rlib",
            f"/b/build/ahash-{LOWER}/out/seed.rs",
            f"/b/deps/libhashbrown-{UPPER}.rlib",
            "/etc/something",
        ),
        "content",
    )
    assert rank(found, packages, plan) == [
        ("ahash@1.0.0", f"/b/build/ahash-{LOWER}/out/seed.rs", "content"),
        ("ahash@1.0.0", f"/b/deps/libahash-{LOWER}.rlib", "content"),
        ("hashbrown@1.0.0", f"/b/deps/libhashbrown-{UPPER}.rlib", "content"),
        ("", "/etc/something", "content"),
    ]
    # A file of a unit that cargo did not report has its name only.
    assert rank({f"/b/deps/libx-{UPPER}.rlib": "content"}, {}, replace(plan, units={})) == [
        ("x", f"/b/deps/libx-{UPPER}.rlib", "content")
    ]
