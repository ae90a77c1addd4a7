"""A consumer's build, as verification runs it: on a copy, so that nothing of the repository is touched."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from factory.cargo.events import EVENT_ARGS, parse_events
from factory.proof.model import RepoProof
from factory.scan.skeleton import write_skeleton

if TYPE_CHECKING:
    from collections.abc import Iterator

    from factory.cargo.variants import Variant
    from factory.process import Completed
    from factory.scan.model import FoundWorkspace

# A pin would make rustup download the pinned toolchain; whether the pin fits is the plan's question, not this one's.
_LEFT_BEHIND = ("target", ".git", "node_modules", "rust-toolchain", "rust-toolchain.toml")


@dataclass(frozen=True, slots=True)
class ConsumerCopy:
    """A copy of a repository; `workspace` is the workspace's root inside `folder`."""

    folder: Path
    workspace: Path


@contextlib.contextmanager
def consumer_copy(found: FoundWorkspace, *, skeleton: bool) -> Iterator[ConsumerCopy]:
    """Yield a copy of the workspace's repository, or of its skeleton, that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="factory-consumer-"))
    try:
        if skeleton:
            yield ConsumerCopy(folder, write_skeleton(found, folder / "repo").root)
        else:
            copy = folder / "repo"
            shutil.copytree(found.repo_root, copy, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_BEHIND))
            yield ConsumerCopy(folder, copy / found.root.relative_to(found.repo_root))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def consumer_args(variant: Variant, target_dir: str) -> tuple[str, ...]:
    """Return the cargo arguments of a consumer's build whose events can be read."""
    return (*variant.args, "--locked", "--keep-going", "--target-dir", target_dir, *EVENT_ARGS)


def repo_proof(found: FoundWorkspace, variant: Variant, answer: Completed, *, seconds: float) -> RepoProof:
    """Read the events of a consumer's build."""
    events = parse_events(answer.stdout, answer.stderr)
    problem = "" if answer.ok else _problem(answer)
    return RepoProof(
        path=found.path,
        variant=str(variant),
        total=events.total,
        fresh=events.fresh.total(),
        misses=tuple(sorted(same.label for same in events.compiled.elements())),
        seconds=round(seconds, 2),
        problem=problem,
    )


def _problem(answer: Completed) -> str:
    lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
    start = next((number for number, line in enumerate(lines) if line.startswith("error")), max(0, len(lines) - 5))
    return " ".join(lines[start : start + 6])[:600]
