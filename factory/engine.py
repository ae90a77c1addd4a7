"""The Docker engine and buildx, as far as building and verifying images needs them.

The engine's API (package `docker`) answers questions and runs containers; BuildKit is reachable only through the
command `docker buildx`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shlex
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import docker
import docker.errors
import requests

from factory.build_progress import cache_faults, log_texts
from factory.errors import BuildFailedError, ConfigurationError, EnvironmentFaultError
from factory.files import DISK_FULL
from factory.process import MEMORY_ADVICE, OUT_OF_MEMORY, Completed, ProgramTimeoutError, run, which
from factory.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from factory.platforms import Platform

_Answer = TypeVar("_Answer")

OLDEST_ENGINE = 23
OLDEST_BUILDX = (0, 13)
ENGINE_ADVICE = (
    "Install Docker 23 or newer with buildx, or use `--backend local`. Without a registry in reach, "
    "docs/air-gapped.md shows how to run a current engine from Debian packages."
)


ANSWER_SECONDS = 30
"""How long an engine may take to say that it is there."""

REGISTRY_SECONDS = 5
"""How long the registry of a base image may take to say what its name stands for."""

EMULATION_ADVICE = (
    "Let the kernel run them by qemu: `docker run --privileged --rm tonistiigi/binfmt --install all`, or the package "
    "qemu-user-static; or build on a machine of that platform. docs/platforms.md has both."
)

SHARED_ADVICE = (
    "Engine and factory have to share a file system, as folders of factory's are mounted into containers. Run factory "
    "on the engine's own machine, or let both have one volume at the same path, with TMPDIR, FACTORY_CACHE_DIR, "
    "CARGO_HOME and factory itself on it: docs/rebuild.md."
)

FULL_ADVICE = (
    "The disk of the engine's machine is full. Make room (`docker system df` tells what takes it, `docker buildx "
    "prune` empties the build cache), and run the command again: layers that are finished stay."
)

GONE_ADVICE = (
    "Start it, see in its log why it ended (`journalctl -u docker`), and run the command again: what is finished stays."
)

CACHE_ADVICE = (
    "This builder cannot write such a build cache: docs/build-cache.md tells what each type takes. `build_cache.type: "
    "none`, or FACTORY_BUILD_CACHE_TYPE=none, builds without."
)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the engine says of an image: id, layers (digests, lowest first), user, environment, labels and platform.

    `digest` is that of its manifest, `sha256:…`, or empty where the engine knows it by no registry's name.
    """

    id: str
    layers: tuple[str, ...]
    user: str
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    size: int
    digest: str = ""
    platform: str = ""


