"""Which sources are cooked, and how the configuration of private ones is written down without a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from factory import process
from factory.cargo.fetching import (
    CRATES_IO_FOLDER,
    GIT_HELPER,
    PROXIES,
    Fetching,
    GitAccess,
    RegistryAccess,
    Token,
    machine_proxies,
)
from factory.cargo.home import user_mirror
from factory.cargo.sources import CookableSources
from factory.cook.fetch_secrets import TOKENS, VARIABLES, secret_ids, secret_variables
from factory.errors import ConfigurationError
from factory.files import write_text
from factory.model import CRATES_IO, PackageId, Side
from factory.planning.recipe import RecipePackage, _dependency
from factory.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INDEX = "sparse+https://crates.example.org/index/"
MIRROR = "sparse+https://mirror.example.org/"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BY_VARIABLE = Token(label="registries: company", name="registry-0", variable="COMPANY_TOKEN")


def package(source: str) -> PackageId:
    return PackageId("a", "1.0.0", source)


# Which sources


@pytest.mark.parametrize(
    ("prefix", "url", "cooked"),
    [
        ("https://git.example.org", "https://git.example.org/a/b", True),
        ("https://git.example.org/", "https://git.example.org/a/b", True),
        ("https://git.example.org/a", "https://git.example.org/a/b", True),
        ("https://git.example.org/a/b", "https://git.example.org/a/b", True),
        ("https://git.example.org/a/b", "https://git.example.org/a/b.git", True),
        ("https://git.example.org/a", "https://git.example.org/ab", False),
        ("https://git.example.org", "https://git.example.org.evil.example/a", False),
        ("https://git.example.org", "http://git.example.org/a", False),
        ("https://git.example.org/a", "https://git.example.org/a.git.evil", False),
    ],
)
def test_a_git_place_is_a_host_a_folder_or_a_repository(prefix: str, url: str, *, cooked: bool) -> None:
    why_not = CookableSources(git=(prefix,)).why_not(package(f"git+{url}?branch=main#{COMMIT}"))
    assert (why_not is None) is cooked
    assert cooked or why_not == f"from {url}, which `git` in registry-config.yaml does not name"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (CRATES_IO, None),
        (INDEX, None),
        ("registry+https://git.example.org/index", None),
        ("sparse+https://crates.example.org/index2/", "which `registries` in registry-config.yaml does not name"),
        ("path+file:///a", "a path package"),
        ("git+https://git.example.org/a", "of which the lock names no commit"),
        (f"git+https://git.example.org/b?branch=x#{COMMIT}", "at commit 0123456: cargo keeps one commit of"),
    ],
)
def test_registries_are_named_by_their_index_and_git_by_one_commit(source: str, words: str | None) -> None:
    sources = CookableSources(
        registries=frozenset({INDEX, "https://git.example.org/index"}),
        git=("https://git.example.org",),
        commits={"git+https://git.example.org/b?branch=x": "f" * 40},
    )
    why_not = sources.why_not(package(source))
    assert why_not is None if words is None else words in (why_not or "")


# Recipes


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        (INDEX, {"registry-index": INDEX}),
        ("registry+https://git.example.org/index", {"registry-index": "https://git.example.org/index"}),
        (f"git+https://git.example.org/a#{COMMIT}", {"git": "https://git.example.org/a"}),
        (
            f"git+https://git.example.org/a?branch=feature%2Fx#{COMMIT}",
            {"git": "https://git.example.org/a", "branch": "feature/x"},
        ),
        (f"git+ssh://git@git.example.org/a?tag=v1#{COMMIT}", {"git": "ssh://git@git.example.org/a", "tag": "v1"}),
        (f"git+https://git.example.org/a?rev={COMMIT}#{COMMIT}", {"git": "https://git.example.org/a", "rev": COMMIT}),
    ],
)
def test_a_recipe_names_the_source_as_the_repository_does(source: str, keys: Mapping[str, str]) -> None:
    table = dict(_dependency(RecipePackage(package=package(source), side=Side.TARGET, features=())))
    expected = {"package": "a", "version": "=1.0.0", "default-features": False, "features": []}
    assert table == expected | dict(keys)


# Tokens


def test_what_is_written_down_names_the_place_of_a_token(tmp_path: Path) -> None:
    by_file = Token(label="git: x", name="git-0", file=tmp_path / "token")
    fetching = Fetching(
        registries=(RegistryAccess(name="company", index=INDEX, token=BY_VARIABLE),),
        git=(GitAccess(url="https://git.example.org:8443/a", username="ci", token=by_file),),
    )
    provider = ["cargo:token-from-stdout", "printenv", "COMPANY_TOKEN"]
    assert fetching.cargo_settings() == {"registries": {"company": {"index": INDEX, "credential-provider": provider}}}
    assert fetching.git_table() == f"https://git.example.org:8443 ci file {tmp_path}/token\n"
    moved = fetching.moved("/t")
    assert moved.cargo_settings()["registries"]["company"]["credential-provider"][1:] == ["cat", "/t/registry-0"]
    assert moved.git_table() == "https://git.example.org:8443 ci file /t/git-0\n"


def test_secrets_come_by_variables_and_their_ids_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPANY_TOKEN", "Bearer planted\n")
    monkeypatch.setenv("https_proxy", "http://user:planted@proxy.example.org:1")
    fetching = Fetching(registries=(RegistryAccess(name="company", index=INDEX, token=BY_VARIABLE),))
    assert set(secret_ids(fetching)) == {"fetch-settings", "fetch-tokens", "fetch-proxies"}
    variables = secret_variables(fetching)
    assert variables[VARIABLES["fetch-tokens"]] == "registry-0 Bearer planted\n"
    assert variables[VARIABLES["fetch-proxies"]] == "https_proxy=http://user:planted@proxy.example.org:1\n"
    assert "planted" not in variables[VARIABLES["fetch-settings"]]
    assert secret_ids(Fetching(proxy="http://p.example.org")) == ("fetch-proxies",)


def test_without_its_token_a_registry_stays_and_nobody_is_logged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMPANY_TOKEN", raising=False)
    write_text(tmp_path / "token", "here")
    here = Token(label="registries: open", name="registry-1", file=tmp_path / "token")
    rows = (
        RegistryAccess(name="company", index=INDEX, token=BY_VARIABLE),
        RegistryAccess(name="o", index=INDEX, token=here),
    )
    found = Fetching(registries=rows).with_tokens_here()
    assert [(row.name, row.token) for row in found.registries] == [("company", None), ("o", here)]
    found.require_tokens()


def test_without_anything_configured_there_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    assert secret_ids(Fetching()) == ()
    assert secret_variables(Fetching()) == {}


def test_a_container_gets_a_proxy_that_cargo_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://p.example.org")
    monkeypatch.setenv("no_proxy", "localhost")
    assert machine_proxies() == {"HTTP_PROXY": "http://p.example.org", "no_proxy": "localhost"}
    assert Fetching().environment() == {"no_proxy": "localhost"}
    assert Fetching(proxy="http://q.example.org").environment().keys() == set(PROXIES) - {"NO_PROXY"}


def test_every_missing_token_is_told_at_once_and_none_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPANY_TOKEN", "planted\ntwice")
    gone = Token(label="git: x", name="git-0", file=tmp_path / "gone")
    fetching = Fetching(
        registries=(RegistryAccess(name="company", index=INDEX, token=BY_VARIABLE),),
        git=(GitAccess(url="https://git.example.org", token=gone),),
    )
    with pytest.raises(ConfigurationError) as caught:
        fetching.require_tokens()
    assert caught.value.what.splitlines() == [
        "registries: company: the variable COMPANY_TOKEN holds more than one line",
        f"git: x: {tmp_path}/gone: No such file or directory",
    ]


@pytest.mark.runs_programs
@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("protocol=https\nhost=git.example.org\n\n", "username=ci\npassword=planted\n"),
        ("host=other.example.org:1\nprotocol=https\nusername=x\n", "username=me\npassword=filed\n"),
        ("protocol=http\nhost=git.example.org\n\n", ""),
        ("protocol=https\nhost=git.example.org.evil.example\n\n", ""),
        ("protocol=https\nhost=git.example.org:444\n\n", ""),
        ("protocol=https\n\n", ""),
    ],
)
def test_the_credential_helper_answers_its_own_hosts_only(tmp_path: Path, asked: str, answer: str) -> None:
    write_text(tmp_path / "token", "filed\n")
    table = f"https://git.example.org ci env PLANTED\nhttps://other.example.org:1 me file {tmp_path}/token\n"
    write_text(tmp_path / "table", table)
    helper: list[str | Path] = ["sh", shipped("Dockerfiles") / GIT_HELPER, tmp_path / "table"]
    environment = {"PATH": "/usr/bin:/bin", "PLANTED": "planted"}
    assert process.run([*helper, "get"], stdin=asked, env=environment).stdout == answer
    assert process.run([*helper, "store"], stdin=asked, env=environment).stdout == ""


# Mirrors


def test_a_mirror_is_a_source_or_a_named_registry() -> None:
    fetching = Fetching(mirror=MIRROR, retries=7)
    assert fetching.cargo_settings() == {
        "source": {"crates-io": {"replace-with": "factory-mirror"}, "factory-mirror": {"registry": MIRROR}},
        "net": {"retry": 7},
    }
    named = Fetching(mirror=INDEX, registries=(RegistryAccess(name="company", index=INDEX),))
    assert named.cargo_settings()["source"] == {"crates-io": {"replace-with": "company"}}


@pytest.mark.parametrize(
    ("settings", "mirror"),
    [
        ("", None),
        (f"[source.crates-io]\nreplace-with = 'a'\n[source.a]\nregistry = '{MIRROR}'\n", MIRROR),
        (
            "[source.crates-io]\nreplace-with = 'a'\n[source.a]\nreplace-with = 'b'\n"
            f"[source.b]\nregistry = '{MIRROR}'\n",
            MIRROR,
        ),
    ],
)
def test_the_mirror_of_the_users_own_cargo_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, mirror: str | None
) -> None:
    monkeypatch.setenv("CARGO_HOME", str(tmp_path))
    write_text(tmp_path / "config.toml", settings)
    assert user_mirror() == mirror


@pytest.mark.parametrize("other", ["directory = '/vendor'", "registry = 'https://git.example.org/index'", ""])
def test_another_kind_of_replacement_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    monkeypatch.setenv("CARGO_HOME", str(tmp_path))
    write_text(tmp_path / "config.toml", f"[source.crates-io]\nreplace-with = 'a'\n[source.a]\n{other}\n")
    with pytest.raises(ConfigurationError, match="replaces crates-io by 'a', which is no sparse index"):
        user_mirror()


def test_the_script_and_the_program_know_the_same_places() -> None:
    script = (shipped("Dockerfiles") / "fetch.sh").read_text(encoding="utf-8")
    assert f"\nCRATES_IO={CRATES_IO_FOLDER}\n" in script
    assert f"\nTOKENS={TOKENS}\n" in script
