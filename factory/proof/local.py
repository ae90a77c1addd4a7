"""Verification of a locally cooked directory."""

from __future__ import annotations

import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from factory.cook.local import INCOMPLETE
from factory.errors import ConfigurationError
from factory.proof.consumer import consumer_args, consumer_copy, repo_proof
from factory.proof.model import Proof
from factory.proof.tree import Ownership, judge, list_directories

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    before = _times(home)
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


def _times(home: Path) -> Mapping[Path, int]:
    """Return all there is in a CARGO_HOME, with the time of each folder (0 for everything else)."""
    times = {path: 0 for _, entries in _walk(home) for path in entries}
    return times | {folder: folder.stat().st_mtime_ns for folder, _ in _walk(home)}


def _restore(home: Path, before: Mapping[Path, int]) -> None:
    """Remove what the builds downloaded and unpacked, and give the folders their times back."""
    for _, entries in _walk(home):
        for path in entries:
            if path in before:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for path, time_ns in before.items():
        if time_ns:
            os.utime(path, ns=(time_ns, time_ns))


def _walk(home: Path) -> Iterable[tuple[Path, list[Path]]]:
    """Yield every folder from `home` down, and what is in it; what is removed meanwhile is not entered."""
    for folder, names, files in os.walk(home):
        yield Path(folder), [Path(folder, name) for name in (*names, *files)]
