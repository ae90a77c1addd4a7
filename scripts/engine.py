#!/usr/bin/env python3
"""Run a current Docker engine with buildx beside the system's own, from Debian packages, touching neither.

For machines where the installed engine is too old and nothing can be pulled. Needs root, Debian and a package
mirror that apt already knows. Everything lives in one directory, `$FACTORY_ENGINE_DIR` or
`~/.cache/rust-warm-factory-engine`; nothing outside it is written, but for Debian packages that are missing.

    python3 scripts/engine.py up             start it (or say that the current docker is usable)
    eval "$(python3 scripts/engine.py env)"  use it in this shell
    python3 scripts/engine.py down           stop what `up` started; packages and images stay
    python3 scripts/engine.py registry up    a registry on a free port of 127.0.0.1; prints its address
    python3 scripts/engine.py registry down
    python3 scripts/engine.py cosign         fetch cosign, for signatures; `env` puts it on the PATH
    python3 scripts/engine.py emulation up   let the kernel run arm64's programs on amd64, and the other way round
    python3 scripts/engine.py emulation down

Exit codes: 0 done, 2 usage, 4 the machine lacks something (said on stderr, with what to do).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess  # noqa: TID251 - runs before the package is installed
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

OLDEST_USABLE_MAJOR = 23
"""Docker 23 made BuildKit the default builder; what is older lacks named contexts."""

START_SECONDS = 60.0
STOP_SECONDS = 30.0
COMMAND_SECONDS = 600.0
LONGEST_SOCKET_PATH = 107  # sun_path holds 108 bytes, the last of them NUL

REGISTRY_PACKAGE = "docker-registry"
COSIGN_PACKAGE = "cosign"
EMULATOR_PACKAGES = ("qemu-user-static", "arch-test")
"""The emulator, and what mmdebstrap finds out with whether there is one."""
BINFMT = Path("/proc/sys/fs/binfmt_misc")
"""Where the kernel keeps which interpreter runs which programs."""
SYSTEM_PACKAGES = {"runc": "runc", "mmdebstrap": "mmdebstrap"}
"""Programs the engine and `factory base` need on the system itself, each with the package that has it."""


@dataclass(frozen=True)
class Suite:
    """A Debian suite with the upstream versions of its packages that were tested together."""

    name: str
    tested: Mapping[str, str]
    cosign: str | None = None
    """Its version where the suite has one that signs as the factory does (3 or newer)."""
    system_packages: tuple[str, ...] = ()


SUITES = (
    Suite(
        name="sid",
        tested={
            "docker.io": "28.5.2",
            "docker-cli": "28.5.2",
            "containerd": "2.1.9",
            "docker-buildx": "0.29.1",
            REGISTRY_PACKAGE: "2.8.3",
        },
        cosign="3.1.1",
    ),
    Suite(
        name="trixie",
        tested={
            "docker.io": "26.1.5",
            "docker-cli": "26.1.5",
            "containerd": "1.7.24",
            "docker-buildx": "0.13.1",
            REGISTRY_PACKAGE: "2.8.3",
        },
        system_packages=("libdevmapper1.02.1",),
    ),
)
"""In order of preference: sid moves on, and is taken only while it still has what was tested."""


class MachineError(Exception):
    """The machine lacks something: what, and what to do about it."""


@dataclass(frozen=True)
class Place:
    """Where everything of the private engine lives."""

    root: Path

    @classmethod
    def chosen(cls) -> Place:
        """Take `$FACTORY_ENGINE_DIR`, else the default; refuse a path too long for a socket."""
        named = os.environ.get("FACTORY_ENGINE_DIR")
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        # Not inside the factory's own cache: to clean that must not pull a running engine's ground away.
        place = cls(root=Path(named).absolute() if named else caches / "rust-warm-factory-engine")
        if len(os.fsencode(place.socket)) > LONGEST_SOCKET_PATH:
            msg = f"{place.socket}: too long for a Unix socket\nSet FACTORY_ENGINE_DIR to a shorter path."
            raise MachineError(msg)
        return place

    @property
    def programs(self) -> Path:
        """The unpacked packages: `usr/bin`, `usr/sbin`."""
        return self.root / "programs"

    @property
    def signing(self) -> Path:
        """The unpacked package of cosign; apart, as the engine does without."""
        return self.root / "signing"

    @property
    def socket(self) -> Path:
        """The daemon's Unix socket."""
        return self.root / "docker.sock"

    @property
    def client_config(self) -> Path:
        """The value for `DOCKER_CONFIG`: buildx as a plugin, nothing else."""
        return self.root / "config"

    @property
    def clients(self) -> Path:
        """Where the new `docker` is, and `containerd` for the daemon: first on `PATH`."""
        return self.programs / "usr" / "bin"

    def environment(self) -> dict[str, str]:
        """Return what a client of the private engine has to set, besides `PATH`."""
        return {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(self.client_config)}


