"""The standard libraries of other targets: what a base image installs, and what the step that adds them does."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Literal

import pytest

from factory import process
from factory.base import build_base
from factory.errors import ConfigurationError
from factory.files import write_text
from factory.output import Output
from factory.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WASM = "wasm32-unknown-unknown"
SETTLE = 'begin() { :; }\nsettle_system() { echo settled; }\nfail() { echo "error: $*" >&2; exit 1; }\n'
RUSTC = (
    '#!/bin/sh\ncase "$*" in\n*no-such*) exit 1 ;;\n--version) echo rustc 1.95.0 ;;\n*) echo "$LIBRARIES/$4" ;;\nesac\n'
)
RUSTUP = '#!/bin/sh\necho "$@" >>"$LIBRARIES/asked"\nmkdir -p "$LIBRARIES/$3"\n: >"$LIBRARIES/$3/libcore-0.rlib"\n'


def run(folder: Path, targets: str, programs: Mapping[str, str]) -> process.Completed:
    """Run targets.sh with these programs in the place of rustc and rustup."""
    write_text(folder / "settle.sh", SETTLE)
    script = (shipped("Dockerfiles") / "targets.sh").read_text(encoding="utf-8")
    write_text(folder / "targets.sh", script.replace("/run/factory/", f"{folder}/"))
    for name, text in programs.items():
        write_text(folder / "bin" / name, text, mode=0o755)
    environment = {"PATH": f"{folder}/bin:/usr/bin:/bin", "TARGETS": targets, "LIBRARIES": str(folder / "libraries")}
    (folder / "libraries").mkdir(exist_ok=True)
    return process.run(["sh", folder / "targets.sh"], env=environment, check=False, timeout=60)


@pytest.mark.runs_programs
def test_rustup_adds_what_is_not_there(tmp_path: Path) -> None:
    write_text(tmp_path / "libraries" / WASM / "libcore-1.rlib", "")
    done = run(tmp_path, f"{WASM} x86_64-unknown-linux-musl", {"rustc": RUSTC, "rustup": RUSTUP})
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "libraries" / "asked").read_text() == "target add x86_64-unknown-linux-musl\n"
    assert done.stdout.endswith("settled\n")


@pytest.mark.runs_programs
def test_without_rustup_a_missing_standard_library_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    done = run(tmp_path, WASM, {"rustc": RUSTC})
    assert done.returncode == 1
    assert f"the base image lacks the standard library of {WASM}, and has no rustup to add it" in done.stderr
    assert f"`factory base --target {WASM}`" in done.stderr


@pytest.mark.runs_programs
def test_what_rustup_adds_to_another_toolchain_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, WASM, {"rustc": RUSTC, "rustup": "#!/bin/sh\n"})
    assert done.returncode == 1
    assert f"rustup added {WASM} to another toolchain than the one that is used" in done.stderr


@pytest.mark.runs_programs
def test_a_target_that_rustc_does_not_know_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, "no-such-target", {"rustc": RUSTC, "rustup": RUSTUP})
    assert done.returncode == 1
    assert "rustc 1.95.0 has no target no-such-target" in done.stderr


def refused(toolchain: Path | Literal["debian"], *targets: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        build_base(
            tag="x:y",
            suite="sid",
            toolchain=toolchain,
            ca_bundle=None,
            targets=targets,
            output=Output(),
        )
    return str(caught.value)


def test_debian_has_no_standard_library_for_musl() -> None:
    told = refused("debian", WASM, f"{platform.machine()}-unknown-linux-gnu", "x86_64-unknown-linux-musl")
    assert told.startswith("Debian packages no standard library of Rust for x86_64-unknown-linux-musl\n")
    assert WASM in told


def test_a_toolchain_without_the_standard_library_of_a_target_is_refused(tmp_path: Path) -> None:
    for part in ("bin/cargo", "bin/rustc", f"lib/rustlib/{WASM}/lib/libcore-0.rlib"):
        write_text(tmp_path / part, "")
    told = refused(tmp_path, WASM, "x86_64-unknown-linux-musl")
    assert (
        "no standard library for x86_64-unknown-linux-musl\nRun `rustup target add x86_64-unknown-linux-musl`" in told
    )
    assert os.fspath(tmp_path) in told
