"""Variants in images: cells of a matrix with variants and tags of their own, on one base.

benchmarks/suites.py has Debian's own toolchains, one of them without a build directory, and wasm32 in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from factory import process
from factory.cargo.toolchain import find_toolchain
from factory.engine import Engine
from factory.files import write_json
from tests.cargo.scenario import Workspace
from tests.docker.conftest import SUITE
from tests.docker.line import Line, line_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME = "rust-warm-factory/variants-test"
HOST = find_toolchain().host
RELEASE = find_toolchain().version
FIRST, LABELLED = f"{RELEASE}-{SUITE}", f"{RELEASE}-{SUITE}-dev"
VARIANTS = {FIRST: ("release", f"release@{HOST}"), LABELLED: ("dev", "check:dev")}
IMAGES = {FIRST: f"{NAME}:core-{RELEASE}-{SUITE}", LABELLED: f"{NAME}:core-dev"}
LACKING = "riscv64gc-unknown-linux-gnu"
FRONT = Workspace(
    name="front",
    is_bin=True,
    # A macro with dependencies for the host, a crate with a build script, and one that both sides have.
    dependencies=("itoa = '1'", "libc = '0.2'", "log = '0.4'", "proc-macro-error-attr2 = '2'"),
    build_dependencies=("log = '0.4'",),
)


@pytest.fixture(scope="module")
def matrix(base_image: str, docker_env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Take one repository through analyze, plan and build, for both rows."""
    settings = {
        "toolchain": RELEASE,
        "image": {"name": NAME, "tags": ["{layer}", "{layer}-{rust}-{suite}", "{layer}-{label}"]},
        "cook": {"variants": VARIANTS[FIRST]},
        "matrix": [
            {"suite": SUITE, "image": base_image},
            {"suite": SUITE, "image": base_image, "label": "dev", "variants": VARIANTS[LABELLED]},
        ],
    }
    matrix = line_of(tmp_path_factory.mktemp("matrix"), FRONT, settings, docker_env)
    for command in (("analyze", "front"), ("plan",), ("build",)):
        matrix.succeed(*command)
    yield matrix
    process.run(["docker", "image", "rm", f"{NAME}:core", *IMAGES.values()], check=False)


@pytest.mark.parametrize("cell", VARIANTS)
def test_every_cell_has_its_plan_and_its_tags(matrix: Line, cell: str) -> None:
    plan = matrix.read(f"plan-{cell}.json")
    assert plan["contract"]["variants"] == list(VARIANTS[cell])
    assert plan["excluded"] == []
    labels = Engine().image(IMAGES[cell]).labels
    assert labels["io.rust-warm-factory.rustc"] == RELEASE
    assert labels["io.rust-warm-factory.layout"] == plan["contract"]["layout"] == "build-dir"


@pytest.mark.usefixtures("matrix")
def test_the_common_tag_is_that_of_the_first_row() -> None:
    first, labelled, common = (Engine().image(tag).layers for tag in (*IMAGES.values(), f"{NAME}:core"))
    assert common == first != labelled


@pytest.mark.parametrize(("cell", "variant"), [(cell, variant) for cell in VARIANTS for variant in VARIANTS[cell]])
def test_every_variant_finds_all_of_its_units_fresh_in_its_cell(matrix: Line, cell: str, variant: str) -> None:
    proof = matrix.answer("verify", IMAGES[cell], "--repo", "front", "--variant", variant, "--min-hit", "1")
    (repo,) = proof["repos"]
    forecast = matrix.read(f"plan-{cell}.json")["forecast"]
    assert [each["units"] for each in forecast if each["variant"] == variant] == [
        {"total": repo["units"]["total"], "hit": {"core": repo["units"]["fresh"]}}
    ]
    assert repo["units"]["fresh"] == repo["units"]["total"] > 0
    assert [check["name"] for check in proof["checks"] if not check["ok"]] == []


@pytest.mark.parametrize(
    ("cell", "builds"),
    [
        (FIRST, {"--release": "release", f"--release --target {HOST}": f"{HOST}/release"}),
        (LABELLED, {"": "debug"}),
    ],
)
def test_a_consumers_own_files_get_into_its_own_target_directory(
    matrix: Line, cell: str, builds: Mapping[str, str]
) -> None:
    script = "cp -R /src /tmp/front && cd /tmp/front"
    for words, place in builds.items():
        script += f" && cargo build {words} --locked --offline && target/{place}/front && echo {place}"
    with Engine().container(IMAGES[cell], mounts={matrix.folder / "front": "/src"}) as container:
        answer = container.run(["sh", "-c", script], timeout=300)
    assert answer.stdout.split() == list(builds.values()), answer.stderr


def test_a_plan_for_a_cargo_without_a_build_directory_is_refused_by_one_that_has_it(matrix: Line) -> None:
    plan = matrix.read(f"plan-{LABELLED}.json")
    plan["contract"]["layout"] = "target-dir"
    write_json(matrix.folder / f"older-{LABELLED}.json", plan)
    never = matrix.under(FACTORY_IMAGE_NAME="rust-warm-factory/variants-never-built")
    answer = never.factory("--cell", LABELLED, "build", "--plan", "older.json")
    assert answer.returncode == 5, answer.stderr
    assert f"cargo {RELEASE} " in answer.stderr
    assert "has build.build-dir, and the plan was made for an older one" in answer.stderr


def test_a_base_without_the_standard_library_of_a_target_is_refused(matrix: Line) -> None:
    lacking = matrix.under(
        FACTORY_COOK_VARIANTS=f"release@{LACKING}", FACTORY_IMAGE_NAME="rust-warm-factory/variants-never-built"
    )
    for words in (("analyze", "front", "--out", "a.json"), ("plan", "--analysis", "a.json", "--out", "p.json")):
        lacking.succeed("--cell", FIRST, *words)
    answer = lacking.factory("--cell", FIRST, "build", "--plan", "p.json")
    assert answer.returncode == 5, answer.stderr
    assert f"the base image lacks the standard library of {LACKING}, and has no rustup" in answer.stderr
