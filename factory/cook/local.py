"""The local backend: cooks a plan into a directory, with cargo alone.

The directory holds a CARGO_HOME (`cargo-home`), the build directory (`build`) and a report for each layer (`share`).
A consumer sets `CARGO_HOME=<directory>/cargo-home`. The directory must stay where it is: cargo hashes that path.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import tomlkit

from factory.cargo.events import EVENT_ARGS, BuildEvents, parse_events
from factory.cargo.home import user_cargo_home
from factory.cargo.lock import parse_lock
from factory.cook.progress import crate_counter, crates_of
from factory.cook.report import LayerReport, contents, contract, report_layer
from factory.errors import BuildFailedError, ConfigurationError, EnvironmentFaultError
from factory.files import write_json, write_text
from factory.model import CRATES_IO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from factory.cargo.toolchain import Toolchain
    from factory.output import Output
    from factory.planning.plan import Plan
    from factory.planning.recipe import Recipe

INCOMPLETE = "INCOMPLETE"
"""Stands in the directory while it is being cooked: nothing may be built on a directory that has it."""


def local_plan(plan: Plan, folder: Path) -> Plan:
    """Return the plan with the contract that holds for a local directory."""
    moved = replace(plan.contract, cargo_home=str(folder / "cargo-home"), build_dir=str(folder / "build"))
    return replace(plan, contract=moved)


def cook_locally(
    plan: Plan, folder: Path, *, toolchain: Toolchain, output: Output, timeout: float
) -> tuple[LayerReport, ...]:
    """Cook every layer of `plan` into `folder` and return what came out; `timeout` seconds for each recipe.

    Whatever an earlier cook left is replaced. Raises `ConfigurationError` when the folder holds something else.
    """
    plan = local_plan(plan, folder)
    _prepare(folder)
    reports = []
    for layer in plan.layers:
        report = _cook_layer(plan, layer.name, folder, toolchain=toolchain, output=output, timeout=timeout)
        share = folder / "share" / layer.name
        write_json(share / "contents.json", contents(plan, report))
        write_json(share / "contract.json", contract(plan, layer.name))
        reports.append(report)
    home = folder / "cargo-home"
    if (home / "registry" / "src").exists():
        # Cargo unpacks the sources again from the downloads beside them.
        shutil.rmtree(home / "registry" / "src")
    # Of the recipes' own crates, which cargo compiles incrementally in dev profiles, and leaves when it cleans.
    for leftover in sorted((folder / "build").rglob("incremental")):
        shutil.rmtree(leftover)
    # When cargo last used what: for cleaning up, which is off here, and never the same twice.
    (home / ".global-cache").unlink(missing_ok=True)
    (folder / INCOMPLETE).unlink()
    return tuple(reports)


def _prepare(folder: Path) -> None:
    home = folder / "cargo-home"
    ours = (folder / "share").is_dir() or (folder / INCOMPLETE).exists()
    if folder.exists() and any(folder.iterdir()) and not ours:
        raise ConfigurationError(
            f"{folder}: holds something that factory did not put there",
            advice="Name a new or an empty directory.",
        )
    write_text(folder / INCOMPLETE, "Being cooked, or the cook was interrupted: run `factory build` again.\n")
    for stale in (folder / "build", folder / "share"):
        if stale.exists():
            shutil.rmtree(stale)
    (folder / "share").mkdir()
    # A file, not variables: cargo's fingerprints and other tools take no notice of a file.
    settings = {"build": {"build-dir": str(folder / "build")}, "cache": {"auto-clean-frequency": "never"}}
    write_text(home / "config.toml", tomlkit.dumps(settings))


def _cook_layer(
    plan: Plan, layer: str, folder: Path, *, toolchain: Toolchain, output: Output, timeout: float
) -> LayerReport:
    started = time.monotonic()
    events = []
    recipes = plan.recipes_of(layer)
    for number, recipe in enumerate(recipes, start=1):
        label = f"{layer}: recipe {number}/{len(recipes)}"
        events.append((recipe, _cook(recipe, folder, label, toolchain=toolchain, output=output, timeout=timeout)))
    return report_layer(plan, layer, events, seconds=time.monotonic() - started)


def _cook(
    recipe: Recipe, folder: Path, label: str, *, toolchain: Toolchain, output: Output, timeout: float
) -> BuildEvents:
    home = folder / "cargo-home"
    work = Path(tempfile.mkdtemp(prefix="factory-cook-"))
    try:
        recipe.write(work)
        _seed(recipe, home)
        fetched = toolchain.cargo(
            ["fetch", "--locked", "--target", recipe.context.platform or toolchain.host],
            cwd=work,
            cargo_home=home,
            timeout=timeout,
        )
        if not fetched.ok:
            raise EnvironmentFaultError(
                f"cannot fetch the crates of {label}:\n{fetched.stderr.strip()[-1500:]}",
                advice="Check the network and the registry, and run the command again.",
            )
        return _compile(recipe, work, home, label, toolchain=toolchain, output=output, timeout=timeout)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _compile(
    recipe: Recipe,
    work: Path,
    home: Path,
    label: str,
    *,
    toolchain: Toolchain,
    output: Output,
    timeout: float,
) -> BuildEvents:
    args = [*recipe.cargo_args, "--locked", "--offline", "--keep-going", "--target-dir", str(work / "target")]
    crates = crates_of([recipe])
    with output.progress(label, len(crates)) as advance:
        answer = toolchain.cargo(
            [*args, *EVENT_ARGS],
            cwd=work,
            cargo_home=home,
            timeout=timeout,
            on_stderr=crate_counter(crates, advance),
        )
    events = parse_events(answer.stdout, answer.stderr)
    if not answer.ok and not events.failures:
        raise BuildFailedError(f"{label}: cargo failed before compiling anything:\n{answer.stderr.strip()[-1500:]}")
    # Two path packages of one name in a build directory can give a wrong binary: nothing of the recipe itself stays.
    cleaned = toolchain.cargo(recipe.clean_args, cwd=work, cargo_home=home, timeout=timeout)
    if not cleaned.ok:
        raise BuildFailedError(f"{label}: cannot remove the recipe's own units:\n{cleaned.stderr.strip()[-1500:]}")
    return events


def _seed(recipe: Recipe, home: Path) -> None:
    """Take crates that the user's cargo has downloaded already, where their checksum is the lock's."""
    downloads = user_cargo_home() / "registry" / "cache"
    for folder in downloads.glob("*") if downloads.is_dir() else ():
        for name, checksum in _crate_files(recipe):
            source = folder / name
            target = home / "registry" / "cache" / folder.name / name
            if source.is_file() and not target.exists() and _sha256(source) == checksum:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


def _crate_files(recipe: Recipe) -> Iterable[tuple[str, str]]:
    wanted = {entry.package for entry in recipe.packages}
    for entry in parse_lock(recipe.lock).packages:
        if entry.package in wanted and entry.package.source == CRATES_IO and entry.checksum is not None:
            yield f"{entry.package.name}-{entry.package.version}.crate", entry.checksum


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
