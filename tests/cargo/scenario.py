"""Scenarios for unit keys: a consumer's workspace, how it is built, and a warm directory cooked for such builds.

Small and dumb on purpose: a `Build` is data, and `Kitchen` does with real cargo what the product does.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.analysis.model import merge_units
from factory.cargo.compatibility import resolver_slot
from factory.cargo.events import EVENT_ARGS, identity, keys_done, parse_events
from factory.cargo.links import links_names
from factory.cargo.lock import LockedPackage, parse_lock, render_lock
from factory.cargo.profile_table import derive_profile_table
from factory.cargo.resolve import UNIT_GRAPH_ARGS, UNIT_GRAPH_ENVIRONMENT
from factory.cargo.unit_graph import Surroundings, parse_unit_graph
from factory.cargo.variants import Variant
from factory.files import write_text
from factory.graph import MergedGraph
from factory.planning.recipes import Usage, group_into_recipes
from factory.planning.resolution import resolve_recipes
from tests.unit.builders import plan_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.cargo.events import BuildEvents, Identity
    from factory.cargo.toolchain import Toolchain
    from factory.model import PackageId, Unit, UnitKey
    from factory.planning.plan import Plan
    from factory.planning.recipe import Recipe
    from factory.process import Completed

HOST = "{host}"
"""Stands for the host's triple, wherever a scenario has text."""

