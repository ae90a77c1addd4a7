"""Building consumers: what is copied of them, whose trouble is whose, and on which toolchain they are built."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory import process
from factory.cargo.events import Identity
from factory.cargo.fetching import Fetching
from factory.cargo.toolchain import find_toolchain
from factory.cargo.variants import Variant
from factory.config.model import Settings
from factory.cook.isolation import without_network
from factory.cook.local import INCOMPLETE, MARKER, MARKER_TEXT, VERIFYING
from factory.engine import ContainerTimeoutError
from factory.engine import _within as within
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.exclusive import exclusive
from factory.model import CRATES_IO, PackageId
from factory.output import Output
from factory.pipeline import proving
from factory.pipeline.run import Run
from factory.process import Completed
from factory.proof.consumer import consumer_copy, prove_repos, repo_proof
from factory.proof.contract import recorded_layout, recorded_rustc, release, toolchain_check
from factory.proof.kept import facts_below
from factory.proof.local import verify_directory
from factory.proof.model import Miss, Proof, ProofRequest, RepoProof
from factory.proof.target import cooked_directory
from factory.scan.discover import find_workspaces
from factory.scan.model import Scan, UnscannableError
from tests.hostile import good_repo, manifest, write_files
from tests.unit.test_proof_tree import not_as_root

if TYPE_CHECKING:
    from factory.scan.model import FoundWorkspace

REQUEST = ProofRequest(variant=Variant.parse("release"), skeleton=False, cold=False, timeout=60)
QUIET = Output(verbosity=-1)
NO_REPOS = Scan(workspaces=(), skipped=())


def only(folder: Path) -> FoundWorkspace:
    """The one workspace below a folder."""
    (found,) = find_workspaces([folder]).workspaces
    return found


def copied(found: FoundWorkspace) -> dict[str, str]:
    """The paths of a copy, from the workspace's root, with the letter of their kind."""
    with consumer_copy(found, skeleton=False) as copy:
        paths = sorted((copy.folder / "repo").rglob("*"))
        return {os.path.relpath(path, copy.workspace): stat.filemode(path.lstat().st_mode)[0] for path in paths}


# What is copied


def test_a_module_called_target_is_source_and_cargos_directories_are_not(tmp_path: Path) -> None:
    own = {
        "src/target/mod.rs": "",
        "src/target/node_modules": "",
        "target/debug/app": "",
        "data/target/CACHEDIR.TAG": "",
        "data/target/big": "",
        "node_modules/x/index.js": "",
        ".git/config": "",
        "fixtures/.git": "gitdir: elsewhere",
    }
    paths = copied(only(good_repo(tmp_path, name="app", files=own)))
    kept = {"src/target/mod.rs", "src/target/node_modules", "fixtures/.git"}
    assert kept <= {path for path, kind in paths.items() if kind == "-"}
    assert not {"target", "data/target", "node_modules", ".git"} & paths.keys()


def test_pins_are_left_where_rustup_would_find_them_and_nowhere_else(tmp_path: Path) -> None:
    own = {
        "rust-toolchain.toml": '[toolchain]\nchannel = "1.80"\n',
        "data/rust-toolchain.toml": "",
        "rust-toolchain": "x",
    }
    paths = copied(only(good_repo(tmp_path, name="app", files=own)))
    assert "data/rust-toolchain.toml" in paths
    assert not {"rust-toolchain", "rust-toolchain.toml"} & paths.keys()


