"""The whole line into images: the samples, from analysis to verified layers, on a real engine."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from factory import process
from factory.analysis.analyze import Resolver, analyze
from factory.analysis.model import analysis_to_json
from factory.cargo.home import prepare_resolving_home
from factory.cargo.toolchain import find_toolchain, find_toolchain_in_image
from factory.cargo.variants import Variant
from factory.engine import ContainerTimeoutError, Engine
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.output import Output
from factory.proof.image import verify_image
from factory.proof.model import ProofRequest
from factory.scan.discover import find_workspaces
from factory.scan.model import Scan
from tests.docker.line import ROOT, Line
from tests.docker.listed import images_like
from tests.hostile import good_repo
from tests.quick_samples import quick_samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NAME = "rust-warm-factory/line-test"
REQUEST = ProofRequest(variant=Variant.parse("release"), skeleton=False, cold=False, timeout=300)
QUIET = Output(verbosity=-1)
NO_REPOS = Scan(workspaces=(), skipped=())


@dataclass(frozen=True, kw_only=True)
class Samples(Line):
    """The images of the samples: the plan behind them, and what the build said."""

    repos: Path
    plan: Mapping[str, Any]
    built: Mapping[str, Any]


@pytest.fixture(scope="module")
def line(base_image: str, docker_env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Take the samples through analyze, plan and build once, for all tests of this module."""
    folder = tmp_path_factory.mktemp("line")
    environment = dict(docker_env) | {
        "FACTORY_CACHE_DIR": str(folder / "cache"),
        "FACTORY_BASE_IMAGE": base_image,
        "FACTORY_IMAGE_NAME": NAME,
        "PYTHONPATH": str(ROOT),
    }
    line = Line(folder=folder, environment=environment)
    repos = quick_samples(folder)
    line.succeed("analyze", str(repos))
    plan = line.answer("plan")
    return Samples(folder=folder, environment=environment, repos=repos, plan=plan, built=line.answer("build"))


def test_every_planned_unit_is_in_the_images(line: Samples) -> None:
    planned = {layer["name"]: layer["keys"] for layer in line.plan["layers"]}
    assert {layer["layer"]: layer["cooked"] for layer in line.built["layers"]} == planned
    assert all(planned.values())


def test_a_child_has_its_parents_layers_as_a_prefix(line: Samples) -> None:
    assert line.built
    engine = Engine()
    core, web, db = (engine.image(f"{NAME}:{layer}").layers for layer in ("core", "web", "db"))
    assert len(core) < len(web) < len(db)
    assert web[: len(core)] == core
    assert db[: len(web)] == web


def test_the_image_says_what_it_is(line: Samples) -> None:
    facts = Engine().image(f"{NAME}:web")
    assert facts.user == "1001:1001"
    assert facts.environment["CARGO_HOME"] == "/usr/local/cargo"
    assert facts.labels["io.rust-warm-factory.layer"] == "web"
    assert facts.labels["io.rust-warm-factory.rustc"] == line.plan["contract"]["toolchain"]["version"]
    with Engine().container(f"{NAME}:web", mounts={}) as container:
        contents = container.run(["cat", "/usr/local/share/rust-warm-factory/web/contents.json"])
    keys = next(layer["keys"] for layer in line.plan["layers"] if layer["name"] == "web")
    assert [unit["key"] for unit in json.loads(contents.stdout)["units"]] == keys


@pytest.mark.parametrize(
    ("layer", "samples"),
    # What an image lacks is compiled; all that a database needs, once is enough.
    [("core", ["greeter-cli", "notes-web"]), ("web", ["notes-web", "ledger-db"]), ("db", ["."])],
)
def test_verify_finds_exactly_what_the_plan_foretold_and_the_gate_holds(
    line: Samples, layer: str, samples: list[str]
) -> None:
    """As uid 1001, on each of the three images."""
    repos = [word for sample in samples for word in ("--repo", str(line.repos / sample))]
    answer = line.factory("verify", f"{NAME}:{layer}", *repos, "--min-hit", "1", "--json")
    proof = json.loads(answer.stdout)
    assert [check["name"] for check in proof["checks"] if not check["ok"]] == []
    foretold = {row["path"].rpartition("/")[2]: row["units"] for row in line.plan["forecast"]}
    found = {repo["path"].rpartition("/")[2]: repo["units"] for repo in proof["repos"]}
    assert found.keys() == (foretold.keys() if layer == "db" else set(samples))
    for name, units in found.items():
        assert units == {"total": foretold[name]["total"], "fresh": foretold[name]["hit"][layer]}
        assert units["fresh"] > 0
    assert answer.returncode == (0 if layer == "db" else 1), answer.stderr
    assert ("does not pass" in answer.stderr) == (layer != "db")


