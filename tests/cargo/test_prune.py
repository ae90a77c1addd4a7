"""What cooking removes costs no hit: a consumer finds all fresh, and compiles and links what it adds on top."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from factory.cargo.toolchain import find_toolchain
from factory.process import Completed, run
from factory.resources import shipped
from tests.cargo.cooked import Cooked, cook, found_fresh, lock_up
from tests.hostile import manifest, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cargo.conftest import Program

pytestmark = pytest.mark.cargo

# `psm` has a build script that compiles assembly into an archive, `paste` is a macro.
WARM = '[dependencies]\npsm = "0.1"\npaste = "1"\nitoa = "1"\n'
# Locked, and never compiled for a program: no recipe names them.
IDLE = "[dev-dependencies]\ncfg-if = '1'\n[target.'cfg(windows)'.dependencies]\nwindows-link = '0.2'\n"
# Stands on `psm`, and is compiled by the consumer.
COLD = 'stacker = "0.1"\n'
USES_ALL = """
paste::paste! { fn [<doub le>](n: u64) -> u64 { stacker::maybe_grow(1 << 20, 1 << 21, || n * 2) } }
fn main() { println!("{}", itoa::Buffer::new().format(double(21))); }
"""


@pytest.fixture(scope="module")
def cooked(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Cooked:
    """Cook for one small repository."""
    folder = tmp_path_factory.mktemp("prune")
    files = {"Cargo.toml": manifest("app", WARM + IDLE), "src/main.rs": "fn main() {}\n"}
    lock_up(write_files(folder / "repos/app", files))
    return cook(program, folder / "repos", folder)


@dataclass(frozen=True, slots=True)
class Consumer:
    """A package that is built on a copy of the warm directory's units."""

    folder: Path
    cooked: Cooked

    def cargo(self, *args: str) -> Completed:
        build = self.folder / "build"
        if not build.exists():
            shutil.copytree(self.cooked.folder / "build", build, symlinks=True)
        return find_toolchain().cargo(
            [*args, "--config", f'build.build-dir="{build}"'],
            cwd=self.folder / "app",
            cargo_home=self.cooked.folder / "cargo-home",
            timeout=300,
        )


@pytest.fixture
def consumer(cooked: Cooked, tmp_path: Path) -> Iterator[Consumer]:
    """Yield a consumer without a manifest; the CARGO_HOME comes out as it went in."""
    kept = shutil.copytree(cooked.folder / "cargo-home", tmp_path / "kept", symlinks=True)
    yield Consumer(tmp_path, cooked)
    shutil.rmtree(cooked.folder / "cargo-home")
    kept.rename(cooked.folder / "cargo-home")


def test_a_consumer_finds_all_of_it_fresh_and_nothing_left_over(program: Program, cooked: Cooked) -> None:
    proof = program.json("verify", cooked.folder, "--repo", cooked.repos, "--min-hit", "1")
    ((fresh, total),) = found_fresh(proof).values()
    assert fresh == total > 0
    checks = {check["name"]: check for check in proof["checks"]}
    assert checks["no leftovers"]["ok"]
    assert checks["within budget"]["ok"]
    assert "elsewhere" not in checks["within budget"]["detail"]


def test_no_objects_no_symbols_no_other_versions_are_left(cooked: Cooked) -> None:
    build = cooked.folder / "build"
    assert list(build.rglob("out/*.a"))
    assert list(build.rglob("out/**/*.o")) == []
    programs = [path for path in build.rglob("*") if path.is_file() and path.stat().st_mode & 0o100]
    programs = [path for path in programs if "/out/" not in str(path)]
    assert len(programs) > 2
    sections = [run(["readelf", "--sections", "--wide", path]).stdout for path in programs]
    assert [path for path, table in zip(programs, sections, strict=True) if ".symtab" in table] == []
    (entry,) = (cooked.folder / "cargo-home/registry/index").glob("*/.cache/it/oa/itoa")
    texts = entry.read_bytes()[5:].split(b"\0")
    assert [texts[0], *texts[3:]] == [b"Unknown", b""]
    assert json.loads(texts[2])["vers"] == texts[1].decode()


def test_both_names_of_a_build_script_are_one_file(cooked: Cooked) -> None:
    scripts = list(cooked.folder.rglob("build-script-build"))
    assert scripts
    assert {path.stat().st_nlink for path in scripts} == {2}


def test_without_a_network_a_consumer_builds(consumer: Consumer) -> None:
    shutil.copytree(consumer.cooked.repos / "app", consumer.folder / "app")
    done = consumer.cargo("build", "--release", "--locked", "--offline", "--message-format=json")
    assert done.ok, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    compiled = {row["target"]["name"] for row in said if row["reason"] == "compiler-artifact" and not row["fresh"]}
    assert compiled == {"app"}
    home = consumer.cooked.folder / "cargo-home" / "registry"
    for crate, place in {"cfg-if": "cf/g-/cfg-if", "windows-link": "wi/nd/windows-link"}.items():
        (entry,) = home.glob(f"index/*/.cache/{place}")
        assert len(entry.read_bytes()[5:].split(b"\0")) == 4, "the entry of the locked version alone"
        assert list(home.glob(f"cache/*/{crate}-*")) == []


