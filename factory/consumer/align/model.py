"""What `factory align` finds: steps that can be taken alone, each with its patch and what it gains."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import semver

from factory.consumer.check.causes import Cause
from factory.consumer.check.model import Amount
from factory.model import PackageId

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from factory.consumer.check.model import CheckReport

SCHEMA = 1


class StepName(enum.StrEnum):
    """What can be aligned, in the order in which it is done."""

    PROFILE = "profile"
    VERSIONS = "versions"
    FEATURES = "features"


@dataclass(frozen=True, order=True, slots=True)
class Change:
    """One thing that a step changes, or could not: of what, and how or why."""

    subject: str
    what: str


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Move:
    """A locked package, and the version that it should have."""

    package: PackageId
    version: str

    @property
    def target(self) -> PackageId:
        """The package at that version."""
        return PackageId(self.package.name, self.version, self.package.source)

    @property
    def is_downgrade(self) -> bool:
        """Whether the locked version is the newer one."""
        return semver.Version.parse(self.version) < semver.Version.parse(self.package.version)

    def row(self, what: str) -> Change:
        """Return the move as a row of the report."""
        return Change(f"{self.package.name} {self.package.version} -> {self.version}", what)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A workspace after a step: the forecast, or why cargo does not resolve it."""

    report: CheckReport | None
    problem: str = ""

    def total(self) -> Amount:
        """All registry units of the variant."""
        return Amount() if self.report is None else self.report.total

    @property
    def missing_seconds(self) -> float:
        """Compile seconds of what is not warm in the image that saves most."""
        return 0.0 if self.report is None else self.report.total.seconds - self.report.on(self.report.image).seconds

    @property
    def barred(self) -> str:
        """Say under which toolchain pin nothing is warm, whatever its units are; "" where there is none."""
        for miss in () if self.report is None else self.report.misses:
            if miss.root.cause is Cause.TOOLCHAIN:
                return f"rust-toolchain pins {miss.root.yours}: whatever is aligned is fresh only with {miss.root.warm}"
        return ""

    def hit(self, image: str) -> Amount:
        """Those that are warm in an image."""
        return Amount() if self.report is None else self.report.on(image)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: what it changes, what it leaves and why, its patch, and the workspace after it.

    A step that is not `chosen` is a proposal: nothing of it is written.
    """

    name: StepName
    chosen: bool
    changes: tuple[Change, ...]
    left: tuple[Change, ...]
    notes: tuple[str, ...]
    patch: str
    before: State
    after: State


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceAlignment:
    """The steps of one workspace, and the files as they should be.

    `files` has every file that changes, by its path relative to the repository, which is at `folder`: the text to
    write, `None` for one to remove. `problem` says why a workspace could not be aligned at all, and `barred` under
    which toolchain pin nothing would be warm whatever is aligned: then there are no steps.
    """

    path: str
    folder: Path
    problem: str
    before: State
    after: State
    steps: tuple[Step, ...]
    files: Mapping[str, str | None]
    barred: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether it is aligned, and nothing but a cargo profile is proposed."""
        return self.is_aligned and not any(step.patch for step in self.steps if step.name is not StepName.PROFILE)

    @property
    def is_aligned(self) -> bool:
        """Whether there is nothing left to write, and nothing that bars it from what is warm."""
        return not self.files and not self.problem and not self.barred


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignReport:
    """The alignment of a repository; amounts are those of one variant in one image."""

    warm: str
    variant: str
    image: str
    advisories: str
    """Where advisories come from; empty where none were asked."""
    workspaces: tuple[WorkspaceAlignment, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Why workspaces could not be aligned at all, each with its path."""
        return tuple(f"{workspace.path}: {workspace.problem}" for workspace in self.workspaces if workspace.problem)

    @property
    def barred(self) -> tuple[str, ...]:
        """The toolchain pins under which nothing would be warm, each with the path of its workspace."""
        return tuple(f"{workspace.path}: {workspace.barred}" for workspace in self.workspaces if workspace.barred)

    @property
    def is_aligned(self) -> bool:
        """Whether every workspace is."""
        return all(workspace.is_aligned for workspace in self.workspaces)


def align_to_json(report: AlignReport) -> dict[str, Any]:
    """Return the report as JSON values."""
    return {
        "schema": SCHEMA,
        "warm": report.warm,
        "variant": report.variant,
        "image": report.image,
        "advisories": report.advisories or None,
        "aligned": report.is_aligned,
        "workspaces": [_workspace(workspace, report.image) for workspace in report.workspaces],
    }


def _workspace(workspace: WorkspaceAlignment, image: str) -> dict[str, Any]:
    return {
        "path": workspace.path,
        "problem": workspace.problem or None,
        "barred": workspace.barred or None,
        "aligned": workspace.is_aligned,
        "before": _state(workspace.before, image),
        "after": _state(workspace.after, image),
        "files": sorted(workspace.files),
        "steps": [
            {
                "step": step.name.value,
                "chosen": step.chosen,
                "changes": [{"subject": row.subject, "what": row.what} for row in step.changes],
                "left": [{"subject": row.subject, "why": row.what} for row in step.left],
                "notes": list(step.notes),
                "before": _state(step.before, image),
                "after": _state(step.after, image),
                "patch": step.patch,
            }
            for step in workspace.steps
        ],
    }


def _state(state: State, image: str) -> dict[str, Any]:
    total, hit = state.total(), state.hit(image)
    return {
        "problem": state.problem or None,
        "units": {"total": total.units, "hit": hit.units},
        "seconds": {"total": round(total.seconds, 3), "hit": round(hit.seconds, 3)},
    }