def test_check_reads_from_the_image_what_the_plan_foretold(line: Samples) -> None:
    answer = line.factory("check", str(line.repos), "--image", f"{NAME}:web", "--json")
    assert answer.returncode == 0, answer.stderr
    check = json.loads(answer.stdout)
    assert check["image"] == "web"
    foretold = {row["path"]: row["units"] for row in line.plan["forecast"]}
    found = {row["path"]: row["variants"]["release"]["units"] for row in check["workspaces"]}
    assert found == {path: {"total": units["total"], "hit": units["hit"]["web"]} for path, units in foretold.items()}
    assert 0 < check["units"]["hit"] < check["units"]["total"]
    assert all(miss["cause"] and miss["remedy"] for miss in check["misses"])
    other = line.factory("check", str(line.repos), "--image", line.environment["FACTORY_BASE_IMAGE"])
    assert other.returncode == 2
    assert "does not say what is warm in it" in other.stderr
    unknown = line.factory("check", str(line.repos), "--image", "No Image")
    assert unknown.returncode == 4
    assert unknown.stderr.startswith("error: No Image is neither here nor can it be pulled: ")


def test_a_skeleton_finds_everything_fresh_on_the_topmost_image(line: Samples) -> None:
    passed = line.factory(
        "verify", f"{NAME}:db", "--repo", str(line.repos / "ledger-db"), "--min-hit", "1", "--skeleton"
    )
    assert passed.returncode == 0, passed.stderr


def test_a_second_build_of_the_same_plan_compiles_nothing_and_gives_the_same_images(line: Samples) -> None:
    engine = Engine()
    before = [engine.image(f"{NAME}:{layer}").layers for layer in ("core", "web", "db")]
    again = line.factory("build", "--json")
    assert again.returncode == 0, again.stderr
    assert "cooking: " not in again.stderr
    cooked = [layer["cooked"] for layer in json.loads(again.stdout)["layers"]]
    assert cooked == [layer["cooked"] for layer in line.built["layers"]]
    assert [engine.image(f"{NAME}:{layer}").layers for layer in ("core", "web", "db")] == before


def test_dry_run_builds_nothing_and_shows_the_commands(line: Samples) -> None:
    shown = line.under(FACTORY_IMAGE_NAME="rust-warm-factory/never-built").succeed("build", "--dry-run")
    assert "docker buildx bake" in shown.stdout
    assert images_like("rust-warm-factory/never-built") == []


# Dockerfiles of projects, as the documentation shows them

IDIOM, CURE, PLAIN = "rm -f target", "cargo clean", "cargo build --release --locked"


