"""`factory rebuild` on the local backend, as a schedule starts it, with the real cargo."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess  # noqa: TID251 - a process that is killed from outside
import sys
import time
from pathlib import Path

import pytest

from factory import process
from factory.cargo.toolchain import find_toolchain
from factory.files import CACHEDIR_TAG, write_text
from factory.process import MEMORY_ADVICE
from tests.docker.crates import KILLED, Crate, CrateRegistry
from tests.docker.engines import small_disk
from tests.hostile import manifest, write_files

pytestmark = pytest.mark.cargo

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("analyzing", "planning", "verifying")
"""Those of a rebuild but the last one: what it remembers is written in one step, and then it is done. Building has a
test of its own."""


def start(folder: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    args = ("rebuild", "app", "--backend", "local", "--output", "warm", "--json", *words)
    return subprocess.Popen(
        [sys.executable, "-m", "factory", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(folder: Path, *words: str, **variables: str) -> tuple[int, dict[str, object], str]:
    child = start(folder, *words, **variables)
    out, err = child.communicate(timeout=400)
    return child.returncode, json.loads(out) if out else {}, err


def finished(folder: Path) -> tuple[int, dict[str, object], str]:
    """Run it until what a killed run had started has ended, and no longer keeps it out."""
    until = time.monotonic() + 120
    while (answer := ended(folder))[0] == 4 and time.monotonic() < until:
        time.sleep(0.5)
    return answer


def causes(answer: dict[str, object]) -> list[str]:
    reasons = answer["reasons"]
    assert isinstance(reasons, list)
    return [row["cause"] for row in reasons]


def test_what_cannot_be_seen_is_a_fault_and_no_reason_to_do_nothing(small: Path) -> None:
    gone = f"file://{small / 'gone.git'}"
    code, _, err = ended(small, gone)
    assert code == 1, err
    assert f"{gone}: " in err
    assert "--without-missing" in err
    assert not (small / "rebuild/analysis.json").exists()
    code, _, err = ended(small)
    assert code == 0, err
    lock = small / "app/Cargo.lock"
    lock.write_text("no lock\n", encoding="utf-8")
    (small / "other").mkdir()
    text = f'{manifest("other")}\n[dependencies]\nitoa = "1"\n'
    write_files(small / "other", {"Cargo.toml": text, "src/lib.rs": ""})
    locked = process.run(["cargo", "generate-lockfile"], cwd=small / "other", check=False, timeout=120)
    assert locked.ok, locked.stderr
    for _ in range(2):
        # Also the second time: what there was is not forgotten.
        code, _, err = ended(small, "other")
        assert code == 1, err
        assert "app: " in err
    # What is left is as warm as before by the old plan, so nothing is built.
    code, _, err = ended(small, "other", "--without-missing", "--dry-run")
    assert code == 3, err
    assert "left out: app" in err
    # Who only asked, even without it, has not said that it may go.
    code, _, err = ended(small, "other")
    assert code == 1, err
    assert "app: " in err


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a folder with a repository that is cooked in no time."""
    return repository(tmp_path, 'cfg-if = "1"\nitoa = "1"\n')


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Return a folder with a repository whose crates are compiled for seconds."""
    return repository(tmp_path, 'quote = "1"\n')


def repository(folder: Path, dependencies: str) -> Path:
    """Write a program `app` into a folder, with its lock; return the folder."""
    text = manifest("app", f"[dependencies]\n{dependencies}")
    write_files(folder / "app", {"Cargo.toml": text, "src/main.rs": "fn main() {}\n"})
    done = process.run(["cargo", "generate-lockfile"], cwd=folder / "app", timeout=120, check=False)
    assert done.ok, done.stderr
    return folder


def test_nothing_changed_is_told_and_what_changed_is_named(small: Path) -> None:
    code, answer, err = ended(small)
    assert code == 0, err
    assert (causes(answer), answer["built"]) == (["first"], True)
    before = (small / "rebuild/rebuild-state.json").read_bytes()
    code, _, err = ended(small, "--min-hit", "0.9")
    assert (code, "--min-hit is for --verify-on" in err) == (2, True)
    started = time.monotonic()
    code, answer, err = ended(small)
    assert (code, answer["built"], causes(answer)) == (3, False, []), err
    assert time.monotonic() - started < 60
    assert (small / "rebuild/rebuild-state.json").read_bytes() == before
    code, answer, err = ended(small, "--max-age", "1", "--dry-run")
    assert (code, causes(answer)) == (3, []), err
    (small / "warm/share/core/contract.json").unlink()
    code, answer, err = ended(small, "--dry-run")
    assert (code, causes(answer), answer["built"]) == (0, ["target"], False), err
    (small / "registry-config.yaml").write_text("budget: {total: 1 GB}\n")
    code, answer, err = ended(small)
    assert (code, sorted(causes(answer))) == (0, ["policy", "target"]), err
    assert (small / "warm/share/core/contract.json").exists()
    # Nor is anything built for a setting by which nothing is planned otherwise.
    (small / "registry-config.yaml").write_text("budget: {total: 2 GB}\n")
    code, answer, err = ended(small)
    assert (code, causes(answer), answer["notes"]) == (3, [], ["the configuration changed, and the plan did not"]), err


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_is_killed_leaves_the_work_to_the_next_one(small: Path, stage: str) -> None:
    child = start(small)
    assert child.stderr is not None
    for line in child.stderr:
        if f"rebuild: {stage}" in line:
            break
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert not (small / "rebuild/rebuild-state.json").exists()
    plan = small / "rebuild/plan.json"
    begun = json.loads(plan.read_text("utf-8"))["units"] if plan.exists() else None
    assert (begun is not None) == (stage == "verifying")
    code, answer, err = finished(small)
    assert (code, answer.get("built")) == (0, True), err
    # Units were measured meanwhile; but layers that may be published by now tell what was estimated.
    assert begun in (None, json.loads(plan.read_text("utf-8"))["units"])
    code, answer, err = ended(small)
    assert (code, answer["built"]) == (3, False), err


def test_a_cargo_that_outlives_a_killed_run_keeps_the_next_one_out(large: Path) -> None:
    child = start(large)
    assert child.stderr is not None
    for line in child.stderr:
        if "rebuild: building" in line:
            break
    cargo = writing_cargo(large / "warm", patience=120)
    # It would be done before the next run looks.
    os.killpg(cargo, signal.SIGSTOP)
    try:
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=60)
        assert not (large / "rebuild/rebuild-state.json").exists()
        code, _, err = ended(large)
        assert code == 4, err
        assert "another factory is using" in err
        assert f"({cargo})" in err
    finally:
        os.killpg(cargo, signal.SIGCONT)
    # Its lock is gone with the last of its programs, and what it left half written is no hindrance.
    code, made, err = finished(large)
    assert (code, made.get("built")) == (0, True), err
    code, made, err = ended(large)
    assert (code, made["built"]) == (3, False), err


def writing_cargo(warm: Path, *, patience: float) -> int:
    """Return the session of the cargo that cooks into a directory, once a compiler has begun to write there."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        for running in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (running / "cmdline").read_bytes().decode()
                if "rustc" in words.partition("\0")[0] and f"{warm}/build/" in words:
                    return os.getsid(int(running.name))
        time.sleep(0.02)
    pytest.fail("no compiler was seen")


