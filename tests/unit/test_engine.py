"""Which engine is asked: without one, as far as a listener on this machine can tell."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from factory.engine import Engine
from factory.errors import EnvironmentFaultError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """Yield the address of somebody who hangs up, and what each caller said first."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        heard.append(connection.recv(4096))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}", heard
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)


def write_context(folder: Path, name: str, host: str) -> None:
    """Write what `docker context create` and `docker context use` leave in Docker's configuration."""
    meta = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
    meta.parent.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": False}
    meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    (folder / "config.json").write_text(json.dumps({"currentContext": name}))


def test_the_engine_is_that_of_dockers_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docker/setup-docker-action, Docker Desktop and colima set it up; a DOCKER_HOST goes before it."""
    for variable in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with listener() as (named, heard_by_name), listener() as (other, heard_by_other):
        write_context(tmp_path, "ours", named)
        with pytest.raises(EnvironmentFaultError, match="no Docker engine answers"):
            Engine()
        assert (bool(heard_by_name), bool(heard_by_other)) == (True, False)
        heard_by_name.clear()
        monkeypatch.setenv("DOCKER_HOST", other)
        with pytest.raises(EnvironmentFaultError, match="no Docker engine answers"):
            Engine()
        assert (bool(heard_by_name), bool(heard_by_other)) == (False, True)
