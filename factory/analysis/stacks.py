"""Stacks: crates that public repositories use together, shipped as facts, made into workspaces to analyse.

They stand in for repositories where nobody has named any. All share one lock, in which cargo resolved them on one day;
of it cargo keeps for each what it needs.
"""

from __future__ import annotations

import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomlkit

from factory.errors import EnvironmentFaultError
from factory.files import write_text
from factory.resources import shipped

if TYPE_CHECKING:
    from pathlib import Path

    from factory.cargo.toolchain import Toolchain

_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StackCrate:
    """A crate as most repositories of a stack depend on it; `range` is a semver range such as `0.8`, or `*`."""

    name: str
    range: str
    features: tuple[str, ...]
    default_features: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Crates used together, and how many repositories it was made from: its weight."""

    name: str
    repos: int
    crates: tuple[StackCrate, ...]


def shipped_stacks() -> tuple[Stack, ...]:
    """Return the stacks that come with the program."""
    document = tomllib.loads((shipped("stacks") / "stacks.toml").read_text(encoding="utf-8"))
    return tuple(
        Stack(
            name=name,
            repos=table["repos"],
            crates=tuple(
                StackCrate(
                    name=crate,
                    range=wish["version"],
                    features=tuple(wish.get("features", ())),
                    default_features=wish.get("default-features", True),
                )
                for crate, wish in table["crates"].items()
            ),
        )
        for name, table in document["stacks"].items()
    )


def write_stacks(folder: Path, *, toolchain: Toolchain, cargo_home: Path, jobs: int) -> dict[Path, Stack]:
    """Write a workspace for each shipped stack below an empty folder, each with its own lock, by its folder.

    Cargo cuts the locks, from the registry's index: raises `EnvironmentFaultError` where it cannot be reached.
    """
    lock = (shipped("stacks") / "Cargo.lock").read_text(encoding="utf-8")
    written = {folder / stack.name: stack for stack in shipped_stacks()}
    for place, stack in written.items():
        write_text(place / "Cargo.toml", stack_manifest(stack))
        write_text(place / "src" / "lib.rs", "")
        write_text(place / "Cargo.lock", lock)
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda place: _cut_lock(place, toolchain, cargo_home), written))
    return written


def _cut_lock(place: Path, toolchain: Toolchain, cargo_home: Path) -> None:
    # It drops what the stack does not need, and moves no version that is in the lock.
    done = toolchain.cargo(["update", "--workspace"], cwd=place, cargo_home=cargo_home, timeout=_TIMEOUT_SECONDS)
    if not done.ok:
        said = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise EnvironmentFaultError(
            f"the shipped stack {place.name} cannot be resolved:\n{said}",
            advice="It takes the index of crates.io or a mirror: `network.mirror`, `network.proxy`.",
        )


def stack_manifest(stack: Stack, *, workspace: bool = True) -> str:
    """Return the manifest of a package that depends on a stack's crates; `workspace`: as a root of its own."""
    document: dict[str, Any] = {
        "package": {"name": f"stack-{stack.name}", "version": "0.0.0", "edition": "2021"},
        "dependencies": {crate.name: wish_of(crate) for crate in stack.crates},
    }
    return tomlkit.dumps(document | ({"workspace": {}} if workspace else {}))


def wish_of(crate: StackCrate) -> dict[str, Any]:
    """Return what a manifest, and `stacks.toml`, say of a crate: its range, and features where it has any."""
    wish: dict[str, Any] = {"version": crate.range}
    if not crate.default_features:
        wish["default-features"] = False
    if crate.features:
        wish["features"] = list(crate.features)
    return wish
