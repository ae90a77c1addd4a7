"""Verification of a locally cooked directory."""

from __future__ import annotations

import shutil
import time
from functools import partial
from typing import TYPE_CHECKING

from factory.cook.local import INCOMPLETE
from factory.errors import ConfigurationError
from factory.proof.consumer import consumer_args, consumer_copy, repo_proof
from factory.proof.model import Proof
from factory.proof.tree import Ownership, judge, list_directories

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from factory.cargo.toolchain import Toolchain
    from factory.cargo.variants import Variant
    from factory.output import Output
    from factory.proof.model import RepoProof
    from factory.scan.model import FoundWorkspace


def verify_directory(
    folder: Path,
    workspaces: Sequence[FoundWorkspace],
    variant: Variant,
    *,
    toolchain: Toolchain,
    output: Output,
    skeleton: bool,
    cold: bool,
    timeout: float,
) -> Proof:
    """Judge a cooked directory and build every workspace on it; the directory is left as it was."""
    home, build_dir = folder / "cargo-home", folder / "build"
    if not (folder / "share").is_dir() or (folder / INCOMPLETE).exists():
        raise ConfigurationError(
            f"{folder}: not a completely cooked directory",
            advice="Run `factory build --backend local --output DIR` to the end first.",
        )
    owner = folder.stat()
    ownership = Ownership(uid=owner.st_uid, gid=owner.st_gid, shared=False)
    checks = judge(list_directories(home, build_dir), ownership)
    before = _files(home)
    repos = []
    try:
        for found in workspaces:
            output.say(f"building {found.path} on {folder}")
            build = partial(_build, found, variant, folder, toolchain=toolchain, skeleton=skeleton, timeout=timeout)
            cold_seconds = build(empty=True).seconds if cold else None
            repos.append(build(empty=False).beside_cold(cold_seconds))
    finally:
        _restore(home, before)
    return Proof(target=str(folder), repos=tuple(repos), checks=checks)


def _build(
    found: FoundWorkspace,
    variant: Variant,
    folder: Path,
    *,
    toolchain: Toolchain,
    skeleton: bool,
    timeout: float,
    empty: bool,
) -> RepoProof:
    with consumer_copy(found, skeleton=skeleton) as copy:
        # What a repository compiles must not become the next one's hit: each gets its own copy of the warm units.
        # Cargo follows a moved build directory (tests/cargo/test_unit_keys.py); a moved CARGO_HOME it does not.
        build = copy.folder / "build"
        if not empty:
            shutil.copytree(folder / "build", build, symlinks=True)
        args = (
            *consumer_args(variant, str(copy.folder / "target")),
            "--config",
            f'build.build-dir="{build}"',
        )
        started = time.monotonic()
        answer = toolchain.cargo(args, cwd=copy.workspace, cargo_home=folder / "cargo-home", timeout=timeout)
        return repo_proof(found, variant, answer, seconds=time.monotonic() - started)


def _files(home: Path) -> frozenset[Path]:
    return frozenset(path for path in home.rglob("*") if "src" not in path.parts and not path.is_dir())


def _restore(home: Path, before: frozenset[Path]) -> None:
    """Remove what the builds downloaded and unpacked."""
    shutil.rmtree(home / "registry" / "src", ignore_errors=True)
    for path in _files(home) - before:
        path.unlink(missing_ok=True)
