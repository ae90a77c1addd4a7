"""A consumer's build, as verification runs it: on a copy, so that nothing of the repository is touched."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from factory.cargo.events import EVENT_ARGS, parse_events
from factory.cargo.home import known_registries, user_cargo_home
from factory.cargo.variants import Command, Variant
from factory.proof.model import Miss, RepoProof
from factory.scan.cargo_config import read_recorded
from factory.scan.membership import find_packages
from factory.scan.model import SkipReason, UnscannableError
from factory.scan.skeleton import write_skeleton
from factory.scan.source_tree import SourceTree
from factory.scan.targets import find_targets
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from factory.output import Output
    from factory.process import Completed
    from factory.proof.model import ProofRequest
    from factory.scan.model import FoundWorkspace, Scan

_PINS = frozenset({"rust-toolchain", "rust-toolchain.toml"})
_NEVER_BUILT_FROM = frozenset({".git", "node_modules"})


@dataclass(frozen=True, slots=True)
class ConsumerCopy:
    """A copy of a repository; `workspace` is the workspace's root inside `folder`."""

    folder: Path
    workspace: Path


class Build(Protocol):
    """Builds one workspace, with the warm units or (`empty`) without them."""

    def __call__(self, found: FoundWorkspace, *, empty: bool) -> RepoProof:
        """Return what came out; trouble of the repository's own is its `problem`."""


def prove_repos(scan: Scan, request: ProofRequest, build: Build, *, target: str, output: Output) -> list[RepoProof]:
    """Build every workspace of a scan, and add a failing row for what the scan skipped of all other repositories."""
    rows = []
    for found in scan.workspaces:
        output.say(f"building {found.path} on {target}")
        cold = build(found, empty=True) if request.cold else None
        if cold is not None and cold.problem:
            output.warn(f"{found.path}: the build without warm units has no time: {cold.problem}")
        measured = None if cold is None or cold.problem else cold.seconds
        rows.append(replace(build(found, empty=False), cold_seconds=measured))
    return [*rows, *_repos_without_workspace(scan, request.variant)]


@contextlib.contextmanager
def consumer_copy(found: FoundWorkspace, *, skeleton: bool) -> Iterator[ConsumerCopy]:
    """Yield a copy of the workspace's repository, or of its skeleton, that is removed afterwards.

    Path dependencies in other repositories of the scanned folder come along, each in its place. Raises
    `UnscannableError` for what cannot be read.
    """
    with scratch("factory-consumer-") as folder:
        root = _write_skeleton(found, folder / "repo") if skeleton else _copy_sources(found, folder / "repo")
        yield ConsumerCopy(folder, root)


def consumer_args(variant: Variant) -> tuple[str, ...]:
    """Return the cargo arguments of a consumer's build whose events can be read."""
    # A test build knows --keep-going only as --no-fail-fast, which says nothing about compiling.
    keep_going = () if variant.command is Command.TEST else ("--keep-going",)
    return (*variant.args, "--locked", *keep_going, *EVENT_ARGS)


def repo_proof(found: FoundWorkspace, variant: Variant, answer: Completed, *, seconds: float) -> RepoProof:
    """Read the events of a consumer's build."""
    events = parse_events(answer.stdout, answer.stderr)
    return RepoProof(
        path=found.path,
        variant=str(variant),
        total=events.total,
        fresh=events.fresh.total(),
        misses=tuple(sorted(Miss.of(same) for same in events.compiled.elements())),
        seconds=round(seconds, 2),
        problem=problem_of(answer),
        git_total=events.git_fresh.total() + events.git_compiled.total(),
        git_fresh=events.git_fresh.total(),
    )


def _repos_without_workspace(scan: Scan, variant: Variant) -> Iterator[RepoProof]:
    """A nested folder that cannot be built is a remark; a repository of which nothing can be built has failed."""
    built = {found.repo for found in scan.workspaces}
    for row in scan.skipped:
        if row.repo not in built:
            yield RepoProof.not_built(row.path, variant, f"{row.reason.value}: {row.detail}")