@dataclass(frozen=True)
class Daemon:
    """A program of ours in the background, known by its pid file."""

    name: str
    pid_file: Path
    log: Path
    command: tuple[str, ...]

    def pid(self) -> int | None:
        """Return the process id while it runs; a number that another program has by now is not ours."""
        try:
            pid = int(self.pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if words[0] == os.fsencode(self.command[0]) else None

    def start(self, ready: Callable[[], bool], *, environment: Mapping[str, str]) -> None:
        """Start it in a session of its own and return once `ready` says so, after a minute at most."""
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(environment),
                start_new_session=True,
            )
        self.pid_file.write_text(f"{child.pid}\n")
        try:
            self._await(child, ready)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> bool:
        """Stop it and wait for its end; say whether there was anything to stop."""
        pid = self.pid()
        if pid is None:
            self.pid_file.unlink(missing_ok=True)
            return False
        os.kill(pid, signal.SIGTERM)
        if not _within(STOP_SECONDS, lambda: not _alive(pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.pid_file.unlink(missing_ok=True)
        return True

    def _await(self, child: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
        _within(START_SECONDS, lambda: child.poll() is not None or ready())
        if child.poll() is not None or not ready():
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            msg = f"{self.name} did not come up within {START_SECONDS:.0f} s; the end of {self.log}:\n{tail}"
            raise MachineError(msg)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        place = Place.chosen()
        with _lock(place):
            COMMANDS[options.command](place)
    except MachineError as error:
        _say(f"error: {error}")
        return 4
    return 0


def up(place: Place) -> None:
    """Bring the engine up, unless the current docker is usable or ours already runs."""
    if usable(os.environ):
        _say("the current docker is usable; nothing to do")
        return
    daemon = _engine(place)
    if daemon.pid() is not None and usable(_client(place)):
        _say(f"already up: unix://{place.socket}")
        return
    _require_root()
    daemon.stop()
    missing = (package for program, package in SYSTEM_PACKAGES.items() if shutil.which(program) is None)
    _install_system_packages(tuple(missing))
    _fetch_programs(place)
    _configure(place)
    _forget_ended_processes(place)
    daemon.start(lambda: usable(_client(place)), environment=_client(place))
    _say(f"up: {_server_version(_client(place))} at unix://{place.socket}")


def _forget_ended_processes(place: Place) -> None:
    """Remove the pid files of an engine that was killed: another program may have its number by now.

    dockerd would take that program for itself and refuse to start, or for its containerd and wait for it.
    """
    for name in ("run/dockerd.pid", "run/containerd/containerd.pid"):
        (place.root / name).unlink(missing_ok=True)


def env(place: Place) -> None:
    """Print the lines that make a shell use the engine."""
    if usable(_client(place)):
        for name, value in place.environment().items():
            _answer(f"export {name}={shlex.quote(value)}")
        _answer_path([place.clients, place.signing / "usr" / "bin"])
    elif usable(os.environ):
        _answer("# the current docker is usable")
        _answer_path([place.signing / "usr" / "bin"])
    else:
        msg = f"no usable docker, and the engine in {place.root} is not up\nRun `{sys.argv[0]} up` first."
        raise MachineError(msg)


def down(place: Place) -> None:
    """Stop the engine; packages, images and build cache stay for the next time."""
    _say("stopped" if _engine(place).stop() else "was not running")


def registry_up(place: Place) -> None:
    """Bring the registry up on a free port of 127.0.0.1 and print its address."""
    port_file = place.root / "registry" / "port"
    daemon = _registry(place)
    if daemon.pid() is None or not port_file.exists():
        daemon.stop()
        _fetch_programs(place)
        port = _free_port()
        _write_registry_config(place, port)
        daemon.start(lambda: _answers(port), environment=os.environ)
        port_file.write_text(f"{port}\n")
    _answer(f"127.0.0.1:{port_file.read_text().strip()}")


def registry_down(place: Place) -> None:
    """Stop the registry; what was pushed stays."""
    _say("stopped" if _registry(place).stop() else "was not running")


def cosign(place: Place) -> None:
    """Fetch cosign where it is not here yet, and print its path."""
    if not place.signing.is_dir():
        _fetch_cosign(place, _mirror())
    _answer(str(place.signing / "usr" / "bin" / "cosign"))


def emulation_up(place: Place) -> None:
    """Register qemu with the kernel for the other one of amd64 and arm64; containers need nothing in them for that."""
    name = _emulator()
    lacking = [package for package in EMULATOR_PACKAGES if not _installed(package)]
    if (BINFMT / name).exists() and not lacking:
        _say(f"already registered: {name}")
        return
    _require_root()
    _install_system_packages(tuple(lacking))
    if not (BINFMT / "register").exists():
        _run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)])
    if (BINFMT / name).exists():
        return
    rule = Path("/usr/lib/binfmt.d") / f"{name}.conf"
    try:
        (BINFMT / "register").write_text(rule.read_text().strip())
    except OSError as error:
        msg = f"{rule} cannot be registered with the kernel: {error}\nThe kernel needs binfmt_misc, and root."
        raise MachineError(msg) from error
    (place.root / name).touch()
    _say(f"registered: {name}")