def test_pipes_and_sockets_are_no_sources_and_links_stay_links(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    repo = good_repo(tmp_path, name="app")
    os.mkfifo(repo / "pipe")
    monkeypatch.chdir(repo)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        (repo / "link").symlink_to("nowhere")
        paths = copied(only(tmp_path))
    assert paths["link"] == "l"
    assert not {"pipe", "socket"} & paths.keys()


def test_a_copy_can_be_written_and_runs_what_ran(tmp_path: Path) -> None:
    repo = good_repo(tmp_path, name="app", files={"locked.txt": "", "run.sh": ""})
    (repo / "locked.txt").chmod(0o444)
    (repo / "run.sh").chmod(0o4555)
    with consumer_copy(only(tmp_path), skeleton=False) as copy:
        assert stat.S_IMODE((copy.workspace / "locked.txt").stat().st_mode) == 0o644
        assert stat.S_IMODE((copy.workspace / "run.sh").stat().st_mode) == 0o755
        folder = copy.folder
    assert not folder.exists()
    assert stat.S_IMODE((repo / "locked.txt").stat().st_mode) == 0o444


def test_path_dependencies_beside_the_repository_come_along_and_their_neighbours_do_not(tmp_path: Path) -> None:
    needs = '[dependencies]\nshared = { path = "../libs/shared" }\n'
    good_repo(tmp_path, name="app", files={".git/HEAD": "", "Cargo.toml": manifest("app", needs)})
    good_repo(tmp_path / "libs", name="shared", files={".git/HEAD": "", "src/lib.rs": ""})
    good_repo(tmp_path, name="neighbour", files={".git/HEAD": ""})
    (app,) = (found for found in find_workspaces([tmp_path]).workspaces if found.root.name == "app")
    paths = copied(app)
    assert "../libs/shared/Cargo.toml" in paths
    assert "../libs/shared/src/lib.rs" in paths
    assert not [path for path in paths if "neighbour" in path]


def test_what_cannot_be_read_is_explained() -> None:
    with tempfile.TemporaryDirectory() as name, not_as_root(Path(name)):
        repo = good_repo(Path(name), name="app", files={"secret.txt": "", "locked/x": ""})
        found = only(repo)
        (repo / "secret.txt").chmod(0)
        with pytest.raises(UnscannableError, match=r"^app/secret\.txt: cannot be copied: permission denied\n"):
            copied(found)
        (repo / "secret.txt").chmod(0o600)
        (repo / "locked").chmod(0)
        with pytest.raises(UnscannableError, match=r"^app/locked: cannot be copied: permission denied\n") as caught:
            copied(found)
        assert caught.value.advice
        (repo / "locked").chmod(0o700)


# Whose trouble is whose


def build(found: FoundWorkspace, *, empty: bool) -> RepoProof:
    seconds = 20.0 if empty else 2.0
    return RepoProof(path=found.path, variant="release", total=1, fresh=1, misses=(), seconds=seconds)


def proved(folder: Path, *, cold: bool = False) -> list[RepoProof]:
    scan = find_workspaces([folder])
    return prove_repos(scan, replace(REQUEST, cold=cold), build, target="t", output=QUIET)


def test_a_repository_that_could_not_be_built_at_all_fails_the_gate(tmp_path: Path) -> None:
    good_repo(tmp_path, name="good", files={".git/HEAD": ""})
    write_files(tmp_path / "bare", {".git/HEAD": "", "Cargo.toml": manifest("bare"), "src/lib.rs": ""})
    good, bad = proved(tmp_path)
    assert good.problem == ""
    assert (bad.path, bad.total, bad.fresh) == (f"{tmp_path.name}/bare", 0, 0)
    assert bad.problem.startswith(f"no-lockfile: {tmp_path.name}/bare: no Cargo.lock; run `cargo generate-lockfile`")
    assert Proof(target="t", repos=(good,), checks=()).ok(0)
    assert not Proof(target="t", repos=(good, bad), checks=()).ok(0)


def test_a_nested_folder_without_a_lock_does_not_fail_a_good_repository(tmp_path: Path) -> None:
    nested = {".git/HEAD": "", "fuzz/Cargo.toml": manifest("fuzz", "[workspace]\n"), "fuzz/src/lib.rs": ""}
    good_repo(tmp_path, name="good", files=nested)
    assert len(find_workspaces([tmp_path]).skipped) == 1
    assert [(row.path, row.problem) for row in proved(tmp_path)] == [(f"{tmp_path.name}/good", "")]


def test_cold_seconds_are_those_of_a_build_that_succeeded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good_repo(tmp_path, name="good")
    (row,) = proved(tmp_path, cold=True)
    assert (row.seconds, row.cold_seconds) == (2.0, 20.0)
    (row,) = proved(tmp_path)
    assert row.cold_seconds is None

    def late(found: FoundWorkspace, *, empty: bool) -> RepoProof:
        return replace(build(found, empty=empty), problem="too late" if empty else "")

    scan, request = find_workspaces([tmp_path]), replace(REQUEST, cold=True)
    (row,) = prove_repos(scan, request, late, target="t", output=QUIET)
    assert (row.seconds, row.cold_seconds, row.problem) == (2.0, None, "")
    assert "the build without warm units has no time: too late" in capsys.readouterr().err


def test_a_cargo_that_fails_without_a_word_is_a_problem_all_the_same(tmp_path: Path) -> None:
    good_repo(tmp_path, name="good")
    killed = Completed(args=("cargo",), returncode=137, stdout="", stderr="")
    row = repo_proof(only(tmp_path), REQUEST.variant, killed, seconds=1)
    assert row.problem == "cargo ended with 137 and said nothing"
    assert not Proof(target="t", repos=(row,), checks=()).ok(0)


# Misses


def test_a_miss_has_features_and_kind() -> None:
    library = Identity(
        package=PackageId("tokio", "1.0.0", CRATES_IO),
        target_name="tokio",
        target_kind="lib",
        features=("net", "rt"),
        is_run=False,
        opt_level="3",
        debuginfo="0",
        debug_assertions=False,
        overflow_checks=False,
    )
    assert Miss.of(library) == Miss(
        unit="tokio@1.0.0 (lib)", crate="tokio", version="1.0.0", features=("net", "rt"), kind="lib"
    )
    script = replace(library, target_kind="custom-build", features=())
    assert (Miss.of(script).unit, Miss.of(script).kind) == ("tokio@1.0.0 (build script)", "custom-build")
    run = Miss.of(replace(script, is_run=True))
    assert (run.unit, run.kind) == ("tokio@1.0.0 (build script run)", "run-custom-build")


def test_the_misses_of_a_build_come_from_cargos_events(tmp_path: Path) -> None:
    good_repo(tmp_path, name="good")
    message = {
        "reason": "compiler-artifact",
        "package_id": f"{CRATES_IO}#tokio@1.0.0",
        "target": {"name": "tokio", "kind": ["lib"]},
        "profile": {"opt_level": "3", "debuginfo": 0, "debug_assertions": False, "overflow_checks": False},
        "features": ["rt", "net"],
        "filenames": [],
        "fresh": False,
    }
    answer = Completed(args=("cargo",), returncode=0, stdout=json.dumps(message), stderr="")
    row = repo_proof(only(tmp_path), REQUEST.variant, answer, seconds=1)
    (miss,) = row.misses
    assert (miss.crate, miss.version, miss.features, miss.kind) == ("tokio", "1.0.0", ("net", "rt"), "lib")
    assert (row.total, row.fresh) == (1, 0)


# What a target means


def test_a_directory_is_a_directory_and_a_name_may_be_an_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "org" / "warm").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert cooked_directory("org/warm") == tmp_path / "org" / "warm"
    assert cooked_directory(str(tmp_path)) == tmp_path
    assert cooked_directory("org/rust-builder:web") is None
    assert cooked_directory("localhost:5000/org/rust-builder:web") is None


