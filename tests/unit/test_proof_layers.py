"""Files that an image holds twice for nothing, read from archives as `docker save` writes them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from factory.errors import EnvironmentFaultError
from factory.proof.layers import Copy, copies, growth_check

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SHARE = "/usr/local/share/rust-warm-factory"
WARM = ("/build", "/cargo")
OURS: dict[str, bytes | None] = {SHARE[1:]: None}
"""The directory by which our lowest layer is known."""


def layer(files: Mapping[str, bytes | None], *, uid: int = 0, mode: int = 0o644) -> bytes:
    """A layer with files, and directories where there are no bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.uid, member.mode, member.size = uid, mode, len(content or b"")
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            tar.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()


def image(folder: Path, *layers: bytes, packed: bool = True, content: bytes | None = None) -> Path:
    """An archive of layers, under their digests; `content` stands in the place of each."""
    archive = folder / "image.tar"
    names = [f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}" for blob in layers]
    manifest = json.dumps([{"Config": "c", "Layers": names}]).encode()
    with tarfile.open(archive, "w") as tar:
        blobs = [content or (gzip.compress(blob) if packed else blob) for blob in layers]
        for name, blob in [*zip(names, blobs, strict=True), ("manifest.json", manifest)]:
            member = tarfile.TarInfo(name)
            member.size = len(blob)
            tar.addfile(member, io.BytesIO(blob))
    return archive


@pytest.mark.parametrize("packed", [True, False])
def test_a_later_change_of_owner_or_mode_copies_the_file(tmp_path: Path, packed: bool) -> None:
    base = layer({"cargo/a": b"aaaa", "cargo/b": b"bbbb"})
    ours = layer({**OURS, "./build/x": b"xxxxxx", "build/y": b"y"})
    chowned = layer({"build/x": b"xxxxxx", "cargo/b": b"bbbb"}, uid=1001)
    found = copies(image(tmp_path, base, ours, chowned, packed=packed), SHARE, within=WARM, cache=tmp_path / "cache")
    assert found == (Copy(path="/build/x", bytes=6, layer=3), Copy(path="/cargo/b", bytes=4, layer=3))
    check = growth_check(found)
    assert (check.name, check.ok) == ("no copies", False)
    assert check.findings == ("/build/x: 6 bytes again in layer 3", "/cargo/b: 4 bytes again in layer 3")


def test_new_bytes_empty_files_and_what_was_removed_before_are_no_copies(tmp_path: Path) -> None:
    base = layer({"cargo/a": b"aaaa"})
    ours = layer({**OURS, "cargo/a": b"AAAA", "build/lock": b"", "build/x": b"x", "build/old/z": b"z"})
    removing = layer({"build/.wh.x": b"", "build/.wh.old": b"", "build/lock": b""})
    again = layer({"build/x": b"x", "build/old/z": b"z", "cargo/a": b"aaaa"})
    found = copies(image(tmp_path, base, ours, removing, again), SHARE, within=WARM, cache=tmp_path / "cache")
    assert found == ()
    assert growth_check(found).detail == "owners and modes cost 0 bytes: no layer repeats a warm file of a lower one"


def test_what_base_images_do_to_themselves_is_their_own_affair(tmp_path: Path) -> None:
    base = layer({"cargo/a": b"aaaa"})
    assert copies(image(tmp_path, base, base, layer(OURS)), SHARE, within=WARM, cache=tmp_path / "cache") == ()
    assert copies(
        image(tmp_path, base, layer({**OURS, "cargo/a": b"aaaa"})), SHARE, within=WARM, cache=tmp_path / "cache"
    ) == (Copy(path="/cargo/a", bytes=4, layer=2),)


def test_what_programs_of_the_system_write_anew_is_not_ours(tmp_path: Path) -> None:
    base, useradd = layer({"etc/group": b"root:x:0:"}), layer({**OURS, "etc/group": b"root:x:0:"})
    assert copies(image(tmp_path, base, useradd), SHARE, within=WARM, cache=tmp_path / "cache") == ()


def test_a_layer_that_was_read_before_is_not_read_again(tmp_path: Path) -> None:
    base, chowned = (
        layer({**OURS, "build/x": b"xx", "build/y": b"y"}),
        layer({"build/x": b"xx", "build/.wh.y": b"", "buildings": b"b"}, uid=1),
    )
    archive = image(tmp_path, base, chowned)
    first = copies(archive, SHARE, within=WARM, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2
    unreadable = image(tmp_path, base, chowned, content=b"no layer")
    assert (
        copies(unreadable, SHARE, within=WARM, cache=tmp_path / "cache")
        == first
        == (Copy(path="/build/x", bytes=2, layer=2),)
    )
    with pytest.raises(EnvironmentFaultError, match="cannot be read"):
        copies(unreadable, SHARE, within=WARM, cache=tmp_path / "other")


def test_an_archive_that_cannot_be_read_is_an_error_and_no_pass(tmp_path: Path) -> None:
    for name, content in {
        "empty": b"",
        "text": b"no archive",
        "cut": image(tmp_path, layer(OURS)).read_bytes()[:700],
    }.items():
        archive = tmp_path / name
        archive.write_bytes(content)
        with pytest.raises(EnvironmentFaultError, match="the layers of the image cannot be read"):
            copies(archive, SHARE, within=WARM, cache=tmp_path / "cache")
    with pytest.raises(EnvironmentFaultError, match="cannot be read"):
        copies(image(tmp_path, b"\x28\xb5\x2f\xfd zstd", packed=False), SHARE, within=WARM, cache=tmp_path / "cache")
