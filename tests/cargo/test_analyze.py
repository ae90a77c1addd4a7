"""`factory analyze` with the real cargo: hostile, broken and healthy repositories, told apart and never executed."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.cargo.lock import parse_lock, render_lock
from factory.cargo.toolchain import find_toolchain
from tests.hostile import good_repo, hostile_repos, lock, manifest, write_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cargo.conftest import Program

pytestmark = pytest.mark.cargo

HOST = find_toolchain().host
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
NOTHING_RESOLVED = 1
MEMBERS = 300
MOST_SECONDS_FOR_MEMBERS = 20


def test_hostile_repositories_run_nothing_and_leave_the_good_one_alone(
    program: Program, samples: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    planted = hostile_repos(tmp_path / "repos", canary)
    shutil.copytree(samples / "greeter-cli", tmp_path / "repos" / "greeter-cli")

    rows = workspaces(program, tmp_path / "repos", out=tmp_path / "analysis.json")

    assert not canary.exists(), canary.read_text()
    assert rows["repos/greeter-cli"]["status"] == "resolved"
    assert rows["repos/greeter-cli"]["registry_units"] > 20
    for repo in planted:
        own = [row for path, row in rows.items() if f"{path}/".startswith(f"repos/{repo.name}/")]
        assert [row["status"] for row in own] == ["resolved" if repo.reason is None else "skipped"], repo.name
        if repo.reason is not None:
            assert own[0]["reason"].startswith(f"{repo.reason}: "), repo.name
            assert "; " in own[0]["reason"], own[0]["reason"]


def test_a_configuration_above_temporary_directories_runs_nothing(program: Program, tmp_path: Path) -> None:
    """On a shared `/tmp` anybody could have put it there, and cargo would obey it in a skeleton."""
    canary = tmp_path / "canary"
    wrapper = f"#!/bin/sh\ntouch '{canary}'\nexec \"$@\"\n"
    write_files(
        tmp_path / "shared",
        {
            ".cargo/config.toml": f"build.rustc-wrapper = '{tmp_path}/shared/wrapper'\n",
            "wrapper": wrapper,
            "tmp/keep": "",
        },
    )
    (tmp_path / "shared/wrapper").chmod(0o755)
    repo = good_repo(tmp_path / "repos")
    elsewhere = {"TMPDIR": str(tmp_path / "shared/tmp"), "FACTORY_CACHE_DIR": str(tmp_path / "cache")}
    refused = program.under(elsewhere)("analyze", repo, "--out", tmp_path / "analysis.json", code=4)
    assert f"{tmp_path}/shared/.cargo/config.toml: cargo would obey this file" in refused.stderr
    assert not canary.exists()
    assert not (tmp_path / "analysis.json").exists()
    assert [path.name for path in (tmp_path / "shared/tmp").iterdir()] == ["keep"]


def test_a_manifest_above_temporary_directories_is_blamed_on_no_workspace(program: Program, tmp_path: Path) -> None:
    """Cargo takes a package without a `[workspace]` for a part of it."""
    write_files(tmp_path / "shared", {"Cargo.toml": "[workspace]\n", "tmp/keep": ""})
    repo = good_repo(tmp_path / "repos")
    own = {"TMPDIR": str(tmp_path / "shared/tmp"), "FACTORY_CACHE_DIR": str(tmp_path / "cache")}
    refused = program.under(own)("analyze", repo, "--out", tmp_path / "analysis.json", code=4)
    assert f"{tmp_path}/shared/Cargo.toml: cargo would obey this file" in refused.stderr
    assert not (tmp_path / "analysis.json").exists()
    (tmp_path / "shared/Cargo.toml").unlink()
    program.under(own)("analyze", repo, "--out", tmp_path / "analysis.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """A package with something wrong, the reason it must get, and words of what is to be done about it."""

    reason: str
    advice: str
    package: str = ""
    dependencies: str = ""
    locked: tuple[str, ...] = ()
    files: Mapping[str, str | None] = field(default_factory=dict)

    def write(self, root: Path) -> None:
        """Write the package; a file that is `None` is left out."""
        text = manifest(root.name, f"{self.package}\n[dependencies]\n{self.dependencies}\n")
        files = {"Cargo.toml": text, "Cargo.lock": self._lock(root.name), "src/main.rs": "fn main() {}\n", **self.files}
        write_files(root, {path: content for path, content in files.items() if content is not None})

    def _lock(self, name: str) -> str:
        if not self.locked:
            return lock(name)
        crate, version, source = self.locked
        return (
            f'version = 4\n\n[[package]]\nname = "{name}"\nversion = "0.1.0"\ndependencies = ["{crate}"]\n\n'
            f'[[package]]\nname = "{crate}"\nversion = "{version}"\nsource = "{source}"\n'
        )


BROKEN = {
    "no-lockfile": Broken(reason="no-lockfile", advice="cargo generate-lockfile", files={"Cargo.lock": None}),
    "git-gone": Broken(
        reason="git-dependency-unreachable",
        advice="check the URL",
        dependencies='gone = { git = "file:///nowhere/gone.git" }',
        locked=("gone", "0.1.0", f"git+file:///nowhere/gone.git#{'a' * 40}"),
    ),
    "missing-version": Broken(
        reason="package-missing",
        advice="run `cargo update` in it, or check the registry",
        dependencies='itoa = "1"',
        locked=("itoa", "1.999.0", CRATES_IO),
    ),
    "missing-crate": Broken(
        reason="package-missing",
        advice="check the registry",
        dependencies='a-crate-that-nobody-published = "1"',
        locked=("a-crate-that-nobody-published", "1.0.0", CRATES_IO),
    ),
    "outdated-lock": Broken(
        reason="lock-outdated",
        advice="commit the lock",
        dependencies='local = { path = "local" }',
        files={"local/Cargo.toml": manifest("local"), "local/src/lib.rs": ""},
    ),
    "conflict-in-lock": Broken(
        reason="malformed-lock: Cargo.lock:2: a merge conflict is left in it",
        advice="make the lock anew",
        files={"Cargo.lock": "version = 4\n<<<<<<< HEAD\n"},
    ),
    "lock-of-the-future": Broken(
        reason="malformed-lock", advice="make the lock anew", files={"Cargo.lock": "version = 99\n"}
    ),
    "new-rust": Broken(
        reason="rust-version-too-new: new-rust needs rustc 1.999",
        advice="newer toolchain",
        package='rust-version = "1.999"',
    ),
    "nightly": Broken(
        reason="needs-nightly",
        advice="nightly toolchain",
        files={"Cargo.toml": 'cargo-features = ["profile-rustflags"]\n' + manifest("nightly")},
    ),
    "unknown-target": Broken(
        reason="target-unknown: rustc has no target `made-up-triple`",
        advice="correct it",
        files={".cargo/config.toml": '[build]\ntarget = "made-up-triple"\n'},
    ),
    "unknown-target-with-flags": Broken(
        reason="target-unknown: rustc has no target `made-up-triple`",
        advice="correct it",
        files={".cargo/config.toml": '[build]\ntarget = "made-up-triple"\n[target."cfg(unix)"]\nrustflags = "-g"\n'},
    ),
    "unknown-registry": Broken(
        reason="registry-unknown: nothing says where the registry `company` is",
        advice="name it under `registries`",
        dependencies='tool = { version = "1", registry = "company" }',
        locked=("tool", "1.0.0", "registry+https://example.invalid/index"),
    ),
    "malformed": Broken(reason="malformed-manifest", advice="correct it", files={"Cargo.toml": "[package\n"}),
    "bad-version": Broken(
        reason="malformed-manifest",
        advice="mend the manifest",
        files={"Cargo.toml": manifest("bad-version").replace("0.1.0", "first")},
    ),
    "bad-feature": Broken(
        reason="malformed-manifest", advice="mend the manifest", package='[features]\na = ["nothing"]'
    ),
    "no-target": Broken(reason="no-target", advice="add src/lib.rs or src/main.rs", files={"src/main.rs": None}),
}


@pytest.fixture(scope="module")
def broken(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """Analyse all broken repositories and two that only look so, without the network."""
    folder = tmp_path_factory.mktemp("broken")
    for name, row in BROKEN.items():
        row.write(folder / "repos" / name)
    good_repo(folder / "repos", name="pinned", files={"rust-toolchain.toml": '[toolchain]\nchannel = "1.70.0"\n'})
    good_repo(folder / "repos", name="stabilised", files={"Cargo.toml": f"{STABILISED}{manifest('stabilised')}"})
    good_repo(folder / "repos", name="größe")
    good_repo(folder / "repos", name="odd").rename(folder / "repos" / os.fsdecode(b"odd-\xff"))
    return workspaces(program, folder / "repos", "--offline", out=folder / "analysis.json")


STABILISED = 'cargo-features = ["edition2021"]\n'


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_resolved_is_a_row_that_says_why_and_what_to_do(name: str, broken: Mapping[str, Any]) -> None:
    row = broken[f"repos/{name}"]
    assert row["status"] == "skipped"
    assert row["registry_units"] == 0
    assert row["reason"].startswith(BROKEN[name].reason)
    assert BROKEN[name].advice in row["reason"].rpartition("; ")[2]
    assert len(row["reason"]) < 200, "one or two short sentences"
    assert not any(noise in row["reason"] for noise in (" | ", "Caused by", "factory-skeleton", ".; "))


def test_a_path_that_is_not_utf8_is_a_row(broken: Mapping[str, Any]) -> None:
    row = next(row for path, row in broken.items() if path.startswith("repos/odd-"))
    assert row["status"] == "skipped"
    assert row["reason"].startswith("not-utf8-path: ")
    assert "rename it" in row["reason"]


def test_a_toolchain_pin_is_told_and_does_not_skip(broken: Mapping[str, Any]) -> None:
    row = broken["repos/pinned"]
    assert (row["status"], row["toolchain_pin"]) == ("resolved", "1.70.0")
    assert row["reason"].startswith("rust-toolchain pins 1.70.0: ")
    assert find_toolchain().version in row["reason"]


def test_a_cargo_feature_that_has_become_stable_does_not_skip(broken: Mapping[str, Any]) -> None:
    assert broken["repos/stabilised"]["status"] == "resolved"


def test_a_package_may_have_any_name_that_cargo_takes(broken: Mapping[str, Any]) -> None:
    assert broken["repos/größe"]["status"] == "resolved"


def test_an_unreachable_git_dependency_is_a_row_online_too(program: Program, tmp_path: Path) -> None:
    BROKEN["git-gone"].write(tmp_path / "repos" / "git-gone")
    quick = program.under({"CARGO_NET_RETRY": "0"})
    found = workspaces(quick, tmp_path / "repos", out=tmp_path / "a.json", code=NOTHING_RESOLVED)
    (row,) = found.values()
    assert row["reason"].startswith("git-dependency-unreachable: ")
    assert "file:///nowhere/gone.git" in row["reason"]


def test_what_must_not_be_read_is_a_row(program: Program, tmp_path: Path) -> None:
    for name in ("closed-file", "closed-folder", "open"):
        good_repo(tmp_path / "repos", name=name)
    (tmp_path / "repos/closed-file/Cargo.toml").chmod(0)
    (tmp_path / "repos/closed-folder").chmod(0)
    try:
        rows = workspaces(program, tmp_path / "repos", out=tmp_path / "a.json", before=without_privileges())
    finally:
        (tmp_path / "repos/closed-folder").chmod(0o700)
    assert rows["repos/open"]["status"] == "resolved"
    for name in ("closed-file", "closed-folder"):
        assert rows[f"repos/{name}"]["status"] == "skipped"
        assert rows[f"repos/{name}"]["reason"].startswith("permission-denied: ")
        assert "let the user who runs this read it" in rows[f"repos/{name}"]["reason"]


def test_a_workspace_of_300_members_is_analysed_in_no_time(program: Program, tmp_path: Path) -> None:
    names = [f"member-{number:03}" for number in range(MEMBERS)]
    files = {"Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["crates/*"]\n', "Cargo.lock": chained_lock(names)}
    for name, below in zip(names, ["", *names], strict=False):
        dependency = f'[dependencies]\n{below} = {{ path = "../{below}" }}\n' if below else ""
        files |= {f"crates/{name}/Cargo.toml": manifest(name, dependency), f"crates/{name}/src/lib.rs": ""}
    write_files(tmp_path / "big", files)

    started = time.monotonic()
    rows = workspaces(program, tmp_path / "big", out=tmp_path / "a.json")

    assert rows["big"]["status"] == "resolved", rows["big"]["reason"]
    assert list(rows) == ["big"]
    assert time.monotonic() - started < MOST_SECONDS_FOR_MEMBERS


FLAGS = ("-Cdebuginfo=1", "--cfg", "tokio_unstable")
CONFIGURED = {
    "build-rustflags": f"[build]\nrustflags = {list(FLAGS)}\n",
    "triple-rustflags": f"[target.{HOST}]\nrustflags = {list(FLAGS)}\n",
    "cfg-rustflags": f"[target.'cfg(unix)']\nrustflags = {list(FLAGS)}\n",
    "profile": "[profile.release]\nopt-level = 2\n",
    "build-target": f'[build]\ntarget = "{HOST}"\n',
    "host-tuple": f'[build]\ntarget = "host-tuple"\nrustflags = {list(FLAGS)}\n',
    "host-by-name": f'[build]\ntarget = "{HOST}"\nrustflags = {list(FLAGS)}\n',
    "included-rustflags": 'include = ["flags.toml"]\n',
    "flags-under-flags": f'[target.{HOST}]\nrustflags = ["-Ctarget-feature=+avx2"]\n'
    '[target.\'cfg(target_feature = "avx2")\']\nrustflags = ["--cfg=fast"]\n',
    "linker": f'[target.{HOST}]\nlinker = "clang"\n',
    "cfg-linker": "[target.'cfg(unix)']\nlinker = \"clang\"\n",
}
WASM = "wasm32-unknown-unknown"
WITHOUT_EFFECT = {
    "plain": "",
    "other-platform": f"[target.'cfg(windows)']\nrustflags = {list(FLAGS)}\n",
    "other-profile": "[profile.dev]\nopt-level = 2\n",
    "alias": '[alias]\nb = "build"\n',
    "variable": '[env]\nRUST_LOG = "info"\nCFLAGS = "-O2"\n',
}
ALIKE = (
    ("build-rustflags", "triple-rustflags", "cfg-rustflags", "included-rustflags"),
    ("linker", "cfg-linker"),
    ("host-tuple", "host-by-name"),
)


@pytest.fixture(scope="module")
def configured(program: Program, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401
    """Analyse copies of one package that differ in their cargo configuration alone."""
    folder = tmp_path_factory.mktemp("configured")
    for name, text in {**CONFIGURED, **WITHOUT_EFFECT}.items():
        flags = f"[build]\nrustflags = {list(FLAGS)}\n"
        package_with_itoa(folder / "repos" / name, samples, {".cargo/config.toml": text, ".cargo/flags.toml": flags})
    return program.json("analyze", folder / "repos", "--out", folder / "analysis.json")


@pytest.mark.parametrize("name", CONFIGURED)
def test_a_setting_that_cargo_hashes_gives_other_keys(name: str, configured: Mapping[str, Any]) -> None:
    keys = keys_by_name(configured)
    assert keys[name]
    alike = next((set(names) for names in ALIKE if name in names), {name})
    for other, theirs in keys.items():
        if other in alike:
            assert keys[name] == theirs, other
        else:
            assert not keys[name] & theirs, other


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_a_setting_that_does_not_apply_changes_no_key(name: str, configured: Mapping[str, Any]) -> None:
    keys = keys_by_name(configured)
    assert keys[name]
    assert keys[name] == keys["plain"]


def test_settings_are_recorded_where_a_reader_sees_them(configured: Mapping[str, Any]) -> None:
    rows = {row["path"].rpartition("/")[2]: row for row in configured["workspaces"]}
    units = configured["units"]
    assert rows["cfg-rustflags"]["variants"]["release"]["rustflags"] == list(FLAGS)
    assert {units[key]["linker"] for key in rows["linker"]["variants"]["release"]["keys"]} == {"clang"}
    assert {units[key]["platform"] for key in rows["build-target"]["variants"]["release"]["keys"]} == {HOST}
    under_flags = rows["flags-under-flags"]["variants"]["release"]["rustflags"]
    assert under_flags == ["-Ctarget-feature=+avx2", "--cfg=fast"]
    assert rows["variable"]["doubts"] == [
        "forecasts may be too good: `env.CFLAGS` (repos/variable/.cargo/config.toml:3) is set for build scripts and "
        "compilers: what asks for it is compiled anew"
    ]
    assert rows["alias"]["ignored"] == ["repos/alias/.cargo/config.toml:2: alias.b: a command of its own"]


@pytest.mark.parametrize(
    ("config", "counts"),
    [
        (f"[target.{HOST}]\nrustflags = ['--cfg=marked']\n", {"release": 1, f"release@{WASM}": 0}),
        (f"[target.{WASM}]\nrustflags = ['--cfg', 'marked']\n", {"release": 0, f"release@{WASM}": 1}),
        ("[build]\nrustflags = ['--cfg=said=\"a b\"', '--cfg=marked']\n", {"release": 1, f"release@{WASM}": 1}),
        # With a target of its own, `release` is for that as well.
        (
            f"[build]\ntarget = '{WASM}'\n[target.{WASM}]\nrustflags = ['--cfg=marked']\n",
            {"release": 1, f"release@{WASM}": 1},
        ),
    ],
)
def test_flags_of_a_platform_bring_no_dependencies_into_the_graph_of_another(
    program: Program, samples: Path, tmp_path: Path, config: str, counts: Mapping[str, int]
) -> None:
    conditional = manifest("package", "[target.'cfg(marked)'.dependencies]\nitoa = \"1\"\n")
    package_with_itoa(tmp_path / "repo", samples, {".cargo/config.toml": config, "Cargo.toml": conditional})
    both = program.under({"FACTORY_COOK_VARIANTS": ",".join(counts)})
    (row,) = both.json("analyze", tmp_path / "repo", "--out", tmp_path / "a.json")["workspaces"]
    assert {name: len(use["keys"]) for name, use in row["variants"].items()} == counts


def test_the_users_own_settings_change_nothing(program: Program, samples: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    wrapper = script(tmp_path / "wrapper", f"echo called > '{canary}'; exit 1")
    disturbing = {
        "RUSTFLAGS": "-Copt-level=1",
        "RUSTC_WRAPPER": str(wrapper),
        "CARGO_BUILD_RUSTC": str(wrapper),
        "CARGO_BUILD_TARGET": "wasm32-unknown-unknown",
        "CARGO_PROFILE_RELEASE_LTO": "true",
        "CARGO_ENCODED_RUSTFLAGS": "-Cpanic=abort",
    }
    out = tmp_path / "one.json", tmp_path / "other.json"
    for path, variables in zip(out, ({}, disturbing), strict=True):
        own_cache = {"FACTORY_CACHE_DIR": str(tmp_path / f"cache-{path.stem}")}
        program.under({**own_cache, **variables})("analyze", samples, "--out", path)
    assert out[0].read_bytes() == out[1].read_bytes()
    assert not canary.exists()


def test_a_second_run_resolves_what_has_changed_and_nothing_else(
    program: Program, samples: Path, tmp_path: Path
) -> None:
    repos = shutil.copytree(samples, tmp_path / "repos")
    calls = tmp_path / "calls"
    script(tmp_path / "bin" / "cargo", f"echo \"$@\" >> '{calls}'\nexec '{process.which('cargo', advice='')}' \"$@\"")
    counted = {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "FACTORY_CACHE_DIR": str(tmp_path / "cache"),
    }

    def run(name: str) -> tuple[bytes, int]:
        calls.write_text("")
        program.under(counted)("analyze", repos, "--out", tmp_path / name)
        return (tmp_path / name).read_bytes(), len(calls.read_text().splitlines())

    first, resolved = run("first.json")
    assert resolved == len(list(samples.iterdir()))
    assert run("second.json") == (first, 0)

    changed = repos / "ledger-db" / "Cargo.lock"
    changed.write_bytes(changed.read_bytes()[:-1])
    assert run("third.json") == (first, 1)


def test_the_answer_is_the_same_bytes_from_anywhere_and_in_any_order(
    program: Program, samples: Path, tmp_path: Path
) -> None:
    """Two copies with one content come out with their own paths, whichever of them is resolved first."""
    for folder in ("one", "two"):
        alias = {".cargo/config.toml": WITHOUT_EFFECT["alias"]}
        package_with_itoa(tmp_path / folder / "service", samples, alias)
    shutil.copytree(samples, tmp_path / "samples")
    absolute = [str(tmp_path / "one/service"), str(tmp_path / "samples"), str(tmp_path / "two/service")]
    runs = [
        (absolute, program.folder, "cache-1"),
        (absolute, program.folder, "cache-1"),
        (absolute[::-1], program.folder, "cache-2"),
        (["service", "../samples", "../two/service"], tmp_path / "one", "cache-3"),
        (["../two/service", "service", "../samples"], tmp_path / "one", "cache-1"),
    ]
    answers = []
    for number, (paths, cwd, cache) in enumerate(runs):
        out = tmp_path / f"{number}.json"
        program.under({"FACTORY_CACHE_DIR": str(tmp_path / cache)})("analyze", *paths, "--out", out, cwd=cwd)
        answers.append(out.read_bytes())
    assert len(set(answers)) == 1
    rows = {row["path"]: row["ignored"] for row in json.loads(answers[0])["workspaces"] if row["ignored"]}
    assert sorted(rows) == ["one/service", "two/service"]
    assert all(setting.startswith(f"{path}/.cargo/") for path, (setting,) in rows.items())


def test_what_was_missing_offline_is_looked_for_again_online(program: Program, samples: Path, tmp_path: Path) -> None:
    package_with_itoa(tmp_path / "repo", samples)
    online = program.under({"FACTORY_CACHE_DIR": str(tmp_path / "cache")})
    empty = {"CARGO_HOME": str(tmp_path / "cargo-home"), "RUSTUP_HOME": rustup_home()}
    offline = online.under(empty)
    found = workspaces(offline, tmp_path / "repo", "--offline", out=tmp_path / "a.json", code=NOTHING_RESOLVED)
    (row,) = found.values()
    assert row["status"] == "skipped"
    assert row["reason"].startswith(("package-missing: ", "network: "))
    (row,) = workspaces(online, tmp_path / "repo", out=tmp_path / "a.json").values()
    assert (row["status"], row["registry_units"]) == ("resolved", 1)


def test_a_build_script_above_its_package_is_no_trouble(program: Program, tmp_path: Path) -> None:
    files = {
        "Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["inner"]\n',
        "Cargo.lock": lock("inner"),
        "inner/Cargo.toml": manifest("inner", 'build = "../build.rs"\nlinks = "inner"\n'),
        "inner/src/lib.rs": "",
        "build.rs": "fn main() {}\n",
    }
    write_files(tmp_path / "virtual", files)
    (row,) = workspaces(program, tmp_path / "virtual", out=tmp_path / "a.json").values()
    assert (row["status"], row["reason"]) == ("resolved", "")


def test_a_cargo_of_another_format_is_a_row_and_is_asked_again(program: Program, tmp_path: Path) -> None:
    good_repo(tmp_path / "repos")
    answer = """case "$*" in *--unit-graph*) echo '{"version": 2, "units": [], "roots": []}'; exit ;; esac"""
    script(tmp_path / "bin" / "cargo", f"{answer}\nexec '{process.which('cargo', advice='')}' \"$@\"")
    cached = program.under({"FACTORY_CACHE_DIR": str(tmp_path / "cache")})
    other = cached.under({"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"})
    (row,) = workspaces(other, tmp_path / "repos", out=tmp_path / "a.json", code=NOTHING_RESOLVED).values()
    assert row["reason"].startswith("environment-fault: cargo's unit graph is not in the known format")
    (row,) = workspaces(cached, tmp_path / "repos", out=tmp_path / "a.json").values()
    assert row["status"] == "resolved"


def test_two_cold_runs_give_the_same_bytes_above_a_patched_path_crate(
    program: Program, samples: Path, tmp_path: Path
) -> None:
    package_with_a_patch(tmp_path / "repo", samples)
    answers = []
    for name in ("one", "other"):
        cold = program.under({"FACTORY_CACHE_DIR": str(tmp_path / f"cache-{name}")})
        cold("analyze", tmp_path / "repo", "--out", tmp_path / name)
        answers.append((tmp_path / name).read_text(encoding="utf-8"))
    assert answers[0] == answers[1]
    document = json.loads(answers[0])
    assert document["workspaces"][0]["registry_units"] > 0
    assert ["unicode-ident", "path+patched"] in [[u["package"][0], u["package"][2]] for u in document["units"].values()]


def test_a_token_of_the_user_goes_to_no_server_of_a_repositorys_choice(program: Program, tmp_path: Path) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Authorization')}")
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Cargo")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    index = f"sparse+http://127.0.0.1:{server.server_port}/"
    config = f'[registries.company]\nindex = "{index}"\n[registries.crates-io]\nindex = "{index}"\n'
    dependency = 'tool = { version = "1", registry = "company" }'
    Broken(
        reason="",
        advice="",
        dependencies=dependency,
        locked=("tool", "1.0.0", index),
        files={".cargo/config.toml": config},
    ).write(tmp_path / "repo")
    write_files(tmp_path / "home", {"credentials.toml": '[registries.company]\ntoken = "not-a-real-token"\n'})
    user = program.under({"CARGO_HOME": str(tmp_path / "home"), "RUSTUP_HOME": rustup_home(), "CARGO_NET_RETRY": "0"})
    try:
        rows = workspaces(user, tmp_path / "repo", out=tmp_path / "a.json", code=NOTHING_RESOLVED)
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []
    assert rows["repo"]["reason"].startswith("registry-unknown: ")
    assert [setting.split(": ")[:2] for setting in rows["repo"]["ignored"]] == [
        ["repo/.cargo/config.toml:2", "registries.company.index"],
        ["repo/.cargo/config.toml:4", "registries.crates-io.index"],
    ]


def test_a_replaced_build_script_is_a_remark_with_its_place(program: Program, tmp_path: Path) -> None:
    """The crate is in a directory source of the user's, named by a relative path."""
    checksum = "0" * 64
    native = "links = 'native'\nbuild = 'build.rs'\n"
    files = {"Cargo.toml": manifest("native-sys", native), "build.rs": "fn main() {}\n", "src/lib.rs": ""}
    checked = {".cargo-checksum.json": json.dumps({"files": {}, "package": checksum})}
    write_files(tmp_path / "me/vendor/native-sys", {**files, **checked})
    source = '[source.crates-io]\nreplace-with = "mine"\n[source.mine]\ndirectory = "vendor"\n'
    write_files(tmp_path / "me/.cargo", {"config.toml": source})
    override = f"[target.{HOST}.native]\nrustc-link-lib = ['native']\n"
    unrelated = f"[target.{HOST}.other]\nrustc-link-lib = ['other']\n[target.made-up.native]\nx = 'y'\n"
    locked = ("native-sys", "0.1.0", CRATES_IO)
    for name, text in {"replaced": override, "not-replaced": unrelated}.items():
        package = Broken(
            reason="",
            advice="",
            dependencies='native-sys = "0.1"',
            locked=locked,
            files={".cargo/config.toml": f"\n{text}"},
        )
        package.write(tmp_path / "repos" / name)
        with (tmp_path / "repos" / name / "Cargo.lock").open("a", encoding="utf-8") as stream:
            stream.write(f'checksum = "{checksum}"\n')
    user = program.under({"CARGO_HOME": str(tmp_path / "me/.cargo"), "RUSTUP_HOME": rustup_home()})
    for _ in ("resolved", "from the cache"):
        rows = workspaces(user, tmp_path / "repos", out=tmp_path / "a.json")
        assert {row["status"] for row in rows.values()} == {"resolved"}, rows
        assert rows["repos/not-replaced"]["doubts"] == []
        assert rows["repos/replaced"]["doubts"] == [
            f"forecasts may be too good: `target.{HOST}.native` (repos/replaced/.cargo/config.toml:2) replaces a build "
            "script, and what stands on it is compiled anew"
        ]