def test_two_at_once_do_not_race(small: Path) -> None:
    first = start(small)
    assert first.stderr is not None
    for line in first.stderr:
        if "rebuild: analyzing" in line:
            break
    # It would be done before the other one looks.
    first.send_signal(signal.SIGSTOP)
    try:
        code, _, err = ended(small)
    finally:
        first.send_signal(signal.SIGCONT)
    first.communicate(timeout=400)
    assert (code, first.returncode) == (4, 0)
    assert "another factory is using" in err


def test_a_yanked_crate_stays_warm_while_it_is_locked_and_goes_with_its_last_user(tmp_path: Path) -> None:
    """Asked is the mirror that cargo is set to: its index says what was yanked."""
    (tmp_path / "mirror").mkdir()
    write_files(
        tmp_path / "app",
        {"Cargo.toml": manifest("app", '[dependencies]\nopen-leaf = "1"\n'), "src/main.rs": "fn main() {}\n"},
    )
    with CrateRegistry(tmp_path / "mirror") as mirror:
        mirror.publish(Crate(name="open-leaf"))
        write_text(tmp_path / "cargo-home" / "config.toml", mirror.cargo_config)
        variables = {"CARGO_HOME": str(tmp_path / "cargo-home"), "FACTORY_CACHE_DIR": str(tmp_path / "cache")}
        write_text(tmp_path / "cache" / "CACHEDIR.TAG", CACHEDIR_TAG)
        lock(tmp_path)
        code, answer, err = ended(tmp_path, **variables)
        assert (code, causes(answer)) == (0, ["first"]), err

        mirror.publish(Crate(name="open-leaf", version="1.0.1"))
        mirror.yank("open-leaf", "1.0.0")
        code, answer, err = ended(tmp_path, **variables)
        assert (code, causes(answer)) == (3, []), err
        assert answer["notes"] == ["open-leaf 1.0.0: was yanked; stays warm, as it is locked by app"]
        assert cooked(tmp_path) == ["open-leaf 1.0.0"]

        lock(tmp_path)
        code, answer, err = ended(tmp_path, **variables)
        assert (code, causes(answer)) == (0, ["repositories", "yanked"]), err
        assert "rebuild, as yanked: open-leaf 1.0.0: was yanked; no repository locks it any more" in err
        assert cooked(tmp_path) == ["open-leaf 1.0.1"]


