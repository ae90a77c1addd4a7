"""Measuring a cook with the real cargo: what it tells of every unit, and that it leaves no trace."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from factory.cargo.events import EVENT_ARGS, parse_events
from factory.cargo.toolchain import find_toolchain
from factory.config.model import BudgetSettings
from factory.cook.local import cook_locally
from factory.costs.traits import Kind, kind_of
from factory.output import Output
from tests.cargo.scenario import Build, Kitchen, Workspace, identities, planned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.cargo

SECONDS = 300.0
WORKSPACE = Workspace(
    dependencies=(
        "itoa = '1'",
        "portable-atomic = '=1.13.1'",
        # A proc-macro, with crates for the host side; and build scripts that are run.
        "proc-macro-error-attr2 = '2'",
    )
)


def test_measuring_tells_of_every_unit_and_changes_none(tmp_path: Path) -> None:
    toolchain = find_toolchain()
    kitchen = Kitchen(tmp_path / "kitchen", toolchain)
    resolved = kitchen.resolve(Build(workspace=WORKSPACE))
    plan = planned(kitchen, resolved, ())
    warm = tmp_path / "warm"

    (measured,) = cook_locally(
        plan, warm, toolchain=toolchain, output=Output(), timeout=SECONDS, budget=BudgetSettings()
    )
    with_measuring = digests(warm / "build")
    words = ["build", "--release", "--locked", "--offline", *EVENT_ARGS, "--target-dir", str(tmp_path / "target")]
    done = toolchain.cargo(words, cwd=resolved.folder, cargo_home=warm / "cargo-home", timeout=SECONDS)
    (plain,) = cook_locally(
        plan, warm, toolchain=toolchain, output=Output(), timeout=SECONDS, budget=BudgetSettings(), measure=False
    )

    # Every file of every unit is the same, to the names with cargo's hashes and the fingerprints in them.
    assert digests(warm / "build") == with_measuring
    assert [path.name for path in warm.rglob("*timing*")] == []
    # A consumer that does not measure finds all of it fresh.
    assert done.ok, done.stderr
    events = parse_events(done.stdout, done.stderr)
    assert events.compiled == {}
    assert events.fresh == identities(resolved.registry)
    # Every unit was measured, and what was measured is in the region of the truth.
    assert measured.cooked == plain.cooked == tuple(sorted(resolved.keys))
    assert plain.observed == {}
    assert measured.observed.keys() == resolved.keys
    units = {unit.key: unit for unit in resolved.units}
    for key, seen in measured.observed.items():
        assert 0 <= seen.seconds <= measured.seconds * 2
        assert seen.bytes > (100 if kind_of(units[key], units) is Kind.BUILD_SCRIPT_RUN else 10_000), units[key].label
    assert 0 < sum(seen.seconds for seen in measured.observed.values()) <= measured.seconds * 4
    assert sum(seen.bytes for seen in measured.observed.values()) == pytest.approx(size(warm / "build"), rel=0.02)


def digests(folder: Path) -> Mapping[str, str]:
    """Return what every file holds, but for what cargo knows of rustc, which it writes in another order each time."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".rustc_info.json"
    }


def size(folder: Path) -> int:
    """Return the bytes of all files, each once."""
    return sum({path.stat().st_ino: path.stat().st_size for path in folder.rglob("*") if path.is_file()}.values())
