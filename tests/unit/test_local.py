"""The local backend: whose directory it takes, how long a layer may take, what build scripts get to see."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli

from factory.cargo.toolchain import Toolchain
from factory.config.model import BudgetSettings
from factory.cook.isolation import without_secrets
from factory.cook.local import (
    INCOMPLETE,
    MARKER,
    MARKER_TEXT,
    VERIFYING,
    cook_locally,
    is_cooked_from,
    is_warm_directory,
    require_warm,
)
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.exclusive import exclusive
from factory.output import Output
from factory.scratch import scratch
from tests.hostile import write_files
from tests.unit.builders import FACTS, plan_for, unit
from tests.unit.test_proof_tree import not_as_root

if TYPE_CHECKING:
    from factory.cook.report import LayerReport
    from factory.planning.plan import Plan

TOOLCHAIN = Toolchain(version=FACTS.version, host=FACTS.host, rustc_verbose=FACTS.rustc_verbose)
NOTHING = plan_for({"core": []})
"""A plan without recipes: all but cargo runs."""


def cook(folder: Path, plan: Plan = NOTHING, *, timeout: float = 60) -> tuple[LayerReport, ...]:
    return cook_locally(plan, folder, toolchain=TOOLCHAIN, output=Output(), timeout=timeout, budget=BudgetSettings())


def one_recipe(*crates: str) -> Plan:
    plan = plan_for({"core": [unit(crate) for crate in crates]})
    return replace(plan, recipes=tuple(replace(recipe, lock="version = 4\n") for recipe in plan.recipes))


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# Whose directory


@pytest.mark.parametrize(
    "files",
    [
        {"share/applications/x.desktop": "", "build/keep": "", "bin/tool": ""},
        {INCOMPLETE: "", "build/keep": ""},
        {MARKER: "", "share/keep": ""},
        {MARKER: "something else\n", "share/keep": ""},
        {"notes": ""},
    ],
)
def test_a_directory_of_somebody_else_is_refused_and_left_alone(tmp_path: Path, files: dict[str, str]) -> None:
    theirs = write_files(tmp_path / "theirs", files)
    before = listing(theirs)
    with pytest.raises(ConfigurationError, match="theirs: holds something that factory did not put there"):
        cook(theirs)
    assert listing(theirs) == before


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file: Not a directory"):
        cook(tmp_path / "file")


@pytest.mark.parametrize("files", [{}, {MARKER: ""}])
def test_a_new_or_an_empty_directory_becomes_ours(tmp_path: Path, files: dict[str, str]) -> None:
    write_files(tmp_path / "warm", files)
    assert not is_warm_directory(tmp_path / "warm")
    cook(tmp_path / "warm")
    assert (tmp_path / "warm" / MARKER).read_text() == MARKER_TEXT
    assert is_warm_directory(tmp_path / "warm")


def test_what_an_earlier_cook_left_is_replaced(tmp_path: Path) -> None:
    cook(tmp_path / "warm")
    write_files(tmp_path / "warm", {"build/stale": "", "share/old/contents.json": "{}"})
    cook(tmp_path / "warm")
    assert {"build/stale", "share/old"}.isdisjoint(listing(tmp_path / "warm"))
    assert "share/core/contents.json" in listing(tmp_path / "warm")


@pytest.mark.parametrize("missing", [MARKER, "share/core/contents.json", "share/core/contract.json"])
def test_a_directory_is_warm_when_all_of_it_is_there(tmp_path: Path, missing: str) -> None:
    cook(tmp_path / "warm")
    (tmp_path / "warm" / INCOMPLETE).write_text("")
    assert not is_warm_directory(tmp_path / "warm")
    (tmp_path / "warm" / INCOMPLETE).unlink()
    (tmp_path / "warm" / missing).unlink()
    assert is_warm_directory(tmp_path / "warm") is (missing != MARKER)


def test_a_directory_that_a_verification_did_not_put_back_is_refused(tmp_path: Path) -> None:
    cook(tmp_path / "warm")
    require_warm(tmp_path / "warm")
    (tmp_path / "warm" / INCOMPLETE).write_text(VERIFYING)
    assert not is_cooked_from(NOTHING, tmp_path / "warm")
    with pytest.raises(ConfigurationError, match="warm: is being verified, or a verification did not put back") as told:
        require_warm(tmp_path / "warm")
    assert "cook the directory again: `factory build --backend local" in told.value.advice
    (tmp_path / "warm" / MARKER).unlink()
    with pytest.raises(ConfigurationError, match="not a completely cooked directory"):
        require_warm(tmp_path / "warm")


POISON = {
    "cargo-home/config": "[build]\nrustc-wrapper = 'theirs'\n",
    "cargo-home/config.toml": "[build]\nrustc-wrapper = 'theirs'\n",
    "cargo-home/credentials.toml": "",
    "cargo-home/registry/cache/x/a-1.0.0.crate": "theirs",
    "cargo-home/closed/deep/file": "",
    "build/file": "",
}


def test_a_cook_makes_a_cargo_home_anew_that_a_verification_did_not_put_back() -> None:
    with tempfile.TemporaryDirectory() as name, not_as_root(Path(name)):
        warm = Path(name) / "warm"
        cook(warm)
        before = listing(warm)
        settings = (warm / "cargo-home/config.toml").read_text()
        write_files(warm, {**POISON, INCOMPLETE: VERIFYING})
        (warm / "cargo-home/closed/deep").chmod(0)
        (warm / "cargo-home/closed").chmod(0)
        (warm / "build").chmod(0)
        cook(warm)
        assert listing(warm) == before
        assert (warm / "cargo-home/config.toml").read_text() == settings


def test_a_cook_keeps_what_was_downloaded_and_no_configuration(tmp_path: Path) -> None:
    cook(tmp_path / "warm")
    settings = (tmp_path / "warm/cargo-home/config.toml").read_text()
    write_files(tmp_path / "warm", POISON)
    cook(tmp_path / "warm")
    assert (tmp_path / "warm/cargo-home/registry/cache/x/a-1.0.0.crate").exists()
    assert not (tmp_path / "warm/cargo-home/config").exists()
    assert (tmp_path / "warm/cargo-home/config.toml").read_text() == settings


def test_a_cargo_home_that_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cook(tmp_path / "warm")
    (tmp_path / "warm" / INCOMPLETE).write_text(VERIFYING)

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(EnvironmentFaultError, match="cannot be removed: Operation not permitted"):
        cook(tmp_path / "warm")
    assert (tmp_path / "warm" / INCOMPLETE).read_text() == VERIFYING


def test_a_directory_is_of_a_plan_when_every_layer_was_cooked_from_it(tmp_path: Path) -> None:
    warm = tmp_path / "warm"
    assert not is_cooked_from(NOTHING, warm)
    cook(warm)
    assert is_cooked_from(NOTHING, warm)
    assert not is_cooked_from(replace(NOTHING, contract=replace(NOTHING.contract, rustflags=("-g",))), warm)
    (warm / "share/core/contract.json").write_text("[]")
    assert not is_cooked_from(NOTHING, warm)


def test_two_cooks_do_not_share_a_directory(tmp_path: Path) -> None:
    warm = tmp_path / "warm"
    cook(warm)
    before = listing(warm)
    with (
        exclusive(warm / MARKER, using=warm),
        pytest.raises(EnvironmentFaultError, match=rf"another factory is using {re.escape(str(warm))}"),
    ):
        cook(warm)
    assert listing(warm) == before
    assert is_warm_directory(warm)
    cook(warm)


def test_the_cargo_home_has_the_flags_of_the_contract(tmp_path: Path) -> None:
    plan = replace(NOTHING, contract=replace(NOTHING.contract, rustflags=("--cfg", "factory_test")))
    cook(tmp_path / "warm", plan)
    assert tomli.loads((tmp_path / "warm/cargo-home/config.toml").read_text()) == {
        "build": {"build-dir": str(tmp_path / "warm/build"), "rustflags": ["--cfg", "factory_test"]},
        "cache": {"auto-clean-frequency": "never"},
    }


# A cargo that only takes its time, or only fails


def script(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Put a `cargo` of these shell lines on PATH."""
    path = write_files(folder, {"cargo": f"#!/bin/sh\n{text}\n"}) / "cargo"
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.mark.runs_programs
def test_the_time_is_for_the_whole_layer_not_for_each_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "bin", monkeypatch, f"echo $1 >> {tmp_path}/calls; sleep 0.6")
    with pytest.raises(EnvironmentFaultError, match="layer core: its cook did not finish within 1 s") as caught:
        cook(tmp_path / "warm", one_recipe("a"), timeout=1)
    assert (tmp_path / "calls").read_text().split() == ["fetch", "build"]
    assert "limits.cook_timeout" in caught.value.advice
    assert not is_warm_directory(tmp_path / "warm")


