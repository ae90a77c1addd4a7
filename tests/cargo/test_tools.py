"""A wrapper around rustc, such as sccache, leaves cooked units fresh: images can be used with it and without."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from factory import process
from tests.hostile import write_files

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "Cargo.toml": '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n'
    '[dependencies]\nleaf = { path = "leaf" }\n',
    "src/main.rs": "fn main() { leaf::leaf(); }\n",
    "leaf/Cargo.toml": '[package]\nname = "leaf"\nversion = "0.1.0"\nedition = "2021"\n',
    "leaf/src/lib.rs": "pub fn leaf() {}\n",
    "leaf/build.rs": "fn main() {}\n",
    "wrapper": '#!/bin/sh\necho called >> "$CALLS"\nexec "$@"\n',
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = write_files(tmp_path / "project", FILES)
    (folder / "wrapper").chmod(0o755)
    return folder


def fresh(project: Path, **environment: str) -> list[bool]:
    """Build; return for each compiled unit whether it was fresh."""
    plain = {name: value for name, value in os.environ.items() if name != "RUSTC_WRAPPER"}
    said = process.run(
        ["cargo", "build", "--release", "--offline", "--message-format=json"],
        cwd=project,
        env={**plain, "CALLS": str(project / "calls"), **environment},
    ).stdout
    return [line["fresh"] for line in map(json.loads, said.splitlines()) if line["reason"] == "compiler-artifact"]


@pytest.mark.parametrize("first", ["plain", "wrapped"])
def test_a_wrapper_around_rustc_changes_no_unit(project: Path, first: str) -> None:
    wrapped = {"RUSTC_WRAPPER": str(project / "wrapper")}
    one, other = ({}, wrapped) if first == "plain" else (wrapped, {})
    assert fresh(project, **one) == [False] * 3
    assert fresh(project, **other) == [True] * 3
    assert (project / "calls").exists()
