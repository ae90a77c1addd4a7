"""Local cooks with the real cargo: flags of the contract and of repositories, and recipes that cargo refuses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from factory.cargo.events import EVENT_ARGS, parse_events
from factory.cargo.toolchain import find_toolchain
from factory.config.model import BudgetSettings
from factory.cook.local import cook_locally, is_warm_directory
from factory.errors import BuildFailedError
from factory.output import Output
from tests.cargo.scenario import HOST, Build, Kitchen, Workspace, identities, planned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


pytestmark = pytest.mark.cargo

SECONDS = 300.0
CONTRACT = ("--cfg", "factory_test")
OWN = ("--cfg", "own_flag")
WORKSPACE = Workspace(
    dependencies=(
        "itoa = '1'",
        # Its build script reads the flags.
        "portable-atomic = '=1.13.1'",
        # A build script, and crates that only the host compiles.
        "proc-macro-error-attr2 = '2'",
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A contract and a repository: its configuration, and the flags that its units then have by platform."""

    contract: tuple[str, ...]
    flags: Mapping[str | None, tuple[str, ...]]
    config: str = ""
    args: tuple[str, ...] = ()


CASES = {
    "no flags": Case(contract=(), flags={}),
    "the contract's": Case(contract=CONTRACT, flags={None: CONTRACT}),
    "own": Case(contract=(), flags={None: OWN}, config=f"[build]\nrustflags = {list(OWN)}\n"),
    "own beside the contract's": Case(
        contract=CONTRACT, flags={None: (*CONTRACT, *OWN)}, config=f"[build]\nrustflags = {list(OWN)}\n"
    ),
    "own instead of the contract's": Case(
        contract=CONTRACT, flags={None: OWN}, config=f"[target.'cfg(unix)']\nrustflags = {list(OWN)}\n"
    ),
    "none for the host": Case(contract=CONTRACT, flags={HOST: CONTRACT}, args=("--target", HOST)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_everything_is_fresh_for_a_consumer_with_the_same_flags(tmp_path: Path, case: Case) -> None:
    toolchain = find_toolchain()
    workspace = replace(WORKSPACE, config=case.config)
    kitchen = Kitchen(tmp_path / "kitchen", toolchain)
    resolved = kitchen.resolve(Build(workspace=workspace, args=case.args, rustflags=case.flags))
    plan = planned(kitchen, resolved, case.contract)

    (report,) = cook_locally(
        plan, tmp_path / "warm", toolchain=toolchain, output=Output(), timeout=SECONDS, budget=BudgetSettings()
    )

    assert report.dropped == ()
    words = ["build", "--release", "--locked", "--offline", *EVENT_ARGS, "--target-dir", str(tmp_path / "target")]
    words += [word.replace(HOST, toolchain.host) for word in case.args]
    done = toolchain.cargo(words, cwd=resolved.folder, cargo_home=tmp_path / "warm/cargo-home", timeout=SECONDS)
    assert done.ok, done.stderr
    events = parse_events(done.stdout, done.stderr)
    assert events.compiled == {}
    assert events.fresh == identities(resolved.registry)


def test_a_recipe_that_cargo_refuses_is_a_failed_build(tmp_path: Path) -> None:
    toolchain = find_toolchain()
    kitchen = Kitchen(tmp_path / "kitchen", toolchain)
    resolved = kitchen.resolve(Build(workspace=Workspace(dependencies=("itoa = '1'",))))
    plan = planned(kitchen, resolved, ())
    (recipe,) = plan.recipes
    refused = replace(recipe, context=replace(recipe.context, command="bild"))
    with pytest.raises(BuildFailedError, match="core: recipe 1/1: cargo exited with 101") as caught:
        cook_locally(
            replace(plan, recipes=(refused,)),
            tmp_path / "warm",
            toolchain=toolchain,
            output=Output(),
            timeout=SECONDS,
            budget=BudgetSettings(),
        )
    assert "no such command: `bild`" in caught.value.what
    assert not is_warm_directory(tmp_path / "warm")
