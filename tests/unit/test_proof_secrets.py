"""Credentials in archives as `docker save` writes them: layers, configuration and history."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from factory.errors import EnvironmentFaultError
from factory.proof.secrets import secrets_check
from tests.unit.test_proof_layers import OURS, SHARE, layer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from factory.proof.model import Check

TOKEN = "warm-token-of-the-test"  # noqa: S105 - planted
KEY = b"-----BEGIN PRIVATE KEY-----\nMIIE\n"


def checked(
    tmp_path: Path,
    *layers: Mapping[str, bytes | None],
    planted: str = TOKEN,
    configuration: Any = None,  # noqa: ANN401
) -> Check:
    archive = tmp_path / "image.tar"
    blobs = [layer(files) for files in layers]
    names = [f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}" for blob in blobs]
    manifest = json.dumps([{"Config": "config.json", "Layers": names}]).encode()
    contents = {
        **dict(zip(names, blobs, strict=True)),
        "config.json": json.dumps(configuration or {}).encode(),
        "manifest.json": manifest,
    }
    with tarfile.open(archive, "w") as tar:
        for name, blob in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(blob)
            tar.addfile(member, io.BytesIO(blob))
    return secrets_check(
        archive,
        SHARE,
        cargo_home="/usr/local/cargo",
        build_dir="/usr/local/cargo-build",
        planted={"registries: corp": planted},
        cache=tmp_path / "cache",
    )


def test_a_clean_image_passes_and_says_what_was_searched_for(tmp_path: Path) -> None:
    check = checked(tmp_path, {"etc/passwd": b"root"}, {**OURS, "usr/local/cargo/config.toml": b"[build]"})
    assert (check.name, check.ok, check.findings) == ("no secrets", True, ())
    assert "none of the 1 tokens" in check.detail


@pytest.mark.parametrize("path", ["usr/local/cargo-build/x.rlib", "usr/local/cargo/registry/cache/a.crate", "tmp/x"])
def test_a_configured_token_is_found_wherever_it_lies(tmp_path: Path, path: str) -> None:
    # Across the border of what is read at once, too.
    content = b"x" * ((1 << 20) - 5) + TOKEN.encode() + b"y"
    check = checked(tmp_path, {**OURS, path: content})
    assert not check.ok
    assert check.findings == (f"/{path} (layer 1): the token for registries: corp",)
    assert TOKEN not in "".join(check.findings)


def test_what_a_later_layer_removes_is_found(tmp_path: Path) -> None:
    check = checked(tmp_path, {**OURS, "tmp/token": TOKEN.encode()}, {"tmp/.wh.token": b""})
    assert check.findings == ("/tmp/token (layer 1): the token for registries: corp",)  # noqa: S108 - in the image


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("home/runner/.netrc", b"machine"),
        ("home/runner/.git-credentials", b"https://"),
        ("usr/local/cargo/credentials.toml", b"[registry]"),
        ("home/runner/.docker/config.json", b"{}"),
        ("etc/service/key.pem", KEY),
        ("usr/local/cargo/registry/.npmrc", b"//registry.example.org/"),
        ("usr/local/share/x", b"ghp_" + b"a" * 36),
        ("usr/local/share/x", b"ghu_" + b"a" * 36),
        ("usr/local/share/x", b"ghr_" + b"a" * 36),
        ("usr/local/share/x", b"github_pat_" + b"a" * 22 + b"_" + b"b" * 59),
        ("usr/local/share/x", b'token = "cio' + b"a" * 32 + b'"'),
        ("usr/local/share/x", b"cio_tp_" + b"a" * 32),
    ],
)
def test_files_of_credentials_and_keys_are_found(tmp_path: Path, path: str, content: bytes) -> None:
    check = checked(tmp_path, {**OURS, path: content})
    assert [finding.split(" ")[0] for finding in check.findings] == [f"/{path}"]


@pytest.mark.parametrize(
    "path", ["usr/local/cargo/registry/cache/i/rustls.crate", "usr/local/cargo-build/out/test.pem"]
)
def test_the_keys_of_crates_own_tests_are_none_of_ours(tmp_path: Path, path: str) -> None:
    assert checked(tmp_path, {**OURS, path: KEY}).ok


@pytest.mark.parametrize(
    "path",
    [
        "usr/local/cargo/git/checkouts/shop-1f3a5c/0a1b2c3/web/.npmrc",
        "usr/local/cargo/git/checkouts/git2-1f3a5c/0a1b2c3/tests/id_rsa",
        "usr/local/cargo-build/release/build/shop-0a1b/out/.netrc",
    ],
)
def test_what_crates_call_their_files_is_no_finding_and_a_token_in_them_is(tmp_path: Path, path: str) -> None:
    assert checked(tmp_path, {**OURS, path: b"fixture"}).ok
    assert not checked(tmp_path, {**OURS, path: TOKEN.encode()}).ok


@pytest.mark.parametrize("word", ["cio" + "a" * 31, "cio" + "a" * 33, "ratiocio" + "a" * 32, "cio_tp_" + "a" * 31])
def test_words_that_only_begin_like_a_token_are_none(tmp_path: Path, word: str) -> None:
    assert checked(tmp_path, {**OURS, "usr/local/share/x": word.encode()}).ok


def test_the_base_image_is_its_makers_affair(tmp_path: Path) -> None:
    assert checked(tmp_path, {"root/.netrc": b"machine"}, OURS).ok


@pytest.mark.parametrize(
    ("configuration", "where"),
    [
        ({"config": {"Env": [f"CARGO_REGISTRIES_CORP_TOKEN={TOKEN}"]}}, "environment"),
        ({"config": {"Env": ["NPM_TOKEN=abc"]}}, "environment"),
        ({"config": {"Labels": {"source": f"https://user:{TOKEN}@example.org/x"}}}, "label"),
        ({"history": [{"created_by": "RUN |1 SECRET_KEY=abc cargo build"}]}, "history"),
        ({"history": [{"created_by": "RUN git clone https://me:pw@example.org/x"}]}, "history"),
    ],
)
def test_configuration_and_history_are_searched(tmp_path: Path, configuration: Any, where: str) -> None:  # noqa: ANN401
    check = checked(tmp_path, OURS, configuration=configuration)
    assert not check.ok
    assert all(finding.startswith(f"{where}: ") for finding in check.findings)


def test_ordinary_history_and_variables_are_no_secrets(tmp_path: Path) -> None:
    ordinary = {
        "config": {"Env": ["PATH=/usr/bin", "CARGO_HOME=/usr/local/cargo"], "Labels": {"x": "https://example.org"}},
        "history": [{"created_by": "RUN --mount=type=secret,id=fetch-tokens sh /run/factory/fetch.sh"}],
    }
    assert checked(tmp_path, OURS, configuration=ordinary).findings == ()


def test_an_archive_of_something_else_is_explained(tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(b"nothing")
    with pytest.raises(EnvironmentFaultError, match="cannot be read"):
        secrets_check(
            tmp_path / "image.tar", SHARE, cargo_home="/c", build_dir="/b", planted={}, cache=tmp_path / "cache"
        )
