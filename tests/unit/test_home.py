"""The CARGO_HOME for resolving: the user's downloads and registries, nothing that changes a unit key."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from factory.cargo.home import prepare_resolving_home, user_cargo_home
from factory.errors import ConfigurationError

USER_CONFIG = """
[build]
rustflags = ["-Ctarget-cpu=native"]
rustc-wrapper = "sccache"
target = "wasm32-unknown-unknown"

[profile.release]
lto = true

[target.x86_64-unknown-linux-gnu]
linker = "mold"

[env]
CC = "clang"

[alias]
b = "build"

[source.crates-io]
replace-with = "company"

[source.company]
registry = "sparse+https://registry.example.org/index/"

[registries.company]
index = "sparse+https://registry.example.org/index/"

[registry]
default = "company"

[http]
timeout = 60

[net]
retry = 5
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's CARGO_HOME, with downloads, credentials and every kind of setting."""
    home = tmp_path / "user"
    (home / "registry" / "cache").mkdir(parents=True)
    (home / "credentials.toml").write_text("secret")
    (home / "config.toml").write_text(USER_CONFIG)
    monkeypatch.setenv("CARGO_HOME", str(home))
    return home


def settings(home: Path) -> dict[str, object]:
    return tomllib.loads((home / "config.toml").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("user")
def test_where_packages_come_from_is_kept_and_nothing_else(tmp_path: Path) -> None:
    kept = settings(prepare_resolving_home(tmp_path / "ours"))
    written = tomllib.loads(USER_CONFIG)
    assert kept == {key: written[key] for key in ("source", "registries", "registry", "http", "net")} | {
        "cache": {"auto-clean-frequency": "never"}
    }


def test_downloads_credentials_and_locks_are_the_users(user: Path, tmp_path: Path) -> None:
    ours = prepare_resolving_home(tmp_path / "ours")
    shared = {path.name: path.readlink() for path in ours.iterdir() if path.is_symlink()}
    names = ("registry", "git", "credentials.toml", ".package-cache", ".package-cache-mutate")
    assert shared == {name: user / name for name in names}
    assert all(path.exists() for path in shared.values())
    assert (user / "config.toml").read_text() == USER_CONFIG


def test_it_can_be_prepared_again(user: Path, tmp_path: Path) -> None:
    ours = prepare_resolving_home(tmp_path / "ours")
    (user / "config.toml").write_text("[net]\noffline = true\n")
    assert prepare_resolving_home(ours) == ours
    assert settings(ours) == {"net": {"offline": True}, "cache": {"auto-clean-frequency": "never"}}


def test_a_user_without_anything_gets_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "new"))
    ours = prepare_resolving_home(tmp_path / "ours")
    assert settings(ours) == {"cache": {"auto-clean-frequency": "never"}}
    assert (ours / "registry").is_dir()
    assert not (ours / "credentials.toml").is_symlink()


@pytest.mark.usefixtures("user")
def test_another_users_credentials_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = prepare_resolving_home(tmp_path / "ours")
    assert (ours / "credentials.toml").read_text() == "secret"
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "other"))
    prepare_resolving_home(ours)
    assert not (ours / "credentials.toml").exists()
    assert (ours / "registry").readlink() == tmp_path / "other" / "registry"


def test_the_old_name_of_the_configuration_goes_first_as_in_cargo(user: Path, tmp_path: Path) -> None:
    (user / "config").write_text("[net]\nretry = 1\n")
    assert settings(prepare_resolving_home(tmp_path / "ours"))["net"] == {"retry": 1}


@pytest.mark.parametrize("content", [b"[net", b"\xff\xfe"])
def test_a_broken_configuration_is_told_with_its_file(user: Path, tmp_path: Path, content: bytes) -> None:
    (user / "config.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"config\.toml") as caught:
        prepare_resolving_home(tmp_path / "ours")
    assert caught.value.advice


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_it_is_below_the_users_home(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if value is None:
        monkeypatch.delenv("CARGO_HOME", raising=False)
    else:
        monkeypatch.setenv("CARGO_HOME", value)
    assert user_cargo_home() == tmp_path / ".cargo"


def test_the_variable_may_be_relative_or_start_at_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("CARGO_HOME", "here")
    assert user_cargo_home() == Path.cwd() / "here"
    monkeypatch.setenv("CARGO_HOME", "~/there")
    assert user_cargo_home() == tmp_path / "me" / "there"