class Engine:
    """A usable engine; making one raises `EnvironmentFaultError` where there is none."""

    def __init__(self) -> None:
        try:
            self._client = docker.from_env(timeout=600)
            self._version = self._client.version()
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise EnvironmentFaultError(f"no Docker engine answers: {error}", advice=ENGINE_ADVICE) from error
        if int(self._version["Version"].partition(".")[0]) < OLDEST_ENGINE:
            raise EnvironmentFaultError(f"Docker {self._version['Version']} is too old", advice=ENGINE_ADVICE)
        self.buildx_version = _buildx_version()

    def answers(self) -> bool:
        """Whether it is still there."""
        try:
            return run(["docker", "version"], check=False, timeout=ANSWER_SECONDS).ok
        except ProgramTimeoutError:
            return False

    @property
    def platform(self) -> str:
        """The platform of the engine's own machine, such as `linux/amd64`."""
        return f"{self._version['Os']}/{self._version['Arch']}"

    @cached_property
    def needs_host_network(self) -> bool:
        """Whether the engine has no bridge network, so that only the host's reaches anything."""
        with _answering("the engine does not list its networks"):
            return not any(network.name == "bridge" for network in self._client.networks.list())

    def image(self, reference: str) -> ImageFacts:
        """Return the facts of a local image; raise `ConfigurationError` when there is none of that name."""
        with _answering(f"the engine says nothing of {reference}"):
            facts = self._facts(reference)
        config = facts.get("Config") or {}
        return ImageFacts(
            id=facts["Id"],
            layers=tuple((facts.get("RootFS") or {}).get("Layers") or ()),
            user=config.get("User") or "",
            environment=dict(line.partition("=")[::2] for line in config.get("Env") or ()),
            labels=dict(config.get("Labels") or {}),
            size=facts["Size"],
            digest=next(iter(sorted(facts.get("RepoDigests") or ())), "").partition("@")[2],
            platform=f"{facts.get('Os', '')}/{facts.get('Architecture', '')}",
        )

    def tag(self, image: str, reference: str) -> None:
        """Give a local image one more name."""
        with _answering(f"{image} cannot be tagged {reference}"):
            repository, _, tag = reference.rpartition(":")
            self._client.images.get(image).tag(repository, tag)

    def manifest_digest(self, reference: str) -> str:
        """Return `sha256:…` of an image: what the reference names, else what this engine has; "" where nobody knows."""
        named = reference.partition("@")[2]
        if named:
            return named
        try:
            return self.image(reference).digest
        except ConfigurationError:
            # Not pulled yet: a tag alone does not say which image it will be.
            return ""

    def registry_digest(self, reference: str) -> str:
        """Return `sha256:…` of what a reference stands for in its registry now, "" where that has none for us.

        The engine asks, by its own mirrors, and pulls nothing. Raises `EnvironmentFaultError` where the registry does
        not answer within seconds.
        """
        with (
            _answering(f"{reference}: its registry does not answer"),
            # A client of its own, as the other's patience is that of long work.
            contextlib.closing(docker.from_env(timeout=REGISTRY_SECONDS)) as client,
        ):
            try:
                return str(client.images.get_registry_data(reference).id)
            except docker.errors.APIError as error:
                if not error.is_client_error():
                    raise
                return ""

    def pull(self, reference: str, platform: Platform | None = None) -> None:
        """Bring what a reference stands for in its registry now into the engine; an image of that name loses it.

        Raises `EnvironmentFaultError` where that cannot be had.
        """
        self._pull(reference, platform)

    def _facts(self, reference: str) -> dict[str, Any]:
        try:
            return dict(self._client.images.get(reference).attrs)
        except docker.errors.APIError as error:
            if not error.is_client_error():
                raise
            # Unknown, or no name that an image can have.
            raise ConfigurationError(
                f"{reference}: no such image in this engine", advice="Build or pull it first."
            ) from error

    def compressed_bytes(self, reference: str, platform: Platform | None = None) -> int | None:
        """Return what a pull of a local image transfers: its manifest, its configuration and its compressed layers.

        `platform` is the one of the image to take, where its name stands for several; `None` for the engine's own.
        `None` where the engine does not keep compressed layers (any but the containerd image store) or is too old to
        say (before 28). Raises `ConfigurationError` when there is no image of that name.
        """
        with _answering(f"the engine does not say how large {reference} is"):
            facts = self._facts(reference)
            names = [*(facts.get("RepoTags") or ()), *(facts.get("RepoDigests") or ())]
            url = f"{self._client.api.base_url}/v{self._version['ApiVersion']}/images/json"
            # Of these names only: an engine reads every image that it lists, and fails when it comes to one that
            # another program removes meanwhile (https://github.com/moby/moby/issues/52688).
            named = {"filters": json.dumps({"reference": names})} if names else {}
            answer = self._client.api.get(url, params={"manifests": "1", **named})
            answer.raise_for_status()
        sizes = {
            f"{its.get('os')}/{its.get('architecture')}": int(manifest["Size"]["Content"])
            for image in answer.json()
            if image["Id"] == facts["Id"]
            for manifest in image.get("Manifests") or ()
            if manifest.get("Kind") == "image" and manifest.get("Available")
            for its in [manifest["ImageData"]["Platform"]]
        }
        return next(iter(sizes.values())) if len(sizes) == 1 else sizes.get(platform or self.platform)

    @contextlib.contextmanager
    def layers_of(self, reference: str) -> Iterator[Path]:
        """Yield an archive of an image as `docker save` writes it; it is removed afterwards."""
        with scratch("factory-image-") as folder:
            archive = folder / "image.tar"
            with _answering(f"{reference} cannot be exported"), archive.open("wb") as file:
                for chunk in self._client.images.get(reference).save():
                    file.write(chunk)
            yield archive

    def remove_image(self, reference: str) -> None:
        """Remove a name of an image, and the image with its last name; one that is not there is no trouble."""
        with _answering(f"{reference} cannot be removed"), contextlib.suppress(docker.errors.ImageNotFound):
            self._client.images.remove(reference, force=True)

    def require_image(self, reference: str, platform: Platform | None = None) -> None:
        """Make sure that an image is here, for a platform (`None`: the engine's own), or can be pulled.

        Raises `EnvironmentFaultError` otherwise.
        """
        with _answering(f"the engine says nothing of {reference}"):
            try:
                attributes = self._facts(reference)
            except ConfigurationError:
                attributes = None
        if attributes is None:
            self._pull(reference, platform)
            return
        if platform in (None, self.platform, f"{attributes.get('Os')}/{attributes.get('Architecture')}"):
            return
        if not self._has_platform(reference, str(platform)):
            self._pull(reference, platform)

    def _has_platform(self, reference: str, platform: str) -> bool:
        """Whether a name stands for images of several platforms, and one of them for this one is here."""
        with _answering(f"no container of {reference} can be made"):
            try:
                self._client.containers.create(reference, ["none"], platform=platform).remove()
            except docker.errors.APIError as error:
                if not error.is_client_error():
                    raise
                return False
        return True

    def require_runs(self, reference: str, platform: Platform) -> None:
        """Run a program of an image of a platform; raise `EnvironmentFaultError` where this engine cannot.

        What builders list tells nothing: they name platforms for which nothing is registered with the kernel.
        """
        try:
            with self.container(reference, mounts={}, platform=str(platform)) as container:
                answer = container.run(["true"], timeout=60)
                said = "" if answer.ok else answer.stderr.strip() or f"it exited with {answer.returncode}"
        except EnvironmentFaultError as error:
            said = error.what
        if said:
            what = f"this engine runs no programs of {platform}: {said[:300]}"
            raise EnvironmentFaultError(what, advice=EMULATION_ADVICE)

    def _pull(self, reference: str, platform: Platform | None) -> None:
        try:
            self._client.images.pull(reference, platform=None if platform is None else str(platform))
        except (docker.errors.APIError, requests.RequestException) as error:
            raise _neither_here_nor_there(f"{reference}{f' for {platform}' if platform else ''}", error) from error

    @contextlib.contextmanager
    def container(
        self, image: str, *, mounts: Mapping[Path, str], user: str | None = None, platform: str = ""
    ) -> Iterator[Container]:
        """Yield an idle container of an image with folders mounted read-only; it is removed afterwards.

        `platform` is the one of the image to take, where its name stands for several. Raises `EnvironmentFaultError`
        where the engine cannot start one, or mounts folders of another machine.
        """
        chosen = platform or self.image(image).platform
        with _answering(f"no container of {image} can be made"):
            made = self._client.containers.create(
                image,
                ["sleep", "86400"],
                entrypoint="",
                init=True,
                user=user,
                platform=chosen,
                network_mode="host" if self.needs_host_network else None,
                volumes={str(source): {"bind": target, "mode": "ro"} for source, target in mounts.items()},
            )
        try:
            with _answering(f"no container of {image} can be started"):
                made.start()
            container = Container(self._client, str(made.id))
            _require_seen(container, mounts)
            yield container
        finally:
            with contextlib.suppress(docker.errors.APIError, requests.RequestException):
                made.remove(force=True)

    def require_shared(self, image: str, folders: Sequence[Path], platform: str = "") -> None:
        """Mount folders of this machine, and a temporary one, into a container of a local image.

        Raises `EnvironmentFaultError` where the engine has others in their places: what runs by `docker run` would find
        them empty.
        """
        with scratch("factory-shared-") as folder:
            (folder / "seen").touch()
            mounts = {path: f"/factory-shared/{number}" for number, path in enumerate((folder, *folders))}
            with self.container(image, mounts=mounts, platform=platform):
                pass