@pytest.mark.parametrize(
    "text", ["./typo", "../typo", "/nonexistent/typo", "~/typo", "/nonexistent/org/rust-builder:web"]
)
def test_what_reads_as_a_path_must_be_a_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        cooked_directory(text)
    assert caught.value.what == f"{text}: no such directory or image"
    assert caught.value.exit_code == 2
    assert caught.value.advice


def test_a_file_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"plan\.json: not a directory\n"):
        cooked_directory(str(tmp_path / "plan.json"))


# Toolchains

OURS = ("rustc 1.95.0 (aaa 2026-01-01)", "release: 1.95.0", "host: x", "LLVM version: 21")
OTHER = ("rustc 1.80.0 (bbb 2024-01-01)", "release: 1.80.0", "host: x", "LLVM version: 18")


def test_the_same_rustc_passes_and_another_is_told_with_both_versions() -> None:
    held = toolchain_check(OURS, OURS)
    assert (held.name, held.ok, held.findings) == ("toolchain", True, ())
    assert held.detail == "rustc 1.95.0 (aaa 2026-01-01), with which it was cooked"
    failed = toolchain_check(OURS, OTHER)
    assert not failed.ok
    assert OURS[0] in failed.detail
    assert OTHER[0] in failed.detail
    assert "cooked with: LLVM version: 21" in failed.findings
    assert "found: LLVM version: 18" in failed.findings
    assert "found: host: x" not in failed.findings
    assert not toolchain_check(OURS, (*OURS[:3], "LLVM version: 20")).ok
    assert "no rustc that runs builds on it" in toolchain_check(OURS, ()).detail


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rustc": "rustc 1.95.0"}', '{"rustc": [1]}', '{"rustc": []}'])
def test_a_contract_without_rustc_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"share/core/contract\.json: does not say which rustc cooked it"):
        recorded_rustc(text, where="share/core/contract.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"layout": "elsewhere"}', '{"layout": []}'])
def test_a_contract_without_the_layout_of_the_units_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"share/core/contract\.json: does not say as what cargo's config"):
        recorded_layout(text, where="share/core/contract.json")