@pytest.mark.runs_programs
@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("failed to download from https://example.org/b/1.0.0/download", "cannot fetch b 1.0.0:"),
        ("could not resolve host", "cannot fetch a 1.0.0 and 1 more:"),
    ],
)
def test_a_failed_fetch_names_the_crate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, named: str) -> None:
    script(tmp_path / "bin", monkeypatch, f"echo 'error: {said}' >&2; exit 101")
    with pytest.raises(EnvironmentFaultError) as caught:
        cook(tmp_path / "warm", one_recipe("a", "b"))
    assert f"core: recipe 1/1: {named}" in caught.value.what
    assert said in caught.value.what


@pytest.mark.runs_programs
def test_only_the_fetch_sees_what_logs_in_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARGO_REGISTRY_TOKEN", "t0p")
    monkeypatch.setenv("FACTORY_HARMLESS", "yes")
    script(tmp_path / "bin", monkeypatch, f"env > {tmp_path}/$1")
    cook(tmp_path / "warm", one_recipe("a"))
    seen = {name: (tmp_path / name).read_text() for name in ("fetch", "build", "clean")}
    assert {name: "t0p" in text for name, text in seen.items()} == {"fetch": True, "build": False, "clean": False}
    assert all("FACTORY_HARMLESS=yes" in text for text in seen.values())


def test_secrets_are_told_by_their_names() -> None:
    secret = ["GITHUB_TOKEN", "my_secret_key", "PGPASSWORD", "DB_CREDENTIALS", "AWS_PROFILE", "SSH_AUTH_SOCK"]
    kept = ["PATH", "HOME", "HTTPS_PROXY", "LAWS_X", "PKG_CONFIG_PATH"]
    assert list(without_secrets(dict.fromkeys((*secret, *kept), "x"))) == kept


# Scratch directories


def test_a_scratch_directory_is_private_and_goes_away() -> None:
    with scratch("factory-test-") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.resolve() == folder
        (folder / "x").write_text("")
    assert not folder.exists()


@pytest.mark.parametrize("name", ["config", "config.toml"])
def test_a_configuration_above_a_scratch_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_files(tmp_path, {f".cargo/{name}": "", "tmp/keep": ""})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with pytest.raises(EnvironmentFaultError) as caught, scratch("factory-test-"):
        pytest.fail("it was given out")
    assert caught.value.what.startswith(f"{tmp_path}/.cargo/{name}: ")
    assert listing(tmp_path / "tmp") == {"keep"}