def _require_seen(container: Container, mounts: Mapping[Path, str]) -> None:
    """Raise `EnvironmentFaultError` for a mount that is not this machine's: engines make up what they lack.

    All are asked for in one call; an empty folder proves nothing, and is passed over.
    """
    asked = {source: _question(source, target) for source, target in mounts.items()}
    asked = {source: question for source, question in asked.items() if question}
    if not asked:
        return
    script = """while test $# -gt 0; do test "$1" "$2" || echo "$3"; shift 3; done"""
    words = [word for number, question in enumerate(asked.values()) for word in (*question, str(number))]
    # As root, who may enter folders that are for their owner alone.
    answer = container.run(["sh", "-c", script, "sh", *words], user="0", timeout=60)
    missing = [str(source) for number, source in enumerate(asked) if str(number) in answer.stdout.split()]
    if missing:
        raise EnvironmentFaultError(
            f"the engine does not see this machine's files: {', '.join(missing)}", advice=SHARED_ADVICE
        )


def _question(source: Path, target: str) -> tuple[str, ...]:
    """Return what `test` has to say yes to in a container, nothing for an empty folder."""
    if source.is_file():
        # A folder is made up for a missing file too.
        return ("-f", target)
    name = next((entry.name for entry in sorted(source.iterdir()) if not entry.is_symlink()), None)
    return () if name is None else ("-e", f"{target}/{name}")


