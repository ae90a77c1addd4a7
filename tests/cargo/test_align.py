"""`factory align` against the real cargo: what it writes resolves, builds, is warm as forecast, and stays as it is."""

from __future__ import annotations

import json
import shutil
from codecs import BOM_UTF8
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.cargo.home import user_cargo_home
from factory.cargo.index_cache import CrateIndex
from factory.cargo.toolchain import find_toolchain
from tests.cargo.scenario import Workspace
from tests.hostile import write_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cargo.conftest import Program

pytestmark = pytest.mark.cargo

BASE = Workspace(
    name="base",
    dependencies=('serde = { version = "1", features = ["std", "rc"] }', 'itoa = "1"'),
    build_dependencies=('cfg-if = "1"',),
    versions={"itoa": "1.0.18", "cfg-if": "1.0.4"},
)
BEHIND = replace(
    BASE,
    name="behind",
    dependencies=('serde = { version = "1", features = ["std"] }  # kept as it is', 'itoa = "1"'),
    versions={"itoa": "1.0.17", "cfg-if": "1.0.3"},
)
"""Differs from the baseline in two versions, one of them on the host side, and in one feature."""

HELD = replace(BEHIND, name="held", dependencies=('itoa = "=1.0.17" # pinned',))
"""Its own requirement keeps it from one of the versions."""

FULL = {"total": 8, "hit": 8}


