"""Second builds: a project built on an image as CI builds it, by the Dockerfiles of `init`, change after change.

What was cached and how long it took is what BuildKit says in its own progress events; which dependencies were compiled
is what cargo says in the log of the steps. Beside it stand two Dockerfiles on the plain base image: one that knows no
caching (`cold`), and one with cargo-chef alone.
"""

from __future__ import annotations

import base64
import enum
import json
import os
import re
import time
import tomllib
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.engine import certificates
from factory.errors import BuildFailedError, ConfigurationError, EnvironmentFaultError
from factory.files import write_text
from factory.process import run
from factory.proof.consumer import consumer_copy
from factory.proof.image import open_to_all, trusted_downloads
from factory.scan.model import UnscannableError
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from factory.engine import Container, Engine
    from factory.output import Output
    from factory.scan.model import FoundWorkspace

SCHEMA = 1


class Beside(enum.StrEnum):
    """What the Dockerfiles are compared with, on the base image: one without caching, and cargo-chef alone."""

    COLD = "cold"
    CARGO_CHEF = "cargo-chef"


FIRST_SECONDS = 60.0
CHANGE_SECONDS = 20.0
REUSE = 0.95
"""What guides to caching in Docker claim: of a first build, of one after a change of sources, and of the share of
dependencies that the latter does not compile."""

