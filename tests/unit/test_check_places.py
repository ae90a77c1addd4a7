"""The lines that causes point at: the right one of every kind of file, and never outside the repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from factory.consumer.check.places import Place, Places
from factory.scan.discover import find_workspaces
from tests.hostile import manifest, write_files

if TYPE_CHECKING:
    from pathlib import Path

ROOT = """[workspace]
members = ["app"]

[workspace.dependencies]
tokio = { version = "1", features = ["rt"] }

[profile.release]
lto = "fat"

[profile.release.package."ring@0.17.8"]
opt-level = 3

[patch.crates-io]
ring = { git = "https://git.example.org/ring" }
"""
APP = """
[dependencies]
tokio = { workspace = true }
clock = { package = "time", version = "0.3" }

[dependencies.serde]
version = "1"

[target.'cfg(unix)'.dependencies]
libc = "0.2"
"""
LOCK = """version = 4

[[package]]
name = "syn"
version = "1.0.109"

[[package]]
name = "syn"
version = "2.0.100"
"""
CONFIG = """[build]
rustflags = ["-Ctarget-cpu=x86-64-v3"]
target = "x86_64-unknown-linux-musl"

[target.'cfg(unix)']
linker = "clang"

[profile.release]
debug = 1
"""


def places(folder: Path) -> Places:
    (found,) = find_workspaces([folder]).workspaces
    return Places(found)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository whose workspace is not at its top."""
    files = {
        ".git/HEAD": "",
        "rust/Cargo.toml": ROOT,
        "rust/Cargo.lock": LOCK,
        "rust/app/Cargo.toml": manifest("app", APP),
        "rust/app/src/lib.rs": "",
        ".cargo/config.toml": CONFIG,
        "rust-toolchain.toml": '# the channel that we pin\n[toolchain]\nchannel = "1.80"\n',
    }
    return write_files(tmp_path / "repo", files)


def line(repo: Path, place: Place | None) -> str:
    assert place is not None
    return (repo / place.file).read_text("utf-8").splitlines()[place.line - 1]


def test_packages_of_the_lock_are_told_apart_by_version(repo: Path) -> None:
    assert places(repo).locked("syn", "1.0.109") == Place("rust/Cargo.lock", 4)
    assert places(repo).locked("syn", "2.0.100") == Place("rust/Cargo.lock", 8)
    assert places(repo).locked("syn", "3.0.0") == Place("rust/Cargo.lock", 1)


def test_windows_line_ends_do_not_move_lines(repo: Path) -> None:
    (repo / "rust/Cargo.lock").write_bytes(LOCK.replace("\n", "\r\n").encode())
    assert places(repo).locked("syn", "2.0.100") == Place("rust/Cargo.lock", 8)


def test_direct_dependencies_are_found_however_they_are_written(repo: Path) -> None:
    found = places(repo)
    assert found.dependency("tokio") == Place("rust/Cargo.toml", 5)
    assert line(repo, found.dependency("time")) == 'clock = { package = "time", version = "0.3" }'
    assert line(repo, found.dependency("serde")) == "[dependencies.serde]"
    assert line(repo, found.dependency("libc")) == 'libc = "0.2"'
    assert found.dependency("clock") is None


def test_settings_are_found_in_the_manifest_or_the_configuration(repo: Path) -> None:
    found = places(repo)
    assert line(repo, found.profile("profile.release", ("lto",))) == 'lto = "fat"'
    assert line(repo, found.profile("profile.release", ("debug",))) == "debug = 1"
    assert line(repo, found.profile("profile.release.package.ring@0.17.8", ("opt-level",))) == "opt-level = 3"
    assert line(repo, found.profile("profile.dev", ("lto",))) == "[workspace]"
    assert found.overrides("release") == {"ring@0.17.8"}
    assert found.is_set("profile.release", "lto")
    assert not found.is_set("profile.release", "panic")
    assert line(repo, found.configured("build", "rustflags")).startswith("rustflags")
    assert line(repo, found.configured("target", last="linker")) == 'linker = "clang"'
    assert found.configured("build", "rustc") is None
    assert line(repo, found.patched("ring")).startswith("ring = ")
    assert line(repo, found.pin()) == 'channel = "1.80"'


@pytest.mark.parametrize(
    "config",
    [
        '[target."cfg(not(target_os = \\"macos\\"))"]\nlinker = "ld" # here\n',
        'target.x86_64-unknown-linux-gnu = { rustflags = ["-g"], linker = "ld" } # here\n',
        '[target]\nx86_64-unknown-linux-gnu = {\n  rustflags = ["-g"],\n  linker = "ld", # here\n}\n',
        '[target.\'cfg(unix)\']\nrunner = """\nlinker = "cc"\n"""\nlinker = "ld" # here\n',
    ],
)
def test_a_setting_is_found_however_its_table_is_written(repo: Path, config: str) -> None:
    (repo / ".cargo/config.toml").write_text(config, encoding="utf-8")
    assert line(repo, places(repo).configured("target", last="linker")).endswith("# here")


def test_a_repository_without_settings_points_at_its_manifest(tmp_path: Path) -> None:
    files = {"Cargo.toml": manifest("app"), "Cargo.lock": "version = 4\n", "src/lib.rs": ""}
    write_files(tmp_path / "outer/.cargo", {"config.toml": CONFIG})
    found = places(write_files(tmp_path / "outer/app", files))
    assert found.profile("profile.release", ("lto",)) == Place("Cargo.toml", 1)
    assert found.configured("build", "rustflags") is None
    assert found.pin() is None
