"""The CARGO_HOME for resolving: the user's downloads and registries, nothing that changes a unit key."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
import tomli

from factory.cargo.home import known_registries, prepare_resolving_home, user_cargo_home
from factory.errors import ConfigurationError, EnvironmentFaultError

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
    return tomli.loads((home / "config.toml").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("user")
def test_where_packages_come_from_is_kept_and_nothing_else(tmp_path: Path) -> None:
    kept = settings(prepare_resolving_home(tmp_path / "ours"))
    written = tomli.loads(USER_CONFIG)
    assert kept == {key: written[key] for key in ("source", "registries", "registry", "http", "net")} | {
        "cache": {"auto-clean-frequency": "never"}
    }


def test_what_the_users_configuration_includes_is_the_users_too(user: Path, tmp_path: Path) -> None:
    """The file itself wins, then what is included last; paths are those of the file that has them."""
    (user / "config.toml").write_text('include = ["a.toml", { path = "more/b.toml" }]\n[net]\nretry = 1\n')
    (user / "a.toml").write_text(
        '[net]\nretry = 2\noffline = true\n[registries.company]\nindex = "sparse+https://a/"\n'
    )
    (user / "credentials.toml").unlink()
    (user / "more").mkdir()
    (user / "more/b.toml").write_text(
        'include = [{ path = "no.toml", optional = true }]\n[registries.company]\nindex = "sparse+https://b/"\n'
        '[source.local]\ndirectory = "vendor"\n'
    )
    kept = settings(prepare_resolving_home(tmp_path / "ours"))
    assert kept == {
        "net": {"retry": 1, "offline": True},
        "registries": {"company": {"index": "sparse+https://b/"}},
        "source": {"local": {"directory": str(user / "vendor")}},
        "cache": {"auto-clean-frequency": "never"},
    }
    assert known_registries(user) == {"company"}


@pytest.mark.parametrize(
    ("include", "what"),
    [
        ('"a.toml"', "must be a list"),
        ("[3]", "must be a list"),
        ('["no.toml"]', "No such file"),
        ('["config.toml"]', "include each other"),
        ('["../user/config.toml"]', "include each other"),
    ],
)
def test_a_users_include_that_cargo_refuses_is_an_error(user: Path, include: str, what: str) -> None:
    (user / "config.toml").write_text(f"include = {include}\n")
    with pytest.raises(ConfigurationError, match=what):
        known_registries(user)


def test_downloads_credentials_and_locks_are_the_users(user: Path, tmp_path: Path) -> None:
    ours = prepare_resolving_home(tmp_path / "ours")
    shared = {path.name: path.readlink() for path in ours.iterdir() if path.is_symlink()}
    names = ("registry", "git", "credentials.toml", ".package-cache", ".package-cache-mutate")
    assert shared == {name: user / name for name in names}
    assert all(path.exists() for path in shared.values())
    assert (user / "config.toml").read_text() == USER_CONFIG


@pytest.mark.usefixtures("user")
def test_what_our_own_configuration_says_wins_table_by_table(tmp_path: Path) -> None:
    added = {"registries": {"company": {"index": "sparse+https://ours.example.org/"}}, "net": {"retry": 1}}
    kept = settings(prepare_resolving_home(tmp_path / "ours", added))
    written = tomli.loads(USER_CONFIG)
    assert kept["registries"] == added["registries"]
    assert kept["net"] == {"retry": 1}
    assert kept["source"] == written["source"]


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


def test_a_byte_order_mark_is_skipped_as_cargo_does(user: Path, tmp_path: Path) -> None:
    (user / "config.toml").write_text("\ufeff[net]\nretry = 1\n", encoding="utf-8")
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


@pytest.mark.usefixtures("user")
def test_nobody_else_reads_a_copy_that_may_hold_tokens(tmp_path: Path) -> None:
    ours = prepare_resolving_home(tmp_path / "ours")
    assert stat.S_IMODE((ours / "config.toml").stat().st_mode) == 0o600


def test_relative_paths_mean_what_they_meant(user: Path, tmp_path: Path) -> None:
    (user / "config.toml").write_text(
        '[source.vendored]\ndirectory = "vendor"\n[source.local]\nlocal-registry = "../mirror"\n'
        '[source.kept]\ndirectory = "/opt/vendor"\n[http]\ncainfo = "user/ca.pem"\ntimeout = 3\n'
    )
    kept = settings(prepare_resolving_home(tmp_path / "ours"))
    assert kept["source"] == {
        "vendored": {"directory": str(tmp_path / "vendor")},
        "local": {"local-registry": f"{tmp_path}/../mirror"},
        "kept": {"directory": "/opt/vendor"},
    }
    assert kept["http"] == {"cainfo": str(tmp_path / "user/ca.pem"), "timeout": 3}


def test_the_old_name_of_the_credentials_is_shared_too(user: Path, tmp_path: Path) -> None:
    (user / "credentials").write_text("old")
    assert (prepare_resolving_home(tmp_path / "ours") / "credentials").readlink() == user / "credentials"


def test_a_home_that_cannot_be_written_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Modes do not stop root; that a file is where the directory should be stops everybody.
    (tmp_path / "user").write_text("")
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "user"))
    with pytest.raises(EnvironmentFaultError, match=r"user/registry: ") as caught:
        prepare_resolving_home(tmp_path / "ours")
    assert "CARGO_HOME" in caught.value.advice


def test_a_home_with_all_that_is_shared_need_not_be_writable(user: Path, tmp_path: Path) -> None:
    prepare_resolving_home(tmp_path / "ours")
    before = {name: (user / name).stat().st_mtime_ns for name in (".package-cache", ".package-cache-mutate")}
    prepare_resolving_home(tmp_path / "others")
    assert {name: (user / name).stat().st_mtime_ns for name in before} == before


@pytest.mark.usefixtures("user")
def test_several_first_runs_at_once_get_the_same(tmp_path: Path) -> None:
    runs, rounds = 8, 20
    faults: list[BaseException] = []
    start = threading.Barrier(runs)

    def prepare() -> None:
        try:
            for number in range(rounds):
                start.wait(30)
                prepare_resolving_home(tmp_path / f"ours-{number}")
        except BaseException as fault:  # noqa: BLE001 - shown by the assertion below
            faults.append(fault)
            start.abort()

    threads = [threading.Thread(target=prepare) for _ in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    links = {path.name for path in (tmp_path / "ours-0").iterdir()} - {"config.toml"}
    assert links == {"registry", "git", "credentials.toml", ".package-cache", ".package-cache-mutate"}


def test_known_registries_are_those_with_a_definition_or_a_token(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user / "credentials.toml").write_text('[registry]\ntoken = "a"\n[registries.private]\ntoken = "b"\n')
    for name in ("FIRST_INDEX", "MY_SECOND_TOKEN", "THIRD_SECRET_KEY_SUBJECT", "FOURTH_CREDENTIAL_PROVIDER", "FIFTH"):
        monkeypatch.setenv(f"CARGO_REGISTRIES_{name}", "x")
    known = known_registries(prepare_resolving_home(tmp_path / "ours"))
    assert known == {"company", "private", "FIRST", "MY_SECOND", "THIRD", "FOURTH"}


@pytest.mark.usefixtures("user")
def test_malformed_credentials_are_told_without_their_content(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"credentials\.toml") as caught:
        known_registries(prepare_resolving_home(tmp_path / "ours"))
    assert "secret" not in str(caught.value)
