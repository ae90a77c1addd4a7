"""Version bumps of a project's dependencies: cargo moves one, then several, in a container of an image."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomli

from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.proof.image import trusted_downloads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from factory.engine import Container, Engine
    from factory.output import Output

_SEVERAL = 4
_MOUNT = "/run/factory-project"
_WORK = "/tmp/factory-project"  # noqa: S108 - in the container
_RESOLVE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Bump:
    """A lockfile, and which packages moved to get there."""

    lock: str
    moved: tuple[str, ...]


def bumps_of(workspace: Path, image: str, named: Sequence[str], *, engine: Engine, output: Output) -> tuple[Bump, ...]:
    """Return the bump of one dependency, and that of several on top of it; fewer where cargo can move no more.

    `named` are `NAME@VERSION`, in the order in which they move, or none to let cargo find some. The workspace is not
    touched. Raises `ConfigurationError` for a named one that cargo refuses, `EnvironmentFaultError` where cargo does
    not run or read the project.
    """
    mounts, environment = trusted_downloads()
    with engine.container(image, mounts={workspace: _MOUNT} | mounts) as container:
        copied = container.run(["cp", "-RP", _MOUNT, _WORK], timeout=_RESOLVE_SECONDS)
        if not copied.ok:
            raise EnvironmentFaultError(f"`{copied.command}` failed in a container: {copied.stderr.strip()[:500]}")
        cargo = _Cargo(container, environment)
        before = cargo.lock()
        locks = list(_named_bumps(cargo, named) if named else _found_bumps(cargo, before))
    if not locks:
        output.warn("cargo can move no dependency a little, so none is bumped; name some with --bump NAME@VERSION")
        return ()
    one = Bump(locks[0], _moved(before, locks[0]))
    return (one,) if len(locks) == 1 else (one, Bump(locks[-1], _moved(locks[0], locks[-1])))


def needed_dependencies(metadata: Mapping[str, Any]) -> frozenset[str]:
    """Return the crates that every build of a project needs, by `cargo metadata --no-deps`.

    Those of tests, of single platforms and of features are not among them: to bump one may change no build.
    """
    rows = (row for package in metadata["packages"] for row in package["dependencies"])
    return frozenset(row["name"] for row in rows if row["kind"] != "dev" and not (row["optional"] or row["target"]))


@dataclass(frozen=True, slots=True)
class _Cargo:
    """Cargo in a container, on a copy of the project."""

    container: Container
    environment: Mapping[str, str]

    def lock(self) -> str:
        """Return the lockfile as it is now."""
        return self.container.run(["cat", "Cargo.lock"], workdir=_WORK).stdout

    def needed(self) -> frozenset[str]:
        """Return the crates that the manifests name and every build needs.

        Raises `EnvironmentFaultError` where cargo does not read the project.
        """
        args = ["cargo", "metadata", "--no-deps", "--offline", "--format-version=1"]
        answer = self.container.run(args, workdir=_WORK, environment=self.environment, timeout=_RESOLVE_SECONDS)
        if not answer.ok:
            raise EnvironmentFaultError(f"`{answer.command}` failed in a container: {answer.stderr.strip()[:500]}")
        return needed_dependencies(json.loads(answer.stdout))

    def move(self, package: str, version: str) -> str:
        """Move a package to a version; return what cargo said against it, or nothing."""
        args = ["cargo", "update", "--quiet", package, "--precise", version]
        answer = self.container.run(args, workdir=_WORK, environment=self.environment, timeout=_RESOLVE_SECONDS)
        return "" if answer.ok else answer.stderr.strip() or f"cargo exited with {answer.returncode}"


def _named_bumps(cargo: _Cargo, bumps: Sequence[str]) -> Iterator[str]:
    for bump in bumps:
        name, _, version = bump.partition("@")
        said = cargo.move(name, version) if name and version else "it is not NAME@VERSION"
        if said:
            raise ConfigurationError(
                f"--bump {bump}: {said}", advice="Name a dependency and a version that Cargo.toml allows."
            )
        yield cargo.lock()


def _found_bumps(cargo: _Cargo, lock: str) -> Iterator[str]:
    """Move direct dependencies to a version near their own, until several were moved; yield each lock."""
    found = 0
    for name, version in _direct_dependencies(lock, cargo.needed()):
        before = cargo.lock()
        near = (other for other in _near(version) if not cargo.move(f"{name}@{version}", other))
        if next(near, None) is None or cargo.lock() == before:
            continue
        yield cargo.lock()
        found += 1
        if found == _SEVERAL:
            return


def _direct_dependencies(lock: str, needed: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Return name and version of the registry packages that packages of the project need directly, sorted."""
    packages = tomli.loads(lock).get("package", [])
    named = {edge for package in packages if "source" not in package for edge in package.get("dependencies", ())}
    return tuple(
        sorted(
            (package["name"], package["version"])
            for package in packages
            if package["name"] in needed
            and package.get("source", "").startswith(("registry+", "sparse+"))
            # Cargo adds the version to the name where the name alone is not clear.
            and not named.isdisjoint({package["name"], f"{package['name']} {package['version']}"})
        )
    )


def _near(version: str) -> Iterator[str]:
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", version)
    if match is None:
        return
    major, minor, patch = map(int, match.groups())
    for other in (patch + 1, patch - 1, patch + 2, patch - 2):
        if other >= 0:
            yield f"{major}.{minor}.{other}"
    for other in (minor + 1, minor - 1):
        if other >= 0:
            yield f"{major}.{other}.0"


def _moved(before: str, after: str) -> tuple[str, ...]:
    old, new = _versions(before), _versions(after)
    return tuple(f"{name} {version}" for name, version in sorted(new - old))


def _versions(lock: str) -> set[tuple[str, str]]:
    return {(package["name"], package["version"]) for package in tomli.loads(lock).get("package", [])}