@pytest.fixture(scope="module")
def plan(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan for two repositories that agree."""
    folder = tmp_path_factory.mktemp("plan")
    for name in ("one", "two"):
        write(folder / name, BASE)
    program("analyze", "one", "two", "--top", "0", cwd=folder)
    program("plan", cwd=folder)
    return folder / "plan.json"


def write(folder: Path, workspace: Workspace, *, git: bool = False) -> Path:
    """Write a workspace whose lock cargo agrees with; with `git`, all of it committed."""
    workspace.write(folder, find_toolchain().host)
    cargo(folder, "update", "--workspace", "--quiet")
    if git:
        for args in (
            ["init", "-q"],
            ["add", "-A"],
            ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"],
        ):
            process.run(["git", *args], cwd=folder)
    return folder


def cargo(folder: Path, *args: str, home: Path | None = None) -> None:
    process.run(["cargo", *args], cwd=folder, env=find_toolchain().environment(home), timeout=300)


def texts(folder: Path) -> Mapping[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and not {".git", "target"} & set(path.parts))
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in files}


@pytest.fixture
def new_machine(program: Program, tmp_path: Path) -> Program:
    """The program where cargo has neither asked for nor downloaded anything: with the user's way to crates.io alone."""
    home = tmp_path / "new" / "cargo-home"
    home.mkdir(parents=True)
    configured = user_cargo_home() / "config.toml"
    if configured.is_file():
        shutil.copy(configured, home)
    return program.under({"CARGO_HOME": str(home), "FACTORY_CACHE_DIR": str(tmp_path / "new" / "cache")})


def test_a_new_machine_aligns_as_any_other(new_machine: Program, plan: Path, tmp_path: Path) -> None:
    shown = new_machine.json("align", write(tmp_path / "repo", BEHIND), "--plan", plan)
    (workspace,) = shown["workspaces"]
    assert [step["step"] for step in workspace["steps"]] == ["versions", "features"]
    assert workspace["after"]["units"] == FULL


def test_a_new_machine_plans_the_same_as_any_other(
    program: Program, new_machine: Program, plan: Path, tmp_path: Path
) -> None:
    """The analysis is another machine's: what the registry says of its crates is asked for."""
    # Of what it plans, cargo asks the registry anyway.
    write_files(tmp_path / "profiles", {"all.toml": 'description = "all"\nanchors = []\nnever = ["itoa"]\n'})
    words = ("--analysis", plan.with_name("analysis.json"), "--profiles", tmp_path / "profiles")
    made = new_machine("plan", *words, "--out", tmp_path / "plan.json")
    assert "warning" not in made.stderr
    program("plan", *words, "--out", tmp_path / "usual.json")
    # Its estimates too: the analysis has the sizes of sources that this machine never downloaded.
    assert (tmp_path / "plan.json").read_bytes() == (tmp_path / "usual.json").read_bytes()
    index = CrateIndex(tmp_path / "new" / "cache" / "cargo-home")
    baseline = json.loads((tmp_path / "plan.json").read_text("utf-8"))["baseline"]
    assert baseline == json.loads(plan.read_text("utf-8"))["baseline"]
    assert all(index.versions(crate["name"]) for crate in baseline["crates"])


@pytest.mark.parametrize("by", ["auto", "hack"])
def test_applied_it_is_wholly_warm_builds_and_has_nothing_left_to_do(
    program: Program, plan: Path, tmp_path: Path, by: str
) -> None:
    repo = write(tmp_path / "repo", BEHIND, git=True)
    before = texts(repo)
    how = ("--features-by", by)
    shown = program.json("align", repo, "--plan", plan, *how)
    assert texts(repo) == before, "nothing is written without --apply"
    (workspace,) = shown["workspaces"]
    assert [step["step"] for step in workspace["steps"]] == ["versions", "features"]
    versions, features = workspace["steps"]
    assert {row["subject"] for row in versions["changes"]} == {"itoa 1.0.17 -> 1.0.18", "cfg-if 1.0.3 -> 1.0.4"}
    assert ["serde@1.0.228", "+ rc"] in [[row["subject"], row["what"]] for row in features["changes"]]
    assert versions["before"]["units"]["hit"] < versions["after"]["units"]["hit"] < features["after"]["units"]["hit"]
    assert workspace["after"]["units"] == FULL

    program("align", repo, "--plan", plan, *how, "--check", code=1)
    program("align", repo, "--plan", plan, *how, "--apply")
    cargo(repo, "metadata", "--locked", "--format-version=1")
    cargo(repo, "build", "--locked", "--release")
    assert program.json("check", repo, "--plan", plan)["units"] == FULL
    manifest = (repo / "Cargo.toml").read_text(encoding="utf-8")
    if by == "hack":
        lines = [line for line in manifest.splitlines(keepends=True) if not line.endswith("# factory align\n")]
        assert "".join(lines) == before["Cargo.toml"], "one line is added, nothing else changes by a byte"
    else:
        assert not (repo / "workspace-hack").exists(), "edits are enough"
        assert manifest == before["Cargo.toml"].replace(
            'features = ["std"] }  # kept', 'features = ["std", "rc"] }  # kept'
        )

    applied = texts(repo)
    # Without a wish it stays the way that was taken.
    again = program.json("align", repo, "--plan", plan, "--check")
    assert again["aligned"]
    assert [(step["changes"], step["patch"]) for step in steps(again).values()] == [([], "")] * 2
    assert {json.dumps(step["after"]) for step in steps(again).values()} == {json.dumps(workspace["after"])}
    said = program("align", repo, "--plan", plan, "--apply", "--force", "--patch")
    assert "aligned already" in said.stdout
    assert "changes:" not in said.stdout
    assert "+++" not in said.stdout
    if by == "auto":
        return

    cargo(repo, "update", "--quiet", "--package=itoa", "--precise=1.0.17")
    process.run(["git", "add", "-A"], cwd=repo)
    process.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "back"], cwd=repo)
    behind = steps(program.json("align", repo, "--plan", plan))
    assert [row["subject"] for row in behind["versions"]["changes"]] == ["itoa 1.0.17 -> 1.0.18"]
    assert all("workspace-hack" not in line for line in behind["features"]["patch"].splitlines() if line[:3] == "+++")
    for step in behind.values():
        if step["patch"]:
            process.run(["git", "apply", "-"], cwd=repo, stdin=step["patch"])
    assert texts(repo) == applied, "the patches are for the repository as it is, with its crate"
    assert texts(repo) == applied


