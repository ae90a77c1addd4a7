"""A registry that misbehaves: a reverse proxy on loopback that answers some requests itself, or cuts them off."""

from __future__ import annotations

import http.client
import http.server
import socket
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHUNK = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What a request meets: an answer of ours, a connection cut after some bytes of its body, or a wait before all."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    wait: float = 0.0


class FaultProxy:
    """Forwards to `upstream` (HOST:PORT) until its `with` block ends; `rule` decides what each request meets.

    `asked` is every request as `METHOD /path`.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.asked: list[str] = []
        self.rule: Callable[[str, str], Trouble | None] = lambda _method, _path: None
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def meet(self, pattern: tuple[str, str], trouble: Trouble, *, times: int | None = None) -> None:
        """Let requests of a method ("" any) whose path contains a text meet trouble, only the first `times` of them."""
        left = [times]

        def rule(method: str, path: str) -> Trouble | None:
            if pattern[0] not in ("", method) or pattern[1] not in path:
                return None
            if left[0] is None:
                return trouble
            if left[0] == 0:
                return None
            left[0] -= 1
            return trouble

        self.rule = rule

    def behave(self) -> None:
        """Forward everything."""
        self.rule = lambda _method, _path: None


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    proxy: FaultProxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet: clients that go away are what the tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle(self) -> None:
        """Tell a client that tries TLS first, as Docker's do, that this is plain HTTP: or it stops."""
        with suppress(OSError):
            if self.connection.recv(1, socket.MSG_PEEK) == b"\x16":
                self.connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                return
            super().handle()

    def do_any(self) -> None:
        proxy = self.server.proxy
        proxy.asked.append(f"{self.command} {self.path}")
        trouble = proxy.rule(self.command, self.path)
        if trouble is not None:
            time.sleep(trouble.wait)
            if trouble.status:
                self._answer(trouble)
                return
            if trouble.cut_after is not None:
                self._cut(trouble.cut_after)
                return
        self._forward(proxy.upstream)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815 - the base class asks for them

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, trouble: Trouble) -> None:
        self.close_connection = True
        self.send_response(trouble.status)
        for name, value in trouble.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def _cut(self, after: int) -> None:
        self.close_connection = True
        self.rfile.read1(max(after, 1)) if after else None
        with suppress(OSError):
            # No goodbye: the peer sees a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.connection.close()

    def _forward(self, upstream: str) -> None:
        body = self._body()
        kept = {name for name in self.headers if name.lower() not in ("transfer-encoding", "connection")}
        # The engine writes a line for each kind of manifest that it takes.
        headers = {name: ", ".join(self.headers.get_all(name, ())) for name in kept}
        with closing(http.client.HTTPConnection(upstream, timeout=60)) as there:
            there.request(self.command, self.path, body=body, headers=headers)
            answer = there.getresponse()
            content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content
