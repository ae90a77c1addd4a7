"""Verification of a locally cooked directory."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from factory.cargo.home import known_registries, user_mirror
from factory.cargo.resolve import UNIT_GRAPH_ARGS, UNIT_GRAPH_ENVIRONMENT
from factory.cargo.toolchain import find_toolchain
from factory.cook.isolation import without_network, without_secrets
from factory.cook.local import INCOMPLETE, MARKER, VERIFYING, is_ours, not_cooked, require_warm
from factory.cook.local_fetch import fetch_access
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.exclusive import exclusive
from factory.process import run
from factory.proof.consumer import consumer_args, consumer_copy, problem_of, prove_repos, repo_proof
from factory.proof.contract import recorded_layout, recorded_rustc, release, toolchain_check
from factory.proof.kept import changes, copy_tree, facts_below, kept
from factory.proof.model import Check, Proof, RepoProof
from factory.proof.size import size_of_directory
from factory.proof.tree import Ownership, judge, list_directories
from factory.scan.cargo_config import Replacement
from factory.scan.model import UnscannableError
from factory.scan.skeleton import write_skeleton
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from factory.cargo.fetching import Fetching
    from factory.cargo.layout import Layout
    from factory.cargo.toolchain import Toolchain
    from factory.errors import FactoryError
    from factory.output import Output
    from factory.process import Completed
    from factory.proof.consumer import ConsumerCopy
    from factory.proof.kept import Kept
    from factory.proof.model import ProofRequest
    from factory.scan.model import FoundWorkspace, Scan

_MOST_FINDINGS = 20
_FETCHED_ELSEWHERE = frozenset({Replacement.REGISTRY, Replacement.GIT})
"""What a repository's own configuration may have cargo download in place of crates.io's packages."""


def verify_directory(folder: Path, scan: Scan, request: ProofRequest, *, fetching: Fetching, output: Output) -> Proof:
    """Judge a cooked directory and build every workspace on it; the directory is left as it was.

    What is not warm is fetched first, by `fetching`, into its CARGO_HOME, which is put back after each build; where it
    names no mirror, through the one that the user's own cargo has. The builds have no secret, and no network where this
    user may take it away. A build that changes anything else of the directory fails the check `left as it was`.

    The toolchain is the one that cooked it; where this machine has no such one, its default builds, and the check
    `toolchain` fails. A repository of the scan without any workspace is a failing row. Raises `ConfigurationError`
    for a directory that was not cooked to the end, or that an earlier verification did not put back,
    `EnvironmentFaultError` where another build or verification uses it.
    """
    # Nothing is written, not even a lock, where something else is.
    if not is_ours(folder):
        raise not_cooked(folder)
    # What the builds of one download, another would count, and remove.
    with exclusive(folder / MARKER, using=folder):
        _require_cooked(folder)
        return _proof(folder, scan, request, fetching, output)


def _proof(folder: Path, scan: Scan, request: ProofRequest, fetching: Fetching, output: Output) -> Proof:
    home, build_dir = folder / "cargo-home", folder / "build"
    path, contract = _contract(folder)
    cooked = recorded_rustc(contract, where=str(path))
    layout = recorded_layout(contract, where=str(path))
    toolchain = _toolchain(cooked)
    owner = folder.stat()
    ownership = Ownership(uid=owner.st_uid, gid=owner.st_gid, shared=False)
    checks = judge(list_directories(home, build_dir), ownership)
    checks = (*checks, *size_of_directory(folder, timeout=request.timeout))
    before = facts_below(folder, without=[home.name])
    with kept(home, marker=folder / INCOMPLETE, says=VERIFYING) as keeper:
        kitchen = _Kitchen(
            folder=folder,
            request=request,
            toolchain=toolchain,
            layout=layout,
            fetching=fetching,
            alone=_alone(scan, output),
            keeper=keeper,
        )
        repos = prove_repos(scan, request, kitchen.build, target=str(folder), output=output)
    checks = (toolchain_check(cooked, toolchain.rustc_verbose.splitlines()), *checks)
    if scan.workspaces:
        checks = (*checks, _untouched(changes(before, facts_below(folder, without=[home.name]))))
    return Proof(target=str(folder), repos=tuple(repos), checks=checks)


def _alone(scan: Scan, output: Output) -> tuple[str, ...]:
    alone = without_network() if scan.workspaces else ()
    if scan.workspaces and not alone:
        output.warn("build scripts keep the network here: this user may not take it away with `unshare --net`")
    return alone


def _untouched(changed: Sequence[str]) -> Check:
    """Return the check that no build changed what is cooked: each has a copy, and can tell where the original is."""
    return Check(
        name="left as it was",
        ok=not changed,
        detail=(
            f"builds changed {len(changed)} paths outside of cargo-home: look at their build scripts, and cook again"
            if changed
            else "no build changed what is cooked, and cargo-home was put back"
        ),
        findings=tuple(changed[:_MOST_FINDINGS]),
    )


def _require_cooked(folder: Path) -> None:
    require_warm(folder)
    if not _contracts(folder):
        raise not_cooked(folder)


def _contracts(folder: Path) -> list[Path]:
    return sorted((folder / "share").glob("*/contract.json"))


def _contract(folder: Path) -> tuple[Path, str]:
    """Return the path and the text of a contract of the directory: every layer has the same."""
    contracts = _contracts(folder)
    try:
        return contracts[0], contracts[0].read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise EnvironmentFaultError(f"{contracts[0]}: {error.strerror}", advice="Verify as the owner.") from error


def _toolchain(cooked: Sequence[str]) -> Toolchain:
    try:
        return find_toolchain(release(cooked))
    except EnvironmentFaultError:
        # The check says so, with both versions; what it costs shows in the builds.
        return find_toolchain()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kitchen:
    """What every build of a verification has: the directory, how to build and fetch, and who puts CARGO_HOME back."""

    folder: Path
    request: ProofRequest
    toolchain: Toolchain
    layout: Layout
    fetching: Fetching
    alone: tuple[str, ...]
    """The words before a command that take the network from it."""
    keeper: Kept

    @property
    def home(self) -> Path:
        """The CARGO_HOME."""
        return self.folder / "cargo-home"

    def build(self, found: FoundWorkspace, *, empty: bool) -> RepoProof:
        """Build a workspace on a copy of the warm units, or (`empty`) on none; see `factory.proof.consumer.Build`."""
        # Each time: what one repository's build scripts leave there must not decide about the next one's build.
        with self.keeper.put_back():
            try:
                return self._build_copy(found, empty=empty)
            except (UnscannableError, EnvironmentFaultError) as error:
                # Unreadable, or not finished in time: the others can be built all the same.
                return RepoProof.not_built(found.path, self.request.variant, _line(error))

    def _build_copy(self, found: FoundWorkspace, *, empty: bool) -> RepoProof:
        with consumer_copy(found, skeleton=self.request.skeleton) as copy:
            # What a repository compiles must not become the next one's hit: each gets its own copy of the warm units.
            # Cargo follows a moved build directory (tests/cargo/test_unit_keys.py); a moved CARGO_HOME it does not.
            build = copy.folder / "build"
            if not empty:
                copy_tree(self.folder / "build", build)
            missing = self._fetch(found, copy)
            args = (*consumer_args(self.request.variant), "--offline", *self._into(copy.folder, build))
            started = time.monotonic()
            # Build scripts and macros run: they have no business with what logs in somewhere.
            environment = without_secrets(self.toolchain.environment(self.home))
            answer = self._run((*self.alone, "cargo", *args), copy.workspace, environment)
            proof = repo_proof(found, self.request.variant, answer, seconds=time.monotonic() - started)
        # Where cargo came to no unit, it only says that it is offline.
        none = not (proof.total or proof.git_total)
        return replace(proof, problem=missing) if missing and proof.problem and none else proof

    def _fetch(self, found: FoundWorkspace, copy: ConsumerCopy) -> str:
        """Bring what the workspace has and CARGO_HOME has not there; return why that was not possible, or "".

        A skeleton is resolved, as that is what a build resolves, and nothing of the repository can run there: only
        there cargo is given what it logs in with, and only where something has to be fetched.
        """
        # What a repository says of a registry for which there is a token here must not decide where that goes.
        known = known_registries(self.home) | {each.name for each in self.fetching.registries}
        skeleton = write_skeleton(found, copy.folder / "skeleton", registries=known)
        problem = ""
        named = [f'--config=registries."{each.name}".index="{each.index}"' for each in self.fetching.registries]
        nobodys = without_secrets(self.toolchain.environment(self.home))
        if not self._resolve(skeleton.root, "--offline", *named, environment=nobodys).ok:
            problem = self._fetch_with_login(skeleton.root)
        if skeleton.recorded.replacement in _FETCHED_ELSEWHERE:
            # From where its own configuration says, which a skeleton has not: as a build would, and so without secrets.
            problem = problem_of(self._resolve(copy.workspace, environment=nobodys)) or problem
        return problem

    def _fetch_with_login(self, root: Path) -> str:
        try:
            # Not before: where all is warm, the mirror need not be one that a cook can use.
            fetching = replace(self.fetching, mirror=self.fetching.mirror or user_mirror())
            with fetch_access(fetching, self.home, self.toolchain) as access:
                environment = {**self.toolchain.environment(self.home), **access.environment}
                return problem_of(self._resolve(root, *access.arguments, environment=environment))
        except (ConfigurationError, EnvironmentFaultError) as error:
            # All that it needs may be warm: cargo knows, and the build shows it.
            return _line(error)

    def _resolve(self, root: Path, *words: str, environment: Mapping[str, str]) -> Completed:
        """Let cargo compute what it would build, for which it downloads exactly what a build needs."""
        environment = {**environment, **UNIT_GRAPH_ENVIRONMENT}
        with scratch("factory-resolve-") as notes:
            args = (*self.request.variant.args, "--locked", *UNIT_GRAPH_ARGS, *words, *self._into(notes, notes))
            return self._run(("cargo", *args), root, environment)

    def _into(self, folder: Path, build: Path) -> tuple[str, ...]:
        """Return the arguments by which cargo writes below `folder`, and takes and writes units in `build`."""
        return ("--config", f'build.{self.layout}="{build}"', *self.layout.apart(str(folder / "target")))

    def _run(self, args: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Completed:
        return run(args, cwd=cwd, env=environment, timeout=self.request.timeout, check=False)


def _line(error: FactoryError) -> str:
    return str(error).replace("\n", "; ")
