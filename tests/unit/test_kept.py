"""Folders that are put back, whatever was done in them."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory.errors import EnvironmentFaultError
from factory.proof import kept as kept_module
from factory.proof.kept import Facts, Kept, changes, facts_below, kept
from tests.hostile import write_files
from tests.unit.test_proof_tree import not_as_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

FILES = {
    "config.toml": "[build]\n",
    "git/db/head": "ref\n",
    "registry/cache/a.crate": "a",
    "registry/cache/b.crate": "b",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = write_files(tmp_path / "home", FILES)
    (folder / "link").symlink_to("config.toml")
    for path in (*folder.rglob("*"), folder):
        os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)
    return folder


def look(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return the mode, the time of the content and the content of everything; of a link where it leads."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found


def keeping(home: Path) -> AbstractContextManager[Kept]:
    return kept(home, marker=home.parent / "MARKER", says="being changed\n")


def change_in_place(home: Path) -> None:
    (home / "config.toml").write_text("[evil]\n")
    # Of the same size, and with the time set back.
    os.utime(home / "config.toml", ns=(10**18, 10**18))


def add(home: Path) -> None:
    write_files(home, {"config": "", "registry/src/x/lib.rs": "", "registry/cache/c.crate": ""})


def remove(home: Path) -> None:
    (home / "link").unlink()
    (home / "config.toml").unlink()
    shutil.rmtree(home / "registry")


def change_modes(home: Path) -> None:
    (home / "config.toml").chmod(0o777)
    (home / "git").chmod(0o700)


def file_for_folder(home: Path) -> None:
    shutil.rmtree(home / "git")
    (home / "git").write_text("")


def folder_for_file(home: Path) -> None:
    (home / "config.toml").unlink()
    write_files(home / "config.toml", {"deep/er": ""})


def link_elsewhere(home: Path) -> None:
    shutil.rmtree(home / "registry")
    (home / "registry").symlink_to(write_files(home.parent / "elsewhere", {"cache/a.crate": "theirs"}))


@pytest.mark.parametrize(
    "change",
    [change_in_place, add, remove, change_modes, file_for_folder, folder_for_file, link_elsewhere],
    ids=lambda change: change.__name__,
)
def test_a_folder_is_put_back_time_after_time(home: Path, change: Callable[[Path], None]) -> None:
    before = look(home)
    with keeping(home) as keeper:
        for _ in range(2):
            with keeper.put_back():
                change(home)
                assert look(home) != before
            assert look(home) == before
    if (home.parent / "elsewhere").exists():
        assert (home.parent / "elsewhere/cache/a.crate").read_text() == "theirs"


def test_a_folder_is_put_back_whatever_ends_the_block(home: Path) -> None:
    before = look(home)

    def ended(keeper: Kept) -> None:
        with keeper.put_back():
            remove(home)
            raise SystemExit(143)

    with keeping(home) as keeper, pytest.raises(SystemExit):
        ended(keeper)
    assert look(home) == before


def test_what_cannot_be_put_back_is_told(home: Path) -> None:
    copy = home.parent / "copy"

    def lose() -> None:
        with Kept(home, copy, marker=home.parent / "MARKER", says="").put_back():
            shutil.rmtree(copy)
            remove(home)

    with pytest.raises(EnvironmentFaultError, match=r"changed by a build, and cannot be put back") as told:
        lose()
    assert told.value.advice
    assert (home.parent / "MARKER").exists()


def test_what_is_not_put_back_yet_is_marked(home: Path) -> None:
    os.utime(home.parent, ns=(10**18, 10**18))
    with keeping(home) as keeper:
        assert not (home.parent / "MARKER").exists()
        with keeper.put_back():
            assert (home.parent / "MARKER").read_text() == "being changed\n"
        assert not (home.parent / "MARKER").exists()
    assert home.parent.stat().st_mtime_ns == 10**18


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_all_is_put_back(
    home: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = look(home)

    def interrupted(folder: Path) -> dict[Path, Facts]:
        if not (home / "config.toml").exists():
            signal.raise_signal(number)
        return facts_below(folder)

    def stop(_number: int, _frame: object) -> None:
        raise SystemExit(1)

    def ended(keeper: Kept) -> None:
        with keeper.put_back():
            remove(home)

    monkeypatch.setattr(kept_module, "facts_below", interrupted)
    handler = signal.signal(number, stop)
    try:
        with keeping(home) as keeper, pytest.raises(SystemExit):
            ended(keeper)
    finally:
        signal.signal(number, handler)
    assert look(home) == before
    assert not (home.parent / "MARKER").exists()


def test_folders_that_nobody_may_enter_are_put_back() -> None:
    with tempfile.TemporaryDirectory() as name, not_as_root(Path(name)):
        home = write_files(Path(name) / "home", FILES)
        (home / "git/db").chmod(0o555)
        before = look(home)
        with keeping(home) as keeper, keeper.put_back():
            change_in_place(home)
            (home / "git/db").chmod(0o755)
            (home / "git/db/head").write_text("theirs\n")
            write_files(home, {"new/deep/file": ""})
            for path in ("new/deep", "new", "registry/cache", "registry", "git/db", "."):
                (home / path).chmod(0)
        assert look(home) == before
        (home / "git/db").chmod(0o755)


def test_nothing_is_copied_for_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "copytree", pytest.fail)
    with keeping(home):
        pass


def test_what_cannot_be_seen_is_told(home: Path) -> None:
    with pytest.raises(EnvironmentFaultError, match=r"config\.toml/x: cannot be seen: Not a directory"):
        facts_below(home / "config.toml" / "x")


def test_changes_name_what_is_new_gone_or_other(home: Path) -> None:
    before = facts_below(home, without=["git"])
    assert changes(before, facts_below(home, without=["git"])) == ()
    change_in_place(home)
    (home / "git/db/head").unlink()
    (home / "link").unlink()
    write_files(home, {"registry/new": ""})
    assert changes(before, facts_below(home, without=["git"])) == ("config.toml", "link", "registry/new")
