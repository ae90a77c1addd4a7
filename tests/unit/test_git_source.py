"""Repositories by URL, with the real git and `file://`: only what is needed, nothing executed, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from factory import process
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.scan import git_source
from factory.scan.cargo_config import read_recorded
from factory.scan.discover import find_workspaces
from factory.scan.git_source import fetch, is_git_url
from factory.scan.skeleton import skeleton_digest
from factory.scan.source_tree import SourceTree
from tests.hostile import all_files, good_repo, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = [
    pytest.mark.runs_programs,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]

CODE = "fn main() { secret() }\n"


def git(folder: Path, *args: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "init.defaultBranch=main")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    return process.run(["git", "-C", folder, *identity, *args], env=environment).stdout.strip()


def commit(folder: Path, files: Mapping[str, str] | None = None) -> str:
    write_files(folder, files or {})
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "x")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    root = good_repo(
        tmp_path / "origins",
        name="service",
        files={
            "src/main.rs": CODE,
            "src/bin/other.rs": CODE,
            ".cargo/config.toml": "[build]\nrustflags = '-Ca'\n",
            "rust-toolchain.toml": '[toolchain]\nchannel = "1.80"\n',
            "README.md": "not needed",
            "vendor/x/.cargo-checksum.json": '{"files":{}}',
            "vendor/x/Cargo.toml": "not needed either",
        },
    )
    commit(root)
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in all_files(folder)}


@pytest.mark.parametrize("partial", [True, False])
def test_only_manifests_have_content(origin: Path, cache: Path, *, partial: bool) -> None:
    git(origin, "config", "uploadpack.allowFilter", str(partial).lower())
    folder = fetch(f"file://{origin}", None, cache)
    assert folder.name == "service"
    assert names(folder) == {
        ".cargo/config.toml",
        "Cargo.lock",
        "Cargo.toml",
        "rust-toolchain.toml",
        "src/bin/other.rs",
        "src/main.rs",
        "vendor/x/.cargo-checksum.json",
        "vendor/x/Cargo.toml",
    }
    assert (folder / "Cargo.toml").read_bytes() == (origin / "Cargo.toml").read_bytes()
    assert (folder / "src/main.rs").read_bytes() == b""


def test_a_fetched_repository_scans_like_its_checkout(origin: Path, cache: Path) -> None:
    folder = fetch(f"file://{origin}", None, cache)
    (fetched,) = find_workspaces([folder]).workspaces
    (local,) = find_workspaces([origin]).workspaces
    assert (fetched.path, fetched.repo, fetched.toolchain_pin) == ("service", "service", "1.80")
    assert skeleton_digest(fetched) == skeleton_digest(local)


def test_included_configurations_come_along(origin: Path, cache: Path) -> None:
    files = {".cargo/config.toml": "include = ['../ci/flags.toml']\n", "ci/flags.toml": "[build]\nrustflags = '-Cb'\n"}
    commit(origin, files)
    (fetched,) = find_workspaces([fetch(f"file://{origin}", None, cache)]).workspaces
    assert read_recorded(SourceTree.of(fetched), fetched.root).build_rustflags == ("-Cb",)


def test_a_copy_of_other_files_is_made_anew(origin: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_source, "_WANTED", ("Cargo.toml",))
    folder = fetch(f"file://{origin}", None, cache)
    assert "Cargo.lock" not in names(folder)
    monkeypatch.undo()
    assert "Cargo.lock" in names(fetch(f"file://{origin}", None, cache))


def test_a_second_call_renews_only_what_has_moved(origin: Path, cache: Path) -> None:
    url = f"file://{origin}"
    folder = fetch(url, None, cache)
    before = (folder / "Cargo.toml").stat().st_ino
    assert fetch(url, None, cache) == folder
    assert (folder / "Cargo.toml").stat().st_ino == before
    (origin / "src/bin/other.rs").unlink()
    moved = commit(origin, {"src/lib.rs": CODE})
    assert fetch(url, None, cache) == folder
    assert {"src/lib.rs", "src/main.rs"} <= names(folder)
    assert "src/bin/other.rs" not in names(folder)
    assert json.loads((folder.parent / "source.json").read_text("utf-8"))["commit"] == moved
    assert len(list(cache.iterdir())) == 1


def test_branches_tags_and_commits(origin: Path, cache: Path) -> None:
    url = f"file://{origin}"
    first = git(origin, "rev-parse", "HEAD")
    git(origin, "tag", "--annotate", "--message", "x", "v1.0")
    git(origin, "checkout", "--quiet", "-b", "feature/new")
    commit(origin, {"src/lib.rs": CODE})
    git(origin, "checkout", "--quiet", "main")
    folders = {ref: fetch(url, ref, cache) for ref in ("v1.0", "feature/new", first, None)}
    assert len(set(folders.values())) == 4
    assert {ref for ref, folder in folders.items() if "src/lib.rs" in names(folder)} == {"feature/new"}
    # A full commit does not move: no remote is needed any more.
    shutil.rmtree(origin)
    assert fetch(url, first, cache) == folders[first]


@pytest.mark.parametrize("ref", [None, "no-such-branch", "0" * 40])
def test_what_cannot_be_fetched_is_explained_and_leaves_nothing(origin: Path, cache: Path, ref: str | None) -> None:
    url = f"file://{origin}" if ref else f"file://{origin}-gone"
    with pytest.raises(EnvironmentFaultError) as caught:
        fetch(url, ref, cache)
    assert url in caught.value.what
    assert caught.value.advice
    assert list(cache.iterdir()) == []


def test_a_failed_renewal_keeps_the_copy(origin: Path, cache: Path) -> None:
    url = f"file://{origin}"
    folder = fetch(url, None, cache)
    origin.rename(origin.with_name("away"))
    with pytest.raises(EnvironmentFaultError):
        fetch(url, None, cache)
    assert "Cargo.toml" in names(folder)


def test_an_unfinished_copy_is_not_trusted(origin: Path, cache: Path) -> None:
    url = f"file://{origin}"
    folder = fetch(url, None, cache)
    (folder.parent / "source.json").unlink()
    (folder / "Cargo.lock").unlink()
    old = write_files(cache / ".unfinished-old", {"x": ""})
    os.utime(old, (0, 0))
    young = write_files(cache / ".unfinished-young", {"x": ""})
    assert "Cargo.lock" in names(fetch(url, None, cache))
    assert young.exists()
    assert not old.exists()


def test_an_interrupted_fetch_leaves_nothing_behind(origin: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_folder: Path, _path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(git_source, "_write_empty", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(f"file://{origin}", None, cache)
    assert list(cache.iterdir()) == []


def test_nothing_of_repository_or_surroundings_is_executed(
    origin: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    script = write_files(tmp_path, {"evil.sh": f"#!/bin/sh\necho $0 >> '{canary}'\ncat\n"}) / "evil.sh"
    script.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / hook).symlink_to(script)
    # The user has filters of their own, which a hostile repository would like to use.
    settings = (
        f'[filter "canary"]\nsmudge = {script}\nrequired = true\n'
        f'[filter "lfs"]\nsmudge = {script}\nprocess = {script}\n'
        f"[core]\nhooksPath = {hooks}\nfsmonitor = {script}\n[init]\ntemplateDir = {tmp_path}/template\n"
    )
    write_files(tmp_path, {"gitconfig": settings, "template/hooks/x": ""})
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    commit(origin, {".gitattributes": "Cargo.toml filter=canary\n*.lock filter=lfs\n* text eol=crlf\n"})
    git(origin, "config", "core.fsmonitor", str(script))
    git(origin, "config", "uploadpack.packObjectsHook", str(script))
    # The user stands in a hostile checkout.
    here = tmp_path / "here"
    commit(here, {"x": ""})
    for key in ("core.sshCommand", "core.fsmonitor", "core.askPass", "credential.helper", "core.gitProxy"):
        git(here, "config", key, str(script))
    git(here, "config", f"url.ext::{script}.insteadOf", "file://")
    monkeypatch.chdir(here)
    folder = fetch(f"file://{origin}", None, cache)
    assert (folder / "Cargo.toml").read_bytes() == (origin / "Cargo.toml").read_bytes()
    assert list((folder / ".git").iterdir()) == []
    assert not canary.exists()


@pytest.mark.parametrize("start", ["file://", "http://127.0.0.1:9/"])
def test_no_url_leads_to_a_command_or_from_the_network_to_a_file(
    origin: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    canary = tmp_path / "canary"
    other = f"ext::touch {canary} " if start == "file://" else "file://"
    allowed = '[protocol]\nallow = always\n[protocol "ext"]\nallow = always\n'
    settings = f'[url "{other}"]\ninsteadOf = {start}\n{allowed}'
    write_files(tmp_path, {"gitconfig": settings})
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    with pytest.raises(EnvironmentFaultError, match="not allowed"):
        fetch(f"{start}{origin}", None, cache)
    assert not canary.exists()


def test_symbolic_links_and_submodules_do_not_arrive(origin: Path, cache: Path, tmp_path: Path) -> None:
    commit(tmp_path / "module", {"Cargo.toml": "x"})
    (origin / "src/lib.rs").symlink_to("/etc/passwd")
    (origin / "linked").symlink_to("/etc")
    (origin / "inner").mkdir()
    (origin / "inner/Cargo.toml").symlink_to("/etc/passwd")
    git(origin, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "module"), "module")
    commit(origin)
    folder = fetch(f"file://{origin}", None, cache)
    assert not any(path.is_symlink() for path in all_files(folder))
    assert (folder / "src/lib.rs").read_bytes() == b""
    assert (folder / "inner/Cargo.toml").read_text("utf-8") == "/etc/passwd"
    assert not (folder / "module/Cargo.toml").exists()


@pytest.fixture
def commands() -> Iterator[list[str]]:
    """What is shown of the commands that run."""
    shown: list[str] = []
    process.show_commands(lambda words: shown.append(" ".join(words)))
    yield shown
    process.show_commands(None)


def test_passwords_are_neither_kept_nor_shown(
    cache: Path, commands: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = "http://user:p4ssw0rd@127.0.0.1:9/x/y.git"
    with pytest.raises(EnvironmentFaultError) as caught:
        fetch(url, None, cache)
    shown = capsys.readouterr()
    assert [words.split()[0] for words in commands] == ["git"] * len(commands) != []
    assert "p4ssw0rd" not in f"{caught.value}{shown.out}{shown.err}{commands}"
    assert "http://127.0.0.1:9/x/y.git" in caught.value.what


def test_a_password_is_not_on_the_command_line(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "seen"
    program = (
        f"#!{sys.executable}\nimport os, sys\nopen({str(seen)!r}, 'a').write(repr(sys.argv))\n"
        "sys.exit('fatal: ' + os.environ['GIT_CONFIG_VALUE_0'])\n"
    )
    (write_files(tmp_path / "bin", {"git": program}) / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    monkeypatch.delenv("GIT_CONFIG_COUNT", raising=False)
    with pytest.raises(EnvironmentFaultError, match="fatal: https://127") as caught:
        fetch("https://user:p4ssw0rd@127.0.0.1:9/x", None, cache)
    assert "p4ssw0rd" not in caught.value.what
    assert "init" in seen.read_text("utf-8")
    assert "p4ssw0rd" not in seen.read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://example.invalid/a/b.git", True),
        ("ssh://git@example.invalid/a/b", True),
        ("git@example.invalid:a/b.git", True),
        ("file:///srv/repo", True),
        ("ext::sh -c touch% /tmp/x", False),
        ("--upload-pack=x", False),
        ("https://-x/y", False),
        ("git@-oProxyCommand=x:y", False),
        ("ssh://-oProxyCommand=x/y", False),
        ("../repos", False),
        ("/srv/repos", False),
        ("C:\\repos", False),
        ("a b://x", False),
    ],
)
def test_is_git_url(text: str, *, expected: bool) -> None:
    assert is_git_url(text) is expected


@pytest.mark.parametrize(
    ("url", "ref"),
    [
        ("ext::sh -c x", None),
        ("-u", None),
        ("https://example.invalid/x", "--upload-pack=x"),
        ("https://example.invalid/x", "a:b"),
        ("https://example.invalid/x", "a..b"),
        ("https://example.invalid/x", "a\nb"),
        ("https://example.invalid/x", "+refs/*"),
        ("https://example.invalid/x", ""),
    ],
)
def test_what_is_no_url_or_ref_is_refused_before_git_runs(cache: Path, url: str, ref: str | None) -> None:
    with pytest.raises(ConfigurationError, match="is not a git"):
        fetch(url, ref, cache)
    assert not cache.exists()
