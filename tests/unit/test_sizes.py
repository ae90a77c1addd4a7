"""What a layer weighs: files that are new or changed, hard links once, and whose they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from factory.cook.sizes import CrateBytes, list_sizes, read_listing, weight
from tests.hostile import write_files

if TYPE_CHECKING:
    from pathlib import Path

HASH = "0123456789abcdef"


def test_a_listing_has_hard_links_once() -> None:
    text = "10 7 /b/first name\n10 7 /b/second\n5 8 /a\n"
    assert read_listing(text) == {"/a": 5, "/b/first name": 10, "/b/second": 0}
    with pytest.raises(ValueError, match="unpack"):
        read_listing("10 /a\n")


def test_a_directory_is_listed_as_an_image_is(tmp_path: Path) -> None:
    write_files(tmp_path, {"home/src/x": "12345", "home/y": "123", "build/z": "1"})
    os.link(tmp_path / "build/z", tmp_path / "build/zz")
    sizes = list_sizes([tmp_path / "home", tmp_path / "build"], without=[tmp_path / "home/src"])
    assert sizes == {str(tmp_path / name): size for name, size in {"home/y": 3, "build/z": 1, "build/zz": 0}.items()}


def test_bytes_belong_to_the_crate_in_the_name() -> None:
    now = {
        f"/b/release/deps/libserde_json-{HASH}.rlib": 100,
        f"/b/release/build/serde_json-{HASH}/out/x.rs": 1,
        f"/b/release/.fingerprint/async-trait-{HASH}/lib-async_trait": 3,
        "/h/registry/cache/index.crates.io-1949cf8c6b5b557f/serde_json-1.0.2+x.crate": 10,
        "/h/registry/index/index.crates.io-1949cf8c6b5b557f/.cache/se/rd/serde_json": 4,
        f"/b/release/deps/libgröße-{HASH}.rlib": 2,
        f"/b/release/deps/libold-{HASH}.rlib": 50,
        f"/b/release/deps/libchanged-{HASH}.rlib": 60,
    }
    before = {f"/b/release/deps/libold-{HASH}.rlib": 50, f"/b/release/deps/libchanged-{HASH}.rlib": 61}
    found = weight(now, before, ["serde_json", "async-trait", "größe", "old", "changed"])
    assert found.bytes == 180
    assert found.crates == (
        CrateBytes("serde_json", 111),
        CrateBytes("changed", 60),
        CrateBytes("(no crate's own)", 4),
        CrateBytes("async-trait", 3),
        CrateBytes("größe", 2),
    )
