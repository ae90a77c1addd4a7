"""How often repositories are built, taken from their git histories: what is pushed to the main line is what CI builds.

Counted are the commits on the main line (first parents only, so a merged branch is one) in the last 90 days. These end
with the newest commit of all the repositories, not with today: the same repositories give the same figures, whenever.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory import process
from factory.errors import EnvironmentFaultError
from factory.scan.git_source import REDIRECTING_VARIABLES, fetch_main_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


DAYS = 90

FEWEST_BUILDS = 13
"""What a repository counts that nobody commits to: it is built once a week all the same, for updates below it."""

_TIMEOUT_SECONDS = 60.0
_MOST_COMMITS = 200_000
"""Of one main line; more would be a history made to keep us busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The times of the commits on a main line, in seconds since 1970, the newest first.

    `cut_at`: how far back it is known, where the copy is a shallow one; `None` for all of it.
    """

    times: tuple[int, ...]
    cut_at: int | None = None

    def since(self, start: int) -> int | None:
        """Return how many commits there are after `start`; `None` where the history is cut before that."""
        if self.cut_at is not None and self.cut_at > start:
            return None
        return sum(time > start for time in self.times)


def read_history(repository: Path) -> History:
    """Read the main line of a checkout: the first parents of what is checked out.

    Only commits are read, nothing is executed or fetched that the repository's own configuration could name. Raises
    `EnvironmentFaultError` where git is missing, or the folder is no repository or another user's.
    """
    process.which("git", advice="Install git, or leave `worth.builds` at equal.")
    listed = _git(repository, "rev-list", "--first-parent", f"--max-count={_MOST_COMMITS}", "--timestamp", "HEAD")
    shallow = _git(repository, "rev-parse", "--is-shallow-repository").strip() == "true"
    return _history(listed.splitlines(), shallow=shallow)


def fetch_history(url: str, ref: str | None) -> History:
    """Read the main line of a git URL (a branch or tag, or the remote's HEAD); raises as `git_source.fetch` does."""
    lines = fetch_main_line(url, ref).splitlines()
    shallow = lines[-1:] == ["shallow"]
    return _history(lines[:-1] if shallow else lines, shallow=shallow)


def builds_of(histories: Mapping[str, History]) -> dict[str, float]:
    """Return how often each repository is built relative to their mean, which is 1, by its name.

    A repository whose history is cut within the 90 days counts as the mean.
    """
    newest = max((history.times[0] for history in histories.values() if history.times), default=0)
    start = newest - DAYS * 24 * 3600
    counts = {name: history.since(start) for name, history in histories.items()}
    known = {name: max(count, FEWEST_BUILDS) for name, count in counts.items() if count is not None}
    mean = sum(known.values()) / len(known) if known else 1.0
    return {name: round(known[name] / mean, 3) if name in known else 1.0 for name in counts}


def cut_short(histories: Mapping[str, History]) -> tuple[str, ...]:
    """Return the names of the repositories whose history does not reach 90 days back, sorted."""
    newest = max((history.times[0] for history in histories.values() if history.times), default=0)
    start = newest - DAYS * 24 * 3600
    return tuple(sorted(name for name, history in histories.items() if history.since(start) is None))


def _history(lines: Sequence[str], *, shallow: bool) -> History:
    # Times can be anything that a committer's clock said: sorted, so that the newest is the first.
    times = tuple(sorted((int(line.split()[0]) for line in lines), reverse=True))
    return History(times=times, cut_at=min(times, default=0) if shallow else None)


def _git(repository: Path, *args: str) -> str:
    # A partial clone asks a remote for what it lacks, by a command that its configuration may name: no protocol may.
    environment = {
        **{name: value for name, value in os.environ.items() if name not in REDIRECTING_VARIABLES},
        "GIT_CEILING_DIRECTORIES": str(repository.parent),
        "GIT_ALLOW_PROTOCOL": "",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    safe = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.sshCommand=false")
    command = ("git", "--no-pager", "-C", str(repository), *safe, *args)
    done = process.run(command, env=environment, timeout=_TIMEOUT_SECONDS, check=False)
    if not done.ok:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise EnvironmentFaultError(
            f"{repository}: its git history cannot be read: {said}",
            advice="Give its source a number of builds, or check it out as the user that runs factory.",
        )
    return done.stdout
