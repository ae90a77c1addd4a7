"""What a requirement is met by, asked of the real cargo: a path dependency is held to its requirement as well."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from factory.cargo.toolchain import find_toolchain
from tests.hostile import write_files
from tests.requirements import MET, NONE, UNMET

if TYPE_CHECKING:
    from pathlib import Path

    from factory.process import Completed

pytestmark = pytest.mark.cargo

TOOLCHAIN = find_toolchain()


def said_to(requirement: str, version: str, folder: Path) -> Completed:
    head = '[package]\nname = "{}"\nversion = "{}"\nedition = "2021"\n'
    need = f'[workspace]\n[dependencies]\nleaf = {{ path = "leaf", version = "{requirement}" }}\n'
    files = {"Cargo.toml": head.format("app", "0.0.0") + need, "src/lib.rs": ""}
    leaf = {"leaf/Cargo.toml": head.format("leaf", version), "leaf/src/lib.rs": ""}
    args = ["generate-lockfile", "--offline"]
    return TOOLCHAIN.cargo(args, cwd=write_files(folder, files | leaf), cargo_home=folder / "home")


def test_cargo_takes_the_same_versions(tmp_path: Path) -> None:
    cases = (*MET, *UNMET, *((text, "1.0.0") for text in NONE))
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda at: said_to(*cases[at], tmp_path / str(at)), range(len(cases))))
    assert [case for case, answer in zip(cases, said, strict=True) if answer.ok] == list(MET)
    unmet = said[len(MET) : len(MET) + len(UNMET)]
    assert all("failed to select a version" in answer.stderr for answer in unmet)
    assert all("failed to parse" in answer.stderr for answer in said[-len(NONE) :])