def emulation_down(place: Place) -> None:
    """Take back what `emulation up` registered; what somebody else did stays."""
    name = _emulator()
    ours = place.root / name
    if ours.exists() and (BINFMT / name).exists():
        (BINFMT / name).write_text("-1")
        _say(f"no longer registered: {name}")
    else:
        _say("nothing of ours is registered")
    ours.unlink(missing_ok=True)


def _emulator() -> str:
    """Return the name of the rule for the architecture that this machine is not."""
    foreign = {"x86_64": "aarch64", "aarch64": "x86_64"}.get(os.uname().machine)
    if foreign is None:
        msg = f"{os.uname().machine}: only amd64 and arm64 are emulated by each other\nUse a machine of either."
        raise MachineError(msg)
    return f"qemu-{foreign}"


def _answer_path(folders: Sequence[Path]) -> None:
    missing = [str(folder) for folder in folders if folder.is_dir() and str(folder) not in os.get_exec_path()]
    if missing:
        _answer(f'export PATH={shlex.quote(os.pathsep.join(missing))}:"$PATH"')


COMMANDS = {
    "cosign": cosign,
    "up": up,
    "env": env,
    "down": down,
    "registry up": registry_up,
    "registry down": registry_down,
    "emulation up": emulation_up,
    "emulation down": emulation_down,
}


def usable(environment: Mapping[str, str]) -> bool:
    """Whether this environment reaches a Docker engine that is new enough, and has buildx."""
    major = re.match(r"\d+", _server_version(environment))
    return (
        major is not None
        and int(major[0]) >= OLDEST_USABLE_MAJOR
        and _output(["docker", "buildx", "version"], environment) != ""
    )


def _parser() -> argparse.ArgumentParser:
    description = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=description)
    commands = parser.add_subparsers(dest="first", required=True, metavar="up|env|down|registry|cosign|emulation")
    for name in ("up", "env", "down", "cosign"):
        commands.add_parser(name, help=(COMMANDS[name].__doc__ or "")).set_defaults(command=name)
    groups = {"registry": "a registry on 127.0.0.1", "emulation": "programs of the other architecture"}
    for group, what in groups.items():
        pair = commands.add_parser(group, help=f"{what}: up or down")
        actions = pair.add_subparsers(dest="second", required=True, metavar="up|down")
        for action in ("up", "down"):
            name = f"{group} {action}"
            actions.add_parser(action, help=(COMMANDS[name].__doc__ or "")).set_defaults(command=name)
    return parser


