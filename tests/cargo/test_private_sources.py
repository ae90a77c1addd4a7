"""The local line on a private registry, private git and a mirror of crates.io: with the real cargo, on loopback."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from factory import process
from factory.cargo.fetching import CRATES_IO_FOLDER
from factory.cargo.toolchain import find_toolchain
from factory.files import write_text
from tests.cargo.cooked import Cooked, cook
from tests.docker.crates import CrateRegistry
from tests.hostile import manifest, write_files
from tests.private_sources import SECRETS, WITNESS, PrivateSources, private_sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from factory.process import Completed
    from tests.cargo.conftest import Program

pytestmark = pytest.mark.cargo


@dataclass(frozen=True, kw_only=True)
class Line:
    """The private sources, the program that knows them, and what it cooked."""

    sources: PrivateSources
    program: Program
    cooked: Cooked
    folder: Path

    def contents(self) -> dict[str, str]:
        """Return the source of each cooked crate."""
        found = json.loads((self.cooked.folder / "share" / "core" / "contents.json").read_text(encoding="utf-8"))
        return {unit["crate"]: unit["source"] for unit in found["units"]}

    def build(self, repo: Path, target: Path) -> Completed:
        """Build on a copy of the units, as a consumer who has no token, no mirror and no network."""
        shutil.copytree(self.cooked.folder / "build", target / "build", symlinks=True)
        words = ["build", "--release", "--locked", "--offline", "-v", "--target-dir", str(target)]
        words += ["--config", f"build.build-dir={json.dumps(str(target / 'build'))}"]
        home = self.cooked.folder / "cargo-home"
        try:
            return find_toolchain().cargo(words, cwd=repo, cargo_home=home)
        finally:
            shutil.rmtree(home / "registry" / "src")


@pytest.fixture(scope="module")
def line(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("private")
    with private_sources(folder / "sources") as sources:
        write_text(folder / "registry-config.yaml", sources.configuration())
        knowing = program.under(
            {
                **sources.variables,
                "FACTORY_CONFIG": str(folder / "registry-config.yaml"),
                "FACTORY_CACHE_DIR": str(folder / "cache"),
            }
        )
        cooked = cook(knowing, sources.repos, folder)
        yield Line(sources=sources, program=knowing, cooked=cooked, folder=folder)


def test_units_of_all_three_sources_are_cooked(line: Line) -> None:
    cooked = line.contents()
    # Of the crate whose build script fails, the script itself is there.
    assert sorted(cooked) == ["git-part", "git-tool", "inner-caller", "inner-leaf", "inner-witness", "open-leaf"]
    assert cooked["inner-leaf"] == line.sources.registry.index
    assert cooked["git-tool"] == f"git+{line.sources.git.url}/tools?branch=main"


def test_a_consumer_without_token_mirror_and_network_finds_everything_fresh(line: Line, tmp_path: Path) -> None:
    built = line.build(line.sources.repos / "app", tmp_path)
    assert built.ok, built.stderr
    warm = ("git-part", "git-tool", "inner-leaf", "inner-witness", "open-leaf")
    assert {crate: what for crate, what in _said(built).items() if crate in warm} == dict.fromkeys(warm, "Fresh")
    assert process.run([tmp_path / "release" / "app"]).stdout == "15\n"


def test_verify_counts_registry_units_and_tells_those_of_git(line: Line) -> None:
    proof = line.program.json("verify", line.cooked.folder, "--repo", line.sources.repos / "app", "--min-hit", "1")
    (row,) = proof["repos"]
    assert row["units"] == {"total": 5, "fresh": 5}
    assert row["git_units"] == {"total": 4, "fresh": 4}
    assert [check for check in proof["checks"] if not check["ok"]] == []


COLD = "[dependencies]\ninner-window = { version = '1', registry = 'company' }\nopen-tester = '1'\n"
"""Dependencies of which no unit is warm."""


def cold_repo(line: Line, folder: Path, configuration: str = "") -> Path:
    """Make a repository of two crates, private and public, that are not cooked."""
    locked = (line.sources.repos / "app" / "Cargo.lock").read_text(encoding="utf-8")
    head, *packages = locked.split("\n[[package]]\n")
    wanted = [text for text in packages if 'name = "inner-window"' in text or 'name = "open-tester"' in text]
    own = 'name = "cold"\nversion = "0.1.0"\ndependencies = [\n "inner-window",\n "open-tester",\n]\n'
    company = (line.sources.repos / "app" / ".cargo" / "config.toml").read_text(encoding="utf-8")
    files = {
        ".git/HEAD": "",
        ".cargo/config.toml": company + configuration,
        "Cargo.toml": manifest("cold", COLD),
        "Cargo.lock": "\n[[package]]\n".join([head, own, *wanted]),
        "src/main.rs": "fn main() {}\n",
    }
    return write_files(folder / "cold", files)


def test_what_verify_compiles_is_fetched_with_the_token_and_built_without(line: Line, tmp_path: Path) -> None:
    before = sorted((line.cooked.folder / "cargo-home").rglob("*"))
    proof = line.program.json("verify", line.cooked.folder, "--repo", cold_repo(line, tmp_path))
    (row,) = proof["repos"]
    assert (row["units"], row["problem"]) == ({"total": 2, "fresh": 0}, "")
    assert sorted((line.cooked.folder / "cargo-home").rglob("*")) == before


def test_verify_without_the_token_builds_what_is_warm_and_says_what_it_could_not_fetch(
    line: Line, tmp_path: Path
) -> None:
    nobody = line.program.under({"COMPANY_TOKEN": "", "GIT_TOKEN": ""})
    repos = ("--repo", line.sources.repos / "app", "--repo", cold_repo(line, tmp_path))
    proof = nobody.json("verify", line.cooked.folder, *repos, code=1)
    problems = {row["path"].rpartition("/")[2]: row["problem"] for row in proof["repos"]}
    assert problems["app"] == ""
    assert "inner-window" in problems["cold"]
    assert "offline" not in problems["cold"]


def test_verify_downloads_from_where_the_repository_itself_says(line: Line, tmp_path: Path) -> None:
    """A mirror in its own configuration has a folder of its own in CARGO_HOME."""
    repo = cold_repo(line, tmp_path, line.sources.mirror.cargo_config)
    text = (repo / "Cargo.toml").read_text(encoding="utf-8")
    write_text(repo / "Cargo.toml", "".join(row for row in text.splitlines(True) if "inner-window" not in row))
    locked = (repo / "Cargo.lock").read_text(encoding="utf-8").replace(' "inner-window",\n', "")
    rows = [text for text in locked.split("\n[[package]]\n") if 'name = "inner-window"' not in text]
    write_text(repo / "Cargo.lock", "\n[[package]]\n".join(rows))
    (row,) = line.program.json("verify", line.cooked.folder, "--repo", repo)["repos"]
    assert (row["units"], row["problem"]) == ({"total": 1, "fresh": 0}, "")


def test_a_build_of_verify_finds_no_network(line: Line) -> None:
    words = ("verify", line.cooked.folder, "--repo", line.sources.repos / "stranded")
    (row,) = line.program.json(*words, code=1)["repos"]
    assert "no network" in row["problem"]


def test_another_commit_of_the_same_branch_is_compiled_and_not_mixed_up(line: Line, tmp_path: Path) -> None:
    """Cargo names the files of all commits of a branch alike: it has to see that these are not the ones."""
    repo = tmp_path / "app"
    shutil.copytree(line.sources.repos / "app", repo)
    lock = (repo / "Cargo.lock").read_text(encoding="utf-8")
    older = re.sub(r"#[0-9a-f]{40}", f"#{line.sources.first_commit}", lock)
    assert older != lock
    write_text(repo / "Cargo.lock", older)
    built = line.build(repo, tmp_path / "target")
    assert built.ok, built.stderr
    said = _said(built)
    assert (said["git-tool"], said["git-part"], said["inner-witness"]) == ("Compiling", "Compiling", "Fresh")
    assert process.run([tmp_path / "target" / "release" / "app"]).stdout == "14\n"


def test_a_build_script_finds_no_network_and_is_dropped_with_what_stands_on_it(line: Line) -> None:
    (core,) = (layer for layer in line.cooked.report["layers"] if layer["layer"] == "core")
    dropped = {row["unit"]: row["reason"] for row in core["dropped"]}
    assert sorted(dropped) == [
        "inner-above@1.0.0 (lib)",
        "inner-caller@1.0.0 (build script run)",
        "inner-caller@1.0.0 (lib)",
    ]
    assert "no network" in dropped["inner-caller@1.0.0 (build script run)"]
    assert dropped["inner-above@1.0.0 (lib)"] == "stands on what could not be compiled: inner-caller"


def test_a_build_script_sees_no_token(line: Line) -> None:
    (witness,) = (line.cooked.folder / "build").rglob(WITNESS)
    seen = witness.read_text(encoding="utf-8")
    assert f"uid {os.geteuid()}\n" in seen
    assert "env CARGO_PKG_NAME=inner-witness\n" in seen
    assert "_TOKEN=" not in seen
    assert "factory-fetch-" not in seen


def test_no_token_is_written_anywhere(line: Line) -> None:
    """Not into the directory, its downloads or its reports, nor into the analysis, the plan or the cache."""
    texts = {path: path.read_bytes() for path in line.folder.rglob("*") if path.is_file() and not path.is_symlink()}
    assert line.folder / "plan.json" in texts
    assert any("cache" in path.relative_to(line.folder).parts for path in texts)
    assert [path for path, text in texts.items() if any(secret.encode() in text for secret in SECRETS)] == []


def test_nothing_of_the_mirror_is_left(line: Line) -> None:
    for kind in ("index", "cache"):
        folders = {path.name for path in (line.cooked.folder / "cargo-home" / "registry" / kind).iterdir()}
        assert CRATES_IO_FOLDER in folders
        assert len(folders) == 2, folders
    assert "source" not in (line.cooked.folder / "cargo-home" / "config.toml").read_text(encoding="utf-8")


def test_a_forecast_reaches_the_sources_as_the_plan_did(line: Line) -> None:
    home = {path: path.read_bytes() for path in (line.folder / "cache").glob("cargo-home*/config.toml")}
    plan = ("--plan", line.folder / "plan.json")
    found = line.program.json("check", line.sources.repos / "app", *plan)
    assert found["units"] == {"total": 5, "hit": 5}
    stranded = line.program.json("check", line.sources.repos / "stranded", "--dir", line.cooked.folder)
    # The build script of inner-caller wants the network, and inner-above stands on it.
    assert {(miss["cause"], miss["crate"]) for miss in stranded["misses"]} == {("not-cooked", "")}
    assert line.program.json("align", line.sources.repos / "app", *plan, "--check")["aligned"]
    (row,) = line.program.json("recommend", line.sources.repos / "app", *plan)["repos"]
    assert row["units"]["total"] == 5
    # Nobody who resolves with the same settings at the same time loses them.
    assert home
    assert {path: path.read_bytes() for path in home} == home


def test_a_token_that_is_missing_is_told_before_anything_is_cooked(line: Line, tmp_path: Path) -> None:
    without = line.program.under({"COMPANY_TOKEN": "", "GIT_TOKEN": "two\nlines"})
    plan = line.folder / "plan.json"
    failed = without("build", "--backend", "local", "--plan", plan, "--output", tmp_path / "warm", code=2)
    assert "registries: company: the variable COMPANY_TOKEN is not set" in failed.stderr
    assert "the variable GIT_TOKEN holds more than one line" in failed.stderr
    assert "two" not in failed.stderr
    assert not (tmp_path / "warm" / "build").exists()


def test_without_access_the_row_says_what_to_configure(line: Line, tmp_path: Path) -> None:
    write_text(tmp_path / "registry-config.yaml", line.sources.configuration(access=False))
    stranger = line.program.under(
        {
            "FACTORY_CONFIG": str(tmp_path / "registry-config.yaml"),
            "FACTORY_CACHE_DIR": str(tmp_path / "cache"),
            "CARGO_HOME": str(tmp_path / "nothing-downloaded"),
        }
    )
    analysis = stranger.json("analyze", line.sources.repos, "--out", tmp_path / "analysis.json", code=1)
    reasons = {row["path"]: row["reason"] for row in analysis["workspaces"]}
    assert reasons == {
        "repos/app": f"git-dependency-unreachable: {line.sources.git.url}/tools?branch=main cannot be fetched; "
        "check the URL, and name its host and where its token is under `git` in registry-config.yaml",
        "repos/stranded": "login-needed: `inner-above` comes from a registry that wants a token; "
        "name the registry and where its token is under `registries` in registry-config.yaml",
    }


def test_a_repository_cannot_have_a_token_sent_elsewhere(line: Line, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with CrateRegistry(tmp_path / "served") as thief:
        repo = tmp_path / "repos" / "thief"
        shutil.copytree(line.sources.repos / "stranded", repo)
        write_text(repo / ".cargo" / "config.toml", f'[registries.company]\nindex = "{thief.index}"\n')
        analysis = line.program.json("analyze", tmp_path / "repos", "--out", tmp_path / "analysis.json")
        assert thief.asked == []
    (row,) = analysis["workspaces"]
    assert row["status"] == "resolved"
    assert any("registries.company.index" in setting for setting in row["ignored"])


def _said(built: Completed) -> dict[str, str]:
    """Return what cargo said of each crate: `Fresh` or `Compiling`."""
    found = re.findall(r"^ +(Fresh|Compiling) (\S+) v", built.stderr, re.MULTILINE)
    return {crate: what for what, crate in found}