def test_a_crate_that_no_program_names_itself_takes_a_crate_of_ours(
    program: Program, plan: Path, tmp_path: Path
) -> None:
    """Here a library of the workspace depends on serde, and the program on the library."""
    library = ("core", 'serde = { version = "1", features = ["std"] }')
    repo = tmp_path / "repo"
    behind = replace(BEHIND, dependencies=('core-of-it = { path = "core" }', 'itoa = "1"'))
    behind.write(repo, find_toolchain().host)
    (repo / "core" / "src").mkdir(parents=True)
    (repo / "core" / "src" / "lib.rs").write_text("", encoding="utf-8")
    (repo / "core" / "Cargo.toml").write_text(
        f'[package]\nname = "core-of-it"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n{library[1]}\n', "utf-8"
    )
    cargo(repo, "update", "--workspace", "--quiet")
    edits = steps(program.json("align", repo, "--plan", plan, "--features-by", "edit"))["features"]
    why = "no package that builds a program names it (--features-by hack)"
    assert [row for row in edits["left"] if row["subject"].startswith("serde@")] == [
        {"subject": "serde@1.0.228: rc", "why": why}
    ]
    features = steps(program.json("align", repo, "--plan", plan))["features"]
    assert {"subject": "serde@1.0.228", "what": "+ rc"} in features["changes"]
    assert "+++ b/workspace-hack/Cargo.toml" in features["patch"].splitlines()


@pytest.mark.parametrize(
    "dependencies",
    [
        'dependencies.core-of-it.path = "core"\ndependencies.itoa = "1"\n',
        'dependencies = { core-of-it = { path = "core" }, itoa = "1" }\n',
    ],
    ids=["dotted", "inline"],
)
def test_where_no_line_can_be_added_to_the_dependencies_edits_are_all_there_is(
    program: Program, plan: Path, tmp_path: Path, dependencies: str
) -> None:
    """The program's own dependencies are keys above `[package]`, and only its library names serde."""
    repo = tmp_path / "repo"
    replace(BEHIND, dependencies=()).write(repo, find_toolchain().host)
    manifest = repo / "Cargo.toml"
    lines = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    manifest.write_text(dependencies + "".join(line for line in lines if line != "[dependencies]\n"), "utf-8")
    serde = 'serde = { version = "1", features = ["std"] }'
    head = '[package]\nname = "core-of-it"\nversion = "0.1.0"\nedition = "2021"\n'
    write_files(repo / "core", {"src/lib.rs": "", "Cargo.toml": f"{head}[dependencies]\n{serde}\n"})
    cargo(repo, "update", "--workspace", "--quiet")
    cargo(repo, "update", "--quiet", "--package=itoa", "--precise=1.0.17")

    taken = steps(program.json("align", repo, "--plan", plan))

    assert "itoa 1.0.17 -> 1.0.18" in [row["subject"] for row in taken["versions"]["changes"]]
    left = {row["subject"]: row["why"] for row in taken["features"]["left"]}
    assert "serde@1.0.228: rc" in left
    assert left["a crate that names others"].endswith("Write them as a table: [dependencies].")
    refused = program("align", repo, "--plan", plan, "--features-by", "hack", code=1).stderr
    assert "Write them as a table: [dependencies]." in refused
    assert "resolved" not in refused


def test_the_patch_of_the_steps_is_what_git_applies(program: Program, plan: Path, tmp_path: Path) -> None:
    repo = write(tmp_path / "repo", BEHIND, git=True)
    (workspace,) = program.json("align", repo, "--plan", plan, "--step", "versions")["workspaces"]
    (step,) = workspace["steps"]
    process.run(["git", "apply", "-"], cwd=repo, stdin=step["patch"])
    assert workspace["files"] == ["Cargo.lock"]
    cargo(repo, "metadata", "--locked", "--format-version=1")
    assert program.json("check", repo, "--plan", plan)["units"] == workspace["after"]["units"]


def test_what_is_not_committed_is_not_written_over(program: Program, plan: Path, tmp_path: Path) -> None:
    repo = write(tmp_path / "repo", BEHIND, git=True)
    (repo / "main.rs").write_text("fn main() {} // mine\n", encoding="utf-8")
    before = texts(repo)
    refused = program("align", repo, "--plan", plan, "--apply", code=2)
    assert "main.rs" in refused.stderr
    assert "--force" in refused.stderr
    assert texts(repo) == before


