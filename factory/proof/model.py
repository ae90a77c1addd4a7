"""What `factory verify` is asked, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from factory.model import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factory.cargo.events import Identity
    from factory.cargo.variants import Variant

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRequest:
    """How every repository is built: its real sources or its skeleton, also without the warm units (`cold`) or not.

    `timeout` bounds each build, in seconds. `tokens` are those that the configuration names, by what they are for:
    none of them may be in the result.
    """

    variant: Variant
    skeleton: bool
    cold: bool
    timeout: float
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Miss:
    """A registry unit that cargo compiled.

    `unit` is its label; `kind` is cargo's word for its target (`lib`, `proc-macro`, `custom-build`), or
    `run-custom-build` for the run of a build script, of which cargo does not say the features.
    """

    unit: str
    crate: str
    version: str
    features: tuple[str, ...]
    kind: str

    @classmethod
    def of(cls, identity: Identity) -> Miss:
        """Return the miss of a unit as cargo's events name it."""
        return cls(
            unit=identity.label,
            crate=identity.package.name,
            version=identity.package.version,
            features=identity.features,
            kind=Mode.RUN_CUSTOM_BUILD.value if identity.is_run else identity.target_kind,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoProof:
    """One workspace built on the result. `problem` says why its build did not succeed, and is empty otherwise."""

    path: str
    variant: str
    total: int
    """Registry units that cargo dealt with."""
    fresh: int
    misses: tuple[Miss, ...]
    """The registry units that cargo compiled."""
    seconds: float
    """Wall time of the warm build."""
    cold_seconds: float | None = None
    """Wall time with the same downloads and an empty build directory; `None` where it was not measured."""
    problem: str = ""
    git_total: int = 0
    """Units of git packages that cargo dealt with: told beside the registry units, which alone make the hit rate."""
    git_fresh: int = 0

    @classmethod
    def not_built(cls, path: str, variant: Variant, problem: str) -> RepoProof:
        """Return the row of a workspace whose build could not be tried, or was given up."""
        return cls(path=path, variant=str(variant), total=0, fresh=0, misses=(), seconds=0.0, problem=problem)

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
class ProvenImage:
    """The image that a proof is of: its id in the engine, its platform, and the layer and plan that its labels name."""

    id: str
    platform: str
    layer: str
    plan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All that was verified of one image or directory."""

    target: str
    repos: tuple[RepoProof, ...]
    checks: tuple[Check, ...]
    image: ProvenImage | None = None
    """What an image target was while it was verified; `None` for a directory."""

    def ok(self, min_hit: float) -> bool:
        """Whether every check holds, every build succeeded and every repository has at least `min_hit` (0 to 1)."""
        return not self.failures(min_hit)

    def failures(self, min_hit: float) -> tuple[str, ...]:
        """Return what keeps it from passing, a line each: checks, builds, and repositories below `min_hit` (0 to 1)."""
        built = [repo for repo in self.repos if not repo.problem]
        return (
            *(f"{check.name}: {check.detail}" for check in self.checks if not check.ok),
            *(f"{repo.path}: {repo.problem}" for repo in self.repos if repo.problem),
            *(f"{repo.path}: {repo.fresh} of {repo.total} units fresh" for repo in built if repo.hit_rate < min_hit),
        )


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
                "git_units": {"total": repo.git_total, "fresh": repo.git_fresh},
                "misses": [_miss_to_json(miss) for miss in repo.misses],
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


def _miss_to_json(miss: Miss) -> dict[str, Any]:
    return {
        "unit": miss.unit,
        "crate": miss.crate,
        "version": miss.version,
        "features": list(miss.features),
        "kind": miss.kind,
    }