def test_what_a_consumer_adds_is_compiled_and_linked_on_top(consumer: Consumer) -> None:
    files = {"Cargo.toml": manifest("app", WARM + COLD), "src/main.rs": USES_ALL}
    lock = (consumer.cooked.repos / "app/Cargo.lock").read_text(encoding="utf-8")
    write_files(consumer.folder / "app", files | {"Cargo.lock": lock})
    done = consumer.cargo("run", "--release", "--message-format=json")
    assert done.ok, done.stderr
    *events, answer = done.stdout.splitlines()
    assert answer == "42"
    said = [json.loads(line) for line in events]
    fresh = {row["target"]["name"]: row["fresh"] for row in said if row["reason"] == "compiler-artifact"}
    assert {name: fresh[name] for name in ("psm", "paste", "itoa", "stacker")} == {
        "psm": True,
        "paste": True,
        "itoa": True,
        "stacker": False,
    }


def test_another_version_is_found_although_the_index_was_trimmed(consumer: Consumer) -> None:
    files = {"Cargo.toml": manifest("app", '[dependencies]\nitoa = "=1.0.5"\n'), "src/main.rs": "fn main() {}\n"}
    write_files(consumer.folder / "app", files)
    done = consumer.cargo("build", "--release")
    assert done.ok, done.stderr
    assert "Compiling itoa v1.0.5" in done.stderr


def test_a_build_script_can_run_again(consumer: Consumer) -> None:
    """As it does when a variable changes that it named to cargo."""
    shutil.copytree(consumer.cooked.repos / "app", consumer.folder / "app")
    assert consumer.cargo("build", "--release", "--locked").ok
    for said in (consumer.folder / "build").rglob("psm-*/output"):
        said.write_text(said.read_text(encoding="utf-8") + "cargo:rerun-if-env-changed=HOME_OF_NOBODY\n")
    for prints in (consumer.folder / "build").rglob(".fingerprint/psm-*/run-build-script-build-script-build"):
        prints.write_text("0")
    done = consumer.cargo("build", "--release", "--locked", "-v")
    assert done.ok, done.stderr
    assert "build-script-build`" in done.stderr


def test_over_budget_the_build_stops_and_names_the_heaviest(program: Program, cooked: Cooked, tmp_path: Path) -> None:
    tight = program.under({"FACTORY_BUDGET_TOTAL": "100 kB"})
    plan = cooked.repos.parent / "plan.json"
    words = ("build", "--backend", "local", "--plan", plan, "--output", tmp_path / "warm")
    failed = tight(*words, code=1)
    assert "over the 100 kB of `budget.total`" in failed.stderr
    # Under psm: its build script reads archives.
    assert "the heaviest crates of core: object " in failed.stderr
    program("verify", tmp_path / "warm", code=2)


def test_the_rules_are_applied_to_nothing_older(tmp_path: Path) -> None:
    """In an image, what is older belongs to a layer below: to remove or to change it would only add to this one."""
    files = {"build/x/build/old-0/out/a.o": "", "build/x/build/old-0/output": "", "locked.list": ""}
    write_files(tmp_path, files)
    run(["sleep", "0.05"])
    write_files(tmp_path, {"stamp": ""})
    run(["sleep", "0.05"])
    more = {f"build/x/build/{name}-0/out/{name}.o": "" for name in ("new", "named", "included")}
    write_files(
        tmp_path,
        more
        | {
            "build/x/build/new-0/output": "cargo:rustc-link-lib=static=new\n",
            "build/x/build/named-0/output": "cargo:rustc-link-arg=/somewhere/named.o\n",
            "build/x/deps/y.d": f"y: {tmp_path}/build/x/build/included-0/out/included.o src/lib.rs\n",
            "build/x/incremental/y/z": "",
            "home/registry/src/x": "",
            "home/.global-cache": "",
        },
    )
    script = shipped("Dockerfiles") / "prune.sh"
    arguments = [tmp_path / name for name in ("stamp", "locked.list", "home", "build")]
    done = run(["sh", script, *arguments])
    assert done.stderr == ""
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {
        *(path for path in files if not path.startswith("locked")),
        *("build/x/build/named-0/out/named.o", "build/x/build/named-0/output"),
        *("build/x/build/included-0/out/included.o", "build/x/build/new-0/output", "build/x/deps/y.d"),
        *("stamp", "locked.list"),
    }