def test_a_requirement_that_holds_a_version_is_named(program: Program, plan: Path, tmp_path: Path) -> None:
    repo = write(tmp_path / "repo", HELD)
    left = steps(program.json("align", repo, "--plan", plan))["versions"]["left"]
    why = "a manifest of the repository wants itoa `=1.0.17` (--manifest changes it)"
    assert left == [{"subject": "itoa 1.0.17 -> 1.0.18", "why": why}]
    versions = steps(program.json("align", repo, "--plan", plan, "--manifest"))["versions"]
    assert versions["left"] == []
    assert {"subject": "Cargo.toml: itoa", "what": "=1.0.17 -> 1.0.18"} in versions["changes"]
    assert '+itoa = "1.0.18" # pinned' in versions["patch"].splitlines()


def test_no_version_that_needs_a_newer_rust_than_the_repository_says(
    program: Program, plan: Path, tmp_path: Path
) -> None:
    repo = write(tmp_path / "repo", BEHIND)
    manifest = (repo / "Cargo.toml").read_text(encoding="utf-8")
    (repo / "Cargo.toml").write_text(manifest.replace("edition =", "rust-version = '1.60'\nedition =", 1), "utf-8")
    left = {
        row["subject"]: row["why"] for row in steps(program.json("align", repo, "--plan", plan))["versions"]["left"]
    }
    assert left["itoa 1.0.17 -> 1.0.18"].endswith("and the repository says 1.60")


def test_under_a_toolchain_pin_nothing_is_aligned_unless_it_is_ignored(
    program: Program, plan: Path, tmp_path: Path
) -> None:
    """Nothing is fresh under a pin, as `check` says; what its compiler cannot build is no move, whoever asks."""
    repo = write(tmp_path / "repo", BEHIND)
    pin = repo / "rust-toolchain"
    before = texts(repo)
    pin.write_text("1.60.0\n", encoding="utf-8")
    told = "rust-toolchain pins 1.60.0: whatever is aligned is fresh only with"

    answer = program.json("align", repo, "--plan", plan)

    (workspace,) = answer["workspaces"]
    assert (workspace["steps"], workspace["files"], answer["aligned"]) == ([], [], False)
    assert workspace["barred"].startswith(told)
    assert workspace["before"]["units"] == program.json("check", repo, "--plan", plan)["units"]
    for words in (("--check",), ("--apply", "--force")):
        refused = program("align", repo, "--plan", plan, *words, code=1).stderr
        assert f"{told} " in refused
        assert "--ignore-pin" in refused
    assert texts(repo) == {**before, "rust-toolchain": "1.60.0\n"}

    ignored = program.json("align", repo, "--plan", plan, "--ignore-pin")
    versions = steps(ignored)["versions"]
    assert [row["subject"] for row in versions["changes"]] == ["cfg-if 1.0.3 -> 1.0.4"]
    assert [(row["subject"], row["why"].partition(", and ")[2]) for row in versions["left"]] == [
        ("itoa 1.0.17 -> 1.0.18", "rust-toolchain pins 1.60.0")
    ]
    assert ignored["workspaces"][0]["files"]

    pin.unlink()
    assert steps(program.json("align", repo, "--plan", plan))["versions"]["left"] == []


def test_repositories_meet_only_as_far_as_their_toolchain_pins_allow(program: Program, tmp_path: Path) -> None:
    for name, workspace in {"one": BASE, "two": BASE, "pinned": BEHIND}.items():
        write(tmp_path / name, workspace)
    (tmp_path / "pinned" / "rust-toolchain").write_text("1.60.0\n", encoding="utf-8")
    program("analyze", "one", "two", "pinned", "--top", "0", "--aligned", "aligned.json", cwd=tmp_path)
    aligned = json.loads((tmp_path / "aligned.json").read_text("utf-8"))
    (row,) = [row for row in aligned["workspaces"] if row["path"] == "pinned + versions"]
    locked = {name: version for name, version, *_ in row["lock"]}
    assert (locked["itoa"], locked["cfg-if"]) == ("1.0.17", "1.0.4")


