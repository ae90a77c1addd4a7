"""A git server on loopback, with or without a password: git's own `http-backend` behind a small HTTP server."""

from __future__ import annotations

import base64
import functools
import http.server
import os
import subprocess  # noqa: TID251 - packs are bytes, and the package's door speaks text
import threading
from typing import TYPE_CHECKING, Self

from factory import process
from factory.files import write_text

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from pathlib import Path

_SECONDS = 60
_IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")


def commit(folder: Path, files: Mapping[str, str]) -> str:
    """Commit files to the branch `main` of the repository in `folder`, which is made where there is none."""
    for path, text in files.items():
        write_text(folder / path, text)
    if not (folder / ".git").exists():
        process.run(["git", "init", "--quiet", "--initial-branch=main", folder])
    for words in (["add", "--all"], ["commit", "--quiet", "--message=test"]):
        process.run(["git", *_IDENTITY, *words], cwd=folder)
    return process.run(["git", "rev-parse", "HEAD"], cwd=folder).stdout.strip()


class GitServer:
    """Serves the repositories in a folder on a free port of 127.0.0.1 until its `with` block ends.

    While there is a `password`, nothing is given out without it (for the user `ci`); `refused` are the requests
    without.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.password: str | None = None
        self.refused: list[str] = []
        handler = functools.partial(_Handler, owner=self)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(
        self,
        request: socket.socket,
        client: tuple[str, int],
        server: http.server.HTTPServer,
        *,
        owner: GitServer,
    ) -> None:
        self._owner = owner
        super().__init__(request, client, server)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._is_let_in():
            self._owner.refused.append(self.path)
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        head, _, content = self._backend(body).partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
        for name, value in {**fields, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _is_let_in(self) -> bool:
        if self._owner.password is None:
            return True
        login = base64.b64encode(f"ci:{self._owner.password}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {login}"

    def _backend(self, body: bytes) -> bytes:
        path, _, query = self.path.partition("?")
        variables = {
            "GIT_PROJECT_ROOT": str(self._owner.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "REMOTE_ADDR": "127.0.0.1",
        }
        environment = {**os.environ, **variables}
        answer = subprocess.run(
            ["git", "http-backend"], input=body, env=environment, capture_output=True, timeout=_SECONDS, check=False
        )
        return answer.stdout

    def log_message(self, *_: object) -> None:
        """Say nothing: stderr belongs to the tests."""
