"""Verification of an image: everything runs in containers of it, as the user that the image names."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from factory.cargo.fetching import machine_proxies
from factory.engine import ContainerTimeoutError, certificates
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.files import cache_directory
from factory.labels import SHARE, Label
from factory.proof.consumer import consumer_args, consumer_copy, prove_repos, repo_proof
from factory.proof.contract import recorded_layout, recorded_rustc, toolchain_check
from factory.proof.layers import copies, growth_check
from factory.proof.model import Proof, ProvenImage, RepoProof
from factory.proof.secrets import secrets_check
from factory.proof.size import PRUNE, rules, size_of_image
from factory.proof.target import verified_image
from factory.proof.tree import Entry, Listing, Ownership, judge
from factory.scan.model import UnscannableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from factory.cargo.layout import Layout
    from factory.engine import Container, Engine
    from factory.output import Output
    from factory.process import Completed
    from factory.proof.model import Check, ProofRequest
    from factory.scan.model import FoundWorkspace, Scan

_MOUNT = "/run/factory-consumer"
_CERTIFICATES = "/run/factory-certificates.pem"
_WORK = "/tmp/factory-consumer"  # noqa: S108 - in the container
_TARGET = "/tmp/factory-target"  # noqa: S108 - in the container
_GRACE_SECONDS = 10
"""How long a program in a container has to end once it was told to."""
_TIMED_OUT = frozenset({124, 137})
"""What `timeout` exits with when it had to end the program, or to kill it."""


def verify_image(image: str, scan: Scan, request: ProofRequest, *, engine: Engine, output: Output) -> Proof:
    """Judge an image and build every workspace in containers of it; the image is not changed.

    A repository of the scan without any workspace is a failing row. Raises `ConfigurationError` where there is no
    such image, or factory did not build it; `EnvironmentFaultError` where the engine cannot run it.
    """
    facts = verified_image(image, engine)
    try:
        home, build_dir, layer, owner = (
            facts.labels[name] for name in (Label.CARGO_HOME, Label.BUILD_DIR, Label.LAYER, Label.OWNER)
        )
    except KeyError as error:
        raise ConfigurationError(
            f"{image}: not an image that factory built ({error} is missing)",
            advice="Name one that `factory build` loaded, or one derived from it.",
        ) from error
    with engine.container(image, mounts={}) as container:
        listing = _listing(container, home, build_dir, timeout=request.timeout)
        path = f"{SHARE}/{layer}/contract.json"
        contract = _must(container.run(["cat", path], user="0")).stdout
        toolchain = _toolchain(container, recorded_rustc(contract, where=path))
        layout = recorded_layout(contract, where=path)
    with engine.layers_of(image) as archive:
        warm = (home, build_dir, SHARE)
        cache = cache_directory() / "layers"
        growth = growth_check(copies(archive, SHARE, within=warm, cache=cache))
        secrets = secrets_check(
            archive,
            SHARE,
            cargo_home=home,
            build_dir=build_dir,
            planted=request.tokens,
            cache=cache,
        )
    with engine.container(image, mounts={rules(): PRUNE}) as container:
        size = size_of_image(container, home, build_dir, timeout=request.timeout)
    checks = (toolchain, *judge(listing, _ownership(owner)), growth, secrets, *size)
    units = _Units(build_dir=build_dir, layout=layout)
    build = partial(_build, image=image, request=request, engine=engine, units=units)
    repos = prove_repos(scan, request, build, target=image, output=output)
    if engine.image(image).id != facts.id:
        raise EnvironmentFaultError(
            f"{image} became another image while it was verified", advice="Verify it again, after the build has ended."
        )
    proven = ProvenImage(
        id=facts.id,
        platform=facts.platform,
        layer=layer,
        plan=facts.labels.get(Label.PLAN, ""),
    )
    return Proof(target=image, repos=tuple(repos), checks=checks, image=proven)


def _ownership(label: str) -> Ownership:
    """Return the owner that the image was built with: an image that stands on it may run as another user."""
    uid, gid = label.split(":")
    return Ownership(uid=int(uid), gid=int(gid), shared=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Units:
    """Where the warm units of an image are, and how cargo gets to know of it."""

    build_dir: str
    layout: Layout


def _toolchain(container: Container, cooked: Sequence[str]) -> Check:
    """Compare the compiler of the image with the one in the contract of its topmost layer."""
    found = container.run(["rustc", "-vV"])
    return toolchain_check(cooked, found.stdout.splitlines() if found.ok else ())


def _build(
    found: FoundWorkspace, *, empty: bool, image: str, request: ProofRequest, engine: Engine, units: _Units
) -> RepoProof:
    """Build a workspace in a container of its own; `empty` clears the build directory before."""
    try:
        with consumer_copy(found, skeleton=request.skeleton) as copy:
            # Not the folder around it, which keeps other users of this machine out.
            sources = copy.folder / "repo"
            open_to_all(sources)
            mounts, environment = trusted_downloads()
            with engine.container(image, mounts={sources: _MOUNT} | mounts) as container:
                # Build scripts may write beside their sources, and what they leave goes with the container.
                _must(container.run(["cp", "-RP", _MOUNT, _WORK], timeout=request.timeout))
                if empty:
                    clear = ["find", units.build_dir, "-mindepth", "1", "-delete"]
                    _must(container.run(clear, timeout=request.timeout))
                root = PurePosixPath(_WORK) / copy.workspace.relative_to(sources).as_posix()
                started = time.monotonic()
                answer = _cargo(container, request, units.layout, workdir=str(root), environment=environment)
                return repo_proof(found, request.variant, answer, seconds=time.monotonic() - started)
    except (UnscannableError, ContainerTimeoutError) as error:
        # Unreadable, or not finished in time: the others can be built all the same.
        return RepoProof.not_built(found.path, request.variant, str(error).replace("\n", "; "))


def _cargo(
    container: Container, request: ProofRequest, layout: Layout, *, workdir: str, environment: Mapping[str, str]
) -> Completed:
    """Run the consumer's cargo; raise `ContainerTimeoutError` when it does not end in time."""
    args = ["cargo", *consumer_args(request.variant), *layout.apart(_TARGET)]
    if container.run(["sh", "-c", f"timeout -k {_GRACE_SECONDS} 60 true"]).ok:
        # Where the image has it, cargo is stopped inside, and not only when the container is removed.
        args = ["timeout", "-k", str(_GRACE_SECONDS), f"{request.timeout:g}", *args]
    started = time.monotonic()
    limit = request.timeout + 2 * _GRACE_SECONDS
    answer = container.run(args, workdir=workdir, environment=environment, timeout=limit)
    if answer.returncode in _TIMED_OUT and time.monotonic() - started >= request.timeout:
        raise ContainerTimeoutError(f"cargo did not finish within {request.timeout:g} s in a container")
    return answer


