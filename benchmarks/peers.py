"""What others warm images with: packages with a list of crates, written so that `factory analyze` can take them.

- the fixed list of hand-written warm-up Dockerfiles;
- popular crates by name, as the Rust Playground has them: 134 names of an older manifest of its image, each at its
  newest version with its default features (`popular_crates.txt`); not a list by downloads;
- the union: one package that depends on all that the repositories depend on.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli
import tomlkit

from benchmarks.world import analysed, keys_of
from factory.cargo.home import prepare_resolving_home
from factory.cargo.toolchain import find_toolchain
from factory.files import cache_directory
from factory.graph import MergedGraph

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from factory.analysis.model import Analysis
    from factory.cargo.toolchain import Toolchain
    from factory.model import Unit, UnitKey
    from factory.pipeline.run import Run

FIXED_LIST: Mapping[str, Any] = {
    "axum": "0.8",
    "tokio": {"version": "1", "features": ["full"]},
    "tower": "0.5",
    "serde": {"version": "1", "features": ["derive"]},
    "serde_json": "1",
    "anyhow": "1",
    "thiserror": "2",
    "sqlx": {"version": "0.8", "features": ["runtime-tokio", "postgres"]},
    "reqwest": {"version": "0.12", "features": ["json"]},
}

_ASKED_FOR = re.compile(
    r"satisfies dependency `(?P<name>[\w-]+) = |package `union[^`]*` depends on `(?P<other>[\w-]+)`"
)
_NAMED = re.compile(r"`(?P<name>[\w-]+)(?: = \"[^`]*| v[^`]*)?`")
_MOST_ROUNDS = 40
_LEAST_REPOS = 3
"""What fewer repositories name is left out of the union: it helps few, and cargo has to agree to all of it."""


def peer_wishes(repos: Path) -> dict[str, Mapping[str, Any]]:
    """Return what each peer depends on: the union is that of the repositories in a folder."""
    return {"fixed list": FIXED_LIST, "popular crates": popular(), "union": union(repos)}


def analysed_peers(run: Run, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, Analysis]:
    """Return what each peer compiles, by what it depends on."""
    toolchain = find_toolchain(run.settings.toolchain)
    home = prepare_resolving_home(cache_directory() / "cargo-home")
    found: dict[str, Analysis] = {}
    with tempfile.TemporaryDirectory(prefix="factory-peers-") as scratch:
        for name, dependencies in wanted.items():
            folder = Path(scratch) / name
            left_out = resolve_package(folder, dependencies, toolchain=toolchain, cargo_home=home)
            print(f"{name}: {len(dependencies)} crates, without {', '.join(left_out) or 'none'}", file=sys.stderr)
            found[name] = analysed(run, folder)
    return found


def in_order(units: Mapping[UnitKey, Unit], peer: Analysis) -> tuple[UnitKey, ...]:
    """Return the units of a peer in the order in which it would give them up last, `units` being all there are."""
    return tuple(MergedGraph(units).dependencies_first(keys_of(peer)))


def popular() -> Mapping[str, Any]:
    """Return the popular crates, each at its newest version."""
    words = Path(__file__).with_name("popular_crates.txt").read_text(encoding="utf-8").split()
    return dict.fromkeys(words, "*")


def union(repos: Path, *, without: AbstractSet[str] = frozenset()) -> dict[str, Any]:
    """Return one table with what several repositories below a folder depend on, most wanted crates first.

    Repositories whose folder is in `without` are left out. Of a crate's requirements the newest is taken, as one
    package can have one; of features, all that those who require it name.
    """
    users: dict[str, set[str]] = defaultdict(set)
    wishes: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    manifests = (file for file in repos.rglob("Cargo.toml") if file.relative_to(repos).parts[0] not in without)
    for manifest in sorted(manifests):
        for name, table in dependencies_of(tomli.loads(manifest.read_text(encoding="utf-8"))):
            users[name].add(manifest.relative_to(repos).parts[0])
            wishes[name, table["version"]].append(table)
    newest: dict[str, str] = {}
    for name, requirement in wishes:
        newest[name] = max(newest.get(name, requirement), requirement, key=_newness)
    return {
        name: {
            "version": newest[name],
            "features": sorted(
                {feature for table in wishes[name, newest[name]] for feature in table.get("features", ())}
            ),
            "default-features": any(table.get("default-features", True) for table in wishes[name, newest[name]]),
        }
        for name in sorted(newest, key=lambda name: (-len(users[name]), name))
        if len(users[name]) >= _LEAST_REPOS
    }


def write_package(folder: Path, dependencies: Mapping[str, Any]) -> None:
    """Write a package that depends on these crates."""
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "src" / "lib.rs").write_text("", encoding="utf-8")
    manifest = {"package": {"name": "union", "version": "0.0.0", "edition": "2021"}, "dependencies": dict(dependencies)}
    (folder / "Cargo.toml").write_text(tomlkit.dumps(manifest), encoding="utf-8")


def resolve_package(
    folder: Path, dependencies: Mapping[str, Any], *, toolchain: Toolchain, cargo_home: Path
) -> tuple[str, ...]:
    """Write a package with its lock, and return the crates that had to be left out.

    Cargo resolves one package to one version of each `links` name: where it cannot, the crate that it complains of
    is taken out, the least wanted first.
    """
    wanted = dict(dependencies)
    left_out: list[str] = []
    for _ in range(_MOST_ROUNDS):
        write_package(folder, wanted)
        answer = toolchain.cargo(["generate-lockfile"], cwd=folder, cargo_home=cargo_home, timeout=300)
        if answer.ok:
            return tuple(left_out)
        blamed = _blamed(answer.stderr, wanted)
        if blamed is None:
            break
        left_out.append(blamed)
        del wanted[blamed]
    message = f"cargo cannot resolve {folder}; {len(left_out)} crates were left out in vain"
    raise RuntimeError(message)


def _blamed(said: str, wanted: Mapping[str, Any]) -> str | None:
    order = list(wanted)
    names = {match["name"] or match["other"] for match in _ASKED_FOR.finditer(said)}
    names = (names & wanted.keys()) or ({match["name"] for match in _NAMED.finditer(said)} & wanted.keys())
    return max(names, key=order.index, default=None)


def dependencies_of(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the registry dependencies of a manifest for every target, with a version: not what a workspace defines."""
    for table in (manifest, manifest.get("workspace", {})):
        for alias, raw in table.get("dependencies", {}).items():
            wish = {"version": raw} if isinstance(raw, str) else raw
            if "version" in wish and not wish.keys() & {"path", "git", "registry"}:
                yield wish.get("package", alias), wish


def _newness(requirement: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", requirement)[:3])
