"""What may lie in a CARGO_HOME and a build directory, and what a proof says as a whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory.errors import EnvironmentFaultError
from factory.proof.model import Check, Miss, Proof, RepoProof, proof_to_json
from factory.proof.tree import Entry, Listing, Ownership, judge, list_directories

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
LOCAL = Ownership(uid=1000, gid=1000, shared=False)
SHARED = Ownership(uid=1001, gid=1001, shared=True)
HOME, BUILD = "/usr/local/cargo", "/usr/local/cargo-build"


def directory(path: str, mode: int = 0o2775, uid: int = 1001, gid: int = 1001) -> Entry:
    return Entry(path, "d", mode, uid, gid)


def file(path: str, mode: int = 0o664, uid: int = 1001, gid: int = 1001) -> Entry:
    return Entry(path, "f", mode, uid, gid)


def listing(*entries: Entry, foreign: tuple[str, ...] = ()) -> Listing:
    return Listing(cargo_home=HOME, build_dir=BUILD, entries=entries, foreign=foreign)


GOOD = (
    directory(HOME),
    file(f"{HOME}/config.toml"),
    directory(f"{HOME}/registry/src"),
    directory(f"{HOME}/registry/src/registry-1"),
    file(f"{HOME}/registry/cache/registry-1/serde-1.0.0.crate"),
    directory(BUILD, 0o2770),
    directory(f"{BUILD}/release/incremental"),
    file(f"{BUILD}/release/deps/libserde.rlib", 0o660),
    file(f"{BUILD}/release/build/ring/build-script-build", 0o775),
    Entry(f"{BUILD}/release/link", "l", 0o777, 1001, 1001),
)


def failed(found: Listing, ownership: Ownership = SHARED) -> dict[str, tuple[str, ...]]:
    """The findings of every check that does not hold."""
    return {check.name: check.findings for check in judge(found, ownership) if not check.ok}


# The rules


def test_a_good_directory_passes_every_check() -> None:
    checks = judge(listing(*GOOD), SHARED)
    assert [(check.name, check.ok, check.findings) for check in checks] == [
        ("owners and modes", True, ()),
        ("no path units", True, ()),
        ("no incremental state", True, ()),
        ("no unpacked sources", True, ()),
    ]
    assert checks[0].detail == "all 10 paths belong to 1001:1001, group-writable"


@pytest.mark.parametrize(
    ("entry", "check", "finding"),
    [
        (file(f"{BUILD}/a", uid=2002), "owners and modes", f"{BUILD}/a: owned by 2002:1001"),
        (file(f"{BUILD}/a", gid=0), "owners and modes", f"{BUILD}/a: owned by 1001:0"),
        (directory(f"{HOME}/a", uid=0, gid=0), "owners and modes", f"{HOME}/a: owned by 0:0"),
        (
            Entry(f"{HOME}/a", "l", 0o777, 0, 0),
            "owners and modes",
            f"{HOME}/a: owned by 0:0",
        ),
        (
            directory(f"{BUILD}/a", 0o775),
            "owners and modes",
            f"{BUILD}/a: mode 0775: a directory needs setgid and rwx for the group",
        ),
        (
            directory(f"{BUILD}/a", 0o2755),
            "owners and modes",
            f"{BUILD}/a: mode 2755: a directory needs setgid and rwx for the group",
        ),
        (file(f"{BUILD}/a", 0o644), "owners and modes", f"{BUILD}/a: mode 0644: a file needs rw for the group"),
        (file(f"{BUILD}/a", 0o620), "owners and modes", f"{BUILD}/a: mode 0620: a file needs rw for the group"),
        (
            file(f"{BUILD}/debug/incremental/app-1/s-1/query-cache.bin"),
            "no incremental state",
            f"{BUILD}/debug/incremental/app-1/s-1/query-cache.bin",
        ),
        (
            directory(f"{BUILD}/x86_64-unknown-linux-gnu/debug/incremental/app-1"),
            "no incremental state",
            f"{BUILD}/x86_64-unknown-linux-gnu/debug/incremental/app-1",
        ),
        (
            directory(f"{HOME}/registry/src/registry-1/serde-1.0.0"),
            "no unpacked sources",
            f"{HOME}/registry/src/registry-1/serde-1.0.0",
        ),
    ],
)
def test_each_fault_is_found_by_its_check_alone(entry: Entry, check: str, finding: str) -> None:
    assert failed(listing(*GOOD, entry)) == {check: (finding,)}


def test_units_of_other_sources_are_found() -> None:
    assert failed(listing(*GOOD, foreign=(f"{BUILD}/debug/deps/app.d",))) == {
        "no path units": (f"{BUILD}/debug/deps/app.d",)
    }


def test_unpacked_sources_are_told_by_crate_and_not_by_file() -> None:
    crate = f"{HOME}/registry/src/registry-1/serde-1.0.0"
    entries = (directory(crate), file(f"{crate}/Cargo.toml"), file(f"{crate}/src/lib.rs"))
    assert failed(listing(*GOOD, *entries)) == {"no unpacked sources": (crate,)}


def test_a_local_directory_needs_its_owner_only() -> None:
    entries = (
        directory(BUILD, 0o700, uid=1000, gid=1000),
        file(f"{BUILD}/a", 0o600, uid=1000, gid=1000),
        directory(f"{BUILD}/b", 0o755, uid=1000, gid=1000),
    )
    assert failed(listing(*entries), LOCAL) == {}
    assert failed(listing(*entries, file(f"{BUILD}/c")), LOCAL) == {
        "owners and modes": (f"{BUILD}/c: owned by 1001:1001",)
    }


def test_root_may_own_what_the_group_can_write_in_an_image_and_nothing_else() -> None:
    entries = (file(f"{BUILD}/a", uid=0), directory(f"{BUILD}/b", uid=0))
    assert failed(listing(*GOOD, *entries)) == {}
    closed = file(f"{BUILD}/c", 0o644, uid=0)
    assert failed(listing(*GOOD, closed)) == {
        "owners and modes": (f"{BUILD}/c: mode 0644: a file needs rw for the group",)
    }
    own = replace(LOCAL, uid=1001, gid=1001)
    assert failed(listing(*entries), own) == {
        "owners and modes": (f"{BUILD}/a: owned by 0:1001", f"{BUILD}/b: owned by 0:1001")
    }


def test_a_directory_called_incremental_elsewhere_is_nothing() -> None:
    # The whole result may lie in a directory of that name, and the crate too may have one.
    home, build = "/srv/incremental/warm/cargo-home", "/srv/incremental/warm/build"
    entries = (
        directory(home),
        file(f"{home}/config.toml"),
        file(f"{home}/registry/index/incremental/x"),
        directory(build),
        file(f"{build}-notes/incremental/x"),
    )
    assert failed(Listing(cargo_home=home, build_dir=build, entries=entries, foreign=())) == {}


def test_many_findings_are_counted_and_the_first_shown() -> None:
    entries = tuple(file(f"{BUILD}/{number:03}", uid=2002) for number in range(100))
    (check, *_) = judge(listing(*GOOD, *entries), SHARED)
    assert check.detail == "100 of 110 paths do not belong to 1001:1001 with the right mode"
    assert check.findings == tuple(f"{BUILD}/{number:03}: owned by 2002:1001" for number in range(20))


# A real directory


@pytest.fixture
def warm(tmp_path: Path) -> Path:
    """A cooked directory as it should be."""
    for name in ("cargo-home/registry/cache", "build/release/deps", "build/release/incremental"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "cargo-home" / "config.toml").write_text("")
    source = "/x/registry/src/registry-1/serde-1.0.0/src/lib.rs"
    (tmp_path / "build/release/deps/serde.d").write_text(f"serde.d: {source}\n\n{source}:\n")
    return tmp_path


def look(warm: Path) -> Listing:
    return list_directories(warm / "cargo-home", warm / "build")


def own(warm: Path, *, shared: bool = False) -> Ownership:
    facts = warm.stat()
    return Ownership(uid=facts.st_uid, gid=(warm / "build").stat().st_gid, shared=shared)


def test_a_real_directory_is_listed_as_it_is(warm: Path) -> None:
    (warm / "build" / "link").symlink_to("release")
    found = look(warm)
    assert [(entry.path.removeprefix(f"{warm}/"), entry.kind) for entry in found.entries] == [
        ("build", "d"),
        ("build/link", "l"),
        ("build/release", "d"),
        ("build/release/deps", "d"),
        ("build/release/deps/serde.d", "f"),
        ("build/release/incremental", "d"),
        ("cargo-home", "d"),
        ("cargo-home/config.toml", "f"),
        ("cargo-home/registry", "d"),
        ("cargo-home/registry/cache", "d"),
    ]
    assert found.foreign == ()
    assert failed(found, own(warm)) == {}


def test_planted_faults_are_found(warm: Path) -> None:
    (warm / "build/release/deps/app.d").write_text("app: /repos/app/src/main.rs\n")
    (warm / "build/release/incremental/app-1").mkdir()
    (warm / "cargo-home/registry/src/registry-1/serde-1.0.0").mkdir(parents=True)
    assert failed(look(warm), own(warm)) == {
        "no path units": (f"{warm}/build/release/deps/app.d",),
        "no incremental state": (f"{warm}/build/release/incremental/app-1",),
        "no unpacked sources": (f"{warm}/cargo-home/registry/src/registry-1/serde-1.0.0",),
    }


def test_dep_infos_elsewhere_are_no_units(warm: Path) -> None:
    (warm / "cargo-home" / "notes.d").write_text("x: /repos/app/src/main.rs\n")
    (warm / "build" / "conf.d").mkdir()
    assert look(warm).foreign == ()


def test_dep_infos_of_c_compilers_are_no_units_and_bytes_that_are_no_text_hide_nothing(warm: Path) -> None:
    (warm / "build" / "c.d").write_text("x.o: /repos/app/x.c /usr/include/stdio.h\n")
    (warm / "build" / "empty.d").write_bytes(b"")
    (warm / "build" / "odd.d").write_bytes(b"\xff\xfe\x00: /repos/app/src/main.rs")
    assert look(warm).foreign == (f"{warm}/build/odd.d",)


def test_what_has_no_dep_info_cannot_be_told_from_a_path_unit(warm: Path) -> None:
    deps = warm / "build/release/deps"
    named = "0123456789abcdef"
    for name in (f"libserde-{named}.rlib", f"libserde-{named}.rmeta", f"app-{named}"):
        (deps / name).write_text("")
    out = warm / f"build/release/build/ring-{named}/out"
    out.mkdir(parents=True)
    (out / f"libring-{named}.a").write_text("")
    found = failed(look(warm), own(warm))["no path units"]
    assert [Path(path).name for path in found] == [f"app-{named}", f"libserde-{named}.rlib", f"libserde-{named}.rmeta"]
    for name in ("serde", "app"):
        (deps / f"{name}-{named}.d").write_text("x: /x/registry/src/registry-1/x-1.0.0/src/lib.rs\n")
    assert failed(look(warm), own(warm)) == {}


def test_a_pipe_is_listed_and_not_read(warm: Path) -> None:
    os.mkfifo(warm / "build" / "pipe.d")
    found = look(warm)
    assert [entry.kind for entry in found.entries if entry.path.endswith("pipe.d")] == ["p"]
    assert found.foreign == ()


def test_modes_of_a_real_directory_count_where_it_is_shared(warm: Path) -> None:
    for path in (warm / "cargo-home", warm / "build"):
        for entry in (path, *path.rglob("*")):
            entry.chmod(0o2775 if entry.is_dir() else 0o664)
    assert failed(look(warm), own(warm, shared=True)) == {}
    (warm / "build" / "release").chmod(0o755)
    (warm / "cargo-home" / "config.toml").chmod(0o600)
    assert failed(look(warm), own(warm, shared=True)) == {
        "owners and modes": (
            f"{warm}/build/release: mode 0755: a directory needs setgid and rwx for the group",
            f"{warm}/cargo-home/config.toml: mode 0600: a file needs rw for the group",
        )
    }
    assert failed(look(warm), own(warm)) == {}


def test_another_owner_is_found(warm: Path) -> None:
    other = replace(own(warm), uid=own(warm).uid + 1)
    (check,) = [check for check in judge(look(warm), other) if not check.ok]
    assert check.name == "owners and modes"
    assert len(check.findings) == len(look(warm).entries)


def test_what_cannot_be_seen_is_an_error_and_no_pass(warm: Path) -> None:
    with pytest.raises(EnvironmentFaultError, match="missing: cannot be verified: No such file") as caught:
        list_directories(warm / "cargo-home", warm / "missing")
    assert caught.value.advice


def test_a_locked_directory_is_an_error_and_no_pass() -> None:
    with tempfile.TemporaryDirectory() as name, not_as_root(Path(name)):
        locked = Path(name) / "build" / "release"
        locked.mkdir(parents=True)
        locked.chmod(0)
        with pytest.raises(EnvironmentFaultError, match=r"release: cannot be verified: Permission denied"):
            list_directories(Path(name) / "build", Path(name) / "build")
        locked.chmod(0o700)


@contextlib.contextmanager
def not_as_root(folder: Path) -> Iterator[None]:
    """Give the folder to nobody and be nobody: root can read everything."""
    was_root = os.geteuid() == 0
    if was_root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)


# The proof as a whole

MISS = Miss(unit="a@1.0.0 (lib)", crate="a", version="1.0.0", features=("std",), kind="lib")
REPO = RepoProof(path="r", variant="release", total=4, fresh=3, misses=(MISS,), seconds=1.5)
HELD = Check(name="c", ok=True, detail="fine")


@pytest.mark.parametrize(
    ("proof", "min_hit", "ok"),
    [
        (Proof(target="t", repos=(), checks=()), 1.0, True),
        (Proof(target="t", repos=(REPO,), checks=(HELD,)), 0.75, True),
        (Proof(target="t", repos=(REPO,), checks=(HELD,)), 0.76, False),
        (Proof(target="t", repos=(REPO, replace(REPO, fresh=0)), checks=()), 0.5, False),
        (Proof(target="t", repos=(), checks=(HELD, replace(HELD, ok=False))), 0.0, False),
        (Proof(target="t", repos=(replace(REPO, problem="it does not compile"),), checks=()), 0.0, False),
        (Proof(target="t", repos=(replace(REPO, total=0, fresh=0),), checks=()), 1.0, True),
        (Proof(target="t", repos=(replace(REPO, total=0, fresh=0, problem="cargo failed"),), checks=()), 0.0, False),
    ],
)
def test_a_proof_holds_when_all_of_it_does(proof: Proof, min_hit: float, ok: bool) -> None:
    assert proof.ok(min_hit) is ok
    assert proof_to_json(proof, min_hit=min_hit)["ok"] is ok


def test_a_proof_as_json() -> None:
    proof = Proof(
        target="org/rust:web", repos=(replace(REPO, cold_seconds=9.25),), checks=(replace(HELD, findings=("p",)),)
    )
    assert proof_to_json(proof, min_hit=0.5) == {
        "schema": 1,
        "target": "org/rust:web",
        "ok": True,
        "min_hit": 0.5,
        "repos": [
            {
                "path": "r",
                "variant": "release",
                "units": {"total": 4, "fresh": 3},
                "git_units": {"total": 0, "fresh": 0},
                "misses": [
                    {"unit": "a@1.0.0 (lib)", "crate": "a", "version": "1.0.0", "features": ["std"], "kind": "lib"}
                ],
                "seconds": {"warm": 1.5, "cold": 9.25},
                "problem": "",
            }
        ],
        "checks": [{"name": "c", "ok": True, "detail": "fine", "findings": ["p"]}],
    }


def test_what_keeps_a_proof_from_passing_is_told_in_words() -> None:
    broken = replace(REPO, path="broken", problem="it does not compile")
    proof = Proof(target="t", repos=(REPO, broken), checks=(HELD, replace(HELD, name="owners", ok=False)))
    assert proof.failures(0.75) == (f"owners: {HELD.detail}", "broken: it does not compile")
    assert proof.failures(1.0)[2:] == (f"{REPO.path}: {REPO.fresh} of {REPO.total} units fresh",)