def test_a_git_url_is_analysed_like_a_folder(program: Program, samples: Path, tmp_path: Path) -> None:
    work = shutil.copytree(samples / "greeter-cli", tmp_path / "greeter-cli")
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    process.run(["git", "init", "--quiet", work])
    process.run(["git", "-C", work, "add", "."])
    process.run(["git", "-C", work, *author, "commit", "--quiet", "--message", "All of it"])
    bare = tmp_path / "greeter-cli.git"
    process.run(["git", "clone", "--quiet", "--bare", work, bare])

    cloned = program.json("analyze", f"file://{bare}", "--out", tmp_path / "cloned.json")
    local = program.json("analyze", work, "--out", tmp_path / "local.json")

    assert local["workspaces"][0]["registry_units"] > 20
    assert cloned == local


def test_a_git_url_that_cannot_be_reached_is_a_row_without_its_password(
    program: Program, samples: Path, tmp_path: Path
) -> None:
    urls = [f"file://{tmp_path}/nowhere.git#main", "http://user:not-a-secret@127.0.0.1:9/team/repo.git"]
    program("analyze", samples, *urls, "--out", tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    rows = {row["path"]: row for row in json.loads(text)["workspaces"]}
    assert [row["status"] for path, row in rows.items() if path.startswith("samples/")] == ["resolved"] * 3
    for url in (urls[0], "http://127.0.0.1:9/team/repo.git"):
        assert rows[url]["status"] == "skipped"
        assert rows[url]["reason"].startswith("source-unreachable: ")
        assert "Check the URL" in rows[url]["reason"]
    assert "not-a-secret" not in text


def workspaces(
    program: Program, folder: Path, *words: str, out: Path, code: int = 0, before: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Analyse `folder` and return the rows of the analysis by their paths; it is written unless it has nothing."""
    earlier = out.read_bytes() if out.exists() else None
    done = program("analyze", folder, *words, "--out", out, "--json", code=code, before=before)
    if code == NOTHING_RESOLVED:
        assert (out.read_bytes() if out.exists() else None) == earlier
    else:
        assert out.read_text(encoding="utf-8") == done.stdout
    return {row["path"]: row for row in json.loads(done.stdout)["workspaces"]}


def keys_by_name(analysis: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Return the keys of every repository by the name of its folder."""
    return {
        row["path"].rpartition("/")[2]: frozenset(row["variants"]["release"]["keys"]) for row in analysis["workspaces"]
    }


def package_with_itoa(root: Path, samples: Path, files: Mapping[str, str] | None = None) -> Path:
    """Write a package that depends on one crate, which has no build script and depends on nothing."""
    known = parse_lock((samples / "greeter-cli" / "Cargo.lock").read_text(encoding="utf-8")).packages
    itoa = next(entry for entry in known if entry.package.name == "itoa")
    own = '[[package]]\nname = "package"\nversion = "0.1.0"\ndependencies = ["itoa"]\n'
    return write_files(
        root,
        {
            "Cargo.toml": manifest("package", '[dependencies]\nitoa = "1"\n'),
            "Cargo.lock": f"{render_lock([itoa])}\n{own}",
            "src/lib.rs": "",
            **(files or {}),
        },
    )


def package_with_a_patch(root: Path, samples: Path) -> Path:
    """Write a package on a registry crate that stands on a path crate, by `[patch]`."""
    known = parse_lock((samples / "greeter-cli" / "Cargo.lock").read_text(encoding="utf-8")).packages
    macros = next(entry for entry in known if entry.package.name == "proc-macro2")
    ident = next(entry.package for entry in known if entry.package.name == "unicode-ident")
    own = '[[package]]\nname = "package"\nversion = "0.1.0"\ndependencies = ["proc-macro2"]\n'
    above = render_lock([macros]).rstrip() + '\ndependencies = ["unicode-ident"]\n'
    patched = f'[[package]]\nname = "unicode-ident"\nversion = "{ident.version}"\n'
    patch = '[dependencies]\nproc-macro2 = "1"\n[patch.crates-io]\nunicode-ident = { path = "patched" }\n'
    return write_files(
        root,
        {
            "Cargo.toml": manifest("package", patch),
            "Cargo.lock": f"{above}\n{own}\n{patched}",
            "src/lib.rs": "",
            "patched/Cargo.toml": manifest("unicode-ident").replace("0.1.0", ident.version),
            "patched/src/lib.rs": "",
        },
    )


def chained_lock(names: list[str]) -> str:
    """Return a lock in which every package depends on the one before."""
    text = "version = 4\n"
    for name, below in zip(names, ["", *names], strict=False):
        text += f'\n[[package]]\nname = "{name}"\nversion = "0.1.0"\n'
        text += f'dependencies = ["{below}"]\n' if below else ""
    return text


def script(path: Path, lines: str) -> Path:
    """Write an executable shell script."""
    write_files(path.parent, {path.name: f"#!/bin/sh\n{lines}\n"})
    path.chmod(0o755)
    return path


def rustup_home() -> str:
    """Return where rustup keeps its toolchains, which moves with neither HOME nor CARGO_HOME then."""
    return os.environ.get("RUSTUP_HOME") or str(Path.home() / ".rustup")


def without_privileges() -> tuple[str, ...]:
    """Return the words that start a program for which modes count: for root, those that take its privileges away."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root can read everything, and setpriv (util-linux) is not here")
    less = "-dac_override,-dac_read_search"
    return "setpriv", f"--inh-caps={less}", f"--bounding-set={less}"