_CRATES = Path(__file__).with_name("crates.lock")
_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """A root package with no code to speak of, and perhaps members; dependencies are lines of TOML."""

    name: str = "consumer"
    version: str = "0.1.0"
    edition: str = "2021"
    resolver: str = "2"
    dependencies: tuple[str, ...] = ()
    build_dependencies: tuple[str, ...] = ()
    dev_dependencies: tuple[str, ...] = ()
    lib: str | None = None
    """The root's `[lib]` table, as lines; `None`: it has a main.rs only."""
    is_bin: bool = True
    tables: str = ""
    """More TOML at the end of the root manifest: profiles, lints, target-specific dependencies."""
    members: Mapping[str, str] = field(default_factory=dict)
    """Members by name: everything of their manifest but `[package]`. Each has an empty lib.rs."""
    default_members: tuple[str, ...] | None = None
    """What cargo builds where nobody says; `None`: all."""
    config: str = ""
    """`.cargo/config.toml`."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions to lock instead of the first in `crates.lock`, by crate name."""

    def manifest(self) -> str:
        """Return the root's Cargo.toml."""
        lib = "" if self.lib is None else f"[lib]\npath = 'lib.rs'\n{self.lib}\n"
        bins = f"[[bin]]\nname = '{self.name}'\npath = 'main.rs'\n" if self.is_bin else ""
        members = json.dumps([".", *self.members])
        defaults = members if self.default_members is None else json.dumps(self.default_members)
        return (
            f"[package]\nname = '{self.name}'\nversion = '{self.version}'\nedition = '{self.edition}'\n"
            f"[workspace]\nresolver = '{self.resolver}'\nmembers = {members}\ndefault-members = {defaults}\n"
            f"{lib}{bins}"
            f"[dependencies]\n{_lines(self.dependencies)}"
            f"[build-dependencies]\n{_lines(self.build_dependencies)}"
            f"[dev-dependencies]\n{_lines(self.dev_dependencies)}"
            f"{self.tables}\n"
        )

    def write(self, folder: Path, host: str) -> None:
        """Write the workspace, with a lock that names every crate of `crates.lock` in one version."""
        files = {"Cargo.toml": self.manifest(), "Cargo.lock": locked_crates(self.versions)}
        files |= {".cargo/config.toml": self.config, "main.rs": "fn main() {}\n", "lib.rs": ""}
        if self.build_dependencies:
            files["build.rs"] = "fn main() {}\n"
        for name, rest in self.members.items():
            package = f"[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2021'\n"
            files |= {f"{name}/Cargo.toml": f"{package}{rest}\n", f"{name}/src/lib.rs": ""}
        for path, text in files.items():
            write_text(folder / path, text.replace(HOST, host))


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """One way to build a workspace, and what decides unit keys besides its graph."""

    workspace: Workspace
    variant: str = "release"
    args: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    rustflags: Mapping[str | None, tuple[str, ...]] = field(default_factory=dict)
    linkers: Mapping[str | None, str] = field(default_factory=dict)
    folder: str = "consumer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """A build as cargo resolves it. `command` is the one that compiles its dependencies: `build` or `check`."""

    folder: Path
    command: str
    units: tuple[Unit, ...]
    links: Mapping[PackageId, str]

    @property
    def registry(self) -> tuple[Unit, ...]:
        """The units of registry packages: all that is cooked and counted."""
        return tuple(unit for unit in self.units if unit.is_registry)

    @property
    def keys(self) -> frozenset[UnitKey]:
        """The keys of the registry units."""
        return frozenset(unit.key for unit in self.registry)

    @property
    def lock(self) -> Mapping[PackageId, LockedPackage]:
        """The packages of the final lock."""
        text = (self.folder / "Cargo.lock").read_text(encoding="utf-8")
        return {entry.package: entry for entry in parse_lock(text).packages}


@dataclass(frozen=True, kw_only=True, slots=True)
class Warm:
    """A build directory cooked by `recipes`; `wanted` was asked for, `made` is what cargo says they resolve to."""

    build_dir: Path
    recipes: tuple[Recipe, ...]
    wanted: frozenset[UnitKey]
    made: frozenset[UnitKey]


class Kitchen:
    """Cooks and builds below one folder, with one CARGO_HOME: its path is part of what makes units fresh."""

    def __init__(self, root: Path, toolchain: Toolchain) -> None:
        self.root = root
        self.toolchain = toolchain
        self.cargo_home = root / "cargo-home"
        write_text(self.cargo_home / "config.toml", '[cache]\nauto-clean-frequency = "never"\n')
        self._folders = Counter[str]()

    def folder(self, name: str) -> Path:
        """Return a folder that nobody else gets."""
        self._folders[name] += 1
        return self.root / f"{self._folders[name]}-{name}"

    def cargo(
        self, args: tuple[str, ...], cwd: Path, build_dir: Path, environment: Mapping[str, str] | None = None
    ) -> Completed:
        """Run cargo with its intermediate artifacts in `build_dir`."""
        words = [*args, "--config", f"build.build-dir={json.dumps(str(build_dir))}"]
        return self.toolchain.cargo(words, cwd=cwd, cargo_home=self.cargo_home, extra=environment, timeout=_SECONDS)

    def fetch(self, folder: Path) -> None:
        """Have cargo complete the lock and download what is missing."""
        answer = self.toolchain.cargo(["fetch"], cwd=folder, cargo_home=self.cargo_home, timeout=_SECONDS)
        assert answer.ok, answer.stderr

    def resolve(self, build: Build) -> Resolved:
        """Write the workspace and return the units that cargo would deal with."""
        folder = self.folder("work") / build.folder
        build.workspace.write(folder, self.toolchain.host)
        self.fetch(folder)
        answer = self.toolchain.cargo(
            [*self._args(build), *UNIT_GRAPH_ARGS],
            cwd=folder,
            cargo_home=self.cargo_home,
            extra={**build.environment, **UNIT_GRAPH_ENVIRONMENT},
            timeout=_SECONDS,
        )
        assert answer.ok, answer.stderr
        units = parse_unit_graph(answer.stdout, self._surroundings(build))
        return Resolved(
            folder=folder,
            command=Variant.parse(build.variant).cooked_by,
            units=units,
            links=links_names(answer.stdout),
        )

    def build(self, build: Build, resolved: Resolved, warm: Warm) -> BuildEvents:
        """Really build against a copy of `warm`, in which nobody else builds."""
        build_dir = self.folder("build-dir")
        shutil.copytree(warm.build_dir, build_dir, symlinks=True)
        try:
            answer = self.cargo((*self._args(build), *EVENT_ARGS), resolved.folder, build_dir, build.environment)
        finally:
            shutil.rmtree(build_dir)
        assert answer.ok, answer.stderr
        return parse_events(answer.stdout, answer.stderr)

    def cook(self, *builds: Build, without: frozenset[str] = frozenset(), clean: bool = True) -> Warm:
        """Cook what `builds` use, `without` some crates and everything above them."""
        resolved = [self.resolve(build) for build in builds]
        graph = MergedGraph(merge_units({u.key: u for u in each.units} for each in resolved))
        wanted = frozenset(
            key
            for key in graph.cookable
            if not without & {graph.units[under].package.name for under in graph.closure(key)}
        )
        recipes = group_into_recipes(
            "core",
            wanted,
            graph=graph,
            usages=[
                Usage(
                    keys=each.keys,
                    command=each.command,
                    profile=derive_profile_table(each.registry),
                    lock=each.lock,
                )
                for each in resolved
            ],
            links={package: name for each in resolved for package, name in each.links.items()},
        )
        build_dir = self.folder("warm")
        made = frozenset(key for recipe in recipes for key in self.cook_recipe(recipe, build_dir, clean=clean))
        return Warm(build_dir=build_dir, recipes=recipes, wanted=wanted, made=made)

    def cook_recipe(self, recipe: Recipe, build_dir: Path, *, clean: bool) -> frozenset[UnitKey]:
        """Cook one recipe and return the keys of the registry units that cargo made of it."""
        folder = self.folder("recipe")
        recipe.write(folder)
        self.fetch(folder)
        graph = self.cargo((*recipe.cargo_args, *UNIT_GRAPH_ARGS), folder, build_dir, UNIT_GRAPH_ENVIRONMENT)
        assert graph.ok, graph.stderr
        context = recipe.context
        surroundings = Surroundings(rustc=self.toolchain.rustc_verbose, rustflags={context.platform: context.rustflags})
        units = [unit for unit in parse_unit_graph(graph.stdout, surroundings) if unit.is_registry]
        cooked = self.cargo((*recipe.cargo_args, "--locked", "--offline", *EVENT_ARGS), folder, build_dir)
        assert cooked.ok, cooked.stderr
        events = parse_events(cooked.stdout, cooked.stderr)
        assert events.done == identities(units)
        if clean:
            cleaned = self.cargo(recipe.clean_args, folder, build_dir)
            assert cleaned.ok, cleaned.stderr
        return keys_done({unit.key: identity(unit) for unit in units}, events.done)

    def _args(self, build: Build) -> tuple[str, ...]:
        extra = (arg.replace(HOST, self.toolchain.host) for arg in build.args)
        return (*Variant.parse(build.variant).args, "--locked", *extra)

    def _surroundings(self, build: Build) -> Surroundings:
        named = {HOST: self.toolchain.host}
        return Surroundings(
            rustc=self.toolchain.rustc_verbose,
            rustflags={named.get(str(key), key): flags for key, flags in build.rustflags.items()},
            linkers={named.get(str(key), key): linker for key, linker in build.linkers.items()},
        )


def planned(kitchen: Kitchen, resolved: Resolved, rustflags: tuple[str, ...]) -> Plan:
    """Return a plan that cooks all of a workspace's registry units into one layer."""
    graph = MergedGraph({unit.key: unit for unit in resolved.units})
    usage = Usage(
        keys=resolved.keys,
        command=resolved.command,
        profile=derive_profile_table(resolved.registry),
        lock=resolved.lock,
    )
    recipes = resolve_recipes(
        group_into_recipes("core", graph.cookable, graph=graph, usages=[usage], links=resolved.links),
        split=lambda recipe: (recipe,),
        toolchain=kitchen.toolchain,
        cargo_home=kitchen.cargo_home,
        jobs=1,
        advance=lambda _: None,
    )
    assert recipes.unreproduced == ()
    plan = plan_for({"core": [graph.units[key] for key in sorted(graph.cookable)]})
    return replace(plan, recipes=recipes.recipes, contract=replace(plan.contract, rustflags=rustflags))


def identities(units: list[Unit] | tuple[Unit, ...]) -> Counter[Identity]:
    """Return what cargo's JSON says of `units`, counted."""
    return Counter(identity(unit) for unit in units)


def locked_crates(versions: Mapping[str, str]) -> str:
    """Return `crates.lock` with one version for each crate and semver range: the chosen, else the first."""
    known = parse_lock(_CRATES.read_text(encoding="utf-8")).packages
    chosen: dict[tuple[str, str], PackageId] = {}
    for entry in known:
        package = entry.package
        place = (package.name, resolver_slot(package.version))
        if place not in chosen or versions.get(package.name) == package.version:
            chosen[place] = package
    kept = set(chosen.values())
    return render_lock(
        replace(
            entry,
            dependencies=tuple(chosen[edge.name, resolver_slot(edge.version)] for edge in entry.dependencies),
        )
        for entry in known
        if entry.package in kept
    )


def _lines(lines: tuple[str, ...]) -> str:
    return "".join(f"{line}\n" for line in lines)
