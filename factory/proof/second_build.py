"""Second builds: a project built on an image as CI builds it, by the Dockerfiles of `init`, change after change.

What was cached and how long it took is what BuildKit says in its own progress events; which dependencies were compiled
is what cargo says in the log of the steps. Beside it stand two Dockerfiles on the plain base image: one that knows no
caching (`cold`), and one with cargo-chef alone.
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from factory.build_progress import read_progress
from factory.cargo.fetching import machine_proxies
from factory.engine import build_command, certificates
from factory.errors import BuildFailedError, ConfigurationError
from factory.files import write_text
from factory.process import run
from factory.proof.bumps import bumps_of
from factory.proof.consumer import consumer_copy
from factory.proof.image import open_to_all
from factory.proof.second_build_model import Beside, Build, Change, SecondBuilds
from factory.scan.model import UnscannableError
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from factory.build_progress import Step
    from factory.engine import Engine
    from factory.output import Output
    from factory.proof.bumps import Bump
    from factory.scan.model import FoundWorkspace

_TOOLS = "warm"
"""The stage with the tools, in every Dockerfile."""
_CERTIFICATES = "/run/factory-certificates.pem"
_COMPILING = re.compile(r"^\s*Compiling (?P<crate>\S+ v\S+)(?P<place> \(/.*\))?", re.MULTILINE)


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
            found_bumps = bumps_of(copy.workspace, request.image, request.bumps, engine=engine, output=output)
            # There may be fewer bumps than changes of versions, and those are left out then.
            bumps = dict(zip((Change.ONE, Change.SEVERAL), found_bumps, strict=False))
            builder = _Builder(
                context=copy.workspace,
                files=folder,
                engine=engine,
                timeout=request.timeout,
                platform=request.platform,
            )
            for name, text in request.dockerfiles.items():
                output.say(f"preparing {name}")
                builder.prepare(name, _of_this_run(text, f"{nonce}-{_slug(name)}"))
            builds = list(
                _history(copy.workspace, bumps, builder, nonce=nonce, names=request.dockerfiles, output=output)
            )
    except UnscannableError as error:
        raise ConfigurationError(error.what, advice=error.advice) from error
    return SecondBuilds(
        image=request.image,
        base=request.base,
        project=found.path,
        builds=tuple(builds),
        bumped={change: bump.moved for change, bump in bumps.items()},
    )


def compiled_dependencies(log: str) -> tuple[str, ...]:
    """Return `name vVERSION` of what cargo compiled, sorted, without the packages of the project itself."""
    return tuple(sorted({match["crate"] for match in _COMPILING.finditer(log) if match["place"] is None}))


def without_tools(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps that are part of a build: not those of the tools, which are installed before it."""
    return tuple(step for step in steps if step.stage != _TOOLS)


def _history(
    workspace: Path,
    bumps: Mapping[Change, Bump],
    builder: _Builder,
    *,
    nonce: str,
    names: Iterable[str],
    output: Output,
) -> Iterator[Build]:
    alive = list(names)
    for change in Change:
        if change in (Change.ONE, Change.SEVERAL) and change not in bumps:
            continue
        if change is Change.SOURCE:
            _change_source(workspace, nonce)
        elif change in bumps:
            write_text(workspace / "Cargo.lock", bumps[change].lock)
        for name in tuple(alive):
            if name == Beside.COLD and change is not Change.FIRST:
                continue
            output.say(f"{name}: {change}")
            build = builder.build(name, change)
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
class _Builder:
    """Builds Dockerfiles on the project's copy, the `context`; `files` is the folder for them."""

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
        answer = run(self._command(name, _TOOLS), timeout=self.timeout, check=False)
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
            steps=without_tools(progress.steps),
            compiled=compiled_dependencies(progress.log),
            problem="" if answer.ok else _tail(answer.stderr),
        )

    def _file(self, name: str) -> Path:
        return self.files / f"{_slug(name)}.Dockerfile"

    def _command(self, name: str, stage: str) -> tuple[str, ...]:
        trusted = certificates()
        return build_command(
            self._file(name),
            self.context,
            stage=stage,
            engine=self.engine,
            secrets={} if trusted is None else {"certificates": trusted},
            arguments=sorted(machine_proxies()),
            platform=self.platform,
        )


def _tail(text: str) -> str:
    said = [line for line in read_progress(text).log.splitlines() if line.strip()]
    plain = [line for line in text.splitlines() if line.strip() and not line.startswith("{")]
    return "\n".join([*said[-15:], *plain[-5:]])
