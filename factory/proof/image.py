"""Verification of an image: everything runs in containers of it, as the user that the image names."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from factory.cook.engine import certificates
from factory.cook.images import SHARE
from factory.errors import BuildFailedError, ConfigurationError
from factory.proof.consumer import consumer_args, consumer_copy, repo_proof
from factory.proof.model import Proof
from factory.proof.tree import Entry, Listing, Ownership, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from factory.cargo.variants import Variant
    from factory.cook.engine import Container, Engine
    from factory.output import Output
    from factory.process import Completed
    from factory.proof.model import RepoProof
    from factory.scan.model import FoundWorkspace

_WORK = "/work"
_CERTIFICATES = "/run/factory-certificates.pem"
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})
_TARGET = "/tmp/factory-target"  # noqa: S108 - in the container


def verify_image(
    image: str,
    workspaces: Sequence[FoundWorkspace],
    variant: Variant,
    *,
    engine: Engine,
    output: Output,
    skeleton: bool,
    cold: bool,
) -> Proof:
    """Judge an image and build every workspace in containers of it; the image is not changed."""
    facts = engine.image(image)
    try:
        home = facts.labels["io.rust-warm-factory.cargo-home"]
        build_dir = facts.labels["io.rust-warm-factory.build-dir"]
    except KeyError as error:
        raise ConfigurationError(f"{image}: not an image that factory built ({error} is missing)") from error
    with engine.container(image, mounts={}, user="0") as container:
        listing = _listing(container, home, build_dir)
    uid, _, gid = facts.user.partition(":")
    checks = judge(listing, Ownership(uid=int(uid), gid=int(gid or uid), shared=True))
    repos = []
    for found in workspaces:
        output.say(f"building {found.path} on {image}")
        cold_seconds = None
        if cold:
            cold_seconds = _build(image, found, variant, engine, skeleton=skeleton, empty=build_dir).seconds
        warm = _build(image, found, variant, engine, skeleton=skeleton)
        repos.append(warm.beside_cold(cold_seconds))
    return Proof(target=image, repos=tuple(repos), checks=checks)


def image_contract(image: str, engine: Engine) -> dict[str, object]:
    """Return the `contract.json` of an image's topmost layer."""
    layer = engine.image(image).labels.get("io.rust-warm-factory.layer", "")
    with engine.container(image, mounts={}) as container:
        answer = container.run(["cat", f"{SHARE}/{layer}/contract.json"])
    document: dict[str, object] = json.loads(answer.stdout)
    return document


def _build(
    image: str,
    found: FoundWorkspace,
    variant: Variant,
    engine: Engine,
    *,
    skeleton: bool,
    empty: str | None = None,
) -> RepoProof:
    """Build a workspace in a container of its own; `empty` is a build directory to clear before."""
    with consumer_copy(found, skeleton=skeleton) as copy:
        _open_to_all(copy.folder)
        workdir = PurePosixPath(_WORK) / copy.workspace.relative_to(copy.folder).as_posix()
        mounts, environment = _trust()
        with engine.container(image, mounts={copy.folder: _WORK} | mounts) as container:
            if empty is not None:
                _must(container.run(["find", empty, "-mindepth", "1", "-delete"]))
            started = time.monotonic()
            args = ["cargo", *consumer_args(variant, _TARGET)]
            answer = container.run(args, workdir=str(workdir), environment=environment)
            return repo_proof(found, variant, answer, seconds=time.monotonic() - started)


def _trust() -> tuple[dict[Path, str], dict[str, str]]:
    """Return what lets a container download what this machine can: certificates and proxies. No unit key has them."""
    environment = {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}
    trusted = certificates()
    if trusted is None:
        return {}, environment
    return {trusted: _CERTIFICATES}, environment | {"CARGO_HTTP_CAINFO": _CERTIFICATES}


def _listing(container: Container, home: str, build_dir: str) -> Listing:
    # The programs in bin belong to the base image.
    found = container.run(
        ["find", home, build_dir, "-path", f"{home}/bin", "-prune", "-o", "-printf", "%y %m %U %G %p\\n"]
    )
    _must(found)
    dep_infos = [
        "find",
        build_dir,
        "-name",
        "*.d",
        "-type",
        "f",
        "!",
        "-exec",
        "grep",
        "-q",
        "/registry/src/",
        "{}",
        ";",
    ]
    # C compilers write such files too: only rustc's name Rust sources.
    foreign = container.run([*dep_infos, "-exec", "grep", "-l", "[.]rs", "{}", ";"])
    _must(foreign)
    return Listing(
        cargo_home=home,
        build_dir=build_dir,
        entries=tuple(sorted((_entry(line) for line in found.stdout.splitlines()), key=lambda entry: entry.path)),
        foreign=tuple(sorted(foreign.stdout.splitlines())),
    )


def _entry(line: str) -> Entry:
    kind, mode, uid, gid, path = line.split(" ", 4)
    return Entry(path, kind, int(mode, 8), int(uid), int(gid))


def _must(answer: Completed) -> None:
    if not answer.ok:
        raise BuildFailedError(f"`{answer.command}` failed in the container: {answer.stderr.strip()[:500]}")


def _open_to_all(folder: Path) -> None:
    """Let the image's user read the copy: temporary folders are private, and sources may be too."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