def certificates() -> Path | None:
    """Return the file of certificates that this machine's cargo trusts, where a variable names one."""
    named = os.environ.get("CARGO_HTTP_CAINFO") or os.environ.get("SSL_CERT_FILE")
    return Path(named) if named and Path(named).is_file() else None


class Container:
    """A running container."""

    def __init__(self, client: Any, identity: str) -> None:  # noqa: ANN401 - the docker package has no types
        self._api = client.api
        self._id = identity

    def run(
        self,
        args: Sequence[str],
        *,
        workdir: str = "/",
        user: str = "",
        environment: Mapping[str, str] | None = None,
        timeout: float = 600,
    ) -> Completed:
        """Run a program in the container and return what it said, whatever its exit code.

        Raises `ContainerTimeoutError` when it runs longer than `timeout` seconds; it ends with the container then.
        """
        shown = shlex.join(args)[:300]

        def start() -> tuple[bytes | None, bytes | None, int]:
            created = self._api.exec_create(
                self._id, list(args), workdir=workdir, user=user, environment=dict(environment or {})
            )
            stdout, stderr = self._api.exec_start(created["Id"], demux=True)
            return stdout, stderr, int(self._api.exec_inspect(created["Id"])["ExitCode"])

        with _answering(f"`{shown}` cannot be run in a container"):
            stdout, stderr, code = _within(timeout, start, f"`{shown}` in a container")
        return Completed(args=tuple(args), returncode=code, stdout=_text(stdout), stderr=_text(stderr))


MEASURED = "factory-measured "
"""How lines of a build's log begin that `factory.costs.log` reads."""


class ContainerTimeoutError(EnvironmentFaultError):
    """A program in a container ran longer than it may."""