@pytest.fixture
def warm(tmp_path: Path) -> Path:
    """A directory as the local backend leaves it, without any unit, for this machine's toolchain."""
    folder = tmp_path / "warm"
    write_files(folder, {"cargo-home/config.toml": ""})
    (folder / "build").mkdir()
    record(folder, find_toolchain().rustc_verbose.splitlines())
    return folder


def record(folder: Path, rustc: list[str]) -> None:
    write_files(
        folder, {MARKER: MARKER_TEXT, "share/core/contract.json": json.dumps({"rustc": rustc, "layout": "build-dir"})}
    )


def verified(folder: Path, scan: Scan, request: ProofRequest = REQUEST) -> Proof:
    return verify_directory(folder, scan, request, fetching=Fetching(), output=QUIET)


@pytest.mark.runs_programs
def test_a_directory_is_verified_with_the_toolchain_that_cooked_it(warm: Path) -> None:
    here = find_toolchain().rustc_verbose.splitlines()
    proof = verified(warm, NO_REPOS)
    assert proof.ok(1)
    assert [check.ok for check in proof.checks if check.name == "toolchain"] == [True]
    record(warm, ["rustc 1.2.3 (abc 2015-08-03)", "release: 1.2.3", *here[2:]])
    proof = verified(warm, NO_REPOS)
    assert not proof.ok(0)
    (check,) = (check for check in proof.checks if not check.ok)
    assert check.name == "toolchain"
    assert check.detail == f"cooked with rustc 1.2.3 (abc 2015-08-03), and {here[0]} builds on it: no unit is fresh"
    assert release(here) == find_toolchain().version


@pytest.mark.runs_programs
def test_a_directory_without_a_contract_is_not_cooked(warm: Path) -> None:
    (warm / "share/core/contract.json").unlink()
    with pytest.raises(ConfigurationError, match="not a completely cooked directory"):
        verified(warm, NO_REPOS)


@pytest.mark.runs_programs
def test_a_build_that_takes_too_long_or_cannot_be_copied_is_one_row(warm: Path, tmp_path: Path) -> None:
    repos = tmp_path / "repos"
    script = "fn main() { std::thread::sleep(std::time::Duration::from_secs(3600)); }\n"
    good_repo(repos, name="endless", files={".git/HEAD": "", "build.rs": script})
    good_repo(repos, name="gone", files={".git/HEAD": ""})
    good_repo(repos, name="good", files={".git/HEAD": "", "src/main.rs": "fn main() {}\n"})
    scan = find_workspaces([repos])
    (repos / "gone/Cargo.toml").unlink()
    (repos / "gone/Cargo.toml").mkdir()
    rows = {row.path: row for row in verified(warm, scan, replace(REQUEST, timeout=6)).repos}
    assert "did not finish within 6 s" in rows["repos/endless"].problem
    assert rows["repos/gone"].problem
    assert rows["repos/good"].problem == ""


TOUCHING = """
use std::{env, fs, io::Write, net::TcpStream, path::PathBuf};
fn main() {
    let home = PathBuf::from(env::var("CARGO_HOME").unwrap());
    let before = fs::read_to_string(home.join("config.toml")).unwrap();
    let names: Vec<String> = env::vars().map(|(name, _)| name).collect();
    let seen = format!("{before}|{}|{}", names.join(" "), TcpStream::connect("ADDRESS").is_ok());
    fs::write("WITNESS", seen).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(home.join("config.toml")).unwrap();
    file.write_all(b"# touched\\n").unwrap();
    fs::write(home.join("config"), "[build]\\nrustc-wrapper = 'no-such-program'\\n").unwrap();
    MORE
}
"""


