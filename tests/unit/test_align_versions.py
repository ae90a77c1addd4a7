"""The step `versions` without cargo: how often it asks, and what an attempt may not give up."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from factory.cargo.index_cache import CrateFacts
from factory.cargo.lock import LockedPackage, parse_lock, render_lock
from factory.consumer.align.settle import MOST_ATTEMPTS
from factory.consumer.align.versions import VersionRules, move_versions
from factory.model import CRATES_IO, PackageId
from factory.planning.baseline import Baseline, BaselineCrate
from factory.scan.model import FoundWorkspace
from tests.unit.builders import organisation
from tests.unit.unit_builder import package, unit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from factory.analysis.model import Analysis
    from factory.consumer.align.copy import WorkingCopy

NAMES = [f"p{number:03}" for number in range(50)]
GOES = frozenset({"p000", "p001"})
NEW = "1.0.5"
FACTS = CrateFacts(yanked=False, rust_version=None, links=None, features=frozenset(), checksum="c")
CRATES = tuple(BaselineCrate(name=name, range="1", version=NEW, repos=2) for name in NAMES)


@dataclass
class StubCopy:
    """A copy for which cargo takes moves of what `GOES`, and refuses all others without saying which."""

    folder: Path
    found: FoundWorkspace
    analysis: Analysis
    given_up: list[PackageId] = field(default_factory=list)
    attempts: int = 0

    @property
    def lock(self) -> Path:
        return self.folder / "Cargo.lock"

    def locked(self) -> frozenset[PackageId]:
        return frozenset(entry.package for entry in parse_lock(self.lock.read_text(encoding="utf-8")).packages)

    def read(self) -> dict[str, str]:
        return {"Cargo.lock": self.lock.read_text(encoding="utf-8")}

    def write(self, texts: Mapping[str, str]) -> None:
        self.lock.write_text(texts["Cargo.lock"], encoding="utf-8")

    def ask_index(self, names: list[str]) -> None:
        assert names == []

    def packages(self) -> list[object]:
        return []

    def analyze(self) -> Analysis:
        return self.analysis

    def settle_lock(self, held: Collection[PackageId]) -> str:
        self.attempts += 1
        moved = [one for one in self.locked() if one.version == NEW]
        self.given_up += [one for one in moved if one not in held]
        return "" if {one.name for one in moved} <= GOES else "no"


def stub(folder: Path) -> StubCopy:
    packages = [LockedPackage(package=package(name), checksum="o", dependencies=()) for name in NAMES]
    (folder / "Cargo.lock").write_text(render_lock(packages), encoding="utf-8")
    units = [unit(name) for name in NAMES]
    return StubCopy(
        folder=folder,
        found=FoundWorkspace(
            path="app",
            repo="app",
            root=folder,
            repo_root=folder,
            scan_root=folder,
            manifests=(folder / "Cargo.toml",),
            lock=folder / "Cargo.lock",
        ),
        analysis=replace(organisation(), units={one.key: one for one in units}),
    )


def test_cargo_is_asked_so_often_in_all_rounds_and_no_move_is_given_up_for_another(tmp_path: Path) -> None:
    copy = stub(tmp_path)
    rules = VersionRules(
        baseline=Baseline(crates=CRATES, profiles=(), rust_version=None),
        facts=lambda one: FACTS if one.source == CRATES_IO else None,
        versions=lambda _name: ["1.0.0", NEW],
    )
    told: list[tuple[int, int]] = []

    moved = move_versions(
        cast("WorkingCopy", copy), rules, copy.analysis, pace=lambda settled, total: told.append((settled, total))
    )

    assert {row.subject.partition(" ")[0] for row in moved.changes} == GOES
    assert copy.attempts == len(told) == MOST_ATTEMPTS
    assert {row.what for row in moved.left} == {"no"}
    assert copy.given_up == []
    assert told[0] == (0, len(NAMES))
