"""Verification of a locally cooked directory."""

from __future__ import annotations

import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from factory.cargo.toolchain import find_toolchain
from factory.cook.local import MARKER, is_warm_directory
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.exclusive import exclusive
from factory.proof.consumer import consumer_args, consumer_copy, prove_repos, repo_proof
from factory.proof.contract import recorded_layout, recorded_rustc, release, toolchain_check
from factory.proof.model import Proof, RepoProof
from factory.proof.size import size_of_directory
from factory.proof.tree import Ownership, judge, list_directories
from factory.scan.model import UnscannableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.cargo.layout import Layout
    from factory.cargo.toolchain import Toolchain
    from factory.output import Output
    from factory.proof.model import ProofRequest
    from factory.scan.model import FoundWorkspace, Scan


def verify_directory(folder: Path, scan: Scan, request: ProofRequest, *, output: Output) -> Proof:
    """Judge a cooked directory and build every workspace on it; the directory is left as it was.

    The toolchain is the one that cooked it; where this machine has no such one, its default builds, and the check
    `toolchain` fails. A repository of the scan without any workspace is a failing row. Raises `ConfigurationError`
    for a directory that was not cooked to the end, `EnvironmentFaultError` where another build or verification uses it.
    """
    _require_cooked(folder)
    # What the builds of one download, another would count, and remove.
    with exclusive(folder / MARKER, using=folder):
        _require_cooked(folder)
        return _proof(folder, scan, request, output)


def _proof(folder: Path, scan: Scan, request: ProofRequest, output: Output) -> Proof:
    home, build_dir = folder / "cargo-home", folder / "build"
    path, contract = _contract(folder)
    cooked = recorded_rustc(contract, where=str(path))
    layout = recorded_layout(contract, where=str(path))
    toolchain = _toolchain(cooked)
    owner = folder.stat()
    ownership = Ownership(uid=owner.st_uid, gid=owner.st_gid, shared=False)
    checks = judge(list_directories(home, build_dir), ownership)
    checks = (*checks, *size_of_directory(folder, timeout=request.timeout))
    before = _times(home)
    try:
        build = partial(_build, folder=folder, request=request, toolchain=toolchain, layout=layout)
        repos = prove_repos(scan, request, build, target=str(folder), output=output)
    finally:
        _restore(home, before)
    checks = (toolchain_check(cooked, toolchain.rustc_verbose.splitlines()), *checks)
    return Proof(target=str(folder), repos=tuple(repos), checks=checks)


def _require_cooked(folder: Path) -> None:
    if not _contracts(folder) or not is_warm_directory(folder):
        raise ConfigurationError(
            f"{folder}: not a completely cooked directory",
            advice="Run `factory build --backend local --output DIR` to the end first.",
        )


def _contracts(folder: Path) -> list[Path]:
    return sorted((folder / "share").glob("*/contract.json"))


def _contract(folder: Path) -> tuple[Path, str]:
    """Return the path and the text of a contract of the directory: every layer has the same."""
    contracts = _contracts(folder)
    try:
        return contracts[0], contracts[0].read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise EnvironmentFaultError(f"{contracts[0]}: {error.strerror}", advice="Verify as the owner.") from error


def _toolchain(cooked: Sequence[str]) -> Toolchain:
    try:
        return find_toolchain(release(cooked))
    except EnvironmentFaultError:
        # The check says so, with both versions; what it costs shows in the builds.
        return find_toolchain()


def _build(
    found: FoundWorkspace, *, empty: bool, folder: Path, request: ProofRequest, toolchain: Toolchain, layout: Layout
) -> RepoProof:
    try:
        return _build_copy(found, empty=empty, folder=folder, request=request, toolchain=toolchain, layout=layout)
    except (UnscannableError, EnvironmentFaultError) as error:
        # Unreadable, or not finished in time: the others can be built all the same.
        return RepoProof.not_built(found.path, request.variant, str(error).replace("\n", "; "))


def _build_copy(
    found: FoundWorkspace, *, empty: bool, folder: Path, request: ProofRequest, toolchain: Toolchain, layout: Layout
) -> RepoProof:
    with consumer_copy(found, skeleton=request.skeleton) as copy:
        # What a repository compiles must not become the next one's hit: each gets its own copy of the warm units.
        # Cargo follows a moved build directory (tests/cargo/test_unit_keys.py); a moved CARGO_HOME it does not.
        build = copy.folder / "build"
        if not empty:
            _copy_units(folder / "build", build)
        elsewhere = ("--config", f'build.{layout}="{build}"', *layout.apart(str(copy.folder / "target")))
        args = (*consumer_args(request.variant), *elsewhere)
        home = folder / "cargo-home"
        started = time.monotonic()
        answer = toolchain.cargo(args, cwd=copy.workspace, cargo_home=home, timeout=request.timeout)
        return repo_proof(found, request.variant, answer, seconds=time.monotonic() - started)


def _copy_units(source: Path, destination: Path) -> None:
    try:
        shutil.copytree(source, destination, symlinks=True)
    except OSError as error:
        raise EnvironmentFaultError(
            f"{source}: cannot be copied to {destination.parent}: {str(error)[:300]}",
            advice="Set TMPDIR to a directory with room.",
        ) from error


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