def problem_of(answer: Completed) -> str:
    """Return why cargo failed, in its words and on one line; "" where it did not."""
    if answer.ok:
        return ""
    lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
    start = next((number for number, line in enumerate(lines) if line.startswith("error")), max(0, len(lines) - 5))
    said = " ".join(lines[start : start + 6])[:600]
    return said or f"cargo ended with {answer.returncode} and said nothing"


# Copying


def _write_skeleton(found: FoundWorkspace, folder: Path) -> Path:
    # As in the analysis: a registry that the user has credentials for is the user's to define.
    return write_skeleton(found, folder, registries=known_registries(user_cargo_home())).root


def _copy_sources(found: FoundWorkspace, destination: Path) -> Path:
    """Copy what a build of the workspace reads, and return where its root is in the copy."""
    tree = SourceTree.of(found)
    repos = _repos_read(tree, found)
    base = Path(os.path.commonpath(repos))
    # A pin would make rustup download the pinned toolchain; whether it fits is the plan's question, not this one's.
    above = {found.root, *found.root.parents}
    for repo in repos:
        try:
            _copy_tree(repo, destination / repo.relative_to(base), unpinned=above)
        except OSError as error:
            raise _uncopied(tree, error) from error
    return destination / found.root.relative_to(base)


def _repos_read(tree: SourceTree, found: FoundWorkspace) -> list[Path]:
    """The workspace's repository and those of all packages and targets that cargo reads, none inside another."""
    recorded = read_recorded(tree, found.root)
    manifests = find_packages(tree, found.root / "Cargo.toml", recorded.patch_folders)
    files = {path for manifest in manifests for path in (manifest, *find_targets(tree, manifest))}
    repos = {found.repo_root, *(tree.repo_root(path.parent) for path in files)}
    return sorted(repo for repo in repos if repos.isdisjoint(repo.parents))


def _copy_tree(source: Path, destination: Path, *, unpinned: set[Path]) -> None:
    """Copy folders, files and symbolic links as they are; sockets, pipes and devices are no sources."""
    waiting = [(source, destination)]
    while waiting:
        folder, copy = waiting.pop()
        copy.mkdir(parents=True, exist_ok=True)
        with os.scandir(folder) as listed:
            entries = [entry for entry in listed if not (entry.name in _PINS and folder in unpinned)]
        has_manifest = any(entry.name == "Cargo.toml" for entry in entries)
        for entry in entries:
            if entry.is_symlink():
                (copy / entry.name).symlink_to(Path(entry.path).readlink())
            elif entry.is_file():
                _copy_file(entry, copy / entry.name)
            elif entry.is_dir() and not _is_left_behind(entry, has_manifest=has_manifest):
                waiting.append((Path(entry.path), copy / entry.name))


def _copy_file(entry: os.DirEntry[str], copy: Path) -> None:
    shutil.copyfile(entry.path, copy)
    # Build scripts may write to the copy, whatever the original allows.
    copy.chmod((entry.stat().st_mode & 0o777) | stat.S_IRUSR | stat.S_IWUSR)


def _is_left_behind(folder: os.DirEntry[str], *, has_manifest: bool) -> bool:
    if folder.name == "target":
        # A module may be called `target` too.
        return has_manifest or os.path.lexists(Path(folder.path) / "CACHEDIR.TAG")
    return folder.name in _NEVER_BUILT_FROM


def _uncopied(tree: SourceTree, error: OSError) -> UnscannableError:
    path = Path(error.filename or tree.scan_root)
    shown = tree.display(path) if tree.holds(path) else str(path)
    reason = SkipReason.PERMISSION_DENIED if isinstance(error, PermissionError) else SkipReason.UNREADABLE
    what = f"{shown}: cannot be copied: {(error.strerror or str(error)).lower()}"
    return UnscannableError(reason, what, advice="let the user who runs this read it, and leave room in TMPDIR")
