"""Finding workspaces: cargo's membership rules, what is left out, and a row for every trouble."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory.errors import ConfigurationError
from factory.scan.cargo_config import read_recorded
from factory.scan.discover import find_workspaces
from factory.scan.model import Scan, Skipped, SkipReason
from factory.scan.source_tree import SourceTree
from tests.hostile import OUTSIDE_FILE, good_repo, hostile_repos, lock, manifest, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


def found(scan: Scan) -> list[str]:
    return [workspace.path for workspace in scan.workspaces]


def reasons(scan: Scan) -> dict[str, SkipReason]:
    return {row.path: row.reason for row in scan.skipped}


def members(scan: Scan) -> list[str]:
    (workspace,) = scan.workspaces
    return [str(path.relative_to(workspace.root)) for path in workspace.manifests]


@pytest.fixture
def repos(tmp_path: Path) -> Path:
    return write_files(tmp_path / "repos", {})


def test_each_hostile_repo_gets_its_row_and_the_good_one_is_found(repos: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    planted = hostile_repos(repos, canary)
    good_repo(repos)
    scan = find_workspaces([repos])
    expected = {f"repos/{repo.name}" for repo in planted if repo.reason is None} | {"repos/good"}
    assert set(found(scan)) == expected
    rows = {row.repo: row.reason for row in scan.skipped}
    assert rows == {f"repos/{repo.name}": repo.reason for repo in planted if repo.reason is not None}
    assert not canary.exists()
    secret = Path(OUTSIDE_FILE).read_text(encoding="utf-8").splitlines()[0]
    assert secret not in str(scan)


def test_rows_name_file_and_line_and_say_what_to_do(repos: Path) -> None:
    text = manifest("x", '[dependencies]\na = "1"\ny = { path = "../../y" }\n')
    good_repo(repos, name="x", files={"Cargo.toml": text})
    good_repo(repos, name="z", files={"Cargo.toml": '[package]\nname = "z"\nversion =\n'})
    outside, malformed = find_workspaces([repos]).skipped
    assert outside == Skipped(
        repo="repos/x",
        path="repos/x",
        reason=SkipReason.PATH_DEPENDENCY_OUTSIDE,
        detail="repos/x/Cargo.toml:7: the path dependency `../../y` is outside the scanned folder; "
        "scan a folder that holds both",
    )
    assert malformed.detail == "repos/z/Cargo.toml:3:10: invalid value; correct it: cargo refuses it too"


def test_a_row_never_holds_a_control_character(repos: Path) -> None:
    folder = "a\x1b[31m\nb"
    good_repo(repos, name=folder, files={"Cargo.toml": '"\\u001b[2J" = 1\npackage = "\x7f"'})
    (row,) = find_workspaces([repos]).skipped
    assert row.path == "repos/a\\x1b[31m\\nb"
    assert all(text.isprintable() for text in (row.path, row.repo, row.detail))


def test_globs_path_dependencies_exclude_and_pointers(tmp_path: Path) -> None:
    root = write_files(
        tmp_path / "repo",
        {
            "Cargo.toml": '[workspace]\nmembers = ["crates/*", "deep/**/leaf"]\nexclude = ["crates/out", "side"]\n',
            "Cargo.lock": lock("a"),
            "crates/a/Cargo.toml": manifest("a", '[dependencies]\nb = { path = "../../lib/b" }\n'),
            "crates/out/Cargo.toml": manifest("out"),
            "crates/no-manifest/README": "",
            "deep/one/two/leaf/Cargo.toml": manifest("leaf"),
            "lib/b/Cargo.toml": manifest("b", "[target.'cfg(unix)'.dev-dependencies.c]\npath = '../../../c'\n"),
            "lib/unclaimed/Cargo.toml": manifest("unclaimed"),
        },
    )
    write_files(tmp_path / "c", {"Cargo.toml": manifest("c", 'workspace = "../repo"\n')})
    for folder in ("repo/crates/a", "repo/deep/one/two/leaf", "repo/lib/b", "c"):
        write_files(tmp_path / folder, {"src/lib.rs": ""})
    scan = find_workspaces([tmp_path])
    (workspace,) = scan.workspaces
    assert [os.path.relpath(path, root) for path in workspace.manifests] == [
        "../c/Cargo.toml",
        "Cargo.toml",
        "crates/a/Cargo.toml",
        "deep/one/two/leaf/Cargo.toml",
        "lib/b/Cargo.toml",
    ]
    # Excluded means on its own, and it has no lockfile; the unclaimed package is silently left to its root.
    assert reasons(scan) == {f"{tmp_path.name}/repo/crates/out": SkipReason.NO_LOCKFILE}


def test_excluded_but_listed_is_a_member(repos: Path) -> None:
    files = {
        "Cargo.toml": '[workspace]\nmembers = ["crates/a"]\nexclude = ["crates"]\n',
        "Cargo.lock": lock("a"),
        "crates/a/Cargo.toml": manifest("a"),
        "crates/a/src/lib.rs": "",
    }
    write_files(repos / "r", files)
    assert members(find_workspaces([repos])) == ["Cargo.toml", "crates/a/Cargo.toml"]


def test_nested_workspaces_and_several_locks_are_counted_once_each(repos: Path) -> None:
    good_repo(repos, name="r", files={"Cargo.toml": manifest("r", "[workspace]\n"), ".git/HEAD": ""})
    good_repo(repos / "r", name="fuzz", files={"Cargo.toml": manifest("fuzz", "[workspace]\n")})
    good_repo(repos / "r", name="lost")
    scan = find_workspaces([repos])
    assert found(scan) == ["repos/r", "repos/r/fuzz"]
    assert {workspace.repo for workspace in scan.workspaces} == {"repos/r"}
    assert reasons(scan) == {"repos/r/lost": SkipReason.NOT_A_MEMBER}


def test_a_path_dependency_without_lock_belongs_to_its_user(repos: Path) -> None:
    text = manifest("app", '[dependencies]\ninner = { path = "inner" }\n')
    good_repo(repos, name="app", files={"Cargo.toml": text})
    write_files(repos / "app/inner", {"Cargo.toml": manifest("inner"), "src/lib.rs": ""})
    scan = find_workspaces([repos])
    assert found(scan) == ["repos/app"]
    assert scan.skipped == ()


def test_toml_1_1_is_read_as_cargo_and_rustup_do(repos: Path) -> None:
    files = {
        "Cargo.toml": manifest(
            "app", '[dependencies]\nitoa = {\n  version = "1", # why\n  default-features = false,\n}\n'
        ),
        ".cargo/config.toml": '[target]\n"cfg(unix)" = {\n  rustflags = ["-Cmetadata=\\x41"],\n}\n',
        "rust-toolchain.toml": 'toolchain = {\n  channel = "1.\\x380",\n}\n',
    }
    good_repo(repos, name="app", files=files)
    scan = find_workspaces([repos])
    assert scan.skipped == ()
    assert [workspace.toolchain_pin for workspace in scan.workspaces] == ["1.80"]
    (workspace,) = scan.workspaces
    recorded = read_recorded(SourceTree.of(workspace), workspace.root)
    assert recorded.target_rustflags == (("cfg(unix)", ("-Cmetadata=A",)),)


@pytest.mark.parametrize(
    "tables",
    [
        '[dependencies]\nsub = { path = "sub" }\n',
        '[patch.crates-io]\nsub = { path = "sub" }\n',
        '[workspace]\nmembers = ["sub"]\n',
    ],
)
def test_a_submodule_that_is_not_checked_out_is_told_as_such(repos: Path, tables: str) -> None:
    good_repo(repos, name="app", files={"Cargo.toml": manifest("app", tables)})
    (repos / "app/sub").mkdir()
    (row,) = find_workspaces([repos]).skipped
    assert "sub" in row.detail
    assert "; check out what belongs there, a submodule for instance" in row.detail


def test_a_malformed_manifest_above_does_not_take_the_repos_below_along(repos: Path) -> None:
    write_files(repos, {"Cargo.toml": "[workspace"})
    good_repo(repos, name="a", files={".git/HEAD": ""})
    good_repo(repos, name="b")
    scan = find_workspaces([repos])
    assert found(scan) == ["repos/a", "repos/b"]
    assert reasons(scan) == {"repos": SkipReason.MALFORMED_MANIFEST}


@pytest.mark.parametrize(
    ("files", "folder"),
    [
        ({"target/CACHEDIR.TAG": ""}, "target/package/x"),
        ({"out/.rustc_info.json": "{}"}, "out/package/x"),
        ({}, "node_modules/x"),
        ({}, ".hidden/x"),
        ({"third-party/x/.cargo-checksum.json": "{}"}, "third-party/x"),
        ({".cargo/config.toml": '[source.v]\ndirectory = "sources"\n'}, "sources/x"),
        ({"Cargo.toml": manifest("r", "[workspace]\n"), "Cargo.lock": lock("r"), "src/lib.rs": ""}, "target/x"),
    ],
)
def test_folders_that_are_never_looked_into(repos: Path, files: dict[str, str], folder: str) -> None:
    write_files(repos / "r", files)
    good_repo((repos / "r" / folder).parent, name=Path(folder).name)
    scan = find_workspaces([repos])
    assert found(scan) == (["repos/r"] if "Cargo.toml" in files else [])
    assert scan.skipped == ()


def test_a_folder_named_target_or_vendor_may_hold_a_repo(repos: Path) -> None:
    good_repo(repos / "target", name="a")
    good_repo(repos / "vendor", name="b")
    assert found(find_workspaces([repos])) == ["repos/target/a", "repos/vendor/b"]


def test_paths_are_the_same_from_everywhere_and_counted_once(
    repos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good_repo(repos, name="a")
    (tmp_path / "link").symlink_to(repos)
    absolute = find_workspaces([repos])
    monkeypatch.chdir(repos / "a")
    assert find_workspaces([Path("..")]) == absolute
    twice = find_workspaces([Path(), repos / "a/Cargo.toml", tmp_path / "link", repos])
    assert twice == absolute
    assert found(absolute) == ["repos/a"]


def test_folders_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    good_repo(tmp_path / "one/repos", name="a")
    good_repo(tmp_path / "two/repos", name="a")
    scan = find_workspaces([tmp_path / "two/repos", tmp_path / "one/repos"])
    assert found(scan) == ["one/repos/a", "two/repos/a"]
    assert [workspace.label for workspace in scan.workspaces] == ["one/repos", "two/repos"]


def test_the_repository_is_the_nearest_git_folder_else_the_first_one(repos: Path) -> None:
    good_repo(repos, name="a/b/c", files={})
    good_repo(repos, name="d/e/f", files={"../.git": "gitdir: elsewhere"})
    repo_of = {workspace.path: workspace.repo for workspace in find_workspaces([repos]).workspaces}
    assert repo_of == {"repos/a/b/c": "repos/a", "repos/d/e/f": "repos/d/e"}


@pytest.mark.parametrize(
    ("files", "pin"),
    [
        ({}, None),
        ({"rust-toolchain": "1.80.0\n"}, "1.80.0"),
        ({"rust-toolchain": '[toolchain]\nchannel = "stable"\n'}, "stable"),
        ({"rust-toolchain.toml": '[toolchain]\nchannel = "nightly-2026-01-01"\n'}, "nightly-2026-01-01"),
        ({"rust-toolchain": "1.80", "rust-toolchain.toml": '[toolchain]\nchannel = "1.81"\n'}, "1.80"),
        ({"rust-toolchain.toml": '[toolchain]\npath = "/opt/rust"\n'}, "path:/opt/rust"),
        ({"rust-toolchain.toml": '[toolchain]\ncomponents = ["clippy"]\n'}, None),
    ],
)
def test_toolchain_pins(repos: Path, files: dict[str, str], pin: str | None) -> None:
    good_repo(repos, name="r/inner")
    write_files(repos / "r", files)
    (workspace,) = find_workspaces([repos]).workspaces
    assert workspace.toolchain_pin == pin


def test_a_malformed_pin_is_a_row(repos: Path) -> None:
    good_repo(repos, name="r", files={"rust-toolchain.toml": "[toolchain"})
    assert reasons(find_workspaces([repos])) == {"repos/r": SkipReason.MALFORMED_TOOLCHAIN}


def test_the_rust_version_is_the_highest_one(repos: Path) -> None:
    files = {
        "Cargo.toml": '[workspace]\nmembers = ["*"]\n[workspace.package]\nrust-version = "1.90"\n',
        "Cargo.lock": lock("a", "b"),
        "a/Cargo.toml": manifest("a", "rust-version.workspace = true\n"),
        "a/src/lib.rs": "",
        "b/Cargo.toml": manifest("b", 'rust-version = "1.9.5"\n'),
        "b/src/lib.rs": "",
    }
    write_files(repos / "r", files)
    (workspace,) = find_workspaces([repos]).workspaces
    assert workspace.rust_version == "1.90"


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such folder") as caught:
        find_workspaces([tmp_path / "nowhere"])
    assert caught.value.advice


def test_300_members_in_a_second(repos: Path) -> None:
    names = [f"member-{number}" for number in range(300)]
    text = '[workspace]\nmembers = ["crates/*"]\nexclude = ["crates/x", "y"]\n[workspace.dependencies]\n'
    text += "".join(f'{name} = {{ path = "crates/{name}" }}\n' for name in names)
    files = {"Cargo.toml": text, "Cargo.lock": lock(*names)}
    for before, name in zip([names[0], *names], names, strict=False):
        dependency = f"[dependencies]\n{before}.workspace = true\n" if before != name else ""
        files[f"crates/{name}/Cargo.toml"] = manifest(name, dependency)
        files[f"crates/{name}/src/lib.rs"] = ""
    write_files(repos / "r", files)
    # Of this process: other work on the machine is not the point.
    started = time.process_time()
    (workspace,) = find_workspaces([repos]).workspaces
    assert time.process_time() - started < 1.0
    assert len(workspace.manifests) == 301


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder outside pytest's private one, and a process that is not root while it is used."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(os.path.realpath(name))
        folder.chmod(0o755)
        was_root = os.geteuid() == 0
        if was_root:
            os.chown(folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            for path in folder.rglob("*"):
                path.chmod(path.stat().st_mode | stat.S_IRWXU)
            if was_root:
                os.seteuid(0)


@pytest.mark.parametrize(
    ("closed", "row"),
    [
        ("b", "repos/b"),
        ("b/Cargo.toml", "repos/b"),
        ("b/Cargo.lock", "repos/b"),
        ("b/src", "repos/b"),
        ("b/docs", "repos/b/docs"),
    ],
)
def test_what_may_not_be_read_is_a_row_and_the_rest_is_found(as_nobody: Path, closed: str, row: str) -> None:
    repos = write_files(as_nobody / "repos", {})
    good_repo(repos, name="a")
    good_repo(repos, name="b", files={"docs/x": ""})
    (repos / closed).chmod(0)
    scan = find_workspaces([repos])
    assert "repos/a" in found(scan)
    assert {(row.path, row.reason) for row in scan.skipped} >= {(row, SkipReason.PERMISSION_DENIED)}