def test_a_full_disk_is_no_fault_of_a_crate_and_a_rerun_succeeds(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    write_files(
        tmp_path / "app",
        {"Cargo.toml": manifest("app", '[dependencies]\nopen-large = "1"\n'), "src/main.rs": "fn main() {}\n"},
    )
    writing = 'std::fs::write(std::env::var("OUT_DIR").unwrap() + "/large", vec![1; 48 << 20]).unwrap();'
    disk = tmp_path / "disk"
    with CrateRegistry(tmp_path / "mirror") as mirror, small_disk(disk, 32):
        mirror.publish(Crate(name="open-large", build_script=writing))
        write_text(tmp_path / "cargo-home" / "config.toml", mirror.cargo_config)
        variables = {"CARGO_HOME": str(tmp_path / "cargo-home"), "FACTORY_CACHE_DIR": str(tmp_path / "cache")}
        write_text(tmp_path / "cache" / "CACHEDIR.TAG", CACHEDIR_TAG)
        lock(tmp_path)
        code, _, err = ended(tmp_path, "--output", "disk/warm", **variables)
        assert code == 5, err
        assert "no space left on device" in err
        assert "Make room" in err
        assert not (tmp_path / "rebuild/rebuild-state.json").exists()
        process.run(["mount", "-o", "remount,size=256m", disk])
        code, answer, err = ended(tmp_path, "--output", "disk/warm", **variables)
        assert (code, answer.get("built")) == (0, True), err
        contents = json.loads((disk / "warm/share/core/contents.json").read_text(encoding="utf-8"))
        assert ({unit["crate"] for unit in contents["units"]}, contents["dropped"]) == ({"open-large"}, [])


LARGE = Crate(name="open-large", source="pub static LARGE: [u8; 1 << 33] = [7; 1 << 33];")


@pytest.mark.parametrize(
    ("crates", "limit", "words"),
    [
        (KILLED, "unlimited", r"\(signal: 9, SIGKILL: kill\)"),
        (
            (LARGE,),
            str(4 << 20),
            "tried to allocate more memory than available|memory allocation of [0-9]+ bytes failed",
        ),
    ],
    ids=("killed", "starved"),
)
def test_no_crate_is_left_out_for_memory_that_was_not_there(
    tmp_path: Path, crates: tuple[Crate, ...], limit: str, words: str
) -> None:
    """A compiler that gets the kernel's signal, and one that asks for 8 GB where 4 GB may be had."""
    (tmp_path / "mirror").mkdir()
    needed = "[dependencies]\n" + "".join(f'{crate.name} = "1"\n' for crate in crates)
    write_files(tmp_path / "app", {"Cargo.toml": manifest("app", needed), "src/main.rs": "fn main() {}\n"})
    with CrateRegistry(tmp_path / "mirror") as mirror:
        for crate in crates:
            mirror.publish(crate)
        write_text(tmp_path / "cargo-home" / "config.toml", mirror.cargo_config)
        write_text(tmp_path / "cache" / "CACHEDIR.TAG", CACHEDIR_TAG)
        lock(tmp_path)
        program = [sys.executable, "-m", "factory", "rebuild", "app", "--backend", "local", "--output", "warm"]
        ended = process.run(
            ["sh", "-c", f'ulimit -v {limit}; exec "$@"', "sh", *program],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "CARGO_HOME": str(tmp_path / "cargo-home"),
                "FACTORY_CACHE_DIR": str(tmp_path / "cache"),
            },
            check=False,
            timeout=300,
        )
    assert ended.returncode == 5, ended.stderr
    assert "out of memory: a program was killed, or got none" in ended.stderr
    assert re.search(words, ended.stderr), ended.stderr
    assert MEMORY_ADVICE in ended.stderr
    assert not (tmp_path / "rebuild/rebuild-state.json").exists()


def lock(folder: Path) -> None:
    """Lock the newest versions that are not yanked."""
    (folder / "app/Cargo.lock").unlink(missing_ok=True)
    answer = find_toolchain().cargo(("generate-lockfile",), cwd=folder / "app", cargo_home=folder / "cargo-home")
    assert answer.ok, answer.stderr


def cooked(folder: Path) -> list[str]:
    contents = json.loads((folder / "warm/share/core/contents.json").read_text(encoding="utf-8"))
    return sorted(f"{unit['crate']} {unit['version']}" for unit in contents["units"])