def shown(page: str, words: str) -> list[str]:
    """Return the lines of the one example of a Dockerfile on a page that has `words`."""
    blocks: list[str] = re.findall(r"^```dockerfile\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.M | re.S)
    (found,) = (block for block in blocks if words in block)
    return found.splitlines()


def built_with(line: Samples, *instructions: str) -> str:
    """Build the sample greeter-cli on `core`, without a network, and return what the steps said; last, the program."""
    project = line.repos / "greeter-cli"
    os.utime(project / "src" / "main.rs", (1_000_000_000, 1_000_000_000))
    text = "\n".join((*instructions, "RUN ./target/release/greeter-cli --help", ""))
    text = re.sub(r"org/rust-builder:\w+", f"{NAME}:core", text)
    text = text.replace("orders*", "greeter_cli*").replace("orders", "greeter-cli")
    words = ["docker", "build", "--network=none", "--no-cache", "--progress=plain", "-f", "-", "."]
    return process.run(words, cwd=project, stdin=text, timeout=300).stderr


@pytest.mark.parametrize("page", ["README.md", "docs/consumers.md"])
def test_the_three_lines_build_with_every_dependency_warm_and_without_a_network(line: Samples, page: str) -> None:
    said = built_with(line, *shown(page, PLAIN))
    assert re.findall(r"Compiling (\S+)", said) == ["greeter-cli"]
    assert "Greets everybody" in said


def test_a_dummy_program_is_shipped_unless_its_units_are_removed_as_told(line: Samples) -> None:
    idiom = shown("docs/consumers.md", IDIOM)
    start = f"FROM {NAME}:core"
    assert "Greets everybody" not in built_with(line, start, *idiom)
    (cure,) = shown("docs/consumers.md", CURE)
    mended = [cure if IDIOM in step else step for step in idiom]
    assert mended != idiom
    assert "Greets everybody" in built_with(line, start, *mended)
    touched = [
        step.replace("COPY . .", "COPY --chown=1001:1001 . .\nRUN find . -name '*.rs' -exec touch {} +")
        for step in idiom
        if IDIOM not in step
    ]
    assert "Greets everybody" in built_with(line, start, *touched)


def test_what_takes_root_goes_between_two_users(line: Samples) -> None:
    three = shown("docs/consumers.md", PLAIN)
    said = built_with(line, three[0], "USER root", "RUN echo uid-$(id -u)", "USER runner", *three[1:])
    assert "uid-0" in said
    assert "Greets everybody" in said


# What may be wrong with an image, or with what is built on it


@contextlib.contextmanager
def derived(*instructions: str) -> Iterator[str]:
    """Yield the tag of an image made from that of the layer `core`."""
    tag = f"{NAME}:derived"
    lines = "\n".join((f"FROM {NAME}:core", *instructions, ""))
    process.run(["docker", "build", "--network=none", "-q", "-t", tag, "-"], stdin=lines, timeout=300)
    try:
        yield tag
    finally:
        process.run(["docker", "rmi", "-f", tag], check=False, timeout=60)


def test_a_user_may_be_named_by_its_name(line: Samples) -> None:
    assert line.built
    with derived("USER runner") as tag:
        proof = verify_image(tag, NO_REPOS, REQUEST, engine=Engine(), output=QUIET)
    assert proof.ok(1), proof.checks
    assert "belong to 1001:1001" in next(check.detail for check in proof.checks if check.name == "owners and modes")


def test_a_user_that_the_image_does_not_know_is_explained(line: Samples) -> None:
    assert line.built
    with derived("USER nobody-of-that-name") as tag:
        with pytest.raises(EnvironmentFaultError) as caught:
            verify_image(tag, NO_REPOS, REQUEST, engine=Engine(), output=QUIET)
        left = process.run(["docker", "ps", "-aq", "--filter", f"ancestor={tag}"], timeout=60).stdout
    assert left == ""
    assert caught.value.what.startswith(f"no container of {tag} can be started: ")
    assert "nobody-of-that-name" in caught.value.what
    assert caught.value.advice


def test_an_image_with_another_rustc_than_cooked_it_fails(line: Samples) -> None:
    assert line.built
    edit = "sed -i 's/rustc [0-9.]* /rustc 1.2.3 /' /usr/local/share/rust-warm-factory/core/contract.json"
    with derived("USER 0", f"RUN {edit}", "USER 1001:1001") as tag:
        proof = verify_image(tag, NO_REPOS, REQUEST, engine=Engine(), output=QUIET)
    (failed,) = (check for check in proof.checks if not check.ok)
    assert failed.name == "toolchain"
    assert "cooked with rustc 1.2.3 (" in failed.detail
    assert not proof.ok(0)


@pytest.mark.parametrize("name", [f"{NAME}:never-built", "./typo", "Not/An/Image", "a//b"])
def test_what_no_image_is_called_is_a_wrong_target(docker_env: Mapping[str, str], name: str) -> None:
    assert docker_env
    with pytest.raises(ConfigurationError, match="no such directory or image"):
        verify_image(name, NO_REPOS, REQUEST, engine=Engine(), output=QUIET)


def test_build_scripts_may_write_beside_their_sources_and_the_repository_stays_as_it_is(
    line: Samples, tmp_path: Path
) -> None:
    assert line.built
    script = 'fn main() { std::fs::write("src/made.rs", "").unwrap(); std::fs::create_dir("made").unwrap(); }\n'
    repo = good_repo(tmp_path, name="writer", files={"build.rs": script, "src/main.rs": "mod made;\nfn main() {}\n"})
    proof = verify_image(f"{NAME}:core", find_workspaces([repo]), REQUEST, engine=Engine(), output=QUIET)
    assert [row.problem for row in proof.repos] == [""]
    assert not (repo / "made").exists()


def test_a_build_that_takes_too_long_is_one_row(line: Samples, tmp_path: Path) -> None:
    assert line.built
    script = "fn main() { std::thread::sleep(std::time::Duration::from_secs(3600)); }\n"
    good_repo(tmp_path, name="endless", files={".git/HEAD": "", "build.rs": script})
    good_repo(tmp_path, name="good", files={".git/HEAD": "", "src/main.rs": "fn main() {}\n"})
    request = replace(REQUEST, timeout=20)
    proof = verify_image(f"{NAME}:core", find_workspaces([tmp_path]), request, engine=Engine(), output=QUIET)
    endless, good = proof.repos
    assert endless.problem == "cargo did not finish within 20 s in a container"
    assert good.problem == ""
    assert not proof.ok(0)


def test_a_program_in_a_container_that_takes_too_long_is_given_up(line: Samples) -> None:
    assert line.built
    with Engine().container(f"{NAME}:core", mounts={}) as container:
        with pytest.raises(ContainerTimeoutError, match=r"`sleep 3600` in a container did not finish within 1 s"):
            container.run(["sleep", "3600"], timeout=1)
        assert container.run(["id", "-u"]).stdout == "1001\n"


def test_the_base_images_cargo_resolves_what_this_machines_does(line: Samples, base_image: str, tmp_path: Path) -> None:
    """Where this machine has another cargo than the images, the one in the base image answers."""
    assert line.built  # its analysis has downloaded the crates
    found = find_workspaces([line.repos])
    answers: list[dict[str, Any]] = []
    for toolchain in (find_toolchain(), find_toolchain_in_image(base_image)):
        folder = tmp_path / str(len(answers))
        resolver = Resolver(
            toolchain=toolchain,
            variants=(Variant.parse("release"),),
            cargo_home=prepare_resolving_home(folder / "home"),
            cache=folder / "cache",
            jobs=2,
        )
        answers.append(analysis_to_json(analyze(found, resolver, advance=lambda _path: None)))
    assert answers[0]["units"]
    assert answers[0] == answers[1]
