"""Every Dockerfile and every script in the image passes its linter, and needs nothing from the network to start."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from factory import process

FOLDER = Path(__file__).resolve().parents[2] / "Dockerfiles"
TOOLS = Path(sys.executable).parent
DOCKERFILES = sorted(FOLDER.glob("*.Dockerfile"))
SCRIPTS = sorted(FOLDER.glob("*.sh"))


def test_there_is_something_to_check() -> None:
    assert {path.name for path in DOCKERFILES} == {"base.Dockerfile", "layer.Dockerfile", "tool.Dockerfile"}
    assert {path.name for path in SCRIPTS} == {
        *("contents.sh", "contract.sh", "cook.sh", "fetch.sh", "git-credential.sh", "prune.sh", "settle.sh"),
        *("system.sh", "targets.sh", "tool.sh"),
        *("warm-doctor.sh", "warm-entry.sh", "warm-umask.sh"),
    }


@pytest.mark.runs_programs
@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    found = process.run([TOOLS / "hadolint", "--no-color", path], check=False)
    assert (found.stdout, found.returncode) == ("", 0)


@pytest.mark.runs_programs
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    found = process.run([TOOLS / "shellcheck", "--external-sources", path.name], cwd=FOLDER, check=False)
    assert (found.stdout, found.returncode) == ("", 0)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_posix_shell(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("#!/bin/sh\n")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_no_frontend_and_no_image_is_pulled(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "syntax=" not in text
    sources = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    assert set(sources) - stages <= {
        "scratch",
        "base",
        "${BELOW}",
        "parent",
        "${START}",
        "${PREPARED}",
        "${COOK_ON}",
        "${TOOLCHAIN}",
    }


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_only_the_steps_that_download_have_a_network(path: Path) -> None:
    steps = re.findall(r"^RUN (?:.*\\\n)*.*", path.read_text(encoding="utf-8"), re.MULTILINE)
    networked = [step for step in steps if not step.startswith("RUN --network=none ")]
    assert steps
    assert all(re.search(r"/((fetch|system|targets)\.sh|tool\.sh fetch)", step) for step in networked)


@pytest.mark.runs_programs
def test_what_is_said_of_failed_crates_has_one_order(tmp_path: Path) -> None:
    """Two cooks of one recipe may see its crates fail in either order, and have to give the same errors.log."""
    cook = (FOLDER / "cook.sh").read_text(encoding="utf-8")
    function = cook[cook.index("what_failed() {") :]
    function = function[: function.index("\n}\n") + 3]
    build = (
        "error: failed to run custom build command for `b v1.0.0`\n\nCaused by:\n  thread 'main' ({}) panicked at x\n"
    )
    compile_ = "error[E0425]: cannot find `y`\n --> a.rs:1:1\n\nerror: could not compile `a` (lib)\n"
    noise = "   Compiling c v1.0.0\n"
    texts = (build.format(12) + noise + compile_, noise + compile_ + noise + build.format(345))
    said = []
    for number, text in enumerate(texts):
        log = tmp_path / f"{number}.log"
        log.write_text(text, encoding="utf-8")
        said.append(process.run(["sh", "-euc", f"{function}\nLOG='{log}' what_failed"]).stdout)
    assert said[0] == said[1]
    assert "thread 'main' panicked at x" in said[0]
    assert "Compiling" not in said[0]
    # Each crate's words stay together.
    assert "`b v1.0.0`\n\nCaused by:\n  thread" in said[0]
