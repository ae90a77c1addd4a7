"""What lies in a CARGO_HOME and a build directory: owners and modes, and what must not be there.

The facts come as a listing, so that a directory here and one inside an image are judged by the same rules. Nothing
relies on the layout of the build directory, which is cargo's private matter: rustc's dep-info files (`*.d`) name the
sources of every unit, wherever they lie.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.errors import EnvironmentFaultError
from factory.proof.model import Check

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_MOST_FINDINGS = 20
_COMPILED = re.compile(r"(?P<folder>.*/)(?:lib)?(?P<stem>[^/]+-[0-9a-f]{16})(?:\.(?:rlib|rmeta|so|a))?")
"""A file that rustc wrote for a unit, by the name that cargo has it write: the dep-info beside it has the same stem."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One path with its kind (`d`, `f`, `l`, or another letter of `find`), permission bits and owner."""

    path: str
    kind: str
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Who must own everything; `shared` asks for a group that can write, and directories that hand it down.

    What is shared may be root's too: an image that stands on ours may have been built as root, and the group is what
    lets the next user in.
    """

    uid: int
    gid: int
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All paths under the two directories, and the dep-info files that name no source of a registry or of git."""

    cargo_home: str
    build_dir: str
    entries: tuple[Entry, ...]
    foreign: tuple[str, ...]


def list_directories(cargo_home: Path, build_dir: Path) -> Listing:
    """List two directories of this machine; raise `EnvironmentFaultError` when a part of them cannot be seen."""
    try:
        entries = [entry for root in (cargo_home, build_dir) for entry in _walk(root)]
        built = (e.path for e in entries if e.kind == "f" and e.path.startswith(f"{build_dir}/"))
        foreign = [path for path in built if path.endswith(".d") and _is_foreign(path, str(cargo_home))]
    except OSError as error:
        raise EnvironmentFaultError(
            f"{error.filename}: cannot be verified: {error.strerror}", advice="Verify as the owner, or as root."
        ) from error
    return Listing(
        cargo_home=str(cargo_home),
        build_dir=str(build_dir),
        entries=tuple(sorted(entries, key=lambda entry: entry.path)),
        foreign=tuple(sorted(foreign)),
    )


def judge(listing: Listing, ownership: Ownership) -> tuple[Check, ...]:
    """Return the checks that every image and directory must pass."""
    return (
        _ownership(listing.entries, ownership),
        _check(
            "no path units",
            sorted({*listing.foreign, *_unaccounted(listing)}),
            good="every unit in the build directory comes from a registry or from git",
            bad="units of other sources are in the build directory: cargo could hand out a wrong binary",
        ),
        _check(
            "no incremental state",
            [e.path for e in listing.entries if _is_incremental(e, listing.build_dir)],
            good="no incremental compilation state",
            bad="incremental state of some crate is in the build directory",
        ),
        _check(
            "no unpacked sources",
            [e.path for e in listing.entries if _is_unpacked_source(e, listing.cargo_home)],
            good="registry/src is empty: cargo unpacks what a build needs",
            bad="registry/src holds unpacked sources",
        ),
    )


def _walk(root: Path) -> Iterable[Entry]:
    yield _entry(str(root))
    for folder, names, files in os.walk(root, onerror=_refuse):
        for name in (*names, *files):
            yield _entry(os.path.join(folder, name))  # noqa: PTH118 - a million paths: strings are enough


def _refuse(error: OSError) -> None:
    raise error


def _entry(path: str) -> Entry:
    facts = os.lstat(path)
    kind = stat.filemode(facts.st_mode)[0].replace("-", "f")
    return Entry(path, kind, stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid)


def _is_foreign(dep_info: str, cargo_home: str) -> bool:
    with open(dep_info, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - as above
        text = file.read()
    # C compilers write such files too: only rustc's name Rust sources.
    # Cargo's own checkouts only: any repository may lie in a folder of that name.
    return ".rs" in text and "/registry/src/" not in text and f"{cargo_home}/git/checkouts/" not in text


def _unaccounted(listing: Listing) -> Iterable[str]:
    """Yield compiled files without dep-info: without it nobody can say which sources they are of."""
    files = {e.path for e in listing.entries if e.kind == "f" and e.path.startswith(f"{listing.build_dir}/")}
    for path in files:
        compiled = _COMPILED.fullmatch(path)
        # What build scripts make has names of their own.
        if compiled and "/out/" not in path and f"{compiled['folder']}{compiled['stem']}.d" not in files:
            yield path


def _is_incremental(entry: Entry, build_dir: str) -> bool:
    return entry.path.startswith(f"{build_dir}/") and "/incremental/" in entry.path.removeprefix(build_dir)


def _is_unpacked_source(entry: Entry, cargo_home: str) -> bool:
    return entry.path.startswith(f"{cargo_home}/registry/src/") and entry.path.count("/") == cargo_home.count("/") + 4


def _ownership(entries: Sequence[Entry], ownership: Ownership) -> Check:
    wrong = [f"{entry.path}: {why}" for entry in entries if (why := _why_wrong(entry, ownership))]
    wanted = f"{ownership.uid}:{ownership.gid}"
    return _check(
        "owners and modes",
        wrong,
        good=f"all {len(entries)} paths belong to {wanted}" + (", group-writable" if ownership.shared else ""),
        bad=f"{len(wrong)} of {len(entries)} paths do not belong to {wanted} with the right mode",
    )


def _why_wrong(entry: Entry, ownership: Ownership) -> str:
    owners = {ownership.uid, 0} if ownership.shared else {ownership.uid}
    if entry.uid not in owners or entry.gid != ownership.gid:
        return f"owned by {entry.uid}:{entry.gid}"
    if not ownership.shared or entry.kind == "l":
        return ""
    if entry.kind == "d" and entry.mode & 0o2770 != 0o2770:
        return f"mode {entry.mode:04o}: a directory needs setgid and rwx for the group"
    if entry.kind == "f" and entry.mode & 0o060 != 0o060:
        return f"mode {entry.mode:04o}: a file needs rw for the group"
    return ""


def _check(name: str, findings: Sequence[str], *, good: str, bad: str) -> Check:
    return Check(
        name=name,
        ok=not findings,
        detail=bad if findings else good,
        findings=tuple(findings[:_MOST_FINDINGS]),
    )