def bake(
    file: Path,
    target: str,
    *,
    engine: Engine,
    folders: Sequence[Path],
    timeout: float,
    on_line: Callable[[str], None],
    on_cache_fault: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> str:
    """Build one target of a bake file; return the log of all its steps. Raises `BuildFailedError` with its end.

    `folders` are those that the target may read and write; `environment` has the secrets that the bake file names by
    their variables. `on_cache_fault` is told why a build cache was not read or written, which stops no build. Raises
    `EnvironmentFaultError` when it takes longer than `timeout` seconds.
    """
    log: list[str] = []
    rest = ""

    def on_stderr(line: str) -> None:
        nonlocal rest
        for text in log_texts(line):
            *lines, rest = (rest + text).split("\n")
            log.extend(lines)
            for whole in lines:
                on_line(whole)
        for fault in cache_faults(line):
            on_cache_fault(fault)

    command = bake_command(file, target, engine=engine, folders=folders)
    variables = {**os.environ, **(environment or {})}
    answer = run(command, env=variables, timeout=timeout, check=False, on_stderr=on_stderr)
    if not answer.ok and not engine.answers():
        raise EnvironmentFaultError(f"the Docker engine went away during `{answer.command}`", advice=GONE_ADVICE)
    if not answer.ok:
        plain = [line for line in answer.stderr.splitlines() if not line.startswith("{")]
        # What is for programs would hide what is for people.
        said = [line for line in log if not line.startswith(MEASURED)]
        tail = "\n".join([*said[-30:], *plain[-10:]])
        if missing := _UNREACHABLE.search(tail):
            raise _neither_here_nor_there(missing["image"], missing["why"])
        raise BuildFailedError(
            f"`{answer.command}` exited with {answer.returncode}\n{tail}".rstrip(),
            advice=_advice(tail),
        )
    return "\n".join([*log, rest])


def bake_command(file: Path, target: str, *, engine: Engine, folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the command that builds one target of a bake file."""
    allowed: list[str] = []
    if engine.buildx_version >= (0, 17):
        allowed = [f"--allow=fs={folder}" for folder in folders]
        allowed += ["--allow=network.host"] if engine.needs_host_network else []
    return (
        "docker",
        "buildx",
        "bake",
        "--progress=rawjson",
        "--provenance=false",
        *allowed,
        "-f",
        str(file),
        target,
    )


def build_command(
    dockerfile: Path,
    context: Path,
    *,
    stage: str,
    engine: Engine,
    secrets: Mapping[str, Path],
    arguments: Iterable[str],
    platform: str = "",
) -> tuple[str, ...]:
    """Return the command that builds a stage of a Dockerfile into the build cache, and into nothing else.

    `secrets` are files by id; `arguments` are variables of this process that the steps get as build arguments;
    `platform` is what is built for, empty for the engine's own.
    """
    return (
        *("docker", "buildx", "build", "--progress=rawjson", "--provenance=false", "--output=type=cacheonly"),
        *(("--network=host",) if engine.needs_host_network else ()),
        *(f"--secret=id={name},src={path}" for name, path in secrets.items()),
        *(f"--build-arg={name}" for name in arguments),
        *((f"--platform={platform}",) if platform else ()),
        f"--target={stage}",
        f"--file={dockerfile}",
        str(context),
    )


_UNREACHABLE = re.compile(r"failed to resolve source metadata for (?P<image>\S+): (?P<why>.*)")


def _neither_here_nor_there(image: str, why: object) -> EnvironmentFaultError:
    return EnvironmentFaultError(
        f"{image} is neither here nor can it be pulled: {why}",
        advice="Name a base image you can reach (`base.image`), or make one with `factory base`.",
    )


def _advice(tail: str) -> str:
    if DISK_FULL.search(tail):
        return FULL_ADVICE
    if OUT_OF_MEMORY.search(tail) or re.search("out of memory|did not complete successfully: exit code: 137", tail):
        return MEMORY_ADVICE
    return CACHE_ADVICE if re.search("unknown cache exporter|[Cc]ache export is not supported", tail) else ""


def _buildx_version() -> tuple[int, int]:
    which("docker", advice=ENGINE_ADVICE)
    answer = run(["docker", "buildx", "version"], check=False, timeout=60)
    match = re.search(r"v?(\d+)\.(\d+)\.\d+", answer.stdout)
    if not answer.ok or match is None:
        raise EnvironmentFaultError("`docker buildx` does not run", advice=ENGINE_ADVICE)
    version = (int(match[1]), int(match[2]))
    if version < OLDEST_BUILDX:
        raise EnvironmentFaultError(f"buildx {match[0]} is too old", advice=ENGINE_ADVICE)
    return version


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")


@contextlib.contextmanager
def _answering(what: str) -> Iterator[None]:
    """Explain it when the engine refuses something, or is gone."""
    try:
        yield
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise EnvironmentFaultError(
            f"{what}: {str(error)[:500]}",
            advice="Look at `docker info` and at the engine's log: what the engine itself says stands above.",
        ) from error


def _within(seconds: float, call: Callable[[], _Answer], what: str) -> _Answer:
    """Return what a call that cannot be interrupted returns; raise `ContainerTimeoutError` when that takes longer."""
    answers: queue.SimpleQueue[_Answer | Exception] = queue.SimpleQueue()

    def answer() -> None:
        try:
            answers.put(call())
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            answers.put(error)

    # A daemon: it waits for the engine, which answers when the container is removed.
    threading.Thread(target=answer, daemon=True).start()
    try:
        given = answers.get(timeout=seconds)
    except queue.Empty:
        raise ContainerTimeoutError(f"{what} did not finish within {seconds:g} s") from None
    if isinstance(given, Exception):
        raise given
    return given
