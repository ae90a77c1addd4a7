"""Lets buildx's remote driver reach the BuildKit in a Docker engine, in the place of a buildkitd on another machine.

The engine's API hands a connection over to its BuildKit (https://docs.docker.com/reference/api/engine/, `POST /grpc`),
so that what a client of TCP says need only be carried on.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

_UPGRADE = b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
_CHUNK = 1 << 16


class BuildKitBridge:
    """Listens on a free port of 127.0.0.1 until its `with` block ends; `calls` counts the connections."""

    def __init__(self, engine: str) -> None:
        self._engine = engine.removeprefix("unix://")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.calls = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A plain close would leave the thread in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.calls += 1
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._engine)
            engine.sendall(_UPGRADE)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += engine.recv(1)
            back = threading.Thread(target=_copy, args=(engine, client), daemon=True)
            back.start()
            _copy(client, engine)
            back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