def test_the_cargo_profile_is_proposed_and_written_only_on_demand(program: Program, plan: Path, tmp_path: Path) -> None:
    tables = '\n# why it is so\n[profile.release]\nlto = "thin" # smaller\n\n[profile.dev]\ndebug = 1\n'
    repo = write(tmp_path / "repo", replace(BASE, name="app", tables=tables))
    proposed = steps(program.json("align", repo, "--plan", plan))["profile"]
    assert not proposed["chosen"]
    assert proposed["after"]["units"] == FULL
    assert [row["subject"] for row in proposed["changes"]] == ["[profile.release] lto"]
    program("align", repo, "--plan", plan, "--profile", "--apply", "--force")
    manifest = (repo / "Cargo.toml").read_text(encoding="utf-8")
    assert "lto" not in manifest.partition("[profile.dev]")[0]
    assert "# why it is so" in manifest
    assert program.json("check", repo, "--plan", plan)["units"] == FULL


def test_flags_and_linker_go_with_the_profile_and_only_on_demand(program: Program, plan: Path, tmp_path: Path) -> None:
    repo = write(tmp_path / "repo", replace(BASE, name="app"), git=True)
    config = '# faster links\n[target.\'cfg(unix)\']\nlinker = "clang"\nrustflags = ["-Clink-arg=-fuse-ld=lld"]\n'
    write_files(repo, {".cargo/config.toml": f"{config}\n[alias]\nb = 'build'\n"})
    assert program.json("check", repo, "--plan", plan)["units"]["hit"] == 0
    before = texts(repo)
    proposed = steps(program.json("align", repo, "--plan", plan))["profile"]
    assert (proposed["chosen"], proposed["left"]) == (False, [])
    assert proposed["after"]["units"] == FULL
    assert [row["subject"] for row in proposed["changes"]] == ["RUSTFLAGS", "linker"]
    assert "\n-linker" in proposed["patch"]
    assert texts(repo) == before
    program("align", repo, "--plan", plan, "--profile", "--apply", "--force")
    assert (repo / ".cargo/config.toml").read_text(encoding="utf-8") == "# faster links\n[alias]\nb = 'build'\n"
    assert program.json("check", repo, "--plan", plan)["units"] == FULL
    program("align", repo, "--plan", plan, "--profile", "--check")


def test_under_a_profile_that_loses_the_other_steps_are_judged_without_it(program: Program, tmp_path: Path) -> None:
    """It is a proposal then, with what it would lose, and the steps are those of who did not ask for it."""
    of_its_own = replace(
        BASE, name="own", dependencies=('itoa = "1"', 'ryu = "1"'), tables='[profile.release]\nlto = "thin"\n'
    )
    for name in ("one", "two"):
        write(tmp_path / name, BASE)
    write(tmp_path / "three", of_its_own)
    program("analyze", "one", "two", "three", "--top", "0", cwd=tmp_path)
    program("plan", cwd=tmp_path)
    repo = write(tmp_path / "repo", replace(of_its_own, versions={**of_its_own.versions, "itoa": "1.0.17"}), git=True)
    asked = program.json("align", repo, "--plan", tmp_path / "plan.json", "--profile")
    assert asked == program.json("align", repo, "--plan", tmp_path / "plan.json")
    taken = steps(asked)
    assert (taken["versions"]["chosen"], taken["profile"]["chosen"]) == (True, False)
    assert taken["profile"]["after"]["units"]["hit"] < taken["versions"]["after"]["units"]["hit"]
    shown = program("align", repo, "--plan", tmp_path / "plan.json", "--profile").stdout
    assert "profile would change, and with this plan" in shown


@pytest.mark.parametrize("broken", ["Cargo.lock", "Cargo.toml"])
def test_what_cannot_be_resolved_is_not_aligned(program: Program, plan: Path, tmp_path: Path, broken: str) -> None:
    repo = write(tmp_path / "repo", BASE, git=True)
    (repo / broken).write_text("<<<<<<< ours\n", encoding="utf-8")
    for words in ((), ("--check",), ("--apply", "--force")):
        answer = program("align", repo, "--plan", plan, *words, code=1)
        assert "no workspace could be resolved" in answer.stderr
        assert "aligned" not in answer.stderr.replace(str(repo), "")
        assert "--apply" not in answer.stderr
    gate = program("check", repo, "--plan", plan, "--min-hit", "0.1", code=1)
    assert "no workspace could be resolved" in gate.stderr