def trusted_downloads() -> tuple[dict[Path, str], dict[str, str]]:
    """Return what lets a container download what this machine can: certificates and proxies. No unit key has them."""
    trusted = certificates()
    if trusted is None:
        return {}, machine_proxies()
    return {trusted: _CERTIFICATES}, machine_proxies() | {"CARGO_HTTP_CAINFO": _CERTIFICATES}


def _listing(container: Container, home: str, build_dir: str, *, timeout: float) -> Listing:
    # As root, who can see everything. The programs in bin and rustup's env files belong to the base image.
    not_ours = ["(", "-path", f"{home}/bin", "-o", "-path", f"{home}/env*", ")", "-prune", "-o"]
    entries = ["find", home, build_dir, *not_ours, "-printf", "%y %m %U %G %p\\0"]
    found = _must(container.run(entries, user="0", timeout=timeout))
    dep_infos = ["find", build_dir, "-name", "*.d", "-type", "f"]
    known = ["-e", "/registry/src/", "-e", f"{home}/git/checkouts/"]
    of_no_registry = ["!", "-exec", "grep", "-q", "-F", *known, "{}", ";"]
    # C compilers write such files too: only rustc's name Rust sources.
    of_rust = ["-exec", "grep", "-q", "[.]rs", "{}", ";", "-print0"]
    foreign = _must(container.run([*dep_infos, *of_no_registry, *of_rust], user="0", timeout=timeout))
    return Listing(
        cargo_home=home,
        build_dir=build_dir,
        entries=tuple(sorted((_entry(row) for row in _rows(found)), key=lambda entry: entry.path)),
        foreign=tuple(sorted(_rows(foreign))),
    )


def _rows(answer: Completed) -> list[str]:
    return answer.stdout.split("\0")[:-1]


def _entry(line: str) -> Entry:
    kind, mode, uid, gid, path = line.split(" ", 4)
    return Entry(path, kind, int(mode, 8), int(uid), int(gid))


def _must(answer: Completed) -> Completed:
    if not answer.ok:
        said = (answer.stderr or answer.stdout).strip()[:500]
        raise EnvironmentFaultError(
            f"`{answer.command}` failed in a container: {said}",
            advice="Besides cargo, the image needs a shell and `id`, `cat`, `cp`, `find` and `grep`.",
        )
    return answer


def open_to_all(folder: Path) -> None:
    """Let the image's user read the copy: sources may be private."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