@contextmanager
def _lock(place: Place) -> Iterator[None]:
    """Two runs at once would download twice and start two daemons on one directory."""
    place.root.mkdir(parents=True, exist_ok=True)
    with (place.root / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _engine(place: Place) -> Daemon:
    state = place.root
    command = (
        str(place.programs / "usr" / "sbin" / "dockerd"),
        *("--config-file", str(state / "daemon.json")),
        *("--data-root", str(state / "data")),
        *("--exec-root", str(state / "run")),
        *("--pidfile", str(state / "run" / "dockerd.pid")),
        *("--host", f"unix://{place.socket}"),
    )
    return Daemon("dockerd", state / "docker.pid", state / "dockerd.log", command)


def _registry(place: Place) -> Daemon:
    home = place.root / "registry"
    program = str(place.programs / "usr" / "bin" / "docker-registry")
    return Daemon("docker-registry", home / "pid", home / "log", (program, "serve", str(home / "config.yml")))


def _configure(place: Place) -> None:
    daemon = {
        "bridge": "none",
        "features": {"containerd-snapshotter": True},
        "insecure-registries": ["127.0.0.0/8"],
        "ip6tables": False,
        "iptables": False,
        "storage-driver": "overlayfs",
    }
    (place.root / "daemon.json").write_text(json.dumps(daemon, indent=1) + "\n")
    plugins = place.client_config / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    link = plugins / "docker-buildx"
    link.unlink(missing_ok=True)
    found = next(place.programs.glob("usr/**/cli-plugins/docker-buildx"), None)
    if found is None:
        msg = f"{place.programs}: docker-buildx brought no plugin\nRemove that directory and try again."
        raise MachineError(msg)
    link.symlink_to(found)


def _write_registry_config(place: Place, port: int) -> None:
    home = place.root / "registry"
    data = home / "data"
    data.mkdir(parents=True, exist_ok=True)
    config = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(data)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    # JSON is YAML.
    (home / "config.yml").write_text(json.dumps(config, indent=1) + "\n")


def _fetch_programs(place: Place) -> None:
    """Unpack the packages of the first suite that has what was tested; once, whole or not at all."""
    if place.programs.is_dir():
        return
    mirror = _mirror()
    refusals = []
    for suite in SUITES:
        try:
            _fetch_suite(place, suite, mirror)
        except MachineError as error:
            refusals.append(f"{suite.name}: {error}")
        else:
            versions = ", ".join(f"{name} {version}" for name, version in suite.tested.items())
            _say(f"took {suite.name}: {versions}")
            return
    msg = "no suite has the packages that were tested\n" + "\n".join(refusals)
    raise MachineError(msg)


def _fetch_suite(place: Place, suite: Suite, mirror: str) -> None:
    packages = place.root / "packages" / suite.name
    apt = _private_apt(packages, suite, mirror)
    _run([*apt, "update"])
    wanted = [f"{package}={_candidate(apt, package, version)}" for package, version in suite.tested.items()]
    _say(f"downloading from {suite.name}: {' '.join(wanted)}")
    _run([*apt, "download", *wanted], cwd=packages)
    _install_system_packages(tuple(name for name in suite.system_packages if not _installed(name)))
    unpacked = place.root / "programs.partial"
    shutil.rmtree(unpacked, ignore_errors=True)
    for specification in wanted:
        name, _, version = specification.partition("=")
        archive = next(packages.glob(f"{name}_{version.replace(':', '%3a')}_*.deb"))
        _run(["dpkg-deb", "--extract", str(archive), str(unpacked)])
    for program in ("sbin/dockerd", "bin/containerd", "bin/docker", "bin/docker-registry"):
        _run([str(unpacked / "usr" / program), "--version"])
    unpacked.rename(place.programs)


def _fetch_cosign(place: Place, mirror: str) -> None:
    suite = next(suite for suite in SUITES if suite.cosign is not None)
    packages = place.root / "packages" / suite.name
    apt = _private_apt(packages, suite, mirror)
    _run([*apt, "update"])
    wanted = f"{COSIGN_PACKAGE}={_candidate(apt, COSIGN_PACKAGE, str(suite.cosign))}"
    _say(f"downloading from {suite.name}: {wanted}")
    _run([*apt, "download", wanted], cwd=packages)
    unpacked = place.root / "signing.partial"
    shutil.rmtree(unpacked, ignore_errors=True)
    archive = next(packages.glob(f"{COSIGN_PACKAGE}_{wanted.partition('=')[2].replace(':', '%3a')}_*.deb"))
    _run(["dpkg-deb", "--extract", str(archive), str(unpacked)])
    _run([str(unpacked / "usr" / "bin" / "cosign"), "version"])
    unpacked.rename(place.signing)


def _private_apt(packages: Path, suite: Suite, mirror: str) -> list[str]:
    """Return an apt-get that knows `suite` alone and keeps lists and cache to itself."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (packages / folder).mkdir(parents=True, exist_ok=True)
    sources = packages / "sources.list"
    sources.write_text(f"deb [signed-by={_keyring()}] {mirror} {suite.name} main\n")
    settings = {
        "Dir::Etc::sourcelist": str(sources),
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": str(packages / "lists"),
        "Dir::Cache": str(packages / "cache"),
        # The directory may be closed to apt's own user, such as all below /root.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    options = (word for key, value in settings.items() for word in ("-o", f"{key}={value}"))
    return ["apt-get", "--quiet", *options]


def _candidate(apt: Sequence[str], package: str, tested: str) -> str:
    """Return the Debian version on offer; refuse it when its upstream part is not the tested one."""
    show = ["apt-cache", *apt[1:], "show", "--no-all-versions", package]
    found = re.search(r"^Version: (.+)$", _run(show), re.MULTILINE)
    version = found[1] if found else "none"
    if not re.fullmatch(rf"(\d+:)?{re.escape(tested)}([+~-].*)?", version):
        msg = f"{package} {tested} was tested, {version} is on offer"
        raise MachineError(msg)
    return version


def _mirror() -> str:
    """Return the archive that this machine's own apt configuration uses for its release."""
    if shutil.which("apt-get") is None:
        msg = "the private engine is made of Debian packages, and there is no apt-get here\n"
        raise MachineError(msg + "Install Docker 23 or newer with buildx: https://docs.docker.com/engine/install/")
    codename = re.search(r"^VERSION_CODENAME=(\S+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
    lines = _run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
    for line in lines.splitlines():
        uri, _, release = line.partition(" ")
        if codename is not None and release == codename[1]:
            return uri
    msg = "apt has no source for this release of Debian\n"
    raise MachineError(msg + "Add the archive to /etc/apt/sources.list.d/debian.sources.")


def _keyring() -> Path:
    for ending in ("pgp", "gpg"):
        keyring = Path(f"/usr/share/keyrings/debian-archive-keyring.{ending}")
        if keyring.exists():
            return keyring
    msg = "Debian's archive keys are missing\nRun `apt-get install debian-archive-keyring`."
    raise MachineError(msg)


def _install_system_packages(names: tuple[str, ...]) -> None:
    if not names:
        return
    _say(f"installing {' '.join(names)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "--quiet", "update"])
    _run(["apt-get", "--quiet", "--yes", "install", "--no-install-recommends", *names], environment=quiet)


def _installed(package: str) -> bool:
    return "ok installed" in _output(["dpkg-query", "--show", "--showformat=${Status}", package], os.environ)


def _require_root() -> None:
    if os.geteuid() != 0:
        msg = "only root can start a Docker engine\n"
        raise MachineError(msg + "Run this as root, or have Docker 23 or newer with buildx installed.")


def _client(place: Place) -> dict[str, str]:
    """Return our environment with the private engine's values."""
    # A context or builder chosen by name would win over DOCKER_HOST.
    inherited = {k: v for k, v in os.environ.items() if k not in {"DOCKER_CONTEXT", "BUILDX_BUILDER"}}
    path = f"{place.clients}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return inherited | place.environment() | {"PATH": path}


def _server_version(environment: Mapping[str, str]) -> str:
    return _output(["docker", "version", "--format", "{{.Server.Version}}"], environment).strip()


def _output(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return what a question prints, nothing when it fails."""
    program = shutil.which(command[0], path=environment.get("PATH"))
    try:
        done = _completed([program or command[0], *command[1:]], environment=environment, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _run(command: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    try:
        done = _completed(command, cwd=cwd, environment=environment, timeout=COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"`{shlex.join(command)}`: {error}"
        raise MachineError(msg) from error
    if done.returncode != 0:
        msg = f"`{shlex.join(command)}` exited with {done.returncode}\n{done.stderr.strip()[-2000:]}"
        raise MachineError(msg)
    return done.stdout


def _completed(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None,
    timeout: float,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://127.0.0.1:{port}/v2/"
    with suppress(urllib.error.URLError, OSError), direct.open(url, timeout=2) as answer:
        return bool(answer.status == HTTPStatus.OK)
    return False


def _alive(pid: int) -> bool:
    with suppress(OSError):
        # A zombie has ended; only its parent has not asked yet.
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def _within(seconds: float, true: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.1)
    return true()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _answer(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
