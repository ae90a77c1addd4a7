"""What second builds found: every build by Dockerfile and change, what it compiled, and which claims hold for it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.build_progress import Step

SCHEMA = 1

FIRST_SECONDS = 60.0
CHANGE_SECONDS = 20.0
REUSE = 0.95
"""What guides to caching in Docker claim: of a first build, of one after a change of sources, and of the share of
dependencies that the latter does not compile."""


class Beside(enum.StrEnum):
    """What the Dockerfiles are compared with, on the base image: one without caching, and cargo-chef alone."""

    COLD = "cold"
    CARGO_CHEF = "cargo-chef"


class Change(enum.StrEnum):
    """What is different from the build before; each stands on the ones above it."""

    FIRST = "first build"
    UNCHANGED = "unchanged"
    SOURCE = "source changed"
    ONE = "one dependency bumped"
    SEVERAL = "several bumped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One run of one Dockerfile. `compiled` are the dependencies that cargo compiled in it, as `name vVERSION`.

    `problem` says why it failed, and is empty otherwise.
    """

    dockerfile: str
    change: Change
    seconds: float
    steps: tuple[Step, ...]
    compiled: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondBuilds:
    """All builds of one project, in the order in which they ran; `bumped` is what each bump moved."""

    image: str
    base: str
    project: str
    builds: tuple[Build, ...]
    bumped: Mapping[Change, tuple[str, ...]]

    @property
    def ok(self) -> bool:
        """Whether every build succeeded."""
        return all(not build.problem for build in self.builds)

    @property
    def dependencies(self) -> int:
        """How many dependencies the project compiles where nothing is warm."""
        return max((len(build.compiled) for build in self.builds if build.dockerfile == Beside.COLD), default=0)

    def reuse(self, build: Build) -> float | None:
        """Return the share of dependencies (0 to 1) that a build did not compile; `None` where it is not known."""
        if build.problem or self.dependencies == 0:
            return None
        return max(0.0, 1 - len(build.compiled) / self.dependencies)

    def claims(self, dockerfile: str) -> Mapping[str, bool | None]:
        """Return which claims hold for one Dockerfile; `None` where nothing was measured."""
        rows = {build.change: build for build in self.builds if build.dockerfile == dockerfile and not build.problem}
        first, change = rows.get(Change.FIRST), rows.get(Change.SOURCE)
        reuse = None if change is None else self.reuse(change)
        return {
            f"first build < {FIRST_SECONDS:g} s": None if first is None else first.seconds < FIRST_SECONDS,
            f"source changed < {CHANGE_SECONDS:g} s": None if change is None else change.seconds < CHANGE_SECONDS,
            f"dependencies reused > {REUSE:.0%}": None if reuse is None else reuse > REUSE,
        }

    @property
    def dockerfiles(self) -> tuple[str, ...]:
        """The names of the Dockerfiles, in the order of their first builds."""
        return tuple(dict.fromkeys(build.dockerfile for build in self.builds))


def second_builds_to_json(result: SecondBuilds) -> dict[str, Any]:
    """Return the result as JSON values."""
    return {
        "schema": SCHEMA,
        "image": result.image,
        "base": result.base,
        "project": result.project,
        "ok": result.ok,
        "dependencies": result.dependencies,
        "bumped": {change.name.lower(): list(moved) for change, moved in result.bumped.items()},
        "builds": [_build_to_json(build, result.reuse(build)) for build in result.builds],
        "claims": {name: dict(result.claims(name)) for name in result.dockerfiles},
    }


def _build_to_json(build: Build, reuse: float | None) -> dict[str, Any]:
    return {
        "dockerfile": build.dockerfile,
        "change": build.change.name.lower(),
        "seconds": build.seconds,
        "steps": [
            {"stage": step.stage, "what": step.what, "cached": step.cached, "seconds": step.seconds}
            for step in build.steps
        ],
        "compiled": list(build.compiled),
        "reuse": None if reuse is None else round(reuse, 4),
        "problem": build.problem,
    }
