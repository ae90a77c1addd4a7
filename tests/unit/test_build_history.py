"""How often repositories are built, by real git histories made here: merges, floor, shallow copies, hostile ones."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from factory import process
from factory.config.model import Settings
from factory.errors import EnvironmentFaultError
from factory.output import Output
from factory.pipeline.analyzing import scan
from factory.pipeline.run import Run
from factory.scan.build_history import DAYS, FEWEST_BUILDS, History, builds_of, fetch_history, read_history
from tests.hostile import good_repo

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.runs_programs,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]

DAY = 24 * 3600
NEWEST = 1_780_000_000
QUIET = Output(verbosity=-1)


def git(folder: Path, *args: str, stdin: str | None = None) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    return process.run(["git", "-C", folder, *args], env=environment, stdin=stdin).stdout.strip()


def repository(root: Path, name: str, days: list[float], *, merged: int = 0) -> Path:
    """Make a repository with a commit on its main line so many days before the newest, and a branch merged into it."""
    folder = good_repo(root, name=name)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commands = [_commit("main", NEWEST - int(day * DAY)) for day in sorted(days, reverse=True)]
    if merged:
        commands += [f"reset refs/heads/side\nfrom refs/heads/main\n\n{_commit('side', NEWEST - DAY)}"]
        commands += [_commit("side", NEWEST - DAY)] * (merged - 1)
        commands += [_commit("main", NEWEST, "merge refs/heads/side\n")]
    git(folder, "fast-import", "--quiet", stdin="".join(commands))
    git(folder, "reset", "--quiet")
    return folder


def _commit(branch: str, time: int, merge: str = "") -> str:
    return f"commit refs/heads/{branch}\ncommitter T <t@example.invalid> {time} +0000\ndata 1\nx\n{merge}\n"


def builds(*folders: Path, **numbers: float) -> dict[str, float]:
    """Scan with `worth.builds: history` and return how often each repository counts."""
    settings = Settings.model_validate({"worth": {"builds": "history"}})
    run = Run(settings=settings, output=QUIET, builds={str(f): numbers[f.name] for f in folders if f.name in numbers})
    return {row.repo: row.builds for row in scan(run, [str(folder) for folder in folders]).workspaces}


def test_the_main_line_is_counted_and_a_merged_branch_is_one(tmp_path: Path) -> None:
    history = read_history(repository(tmp_path, "app", [200, 50, 3, 2], merged=40))
    assert history.since(NEWEST - 90 * DAY) == 4
    assert history.cut_at is None


def test_repositories_count_by_their_commits_relative_to_the_mean(tmp_path: Path) -> None:
    busy = repository(tmp_path, "busy", [day / 2 for day in range(100)])
    calm = repository(tmp_path, "calm", list(range(50)))
    assert builds(busy, calm) == {"busy": pytest.approx(100 / 75, abs=0.001), "calm": pytest.approx(50 / 75, abs=0.001)}


def test_the_days_end_with_the_newest_commit_of_all_and_a_floor_stays(tmp_path: Path) -> None:
    # The dead one's own last days are full of commits; nobody commits to it any more.
    dead = repository(tmp_path, "dead", [400 + day / 4 for day in range(200)])
    alive = repository(tmp_path, "alive", list(range(2 * FEWEST_BUILDS)))
    found = builds(dead, alive)
    assert found["alive"] / found["dead"] == pytest.approx(2, abs=0.01)
    assert sum(found.values()) == pytest.approx(2, abs=0.01)


def test_a_number_in_the_configuration_goes_before_the_history(tmp_path: Path) -> None:
    busy = repository(tmp_path, "busy", [day / 2 for day in range(100)])
    calm = repository(tmp_path, "calm", [1.0])
    assert builds(busy, calm, calm=7.0) == {"busy": 1.0, "calm": 7.0}


def test_without_the_setting_no_history_is_read(tmp_path: Path) -> None:
    busy = repository(tmp_path, "busy", [day / 2 for day in range(100)])
    calm = repository(tmp_path, "calm", [1.0])
    found = scan(Run(settings=Settings(), output=QUIET), [str(busy), str(calm)])
    assert [row.builds for row in found.workspaces] == [1.0, 1.0]


@pytest.mark.parametrize(("depth", "known"), [(20, False), (95, True)])
def test_a_shallow_copy_that_ends_too_early_says_nothing(tmp_path: Path, depth: int, *, known: bool) -> None:
    origin = repository(tmp_path / "origin", "app", list(range(120)))
    copy = tmp_path / "app"
    git(tmp_path, "clone", "--quiet", f"--depth={depth}", f"file://{origin}", str(copy))
    good_repo(tmp_path, name="app")
    assert (read_history(copy).since(NEWEST - DAYS * DAY) == DAYS) is known
    quiet = repository(tmp_path, "quiet", [0.0])
    assert builds(copy, quiet)["app"] == (pytest.approx(2 * 90 / 103, abs=0.01) if known else 1.0)


def test_what_is_no_repository_counts_as_the_mean_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = good_repo(tmp_path, name="plain")
    settings = Settings.model_validate({"worth": {"builds": "history"}})
    (row,) = scan(Run(settings=settings, output=Output()), [str(plain)]).workspaces
    assert row.builds == 1.0
    assert "its git history cannot be read" in capsys.readouterr().err
    with pytest.raises(EnvironmentFaultError, match="plain"):
        read_history(plain)


def test_the_same_history_is_read_by_url(tmp_path: Path) -> None:
    origin = repository(tmp_path, "app", [200, 50, 3, 2], merged=4)
    assert fetch_history(f"file://{origin}", "main") == read_history(origin)
    assert len(fetch_history(f"file://{origin}", "side").times) == 8


def test_a_hostile_repository_executes_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    folder = repository(tmp_path, "app", [3, 2])
    for key in ("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "remote.origin.uploadpack"):
        git(folder, "config", key, f"touch {mark}")
    git(folder, "config", "remote.origin.url", f"ext::touch {mark}")
    git(folder, "config", "remote.origin.promisor", "true")
    git(folder, "config", "protocol.ext.allow", "always")
    git(folder, "config", "extensions.partialClone", "origin")
    head = git(folder, "rev-parse", "HEAD")
    shutil.rmtree(folder / ".git/objects/pack")
    for thing in (folder / ".git/objects").rglob(head[2:]):
        thing.unlink()
    with pytest.raises(EnvironmentFaultError):
        read_history(folder)
    assert not mark.exists()


def test_an_empty_set_has_no_mean() -> None:
    assert builds_of({}) == {}
    assert builds_of({"empty": History(times=())}) == {"empty": 1.0}
