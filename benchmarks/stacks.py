"""Computes the stacks that the program ships: crates that repositories use together, for a plan without any of them.

    python -m benchmarks.stacks REPOS [--out stacks]

REPOS is a folder with a folder for each repository, of which the manifests are read. What is written are facts (crate,
version, features, how many repositories); see docs/default-plan.md for how they come about.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tomlkit

from benchmarks.peers import dependencies_of
from factory.analysis.stacks import Stack, StackCrate, stack_manifest, wish_of
from factory.cargo.home import prepare_resolving_home
from factory.cargo.toolchain import find_toolchain
from factory.config.layers import load_layer_profiles
from factory.config.load import load_configuration
from factory.files import cache_directory, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from factory.cargo.toolchain import Toolchain

_HEAD = """\
# Crates that public repositories use together, for a plan without any repositories: docs/default-plan.md.
# Written by `python -m benchmarks.stacks`; the versions are in Cargo.lock.
"""

_FEWEST_USERS = 4
"""Repositories that make a stack of what stands beside an anchor; fewer are a matter of chance."""

_POPULAR = 0.4
"""The share of all repositories that makes a crate a stack of its own."""

_HALF = 0.5
_MOST_ROUNDS = 20


@dataclass(slots=True)
class _Use:
    """How one repository depends on a crate."""

    ranges: Counter[str] = field(default_factory=Counter)
    features: set[str] = field(default_factory=set)
    defaults: bool = False


def main() -> int:
    """Write `stacks.toml` and `Cargo.lock`, and print the stacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("stacks"))
    options = parser.parse_args()
    uses = _uses(options.repos)
    settings = load_configuration(None, environ={}, start=Path("/")).settings
    toolchain = find_toolchain(settings.toolchain)
    cargo_home = prepare_resolving_home(cache_directory() / "cargo-home")
    stacks, lock = _resolved(_stacks(uses), toolchain, cargo_home)
    write_text(options.out / "stacks.toml", stacks_to_toml(stacks, repositories=len(uses)))
    write_text(options.out / "Cargo.lock", lock)
    for stack in stacks:
        print(f"{stack.name} ({stack.repos}): {', '.join(crate.name for crate in stack.crates)}")
    return 0


def stacks_to_toml(stacks: Sequence[Stack], *, repositories: int) -> str:
    """Return stacks as `shipped_stacks` reads them; `repositories` is how many they were made from."""
    lines = [_HEAD, f"repositories = {repositories}"]
    for stack in sorted(stacks, key=lambda stack: stack.name):
        lines += ["", f"[stacks.{stack.name}]", f"repos = {stack.repos}", "", f"[stacks.{stack.name}.crates]"]
        for crate in stack.crates:
            wish = tomlkit.inline_table()
            wish.update(wish_of(crate))
            lines.append(f"{crate.name} = {wish.as_string()}")
    return "\n".join(lines) + "\n"


def _uses(repos: Path) -> dict[str, dict[str, _Use]]:
    found: dict[str, dict[str, _Use]] = defaultdict(dict)
    for manifest in sorted(repos.rglob("Cargo.toml")):
        for name, table in dependencies_of(tomllib.loads(manifest.read_text(encoding="utf-8"))):
            use = found[manifest.relative_to(repos).parts[0]].setdefault(name, _Use())
            use.ranges[_range(str(table["version"]))] += 1
            use.features |= set(table.get("features", ()))
            use.defaults |= bool(table.get("default-features", True))
    return dict(found)


def _range(requirement: str) -> str:
    """Return the semver range that a requirement is in: `1`, `0.8`; `*` where it is none."""
    numbers = re.match(r"[\^=~ ]*(\d+)(?:\.(\d+))?(?:\.(\d+))?", requirement)
    if numbers is None:
        return "*"
    major, minor, patch = numbers[1], numbers[2], numbers[3]
    if major != "0" or minor is None:
        return major
    return f"0.{minor}" if minor != "0" or patch is None else f"0.0.{patch}"


def _stacks(uses: Mapping[str, Mapping[str, _Use]]) -> list[Stack]:
    """Return a stack for each anchor crate of the layers, one for tools, and one for each popular crate alone."""
    anchors = sorted({anchor for profile in load_layer_profiles(None).layers for anchor in profile.anchors})
    stacks = []
    for anchor in [*anchors, "clap"]:
        users = [crates for crates in uses.values() if anchor in crates]
        if len(users) >= _FEWEST_USERS:
            often = Counter(name for crates in users for name in crates)
            names = {name for name, count in often.items() if count > _HALF * len(users)} | {anchor}
            stacks.append(_stack(anchor, names, users))
    often = Counter(name for crates in uses.values() for name in crates)
    stacks += [
        _stack(f"{name}-alone", {name}, [crates for crates in uses.values() if name in crates])
        for name, count in often.items()
        if count >= _POPULAR * len(uses)
    ]
    return sorted(stacks, key=lambda stack: stack.name)


def _stack(name: str, crates: Iterable[str], users: Sequence[Mapping[str, _Use]]) -> Stack:
    return Stack(
        name=name,
        repos=len(users),
        crates=tuple(_crate(crate, [row[crate] for row in users if crate in row]) for crate in sorted(crates)),
    )


def _crate(name: str, uses: Sequence[_Use]) -> StackCrate:
    """Return a crate as most of these repositories have it: range, features, default features or not."""
    ranges = Counter(max(use.ranges, key=lambda text: (use.ranges[text], text)) for use in uses)
    features = Counter(feature for use in uses for feature in use.features)
    return StackCrate(
        name=name,
        range=max(ranges, key=lambda text: (ranges[text], text)),
        features=tuple(sorted(feature for feature, count in features.items() if count > _HALF * len(uses))),
        default_features=sum(use.defaults for use in uses) >= _HALF * len(uses),
    )


def _resolved(stacks: Sequence[Stack], toolchain: Toolchain, cargo_home: Path) -> tuple[list[Stack], str]:
    """Return the stacks that cargo resolves together, and their common lock.

    Where two want what cannot be in one lock (two crates that link the same library), the one is dropped that fewer
    repositories have.
    """
    left, said = list(stacks), ""
    for _ in range(_MOST_ROUNDS):
        with tempfile.TemporaryDirectory(prefix="factory-stacks-") as name:
            folder = Path(name)
            _write_workspace(folder, left)
            answer = toolchain.cargo(["generate-lockfile"], cwd=folder, cargo_home=cargo_home, timeout=300)
            if answer.ok:
                return left, _registry_packages((folder / "Cargo.lock").read_text(encoding="utf-8"))
        said = answer.stderr
        blamed = [stack for stack in left if f"`stack-{stack.name} " in said]
        if not blamed:
            break
        worst = min(blamed, key=lambda stack: (stack.repos, stack.name))
        print(f"left out: {worst.name}: {said.strip().splitlines()[0]}", file=sys.stderr)
        left.remove(worst)
    message = f"cargo cannot resolve the stacks together: {said}"
    raise RuntimeError(message)


def _write_workspace(folder: Path, stacks: Sequence[Stack]) -> None:
    write_text(folder / "Cargo.toml", '[workspace]\nresolver = "2"\nmembers = ["s-*"]\n')
    for stack in stacks:
        write_text(folder / f"s-{stack.name}" / "Cargo.toml", stack_manifest(stack, workspace=False))
        write_text(folder / f"s-{stack.name}" / "src" / "lib.rs", "")


def _registry_packages(lock: str) -> str:
    head, *packages = lock.split("[[package]]\n")
    kept = [package for package in packages if "\nsource = " in package]
    return head + "[[package]]\n".join(["", *kept]).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
