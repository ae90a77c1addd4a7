"""Variants in images: a matrix of Debian's toolchains, one of them without a build directory, and wasm32 in both."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.base import build_base
from factory.engine import Engine
from factory.errors import BuildFailedError
from factory.files import write_text
from factory.output import Output
from tests.cargo.scenario import Workspace
from tests.docker.conftest import use_users_cache

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
NAME = "rust-warm-factory/variants-test"
WASM = "wasm32-unknown-unknown"
VARIANTS = ("release", f"release@{WASM}")
LAYOUTS = {"sid": "build-dir", "trixie": "target-dir"}
FRONT = Workspace(
    name="front",
    lib="crate-type = ['cdylib', 'rlib']",
    is_bin=True,
    # A macro with dependencies for the host, a crate with a build script, and one that both sides have.
    dependencies=("itoa = '1'", "libc = '0.2'", "log = '0.4'", "proc-macro-error-attr2 = '2'"),
    build_dependencies=("log = '0.4'",),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """The images of every row: their toolchains by suite, and how to run the program."""

    releases: Mapping[str, str]
    environment: Mapping[str, str]
    folder: Path

    def factory(self, *args: str) -> process.Completed:
        command = [sys.executable, "-m", "factory", *args]
        return process.run(command, cwd=self.folder, env=self.environment, check=False, timeout=1500)

    def cell(self, suite: str) -> str:
        return f"{self.releases[suite]}-{suite}"

    def image(self, suite: str) -> str:
        return f"{NAME}:core-{self.cell(suite)}"

    def json(self, name: str, suite: str) -> Any:  # noqa: ANN401 - any JSON value
        return json.loads((self.folder / f"{name}-{self.cell(suite)}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def matrix(docker_env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """Take one repository through analyze, plan and build, with a row for each of Debian's toolchains."""
    folder = tmp_path_factory.mktemp("matrix")
    bases = {suite: _base(suite) for suite in LAYOUTS}
    releases = {suite: _release(base) for suite, base in bases.items()}
    rows = [{"toolchain": releases[suite], "suite": suite, "image": base} for suite, base in bases.items()]
    settings = {
        "image": {"name": NAME, "tags": ["{layer}", "{layer}-{rust}-{suite}"]},
        "cook": {"variants": list(VARIANTS)},
        "matrix": rows,
    }
    # JSON is YAML too.
    write_text(folder / "registry-config.yaml", json.dumps(settings))
    write_text(folder / "profiles" / "core.toml", 'description = "All there is"\n')
    FRONT.write(folder / "front", "")
    write_text(folder / "front" / ".git" / "HEAD", "")
    fetched = process.run(["cargo", "fetch"], cwd=folder / "front", check=False, timeout=300)
    assert fetched.ok, fetched.stderr
    environment = dict(docker_env) | {
        "FACTORY_CACHE_DIR": str(folder / "cache"),
        "FACTORY_PROFILES": str(folder / "profiles"),
        "PYTHONPATH": str(ROOT),
    }
    matrix = Matrix(releases=releases, environment=environment, folder=folder)
    for words in (("analyze", "front"), ("plan",), ("build",)):
        answer = matrix.factory(*words)
        assert answer.returncode == 0, answer.stderr
    return matrix


def _base(suite: str) -> str:
    """Return the tag of a base with the suite's own rustc and wasm32; a system that was installed once is kept."""
    tag = f"rust-warm-factory/base:test-{suite}-wasm32"
    with pytest.MonkeyPatch.context() as patch:
        use_users_cache(patch)
        try:
            build_base(tag=tag, suite=suite, toolchain="debian", ca_bundle=None, targets=(WASM,), output=Output())
        except BuildFailedError as error:
            # sid changes all day, and there are hours in which it cannot be installed.
            if suite != "sid":
                raise
            pytest.skip(f"Debian sid cannot be installed now: {error.what.splitlines()[-1]}")
    return tag


def _release(base: str) -> str:
    version = process.run(["docker", "run", "--rm", "--network=none", base, "rustc", "--version"], timeout=120).stdout
    return version.split()[1]


@pytest.mark.parametrize("suite", LAYOUTS)
def test_every_row_has_its_plan_and_its_tags(matrix: Matrix, suite: str) -> None:
    contract = matrix.json("plan", suite)["contract"]
    assert contract["toolchain"]["version"] == matrix.releases[suite]
    assert contract["layout"] == LAYOUTS[suite]
    assert contract["variants"] == list(VARIANTS)
    assert matrix.json("plan", suite)["excluded"] == []
    facts = Engine().image(matrix.image(suite))
    assert facts.labels["io.rust-warm-factory.rustc"] == matrix.releases[suite]
    assert facts.labels["io.rust-warm-factory.layout"] == LAYOUTS[suite]


def test_the_common_tag_is_that_of_the_first_row(matrix: Matrix) -> None:
    engine = Engine()
    first, second = (engine.image(matrix.image(suite)).layers for suite in LAYOUTS)
    assert engine.image(f"{NAME}:core").layers == first != second


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("suite", LAYOUTS)
def test_every_variant_finds_all_of_its_units_fresh_in_every_row(matrix: Matrix, suite: str, variant: str) -> None:
    image = matrix.image(suite)
    answer = matrix.factory("verify", image, "--repo", "front", "--variant", variant, "--min-hit", "1", "--json")
    proof = json.loads(answer.stdout)
    (repo,) = proof["repos"]
    foretold = [row["units"] for row in matrix.json("plan", suite)["forecast"] if row["variant"] == variant]
    assert foretold == [{"total": repo["units"]["total"], "hit": {"core": repo["units"]["fresh"]}}]
    assert repo["units"]["fresh"] == repo["units"]["total"] > 0
    assert [check["name"] for check in proof["checks"] if not check["ok"]] == []
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize(("suite", "where"), [("sid", "target"), ("trixie", "/usr/local/cargo-build")])
def test_where_a_consumers_own_files_get_to(matrix: Matrix, suite: str, where: str) -> None:
    """With a build directory into its own target/, before cargo 1.91 into the directory that is shared."""
    words = "cargo build --release --locked --offline"
    script = (
        f"cp -R /src /tmp/front && cd /tmp/front && {words} && {words} --target {WASM}"
        f" && cd {where} && release/front && ls release/front {WASM}/release/front.wasm"
    )
    with Engine().container(matrix.image(suite), mounts={matrix.folder / "front": "/src"}) as container:
        answer = container.run(["sh", "-c", script], timeout=300)
    assert answer.stdout.split() == ["release/front", f"{WASM}/release/front.wasm"], answer.stderr


def test_a_base_without_the_standard_library_of_a_target_is_refused(matrix: Matrix) -> None:
    environment = dict(matrix.environment) | {
        "FACTORY_COOK_VARIANTS": "release@aarch64-unknown-linux-gnu",
        "FACTORY_IMAGE_NAME": "rust-warm-factory/variants-never-built",
    }
    lacking = Matrix(releases=matrix.releases, environment=environment, folder=matrix.folder)
    cell = ("--cell", matrix.cell("sid"))
    for words in (("analyze", "front", "--out", "a.json"), ("plan", "--analysis", "a.json", "--out", "p.json")):
        assert lacking.factory(*cell, *words).returncode == 0
    answer = lacking.factory(*cell, "build", "--plan", "p.json")
    assert answer.returncode == 5, answer.stderr
    assert "the base image lacks the standard library of aarch64-unknown-linux-gnu, and has no rustup" in answer.stderr