def test_line_ends_and_byte_order_mark_of_another_system_stay(program: Program, plan: Path, tmp_path: Path) -> None:
    repo = write(tmp_path / "repo", BEHIND)
    files = [repo / "Cargo.toml", repo / "Cargo.lock"]
    for path in files:
        path.write_bytes(BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    for args in (["init", "-q"], ["config", "core.autocrlf", "false"], ["add", "-A"]):
        process.run(["git", *args], cwd=repo)
    process.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"], cwd=repo)
    before = {path: path.read_bytes().splitlines() for path in files}
    patches = "".join(step["patch"] for step in steps(program.json("align", repo, "--plan", plan)).values())
    (tmp_path / "all.patch").write_text(patches, encoding="utf-8", newline="")
    assert process.run(["git", "apply", "--check", tmp_path / "all.patch"], cwd=repo, check=False).stderr == ""
    program("align", repo, "--plan", plan, "--apply")
    for path in files:
        content = path.read_bytes()
        assert content.startswith(BOM_UTF8)
        assert content.count(b"\n") == content.count(b"\r\n")
        # Of the lines that were there, most are.
        assert len(set(before[path]) - set(content.splitlines())) < len(before[path]) / 2
    program("align", repo, "--plan", plan, "--check")


def test_inline_tables_of_several_lines_are_aligned(program: Program, plan: Path, tmp_path: Path) -> None:
    dependencies = ('serde = {\n  version = "1",\n  default-features = true, # all\n}', 'itoa = {\n  version = "1",\n}')
    repo = write(tmp_path / "repo", replace(BEHIND, dependencies=dependencies), git=True)
    program("align", repo, "--plan", plan, "--apply")
    assert program.json("check", repo, "--plan", plan)["units"] == FULL
    assert '  features = ["rc"],\n  version = "1",\n' in (repo / "Cargo.toml").read_text(encoding="utf-8")


def test_a_manifest_whose_form_cannot_be_kept_is_left_and_named(program: Program, plan: Path, tmp_path: Path) -> None:
    """Tables of a list with another one between them: they would come out side by side."""
    tables = '[[example]]\nname = "a"\n[profile.release]\nlto = "thin"\n[[example]]\nname = "b"\n'
    write_files(tmp_path / "repo/examples", {"a.rs": "fn main() {}\n", "b.rs": "fn main() {}\n"})
    repo = write(tmp_path / "repo", replace(BEHIND, tables=tables), git=True)
    before = (repo / "Cargo.toml").read_text(encoding="utf-8")
    taken = steps(program.json("align", repo, "--plan", plan, "--profile"))
    what = "Cargo.toml: its form cannot be kept; change it by hand"
    assert taken["profile"]["left"] == [{"subject": "profile", "why": what}]
    assert taken["profile"]["changes"] == []
    program("align", repo, "--plan", plan, "--profile", "--apply", "--force")
    assert (repo / "Cargo.toml").read_text(encoding="utf-8").startswith(before.removesuffix("\n"))
    write_files(tmp_path / "held/examples", {"a.rs": "fn main() {}\n", "b.rs": "fn main() {}\n"})
    held = write(tmp_path / "held", replace(HELD, tables=tables.replace('lto = "thin"\n', "")), git=True)
    taken = steps(program.json("align", held, "--plan", plan, "--manifest"))
    assert {"subject": "itoa 1.0.17 -> 1.0.18", "why": what} in taken["versions"]["left"]


def test_a_patch_that_gains_nothing_is_only_proposed(program: Program, plan: Path, tmp_path: Path) -> None:
    """Under another cargo profile no version helps; together with the baseline's profile the same one does."""
    lagging = replace(
        BASE, name="app", dependencies=('itoa = "1"',), build_dependencies=(), versions={"itoa": "1.0.17"}
    )
    repo = write(tmp_path / "repo", replace(lagging, tables='[profile.release]\nlto = "thin"\n'), git=True)
    before = texts(repo)
    shown = program.json("align", repo, "--plan", plan)
    versions = steps(shown)["versions"]
    assert versions["changes"] == [{"subject": "itoa 1.0.17 -> 1.0.18", "what": ""}]
    assert not versions["chosen"]
    assert "nothing more would be warm" in versions["notes"][-1]
    assert shown["workspaces"][0]["files"] == []
    assert shown["workspaces"][0]["after"] == shown["workspaces"][0]["before"]
    program("align", repo, "--plan", plan, "--check")
    program("align", repo, "--plan", plan, "--apply")
    assert texts(repo) == before
    assert steps(program.json("align", repo, "--plan", plan, "--profile"))["versions"]["chosen"]


def steps(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """The steps of the one workspace by name."""
    (workspace,) = answer["workspaces"]
    assert workspace["problem"] is None
    return {step["step"]: step for step in workspace["steps"]}


def test_a_step_after_which_less_is_warm_is_not_taken(program: Program, tmp_path: Path) -> None:
    """Two repositories have one feature and two another: all of them are warm, and their union is nobody's."""
    features = {"one": "rc", "two": "rc", "three": "alloc", "four": "alloc"}
    for name, feature in features.items():
        serde = f'serde = {{ version = "1", features = ["std", "{feature}"] }}'
        write(tmp_path / name, replace(BASE, dependencies=(serde, 'itoa = "1"')), git=True)
    program("analyze", *features, "--top", "0", cwd=tmp_path)
    program("plan", cwd=tmp_path)
    before = texts(tmp_path / "one")

    answer = program.json("align", tmp_path / "one", "--plan", tmp_path / "plan.json", "--check")

    (workspace,) = answer["workspaces"]
    (step,) = [step for step in workspace["steps"] if step["step"] == "features"]
    assert answer["aligned"]
    assert (step["changes"], step["patch"], step["after"]) == ([], "", step["before"])
    assert any(note.startswith("not taken: ") for note in step["notes"])
    assert workspace["after"]["units"] == FULL
    program("align", tmp_path / "one", "--plan", tmp_path / "plan.json", "--apply")
    assert texts(tmp_path / "one") == before


def test_a_plan_can_cook_for_repositories_at_their_baseline(program: Program, tmp_path: Path) -> None:
    for name, workspace in {"one": BASE, "two": BASE, "behind": BEHIND}.items():
        write(tmp_path / name, workspace)
    before = texts(tmp_path)
    program("analyze", "one", "two", "behind", "--top", "0", "--aligned", "aligned.json", cwd=tmp_path)
    assert {path: text for path, text in texts(tmp_path).items() if path in before} == before
    aligned = json.loads((tmp_path / "aligned.json").read_text("utf-8"))
    assert [row["path"] for row in aligned["workspaces"] if row["path"].startswith("behind")] == [
        "behind + versions",
        "behind + versions, features",
    ]
    program("plan", "--aligned", "aligned.json", cwd=tmp_path)
    plan = json.loads((tmp_path / "plan.json").read_text("utf-8"))
    forecast = {row["path"]: (row["units"]["hit"]["core"], row["units"]["total"]) for row in plan["forecast"]}
    assert forecast["behind + versions, features"] == (FULL["hit"], FULL["total"])
    # The baseline is that of the repositories as they are.
    assert {
        crate["package"]["name"] if "package" in crate else crate["name"]: crate["repos"]
        for crate in plan["baseline"]["crates"]
    }["itoa"] == 3
    program("align", "behind", "--apply", "--force", cwd=tmp_path)
    found = program.json("check", tmp_path / "behind", "--plan", tmp_path / "plan.json")
    assert found["units"] == FULL


def test_a_feature_that_brings_a_crate_is_taken_where_it_saves_more_than_it_costs(
    program: Program, tmp_path: Path
) -> None:
    """Without `printing`, syn does not stand on quote, which takes a fraction of what syn takes.

    An older quote is locked, for Windows alone: it gets the baseline's version once it is compiled here. What brings
    many crates is left, whatever the graph may grow.
    """
    others = replace(
        BASE, dependencies=('serde = { version = "1", features = ["derive"] }',), build_dependencies=('syn = "2"',)
    )
    features = ["derive", "parsing", "clone-impls", "proc-macro"]
    lean = f"syn = {{ version = '2', default-features = false, features = {features} }}"
    for name in ("one", "two"):
        write(tmp_path / name, others)
    elsewhere = "[target.'cfg(windows)'.dependencies]\nquote = '1'\n"
    own = replace(others, dependencies=(), build_dependencies=(lean,), tables=elsewhere, versions={"quote": "1.0.43"})
    write(tmp_path / "bare", replace(BASE, dependencies=('serde = "1"',), build_dependencies=()), git=True)
    assert 'name = "quote"\nversion = "1.0.43"' in (write(tmp_path / "lean", own, git=True) / "Cargo.lock").read_text()
    program("analyze", "one", "two", "--top", "0", cwd=tmp_path)
    program("plan", cwd=tmp_path)
    repo, plan = tmp_path / "lean", tmp_path / "plan.json"

    small = steps(program.json("align", repo, "--plan", plan, "--growth", "0"))["features"]
    why = {row["subject"]: row["why"] for row in small["left"]}
    assert "brings quote, which the repository has not got" in why.values()
    assert small["patch"] == ""

    large = steps(program.json("align", repo, "--plan", plan, "--growth", "100"))["features"]
    assert [row["what"] for row in large["changes"] if row["subject"].startswith("quote@")] == [
        "new in what is compiled"
    ]
    assert "+++ b/workspace-hack/Cargo.toml" in large["patch"].splitlines(), "what can be taken away again"
    assert large["notes"][-1].endswith(": taken")
    program("align", repo, "--plan", plan, "--growth", "100", "--apply")
    cargo(repo, "metadata", "--locked", "--format-version=1")
    found = program.json("check", repo, "--plan", plan)["units"]
    assert found["hit"] == found["total"] > small["before"]["units"]["total"]
    program("align", repo, "--plan", plan, "--growth", "100", "--check")

    bare = steps(program.json("align", tmp_path / "bare", "--plan", plan, "--growth", "100"))["features"]
    assert [(row["subject"], row["why"]) for row in bare["left"]] == [
        (
            "serde@1.0.228: derive, serde_derive",
            "brings proc-macro2, quote, serde_derive and 2 more, which the repository has not got",
        )
    ]


def test_versions_that_lose_by_themselves_are_taken_where_features_gain_more_with_them(
    program: Program, tmp_path: Path
) -> None:
    """The repository's libc is warm as it is, and at the baseline's version only with the baseline's feature."""
    old, new = ({"libc": "0.2.182", "itoa": "1.0.17"}, {"libc": "0.2.183", "itoa": "1.0.18"})
    plain = replace(BASE, dependencies=('libc = "0.2"',), build_dependencies=(), versions=old)
    agreed = ('libc = { version = "0.2", features = ["extra_traits"] }', 'itoa = "1"')
    for name in ("one", "two"):
        write(tmp_path / name, replace(plain, dependencies=agreed, versions=new))
    for name in ("three", "four"):
        write(tmp_path / name, plain)
    repo = write(tmp_path / "mixed", replace(plain, dependencies=('libc = "0.2"', 'itoa = "1"')), git=True)
    program("analyze", "one", "two", "three", "four", "--top", "0", cwd=tmp_path)
    program("plan", cwd=tmp_path)
    plan = tmp_path / "plan.json"
    alone = steps(program.json("align", repo, "--plan", plan, "--step", "versions"))["versions"]
    assert (alone["changes"], alone["patch"]) == ([], "")
    assert alone["notes"][-1].startswith("not taken: with this plan ")

    answer = program("align", repo, "--plan", plan, "--json")

    assert answer.stderr.count(": versions") == 1, "what is undone is not tried again to be undone again"
    both = json.loads(answer.stdout)
    versions, features = steps(both)["versions"], steps(both)["features"]
    assert {row["subject"] for row in versions["changes"]} == {"itoa 1.0.17 -> 1.0.18", "libc 0.2.182 -> 0.2.183"}
    assert versions["after"]["seconds"]["hit"] < versions["before"]["seconds"]["hit"]
    assert features["after"]["units"]["hit"] == features["after"]["units"]["total"]
    program("align", repo, "--plan", plan, "--apply")
    program("align", repo, "--plan", plan, "--check")