_SEVERAL = 4
_MOUNT = "/run/factory-project"
_WORK = "/tmp/factory-project"  # noqa: S108 - in the container
_CERTIFICATES = "/run/factory-certificates.pem"
_RESOLVE_SECONDS = 300.0
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})
_STEP = re.compile(r"\[(?:\S+/\S+ )?(?P<stage>\S+) +\d+/\d+\] (?P<what>.*)", re.DOTALL)
_COMPILING = re.compile(r"^\s*Compiling (?P<crate>\S+ v\S+)(?P<place> \(/.*\))?", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Change(enum.StrEnum):
    """What is different from the build before; each stands on the ones above it."""

    FIRST = "first build"
    UNCHANGED = "unchanged"
    SOURCE = "source changed"
    ONE = "one dependency bumped"
    SEVERAL = "several bumped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is built: Dockerfiles by name, the image and the plain base that they stand on, both for the report.

    `bumps` are `NAME@VERSION`, or none to let cargo find some; `timeout` bounds each build, in seconds.
    """

    image: str
    base: str
    dockerfiles: Mapping[str, str]
    bumps: tuple[str, ...]
    timeout: float
    platform: str = ""
    """That of the image, where it is another than the engine's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An instruction of a Dockerfile, in the words of BuildKit; a cached one took no seconds."""

    stage: str
    what: str
    cached: bool
    seconds: float


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


def plain_dockerfiles(base: str, *, packages: Sequence[str], cargo_chef: str) -> dict[Beside, str]:
    """Return the Dockerfiles to compare with, on an image without warm units.

    That of cargo-chef is what cargo-chef's own documentation shows. `packages` are Debian packages to install first.
    """
    install = f"RUN apt-get update && apt-get install --yes --no-install-recommends {' '.join(packages)}\n"
    warm = f"FROM {base} AS warm\nUSER 0\n{install if packages else ''}"
    chef = f'RUN command -v cargo-chef >/dev/null || cargo install --locked "cargo-chef@{cargo_chef}"\n'
    workdir = "WORKDIR /src\n"
    return {
        Beside.COLD: f"{warm}{workdir}\nFROM warm AS builder\nCOPY . .\nRUN cargo build --release --locked\n",
        Beside.CARGO_CHEF: (
            f"{warm}{chef}{workdir}"
            "\nFROM warm AS planner\nCOPY . .\nRUN cargo chef prepare --recipe-path recipe.json\n"
            "\nFROM warm AS builder\nCOPY --from=planner /src/recipe.json recipe.json\n"
            "RUN cargo chef cook --release --locked --recipe-path recipe.json\n"
            # As in ours: no source is to be older than what the step above compiled in its place.
            "COPY . .\nRUN find . -name '*.rs' -exec touch {} + && cargo build --release --locked\n"
        ),
    }


def second_builds(found: FoundWorkspace, request: Request, *, engine: Engine, output: Output) -> SecondBuilds:
    """Build a copy of a project by every Dockerfile, after every change; nothing of the project is touched.

    Without caching it is built once: it takes as long after every change. Raises `ConfigurationError` for a project
    that cannot be copied or a bump that cargo refuses, `BuildFailedError` where the tools of a Dockerfile cannot be
    installed.
    """
    # Earlier runs must not have cached anything, so each has names of its own.
    nonce = uuid.uuid4().hex[:12]
    try:
        with consumer_copy(found, skeleton=False) as copy, scratch("factory-second-") as folder:
            open_to_all(copy.workspace)
            locks = _bumped_locks(copy.workspace, request, engine, output)
            kitchen = _Kitchen(
                context=copy.workspace,
                files=folder,
                engine=engine,
                timeout=request.timeout,
                platform=request.platform,
            )
            for name, text in request.dockerfiles.items():
                output.say(f"preparing {name}")
                kitchen.prepare(name, _of_this_run(text, f"{nonce}-{_slug(name)}"))
            builds = list(
                _history(copy.workspace, locks, kitchen, nonce=nonce, names=request.dockerfiles, output=output)
            )
    except UnscannableError as error:
        raise ConfigurationError(error.what, advice=error.advice) from error
    return SecondBuilds(
        image=request.image,
        base=request.base,
        project=found.path,
        builds=tuple(builds),
        bumped={change: bump.moved for change, bump in locks.items()},
    )


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


# The changes


@dataclass(frozen=True, slots=True)
class _Bump:
    """A lockfile, and which packages moved to get there."""

    lock: str
    moved: tuple[str, ...]


def _history(
    workspace: Path,
    locks: Mapping[Change, _Bump],
    kitchen: _Kitchen,
    *,
    nonce: str,
    names: Iterable[str],
    output: Output,
) -> Iterator[Build]:
    alive = list(names)
    for change in Change:
        if change in (Change.ONE, Change.SEVERAL) and change not in locks:
            continue
        if change is Change.SOURCE:
            _change_source(workspace, nonce)
        elif change in locks:
            write_text(workspace / "Cargo.lock", locks[change].lock)
        for name in tuple(alive):
            if name == Beside.COLD and change is not Change.FIRST:
                continue
            output.say(f"{name}: {change}")
            build = kitchen.build(name, change)
            if build.problem:
                # What comes after would fail for the same reason.
                alive.remove(name)
            yield build


def _change_source(workspace: Path, nonce: str) -> None:
    """Add a comment to a program's main file, which is enough for cargo to compile it again."""
    sources = sorted(workspace.rglob("src/main.rs")) or sorted(workspace.rglob("*.rs"))
    if not sources:
        raise ConfigurationError("the project has no Rust sources", advice="Name a project with its sources.")
    with sources[0].open("a", encoding="utf-8") as file:
        file.write(f"\n// {nonce}\n")


def _bumped_locks(workspace: Path, request: Request, engine: Engine, output: Output) -> dict[Change, _Bump]:
    """Let cargo move one dependency, then several, in a container of the image."""
    mounts, environment = trusted_downloads()
    with engine.container(request.image, mounts={workspace: _MOUNT} | mounts) as container:
        copied = container.run(["cp", "-RP", _MOUNT, _WORK], timeout=_RESOLVE_SECONDS)
        if not copied.ok:
            raise EnvironmentFaultError(f"`{copied.command}` failed in a container: {copied.stderr.strip()[:500]}")
        cargo = _Cargo(container, environment)
        before = cargo.lock()
        bumps = _named_bumps(cargo, request.bumps) if request.bumps else _found_bumps(cargo, before)
        locks = list(bumps)
    if not locks:
        output.warn("cargo can move no dependency a little, so none is bumped; name some with --bump NAME@VERSION")
        return {}
    result = {Change.ONE: _Bump(locks[0], _moved(before, locks[0]))}
    if len(locks) > 1:
        result[Change.SEVERAL] = _Bump(locks[-1], _moved(locks[0], locks[-1]))
    return result


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


def needed_dependencies(metadata: Mapping[str, Any]) -> frozenset[str]:
    """Return the crates that every build of a project needs, by `cargo metadata --no-deps`.

    Those of tests, of single platforms and of features are not among them: to bump one may change no build.
    """
    rows = (row for package in metadata["packages"] for row in package["dependencies"])
    return frozenset(row["name"] for row in rows if row["kind"] != "dev" and not (row["optional"] or row["target"]))


def _direct_dependencies(lock: str, needed: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Return name and version of the registry packages that packages of the project need directly, sorted."""
    packages = tomllib.loads(lock).get("package", [])
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
    return {(package["name"], package["version"]) for package in tomllib.loads(lock).get("package", [])}


# The builds


def _of_this_run(dockerfile: str, nonce: str) -> str:
    """Return a Dockerfile that shares no step after its tools, and no cache mount, with any earlier run."""
    own_mounts = re.sub(r"(--mount=type=cache,id=)", rf"\g<1>{nonce}-", dockerfile)
    return own_mounts.replace("\nFROM warm AS ", f"\nRUN true {nonce}\n\nFROM warm AS ", 1)


def _trusting(dockerfile: str) -> str:
    """Return a Dockerfile whose cargo trusts what this machine's does; no unit key has the variable."""
    steps = re.sub(
        r"^RUN ", f"RUN --mount=type=secret,id=certificates,target={_CERTIFICATES},mode=0444 ", dockerfile, flags=re.M
    )
    return steps.replace(" AS warm\n", f" AS warm\nENV CARGO_HTTP_CAINFO={_CERTIFICATES}\n", 1)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kitchen:
    """Where builds run: the project's copy, and a folder for the Dockerfiles."""

    context: Path
    files: Path
    engine: Engine
    timeout: float
    platform: str

    def prepare(self, name: str, dockerfile: str) -> None:
        """Write a Dockerfile and build its stage of tools, which is no part of a build's time."""
        ignored = ("target", "**/target", ".git")
        write_text(self._file(name), dockerfile if certificates() is None else _trusting(dockerfile))
        write_text(Path(f"{self._file(name)}.dockerignore"), "".join(f"{line}\n" for line in ignored))
        answer = run(self._command(name, "warm"), timeout=self.timeout, check=False)
        if not answer.ok:
            raise BuildFailedError(f"{name}: the tools cannot be installed\n{_tail(answer.stderr)}")

    def build(self, name: str, change: Change) -> Build:
        """Build the program. A failure is the build's `problem`."""
        started = time.monotonic()
        answer = run(self._command(name, "builder"), timeout=self.timeout, check=False)
        seconds = time.monotonic() - started
        progress = read_progress(answer.stderr)
        return Build(
            dockerfile=name,
            change=change,
            seconds=round(seconds, 2),
            steps=progress.steps,
            compiled=compiled_dependencies(progress.log),
            problem="" if answer.ok else _tail(answer.stderr),
        )

    def _file(self, name: str) -> Path:
        return self.files / f"{_slug(name)}.Dockerfile"

    def _command(self, name: str, stage: str) -> tuple[str, ...]:
        network = ("--network=host",) if self.engine.needs_host_network else ()
        trusted = certificates()
        secret = () if trusted is None else (f"--secret=id=certificates,src={trusted}",)
        proxies = (f"--build-arg={variable}" for variable in sorted(os.environ) if variable.lower() in _PROXIES)
        return (
            *("docker", "buildx", "build", "--progress=rawjson", "--provenance=false", "--output=type=cacheonly"),
            *network,
            *secret,
            *proxies,
            *((f"--platform={self.platform}",) if self.platform else ()),
            f"--target={stage}",
            f"--file={self._file(name)}",
            str(self.context),
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """What BuildKit told of a build: its steps in the order in which it named them, and what they printed."""

    steps: tuple[Step, ...]
    log: str


def read_progress(text: str) -> Progress:
    """Read the output of `--progress=rawjson`; lines that are no events are left out.

    The stage `warm`, which has the tools, is no part of the steps.
    """
    vertexes: dict[str, dict[str, Any]] = {}
    logs: dict[str, list[bytes]] = {}
    for event in _events(text):
        for vertex in event.get("vertexes") or ():
            # The first ones lack what comes later; later ones repeat what is known.
            vertexes.setdefault(vertex["digest"], {}).update({key: value for key, value in vertex.items() if value})
        for entry in event.get("logs") or ():
            logs.setdefault(entry.get("vertex", ""), []).append(base64.b64decode(entry.get("data") or ""))
    steps = tuple(step for vertex in vertexes.values() if (step := _step(vertex)) is not None and step.stage != "warm")
    log = "\n".join(b"".join(parts).decode("utf-8", "replace") for parts in logs.values())
    return Progress(steps=steps, log=_COLOUR.sub("", log))


def compiled_dependencies(log: str) -> tuple[str, ...]:
    """Return `name vVERSION` of what cargo compiled, sorted, without the packages of the project itself."""
    return tuple(sorted({match["crate"] for match in _COMPILING.finditer(log) if match["place"] is None}))


def _events(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            # A warning of buildx may begin like one.
            continue
        if isinstance(event, dict):
            yield event


def _step(vertex: Mapping[str, Any]) -> Step | None:
    match = _STEP.match(vertex.get("name", ""))
    if match is None:
        return None
    cached = bool(vertex.get("cached"))
    return Step(
        stage=match["stage"], what=match["what"], cached=cached, seconds=0.0 if cached else round(_seconds(vertex), 2)
    )


def _seconds(vertex: Mapping[str, Any]) -> float:
    if "started" not in vertex or "completed" not in vertex:
        return 0.0
    started, completed = (datetime.fromisoformat(vertex[key]) for key in ("started", "completed"))
    return (completed - started).total_seconds()


def _tail(text: str) -> str:
    said = [line for line in read_progress(text).log.splitlines() if line.strip()]
    plain = [line for line in text.splitlines() if line.strip() and not line.startswith("{")]
    return "\n".join([*said[-15:], *plain[-5:]])
