"""Measures what sccache adds to a warm build directory: seconds without it, with an empty cache, and with a full one.

    python -m benchmarks.sccache [--sccache PROGRAM] [--redis REDIS-SERVER] [--bump CRATE@VERSION]
                                 [--feature CRATE/FEATURE] [PROJECT]

PROJECT is a package with a Cargo.lock, by default the shipped sample greeter-cli. Its dependencies are compiled once;
every build starts from a copy of that build directory, as a container starts from an image. Then the sources change,
one dependency gets another version, or one of its features is switched on. The cache is a private redis-server on
loopback, or without --redis a directory. sccache's server runs from before the build to after it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess  # noqa: TID251 - servers that outlive a call
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tomlkit

from factory import process
from factory.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_SECONDS = 30.0
BUILD_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The folder of this run with the warm build directory, and the programs."""

    folder: Path
    sccache: str
    redis: str | None

    @property
    def warm(self) -> Path:
        """The build directory that every build starts from a copy of."""
        return self.folder / "warm"


def main() -> int:
    """Print one row for each change."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="factory-sccache-") as name:
        bench = Bench(folder=Path(name), sccache=options.sccache, redis=options.redis)
        projects = _projects(bench.folder, options)
        _build(bench, projects["nothing"], bench.warm, {})
        print("| change | without s | sccache, empty s | sccache, full s | compiled | asked for | hits |", flush=True)
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for change, project in list(projects.items())[1:]:
            print(f"| {change} | {_row(bench, project)} |", flush=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sccache", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sccache", default="sccache")
    parser.add_argument("--redis")
    parser.add_argument("--bump", default="anyhow@1.0.98", help="another version than the lock's")
    parser.add_argument("--feature", default="serde/rc", help="a feature that the project has not on")
    parser.add_argument("project", nargs="?", type=Path, default=shipped("samples") / "greeter-cli")
    return parser.parse_args()


def _projects(folder: Path, options: argparse.Namespace) -> dict[str, Path]:
    """Return the folder of the project by what was changed in it; each has its crates downloaded."""
    crate, _, version = options.bump.partition("@")
    name, _, feature = options.feature.partition("/")
    changes = ("nothing", "source", f"{crate} {version}", f"{name} with {feature}")
    projects = {change: folder / f"project-{number}" / "app" for number, change in enumerate(changes)}
    for project in projects.values():
        shutil.copytree(options.project, project, ignore=shutil.ignore_patterns("target", ".git"))
    for root in (*projects[changes[1]].rglob("main.rs"), *projects[changes[1]].rglob("lib.rs")):
        root.write_text(root.read_text(encoding="utf-8") + "\n#[allow(dead_code)]\nfn changed() {}\n", encoding="utf-8")
    process.run(["cargo", "update", "-p", crate, "--precise", version], cwd=projects[changes[2]])
    manifest = projects[changes[3]] / "Cargo.toml"
    manifest.write_text(_with_feature(manifest.read_text(encoding="utf-8"), name, feature), encoding="utf-8")
    process.run(["cargo", "metadata", "--format-version=1"], cwd=projects[changes[3]])
    for project in projects.values():
        process.run(["cargo", "fetch", "--locked"], cwd=project)
    return projects


def _with_feature(manifest: str, crate: str, feature: str) -> str:
    document = tomlkit.parse(manifest)
    dependencies = document.setdefault("dependencies", tomlkit.table())
    known = dependencies.get(crate, "*")
    dependency = {"version": known} if isinstance(known, str) else dict(known)
    dependencies[crate] = {**dependency, "features": [*dependency.get("features", ()), feature]}
    return tomlkit.dumps(document)


def _row(bench: Bench, project: Path) -> str:
    seconds, compiled = _from_warm(bench, project, {})
    with _cache(bench) as environment:
        empty = _with_sccache(bench, project, environment)
        full = _with_sccache(bench, project, environment)
    requests, hits = full[1]
    return f"{seconds:.1f} | {empty[0]:.1f} | {full[0]:.1f} | {compiled} | {requests} | {hits}"


def _with_sccache(bench: Bench, project: Path, cache: Mapping[str, str]) -> tuple[float, tuple[int, int]]:
    """Build with a server of its own; return the seconds, and how often it was asked and had it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**cache, "SCCACHE_SERVER_PORT": str(port), "RUSTC_WRAPPER": bench.sccache}
    serving = {**os.environ, **environment, "SCCACHE_START_SERVER": "1", "SCCACHE_NO_DAEMON": "1"}
    with _serving([bench.sccache], port, serving):
        seconds, _ = _from_warm(bench, project, environment)
        said = process.run([bench.sccache, "--show-stats", "--stats-format=json"], env={**os.environ, **environment})
    stats = json.loads(said.stdout)["stats"]
    return seconds, (stats["compile_requests"], sum(stats["cache_hits"]["counts"].values()))


def _from_warm(bench: Bench, project: Path, environment: Mapping[str, str]) -> tuple[float, int]:
    """Build on a copy of the warm build directory; return the seconds, and how many packages were compiled."""
    target = bench.folder / "target"
    process.run(["cp", "-a", bench.warm, target])
    started = time.monotonic()
    log = _build(bench, project, target, environment)
    seconds = time.monotonic() - started
    shutil.rmtree(target)
    return seconds, len(re.findall(r"^ *Compiling ", log, re.MULTILINE))


def _build(bench: Bench, project: Path, target: Path, environment: Mapping[str, str]) -> str:
    # At one path whatever the change: cargo knows path packages by it. The files get new times, as in a checkout.
    place = bench.folder / "app"
    shutil.rmtree(place, ignore_errors=True)
    process.run(["cp", "-R", project, place])
    command = ["cargo", "build", "--release", "--locked", "--offline", "--target-dir", str(target)]
    plain = {name: value for name, value in os.environ.items() if name != "RUSTC_WRAPPER"}
    return process.run(command, cwd=place, env={**plain, **environment}, timeout=BUILD_SECONDS).stderr


@contextlib.contextmanager
def _cache(bench: Bench) -> Iterator[dict[str, str]]:
    """Yield the variables that name an empty cache."""
    with tempfile.TemporaryDirectory(dir=bench.folder, prefix="cache-") as folder:
        if bench.redis is None:
            yield {"SCCACHE_DIR": folder}
            return
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [bench.redis, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder]
        with _serving(command, port, dict(os.environ)):
            yield {"SCCACHE_REDIS_ENDPOINT": f"redis://127.0.0.1:{port}", "SCCACHE_DIR": folder}


@contextlib.contextmanager
def _serving(command: list[str], port: int, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a server while the block runs, from when its port answers."""
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _await(server, port, command[0])
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _await(server: subprocess.Popen[bytes], port: int, name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    message = f"{name} does not answer on port {port}"
    raise RuntimeError(message)


if __name__ == "__main__":
    sys.exit(main())