def touching_repos(folder: Path, *names: str, address: str = "127.0.0.1:9", more: str = "") -> Scan:
    """Make repositories whose build scripts tell what they find, and write into CARGO_HOME."""
    for name in names:
        script = TOUCHING.replace("WITNESS", str(folder / f"{name}.txt")).replace("ADDRESS", address)
        files = {".git/HEAD": "", "build.rs": script.replace("MORE", more), "src/main.rs": "fn main() {}\n"}
        good_repo(folder / "repos", name=name, files=files)
    return find_workspaces([folder / "repos"])


@pytest.mark.runs_programs
def test_a_build_on_a_directory_has_no_secret_and_no_network_and_leaves_nothing(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARGO_REGISTRIES_COMPANY_TOKEN", "planted")
    before = facts_below(warm / "cargo-home").keys()
    with socket.create_server(("127.0.0.1", 0)) as server:
        scan = touching_repos(tmp_path, "first", "second", address=f"127.0.0.1:{server.getsockname()[1]}")
        proof = verified(warm, scan)
    assert [row.problem for row in proof.repos] == ["", ""]
    assert proof.ok(0)
    for name in ("first", "second"):
        configuration, names, connected = (tmp_path / f"{name}.txt").read_text(encoding="utf-8").split("|")
        # What the first one wrote is not what the second one is built with.
        assert configuration == ""
        assert "CARGO_HOME" in names
        assert "CARGO_REGISTRIES_COMPANY_TOKEN" not in names
        assert connected == str(not without_network()).lower()
    assert facts_below(warm / "cargo-home").keys() == before
    assert (warm / "cargo-home/config.toml").read_text(encoding="utf-8") == ""


KILLING = """
use std::{env, fs, path::PathBuf, process::Command};
fn main() {
    let home = PathBuf::from(env::var("CARGO_HOME").unwrap());
    fs::write(home.join("config.toml"), "[build]\\nrustc-wrapper = 'theirs'\\n").unwrap();
    let factory = fs::read_to_string("PID").unwrap();
    assert!(Command::new("kill").args(["-SIGNAL", factory.trim()]).status().unwrap().success());
}
"""


def kill_by_a_build(warm: Path, folder: Path, number: signal.Signals) -> int:
    """Verify a repository whose build script sends a signal to the verification; return how that ended."""
    pid = folder / "pid"
    build = KILLING.replace("PID", str(pid)).replace("SIGNAL", str(number.value))
    good_repo(folder / "repos", name="killing", files={".git/HEAD": "", "build.rs": build})
    # `exec` keeps the number of the process.
    before = ("sh", "-c", f"echo $$ > '{pid}'; exec \"$@\"", "sh")
    words = (sys.executable, "-m", "factory", "verify", warm, "--repo", folder / "repos")
    killed = process.run([*before, *words], cwd=folder, check=False, timeout=60)
    wait_until_free(warm)
    return killed.returncode


@pytest.mark.runs_programs
def test_a_directory_is_not_built_on_after_a_build_that_killed_its_verification(warm: Path, tmp_path: Path) -> None:
    assert kill_by_a_build(warm, tmp_path, signal.SIGKILL) == -signal.SIGKILL
    assert "rustc-wrapper" in (warm / "cargo-home/config.toml").read_text(encoding="utf-8")
    with pytest.raises(ConfigurationError, match="a verification did not put back what a build wrote"):
        verified(warm, find_workspaces([tmp_path / "repos"]))


@pytest.mark.runs_programs
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_what_a_build_wrote_is_put_back_where_its_verification_is_asked_to_end(
    warm: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = (warm / "cargo-home/config.toml").read_text(encoding="utf-8")
    # Whoever runs the tests under nohup would hand it down.
    handler = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert kill_by_a_build(warm, tmp_path, number) == 128 + number
    finally:
        signal.signal(signal.SIGHUP, handler)
    assert (warm / "cargo-home/config.toml").read_text(encoding="utf-8") == before
    assert verified(warm, NO_REPOS).ok(0)


def wait_until_free(folder: Path) -> None:
    """Wait for the cargo that outlives a killed verification."""
    for _ in range(200):
        with contextlib.suppress(EnvironmentFaultError), exclusive(folder / MARKER, using=folder):
            return
        time.sleep(0.1)
    pytest.fail("the directory is still in use")


@pytest.mark.runs_programs
def test_a_directory_that_is_being_verified_is_in_use(warm: Path) -> None:
    (warm / INCOMPLETE).write_text(VERIFYING, encoding="utf-8")
    with (
        exclusive(warm / MARKER, using=warm),
        pytest.raises(EnvironmentFaultError, match="another factory is using"),
    ):
        verified(warm, NO_REPOS)


@pytest.mark.runs_programs
def test_cargo_has_no_secret_where_nothing_has_to_be_fetched(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARGO_REGISTRIES_COMPANY_TOKEN", "planted")
    seen = tmp_path / "seen"
    wrapper = write_files(tmp_path, {"wrapper": f"#!/bin/sh\nenv >> '{seen}'\nexec \"$@\"\n"}) / "wrapper"
    wrapper.chmod(0o755)
    (warm / "cargo-home/config.toml").write_text(f"[build]\nrustc-wrapper = '{wrapper}'\n", encoding="utf-8")
    good_repo(tmp_path / "repos", name="itself", files={".git/HEAD": "", "src/main.rs": "fn main() {}\n"})
    assert verified(warm, find_workspaces([tmp_path / "repos"])).ok(0)
    assert "CARGO_HOME" in seen.read_text(encoding="utf-8")
    assert "planted" not in seen.read_text(encoding="utf-8")


VENDORED = "[source.crates-io]\nreplace-with = 'vendored'\n[source.vendored]\ndirectory = '/vendored'\n"
LOCKED_NOWHERE = """version = 4
[[package]]
name = "itoa"
version = "1.0.15"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "4a5f13b858c8d314ee3e8f639011f7ccefe71f97f96e50151fb991f267928e2c"
[[package]]
name = "cold"
version = "0.1.0"
dependencies = ["itoa"]
"""


@pytest.mark.runs_programs
def test_only_what_has_to_be_fetched_depends_on_the_mirror_of_this_machine(
    warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARGO_HOME", str(write_files(tmp_path / "users", {"config.toml": VENDORED})))
    good_repo(tmp_path / "repos", name="itself", files={".git/HEAD": "", "src/main.rs": "fn main() {}\n"})
    cold = {"Cargo.toml": manifest("cold", '[dependencies]\nitoa = "1"\n'), "Cargo.lock": LOCKED_NOWHERE}
    write_files(tmp_path / "repos/cold", {".git/HEAD": "", "src/main.rs": "fn main() {}\n", **cold})
    run = Run(settings=Settings(), output=QUIET)
    proof = proving.verify(run, str(warm), [str(tmp_path / "repos")], variant="release", skeleton=False, cold=False)
    problems = {row.path: row.problem for row in proof.repos}
    assert problems["repos/itself"] == ""
    assert "replaces crates-io by 'vendored', which is no sparse index" in problems["repos/cold"]


@pytest.mark.runs_programs
def test_a_build_that_changes_what_is_cooked_fails_the_verification(warm: Path, tmp_path: Path) -> None:
    more = 'fs::write(home.join("../build/planted.rlib"), "").unwrap();'
    proof = verified(warm, touching_repos(tmp_path, "planting", more=more))
    (failed,) = (check for check in proof.checks if not check.ok)
    assert failed.name == "left as it was"
    assert failed.findings == ("build/planted.rlib",)
    assert "cook again" in failed.detail


# Waiting for an engine


def test_a_call_that_never_returns_is_given_up() -> None:
    def never() -> None:
        threading.Event().wait(60)

    with pytest.raises(ContainerTimeoutError, match=r"^it did not finish within 0\.05 s$"):
        within(0.05, never, "it")


def test_what_a_call_returns_or_raises_arrives() -> None:
    assert within(5, lambda: 7, "it") == 7
    with pytest.raises(EnvironmentFaultError, match="gone"):
        within(5, _raise, "it")


def _raise() -> None:
    raise EnvironmentFaultError("gone")
