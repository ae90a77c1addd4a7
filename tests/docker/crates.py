"""A crate registry on loopback, with or without a token: cargo's sparse protocol over a directory."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import tarfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import socket
    from pathlib import Path

VERSION = "1.0.0"
PACKED_AT = 1_750_000_000
"""The time of the files in each package: later than the time that the tests give to a layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crate:
    """A crate to publish: a library, or with `program` one; `tables` end its manifest."""

    name: str
    source: str = ""
    version: str = VERSION
    program: str | None = None
    build_script: str | None = None
    dependencies: tuple[str, ...] = ()
    tables: str = ""

    def files(self) -> dict[str, str]:
        """Return the package's files by their path."""
        dependencies = "".join(f'{name} = "{VERSION}"\n' for name in self.dependencies)
        manifest = (
            f'[package]\nname = "{self.name}"\nversion = "{self.version}"\nedition = "2021"\n\n'
            f"[dependencies]\n{dependencies}{self.tables}"
        )
        root = {"src/lib.rs": self.source} if self.program is None else {"src/main.rs": self.program}
        files = {"Cargo.toml": manifest, **root}
        if self.build_script is not None:
            files["build.rs"] = f"fn main() {{ {self.build_script} }}\n"
        return files


KILLED = (
    Crate(
        name="open-macro",
        source="""
use proc_macro::TokenStream;
#[proc_macro]
pub fn kill_this_compiler(_: TokenStream) -> TokenStream {
    let own = std::process::id().to_string();
    std::process::Command::new("sh").args(["-c", &format!("kill -9 {own}")]).status().unwrap();
    loop { std::thread::sleep(std::time::Duration::from_secs(1)) }
}
""",
        tables="\n[lib]\nproc-macro = true\n",
    ),
    Crate(name="open-killed", source="open_macro::kill_this_compiler!();", dependencies=("open-macro",)),
)
"""Crates of which the second has its rustc killed by the signal that the kernel sends where memory is short."""


class CrateRegistry:
    """Serves published crates on a free port of 127.0.0.1 until its `with` block ends.

    With a `token`, nothing is given out without it; `asked` is every path that was asked for.
    """

    def __init__(self, folder: Path, token: str | None = None) -> None:
        self._folder = folder
        self.asked: list[str] = []
        handler = functools.partial(_Handler, directory=str(folder), token=token, asked=self.asked)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        settings = {"dl": f"http://{self.address}/dl/{{crate}}-{{version}}.crate", "auth-required": token is not None}
        (folder / "config.json").write_text(json.dumps(settings))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def index(self) -> str:
        """The URL of the index, as in lockfiles."""
        return f"sparse+http://{self.address}/"

    @property
    def cargo_config(self) -> str:
        """What a `.cargo/config.toml` says to take crates.io's packages from here."""
        return f'[source.crates-io]\nreplace-with = "loopback"\n\n[source.loopback]\nregistry = "{self.index}"\n'

    def publish(self, crate: Crate) -> None:
        """Add the crate's package and its line in the index."""
        package = _packed(crate)
        (self._folder / "dl").mkdir(exist_ok=True)
        (self._folder / "dl" / f"{crate.name}-{crate.version}.crate").write_bytes(package)
        line = {
            "name": crate.name,
            "vers": crate.version,
            "deps": [_index_dependency(name) for name in crate.dependencies],
            "cksum": hashlib.sha256(package).hexdigest(),
            "features": {},
            "yanked": False,
        }
        entry = self._entry(crate.name)
        entry.parent.mkdir(parents=True, exist_ok=True)
        with entry.open("a", encoding="utf-8") as versions:
            versions.write(json.dumps(line) + "\n")

    def yank(self, name: str, version: str) -> None:
        """Mark a version as one that no new lock may take."""
        entry = self._entry(name)
        lines = [json.loads(line) for line in entry.read_text(encoding="utf-8").splitlines()]
        marked = [{**line, "yanked": line["yanked"] or line["vers"] == version} for line in lines]
        entry.write_text("".join(json.dumps(line) + "\n" for line in marked), encoding="utf-8")

    def _entry(self, name: str) -> Path:
        return self._folder / name[:2] / name[2:4] / name


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(
        self,
        request: socket.socket,
        client: tuple[str, int],
        server: http.server.HTTPServer,
        *,
        directory: str,
        token: str | None,
        asked: list[str],
    ) -> None:
        self._token = token
        self._asked = asked
        super().__init__(request, client, server, directory=directory)

    def do_GET(self) -> None:
        self._asked.append(self.path)
        if self._token is None or self.headers.get("Authorization") == self._token:
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Cargo")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: stderr belongs to the tests."""


def _packed(crate: Crate) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as package:
        for path, text in crate.files().items():
            member = tarfile.TarInfo(f"{crate.name}-{crate.version}/{path}")
            member.size = len(text.encode())
            member.mtime = PACKED_AT
            package.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _index_dependency(name: str) -> dict[str, object]:
    return {
        "name": name,
        "req": f"^{VERSION}",
        "features": [],
        "optional": False,
        "default_features": True,
        "target": None,
        "kind": "normal",
    }
