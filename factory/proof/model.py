"""What `factory verify` finds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoProof:
    """One workspace built on the result. `problem` says why its build did not succeed, and is empty otherwise."""

    path: str
    variant: str
    total: int
    """Registry units that cargo dealt with."""
    fresh: int
    misses: tuple[str, ...]
    """The registry units that cargo compiled."""
    seconds: float
    """Wall time of the warm build."""
    cold_seconds: float | None = None
    """Wall time with the same downloads and an empty build directory; `None` where it was not measured."""
    problem: str = ""

    def beside_cold(self, cold_seconds: float | None) -> RepoProof:
        """Return this proof with the wall time of a cold build beside it."""
        return replace(self, cold_seconds=cold_seconds)

    @property
    def hit_rate(self) -> float:
        """The share of registry units that were fresh, 0 to 1; a repository without any has nothing to miss."""
        if self.total == 0:
            return 0.0 if self.problem else 1.0
        return self.fresh / self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that holds or not, for the result as a whole; `findings` are the paths that break it."""

    name: str
    ok: bool
    detail: str
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All that was verified of one image or directory."""

    target: str
    repos: tuple[RepoProof, ...]
    checks: tuple[Check, ...]

    def ok(self, min_hit: float) -> bool:
        """Whether every check holds, every build succeeded and every repository has at least `min_hit` (0 to 1)."""
        built = all(not repo.problem and repo.hit_rate >= min_hit for repo in self.repos)
        return built and all(check.ok for check in self.checks)


def proof_to_json(proof: Proof, *, min_hit: float) -> dict[str, Any]:
    """Return the proof as JSON values."""
    return {
        "schema": SCHEMA,
        "target": proof.target,
        "ok": proof.ok(min_hit),
        "min_hit": min_hit,
        "repos": [
            {
                "path": repo.path,
                "variant": repo.variant,
                "units": {"total": repo.total, "fresh": repo.fresh},
                "misses": list(repo.misses),
                "seconds": {"warm": repo.seconds, "cold": repo.cold_seconds},
                "problem": repo.problem,
            }
            for repo in proof.repos
        ],
        "checks": [
            {"name": check.name, "ok": check.ok, "detail": check.detail, "findings": list(check.findings)}
            for check in proof.checks
        ],
    }
