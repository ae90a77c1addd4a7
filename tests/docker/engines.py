"""Docker engines of a test's own: with nothing in them, on as little disk as a test wants, and free to be killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory import process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENGINE = Path(__file__).resolve().parents[2] / "scripts" / "engine.py"


@dataclass(frozen=True, kw_only=True)
class OwnEngine:
    """An engine in a folder; `environment` is that of its clients."""

    folder: Path
    environment: Mapping[str, str]

    def start(self) -> None:
        """Bring it up, or up again; skip the test where this machine cannot."""
        up = process.run([sys.executable, ENGINE, "up"], env=self._scripts, check=False, timeout=300)
        if not up.ok:
            pytest.skip(f"no second engine: {up.stderr.strip()}")

    def kill(self) -> None:
        """End it as the kernel does where memory is short, and return once it is gone."""
        number = int((self.folder / "docker.pid").read_text(encoding="utf-8"))
        os.kill(number, signal.SIGKILL)
        until = time.monotonic() + 60
        while time.monotonic() < until and Path(f"/proc/{number}/fd").exists():
            time.sleep(0.05)

    def stop(self) -> None:
        process.run([sys.executable, ENGINE, "down"], env=self._scripts, check=False, timeout=120)

    @property
    def _scripts(self) -> Mapping[str, str]:
        # As if there were no other engine, or it would be taken for good enough.
        return {**self.environment, "FACTORY_ENGINE_DIR": str(self.folder), "DOCKER_HOST": "unix:///nowhere"}


@contextlib.contextmanager
def own_engine(docker_env: Mapping[str, str], *, megabytes: int | None = None) -> Iterator[OwnEngine]:
    """Run an engine, on a disk of so many MB, until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="factory-own-"))
    running = Path(docker_env.get("DOCKER_CONFIG", "/nowhere")).parent / "programs"
    if running.is_dir():
        (folder / "programs").symlink_to(running)
    engine = OwnEngine(folder=folder, environment={**docker_env, "DOCKER_HOST": f"unix://{folder / 'docker.sock'}"})
    try:
        with contextlib.ExitStack() as disks:
            if megabytes is not None:
                disks.enter_context(small_disk(folder / "data", megabytes))
            engine.start()
            disks.callback(engine.stop)
            yield engine
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def own_registry(docker_env: Mapping[str, str], **settings: str) -> Iterator[str]:
    """Run a registry with settings of its own (`REGISTRY_…`) until the block ends; yield its address."""
    folder = Path(tempfile.mkdtemp(prefix="factory-registry-"))
    running = Path(docker_env.get("DOCKER_CONFIG", "/nowhere")).parent / "programs"
    if running.is_dir():
        (folder / "programs").symlink_to(running)
    environment = {**docker_env, **settings, "FACTORY_ENGINE_DIR": str(folder)}
    try:
        up = process.run([sys.executable, ENGINE, "registry", "up"], env=environment, check=False, timeout=300)
        if not up.ok:
            pytest.skip(f"no second registry: {up.stderr.strip()}")
        yield up.stdout.strip()
    finally:
        process.run([sys.executable, ENGINE, "registry", "down"], env=environment, check=False, timeout=120)
        shutil.rmtree(folder)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Put a disk of so many MB at a folder until the block ends; skip the test where that takes more rights."""
    folder.mkdir(parents=True)
    mounted = process.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=False)
    if not mounted.ok:
        pytest.skip(f"no disk of its own: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        # What a killed engine had mounted below goes as well.
        process.run(["umount", "--recursive", "--lazy", folder], check=False)
