"""Skeletons: what cargo's resolver needs, where cargo would find it, and nothing of the repository's own code."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest
import tomli

from factory.errors import ConfigurationError
from factory.scan.discover import find_workspaces
from factory.scan.model import FoundWorkspace, UnscannableError
from factory.scan.skeleton import skeleton_digest, write_skeleton
from tests.hostile import OUTSIDE_FILE, all_files, good_repo, hostile_repos, lock, manifest, write_files

MAIN = "fn main() {}\n"
CODE = 'compile_error!("own code");'


def find(folder: Path) -> FoundWorkspace:
    scan = find_workspaces([folder])
    assert scan.skipped == ()
    (workspace,) = scan.workspaces
    return workspace


def written(folder: Path, destination: Path) -> dict[str, str]:
    write_skeleton(find(folder), destination)
    return {str(path.relative_to(destination)): path.read_text("utf-8") for path in all_files(destination)}


def test_stubs_stand_where_cargo_finds_targets(tmp_path: Path) -> None:
    text = manifest(
        "app",
        'build = "tools/make.rs"\n[lib]\npath = "lib/here.rs"\n[[bin]]\nname = "named"\npath = "elsewhere/named.rs"\n'
        '[[example]]\nname = "gone"\npath = "not/there.rs"\n[[bench]]\nname = "speed"\nharness = false\n',
    )
    targets = {
        "build.rs": MAIN,
        "tools/make.rs": MAIN,
        "lib/here.rs": "",
        "elsewhere/named.rs": MAIN,
        "src/main.rs": MAIN,
        "src/lib.rs": "",
        "src/bin/one.rs": MAIN,
        "src/bin/two/main.rs": MAIN,
        "examples/e.rs": MAIN,
        "examples/long/main.rs": MAIN,
        "tests/t.rs": MAIN,
        "benches/speed.rs": MAIN,
    }
    others = (
        "src/module.rs",
        "src/bin/two/part.rs",
        "src/bin/.hidden.rs",
        "tests/common/mod.rs",
        "README.md",
        "rust-toolchain",
    )
    files = {"Cargo.toml": text, "Cargo.lock": lock("app"), **dict.fromkeys((*targets, *others), CODE)}
    files["rust-toolchain"] = "1.80"
    root = write_files(tmp_path / "app", files)
    expected = {"Cargo.toml": text, "Cargo.lock": lock("app"), **targets}
    assert written(root, tmp_path / "out") == expected


def test_path_dependencies_patches_and_inherited_roots_keep_their_places(tmp_path: Path) -> None:
    app = '[dependencies]\nlib = { path = "../../libs/lib" }\n[patch.crates-io]\npatched = { path = "../patched" }\n'
    files = {
        "apps/app/Cargo.toml": manifest("app", app),
        "apps/app/Cargo.lock": lock("app", "lib", "deep", "patched"),
        "apps/app/src/main.rs": CODE,
        "apps/patched/Cargo.toml": manifest("patched"),
        "apps/patched/src/lib.rs": CODE,
        "apps/unused/Cargo.toml": manifest("unused", 'workspace = "../../libs"\n'),
        "libs/Cargo.toml": '[workspace]\nmembers = ["lib"]\n[workspace.dependencies]\ndeep = { path = "deep" }\n',
        "libs/lib/Cargo.toml": manifest(
            "lib", '[build-dependencies]\ndeep.workspace = true\n[dev-dependencies]\nnone = { path = "none" }\n'
        ),
        "libs/lib/src/lib.rs": CODE,
        "libs/deep/Cargo.toml": manifest("deep"),
        "libs/deep/src/lib.rs": CODE,
    }
    write_files(tmp_path / "repo", files)
    (workspace,) = find_workspaces([tmp_path / "repo"]).workspaces
    skeleton = write_skeleton(workspace, tmp_path / "out")
    assert skeleton.root == tmp_path / "out/apps/app"
    names = {str(path.relative_to(tmp_path / "out")) for path in all_files(tmp_path / "out")}
    assert names == set(files) - {"apps/unused/Cargo.toml"}


def test_a_byte_order_mark_is_skipped_as_cargo_does(tmp_path: Path) -> None:
    root = good_repo(tmp_path, files={".cargo/config.toml": "\ufeff[build]\nrustflags = '-Ca'\n"})
    plain = {name: (root / name).read_text("utf-8") for name in ("Cargo.toml", "Cargo.lock")}
    for name, text in plain.items():
        (root / name).write_text(f"\ufeff{text}", encoding="utf-8")
    skeleton = write_skeleton(find(root), tmp_path / "out")
    assert {name: (skeleton.root / name).read_text("utf-8") for name in plain} == plain
    assert skeleton.recorded.build_rustflags == ("-Ca",)


def test_the_configuration_is_filtered_and_recorded(tmp_path: Path) -> None:
    config = '[build]\nrustc-wrapper = "w"\nrustflags = "-Ca"\n[profile.release]\nlto = true\n'
    root = good_repo(tmp_path, files={".cargo/config.toml": config})
    skeleton = write_skeleton(find(root), tmp_path / "out")
    text = (skeleton.root / ".cargo/config.toml").read_text("utf-8")
    assert tomli.loads(text) == {"profile": {"release": {"lto": True}}}
    assert skeleton.recorded.build_rustflags == ("-Ca",)


def test_hostile_repos_leave_nothing_but_plain_data(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    hostile_repos(tmp_path / "repos", canary)
    secret = Path(OUTSIDE_FILE).read_text("utf-8").splitlines()[0]
    for workspace in find_workspaces([tmp_path / "repos"]).workspaces:
        skeleton = write_skeleton(workspace, tmp_path / "out" / workspace.root.name)
        assert skeleton.digest == skeleton_digest(workspace)
    files = list(all_files(tmp_path / "out"))
    assert len(files) > 60
    for path in files:
        status = path.lstat()
        assert stat.S_ISREG(status.st_mode)
        assert not status.st_mode & 0o111
        text = path.read_text("utf-8")
        assert secret not in text
        assert path.name in {"Cargo.toml", "Cargo.lock", "config.toml"} or text in {"", MAIN}
        assert "canary" not in text or path.name in {"Cargo.toml", "Cargo.lock"}
        assert not path.name.startswith("rust-toolchain")
    assert not canary.exists()


def test_a_symbolic_link_that_is_a_target_becomes_a_plain_stub(tmp_path: Path) -> None:
    root = good_repo(tmp_path, name="r", files={"shared/main.rs": CODE})
    (root / "src/main.rs").unlink()
    (root / "src/main.rs").symlink_to("../shared/main.rs")
    (root / "src/lib.rs").symlink_to("nowhere.rs")
    assert written(root, tmp_path / "out") == {
        "Cargo.toml": manifest("r"),
        "Cargo.lock": lock("r"),
        "src/main.rs": MAIN,
    }


def test_the_destination_must_be_empty(tmp_path: Path) -> None:
    workspace = find(good_repo(tmp_path))
    write_skeleton(workspace, tmp_path / "out")
    with pytest.raises(ConfigurationError, match="not empty"):
        write_skeleton(workspace, tmp_path / "out")


def test_a_repository_that_changed_since_is_refused(tmp_path: Path) -> None:
    root = good_repo(tmp_path)
    workspace = find(root)
    (root / "Cargo.lock").unlink()
    (root / "Cargo.lock").symlink_to(OUTSIDE_FILE)
    with pytest.raises(UnscannableError, match="leaves the repository"):
        write_skeleton(workspace, tmp_path / "out")


DIGEST_CHANGES = {
    "manifest": {"Cargo.toml": manifest("good", "# a comment\n")},
    "lock": {"Cargo.lock": lock("good", "more")},
    "target": {"src/bin/more.rs": ""},
    "build script": {"build.rs": ""},
    "rustflags": {".cargo/config.toml": "[build]\nrustflags = '-Ca'\n"},
    "linker": {".cargo/config.toml": "[target.'cfg(unix)']\nlinker = 'x'\n"},
    "profile": {".cargo/config.toml": "[profile.dev]\ndebug = 0\n"},
}


@pytest.mark.parametrize("change", DIGEST_CHANGES)
def test_the_digest_changes_with_what_decides_the_units(tmp_path: Path, change: str) -> None:
    root = good_repo(tmp_path)
    before = skeleton_digest(find(root))
    write_files(root, DIGEST_CHANGES[change])
    assert skeleton_digest(find(root)) != before


@pytest.mark.parametrize(
    "files",
    [
        {"src/main.rs": "fn main() { println!() }"},
        {"src/module.rs": ""},
        {"README.md": "x"},
        {".cargo/config.toml": "[alias]\nb = 'build'\n"},
        {"rust-toolchain": "1.80"},
    ],
)
def test_the_digest_does_not_change_with_anything_else(tmp_path: Path, files: dict[str, str]) -> None:
    root = good_repo(tmp_path)
    before = skeleton_digest(find(root))
    write_files(root, files)
    assert skeleton_digest(find(root)) == before


def test_100_unchanged_repositories_are_known_again_in_two_seconds(tmp_path: Path) -> None:
    config = {".cargo/config.toml": "[build]\nrustflags = '-Ca'\n"}
    for number in range(100):
        good_repo(tmp_path / "repos", name=f"repo-{number}", files=config)
    workspaces = find_workspaces([tmp_path / "repos"]).workspaces
    started = time.monotonic()
    digests = {skeleton_digest(workspace) for workspace in workspaces}
    assert time.monotonic() - started < 2.0
    assert len(digests) == 100


def test_the_digest_does_not_depend_on_where_the_repository_lies(tmp_path: Path) -> None:
    first = find(good_repo(tmp_path / "one", files={".git/HEAD": ""}))
    second = find(good_repo(tmp_path / "two/deeper", files={"build.txt": ""}))
    assert skeleton_digest(first) == skeleton_digest(second)
    left = write_skeleton(first, tmp_path / "a")
    right = write_skeleton(second, tmp_path / "b")
    assert left.digest == right.digest
