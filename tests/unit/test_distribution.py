"""The registry's API: pages, logins and refusals, as a registry on loopback answers that is made for it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import io
import json
import ssl
import tarfile
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import zstandard

from factory import process
from factory.errors import RegistryFaultError
from factory.labels import SHARE, Label
from factory.model import PackageId
from factory.output import Output
from factory.publish.attempts import Fault, Patience
from factory.publish.contents import CONTENTS, said_by
from factory.publish.distribution import Distribution, parse_reference, unanswered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

IMAGE = json.dumps(
    {"config": {"digest": "sha256:c", "size": 3}, "layers": [{"digest": "sha256:l", "size": 40}]}
).encode()
DIGEST = f"sha256:{hashlib.sha256(IMAGE).hexdigest()}"
PASSWORD = "planted-password"  # noqa: S105 - planted, to be looked for


@dataclass
class Answers:
    """What a server answers by path, or by method and path (status, headers, body), and takes for a login.

    `asked` is what it was asked.
    """

    rows: dict[str, tuple[int, Mapping[str, str], bytes]] = field(default_factory=dict)
    login: str = ""
    wanted: str = ""
    asked: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    address: str = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    answers: Answers

    def do_any(self) -> None:
        answers = self.answers
        answers.asked.append((self.command, self.path, dict(self.headers)))
        if answers.login and "/v2/" in self.path and self.headers.get("Authorization") != answers.wanted:
            return self._send(401, {"WWW-Authenticate": answers.login}, b"")
        rows = answers.rows
        row = rows.get(f"{self.command} {self.path}", rows.get(self.path))
        return self._send(*(row or (404, {}, b'{"errors":[{"code":"NAME_UNKNOWN"}]}')))

    do_GET = do_HEAD = do_POST = do_DELETE = do_any  # noqa: N815 - the base class asks for them

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def answers() -> Iterator[Answers]:
    found = Answers()
    handler = type("Handler", (_Handler,), {"answers": found})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        found.address = f"127.0.0.1:{server.server_address[1]}"
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of Docker's in which nobody has logged in, and a ~/.netrc that Docker does not read."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def log_in(folder: Path, address: str) -> None:
    auth = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))


def registry(answers: Answers, *, waits: list[float] | None = None) -> Distribution:
    patience = Patience(attempts=2, sleep=(waits if waits is not None else []).append, scatter=lambda: 1.0)
    return Distribution(answers.address, "org/rust", patience=patience, output=Output(verbosity=-1))


def test_tags_go_on_for_pages(answers: Answers) -> None:
    answers.rows["/v2/org/rust/tags/list?n=1000"] = (
        200,
        {"Link": '</v2/org/rust/tags/list?n=1000&last=b>; rel="next"'},
        b'{"tags": ["b", "a"]}',
    )
    answers.rows["/v2/org/rust/tags/list?n=1000&last=b"] = (200, {}, b'{"tags": ["c"]}')
    assert registry(answers).tags() == ("a", "b", "c")


def test_another_host_is_not_asked_for_the_next_page(answers: Answers) -> None:
    answers.rows["/v2/org/rust/tags/list?n=1000"] = (200, {"Link": '<http://127.0.0.2:9/v2/>; rel="next"'}, b"{}")
    with pytest.raises(RegistryFaultError, match=r"goes on at http://127\.0\.0\.2:9/v2/"):
        registry(answers).tags()


def test_no_repository_has_no_tags(answers: Answers) -> None:
    assert registry(answers).tags() == ()


def test_a_manifest_is_what_its_digest_says(answers: Answers) -> None:
    answers.rows["/v2/org/rust/manifests/web"] = (200, {}, IMAGE)
    answers.rows[f"/v2/org/rust/manifests/{DIGEST}"] = (200, {}, IMAGE + b" ")
    found = registry(answers).manifest("web")
    assert found is not None
    assert (found.digest, found.size, found.blobs) == (DIGEST, len(IMAGE), {"sha256:c": 3, "sha256:l": 40})
    assert registry(answers).manifest("other") is None
    with pytest.raises(RegistryFaultError, match="the registry sent something else"):
        registry(answers).manifest(DIGEST)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"config": {}}'])
def test_what_is_no_manifest_is_told(answers: Answers, body: bytes) -> None:
    answers.rows["/v2/org/rust/manifests/web"] = (200, {}, body)
    with pytest.raises(RegistryFaultError, match=r"no answer of a registry|not a manifest"):
        registry(answers).manifest("web")


INDEX = json.dumps(
    {
        "manifests": [
            {"digest": DIGEST, "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": "sha256:attestation", "platform": {"os": "unknown", "architecture": "unknown"}},
            {"digest": "sha256:anything"},
        ]
    }
).encode()


def test_of_an_index_the_images_are_known_by_their_platform(answers: Answers) -> None:
    answers.rows["/v2/org/rust/manifests/web"] = (200, {}, INDEX)
    found = registry(answers).manifest("web")
    assert found is not None
    assert found.images == {"linux/amd64": DIGEST}
    assert found.children == (DIGEST, "sha256:attestation", "sha256:anything")
    assert (found.configuration, found.layers) == ("", ())


def test_what_is_sent_for_a_tag_is_what_the_registry_calls_it(answers: Answers) -> None:
    """A proxy that cuts an answer short sends something that may still be JSON."""
    answers.rows["/v2/org/rust/manifests/web"] = (200, {"Docker-Content-Digest": DIGEST}, IMAGE + b" ")
    with pytest.raises(RegistryFaultError, match="the registry sent something else"):
        registry(answers).manifest("web")


def test_an_image_tells_its_labels_and_layers_without_being_pulled(answers: Answers) -> None:
    configuration = json.dumps({"config": {"Labels": {"a": "b"}}}).encode()
    digest = f"sha256:{hashlib.sha256(configuration).hexdigest()}"
    layer = f"sha256:{hashlib.sha256(b'layer').hexdigest()}"
    parts = {"config": {"digest": digest, "size": 1}, "layers": [{"digest": layer, "size": 5}]}
    image = json.dumps(parts).encode()
    name = f"sha256:{hashlib.sha256(image).hexdigest()}"
    answers.rows |= {
        f"/v2/org/rust/manifests/{name}": (200, {}, image),
        f"/v2/org/rust/blobs/{digest}": (200, {}, configuration),
        f"/v2/org/rust/blobs/{layer}": (200, {}, b"layer"),
    }
    client = registry(answers)
    assert client.labels(name) == {"a": "b"}
    assert client.blob(client.image(name), layer) == b"layer"
    answers.rows[f"/v2/org/rust/blobs/{layer}"] = (200, {}, b"other")
    with pytest.raises(RegistryFaultError, match="the registry sent something else"):
        client.blob(client.image(name), layer)
    del answers.rows[f"/v2/org/rust/blobs/{layer}"]
    with pytest.raises(RegistryFaultError, match="is not there, and a manifest of this registry names it"):
        client.blob(client.image(name), layer)


def test_an_image_that_its_index_names_and_nobody_has_is_told(answers: Answers) -> None:
    with pytest.raises(RegistryFaultError, match="is not there"):
        registry(answers).labels(DIGEST)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("registry.test/org/rust:web", ("registry.test", "org/rust", "web")),
        ("127.0.0.1:5000/rust", ("127.0.0.1:5000", "rust", "latest")),
        ("localhost/rust:web", ("localhost", "rust", "web")),
        ("registry.test/org/rust:web@sha256:ab", ("registry.test", "org/rust", "sha256:ab")),
        ("org/rust:web", ("", "org/rust", "web")),
        ("rust:1.95.0", ("", "library/rust", "1.95.0")),
        ("docker.io/rust@sha256:ab", ("docker.io", "library/rust", "sha256:ab")),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, parts: tuple[str, str, str]) -> None:
    assert parse_reference(text) == parts


def test_who_does_not_answer_is_told_by_address_and_cause() -> None:
    nobody = Distribution("127.0.0.1:9", "org/rust", patience=Patience(attempts=1), output=Output(verbosity=-1))
    with pytest.raises(RegistryFaultError) as caught:
        nobody.manifest("web")
    assert caught.value.what.splitlines() == [
        "asking for 127.0.0.1:9/org/rust:web: it did not answer",
        "GET http://127.0.0.1:9/v2/org/rust/manifests/web: Failed to establish a new connection: [Errno 111] "
        "Connection refused",
    ]


@pytest.mark.runs_programs
def test_certificates_that_nobody_trusts_are_not_tried_again(tmp_path: Path) -> None:
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    process.run([*words, "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with pytest.raises(requests.exceptions.SSLError) as caught:
            requests.get(f"https://127.0.0.1:{server.server_address[1]}/v2/", timeout=30)
        server.shutdown()
        thread.join()
    answer = unanswered(caught.value)
    assert answer.fault is Fault.REFUSED
    assert "certificate verify failed" in answer.said


def test_no_proxy_is_between_this_machine_and_itself(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    answers.rows["/v2/org/rust/manifests/web"] = (200, {}, IMAGE)
    assert registry(answers).manifest("web") is not None


def test_what_refers_to_a_manifest_is_known_where_the_registry_says_so(answers: Answers) -> None:
    silent = registry(answers)
    assert silent.referrers(DIGEST) is None
    asked = len(answers.asked)
    assert (silent.referrers(DIGEST), len(answers.asked)) == (None, asked)
    answers.rows[f"/v2/org/rust/referrers/{DIGEST}"] = (200, {}, b'{"manifests": [{"digest": "sha256:s"}]}')
    assert registry(answers).referrers(DIGEST) == ("sha256:s",)
    more = f"/v2/org/rust/referrers/{DIGEST}?page=2"
    first = (200, {"Link": f'<{more}>; rel="next"'}, b'{"manifests": [{"digest": "sha256:s"}]}')
    answers.rows |= {
        f"/v2/org/rust/referrers/{DIGEST}": first,
        more: (200, {}, b'{"manifests": [{"digest": "sha256:a"}]}'),
    }
    assert registry(answers).referrers(DIGEST) == ("sha256:a", "sha256:s")


def test_deleting_where_it_is_not_allowed_tells_how_to_allow_it(answers: Answers) -> None:
    answers.rows[f"/v2/org/rust/manifests/{DIGEST}"] = (405, {}, b'{"errors":[{"code":"UNSUPPORTED"}]}')
    with pytest.raises(RegistryFaultError) as caught:
        registry(answers).delete(DIGEST)
    assert "UNSUPPORTED" in caught.value.what
    assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in caught.value.advice
    answers.rows.clear()
    registry(answers).delete(DIGEST)


@pytest.mark.parametrize(("status", "said"), [(404, "404, not found"), (202, "202, done")])
def test_what_is_there_after_it_was_deleted_is_an_error(answers: Answers, status: int, said: str) -> None:
    path = f"/v2/org/rust/manifests/{DIGEST}"
    answers.rows |= {path: (200, {}, IMAGE), f"DELETE {path}": (status, {}, b"")}
    waits: list[float] = []
    with pytest.raises(RegistryFaultError, match=f"the registry said {said}, and still has it") as caught:
        registry(answers, waits=waits).delete(DIGEST)
    assert "It may not delete." in caught.value.advice
    assert waits == [1, 2, 4]


def test_a_registry_may_take_a_moment_to_delete(answers: Answers) -> None:
    path = f"/v2/org/rust/manifests/{DIGEST}"
    answers.rows |= {path: (200, {}, IMAGE), f"DELETE {path}": (202, {}, b"")}

    class Waits(list[float]):
        def append(self, seconds: float, /) -> None:
            super().append(seconds)
            answers.rows[path] = (404, {}, b"")

    waits = Waits()
    registry(answers, waits=waits).delete(DIGEST)
    assert waits == [1]


def test_a_registry_that_asks_for_patience_gets_what_it_asks_for(answers: Answers) -> None:
    answers.rows["/v2/org/rust/manifests/web"] = (429, {"Retry-After": "17"}, b"")
    waits: list[float] = []
    with pytest.raises(RegistryFaultError, match="it asked for patience"):
        registry(answers, waits=waits).manifest("web")
    assert waits == [17]


# What an image says


def stored(answers: Answers, content: bytes) -> dict[str, object]:
    """Have a blob in the registry; return what a manifest says of it."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    answers.rows[f"/v2/org/rust/blobs/{digest}"] = (200, {}, content)
    return {"digest": digest, "size": len(content)}


def listing(layer: str, crate: str, features: list[str]) -> bytes:
    """Return a layer, not compressed, with a list of contents as images have it."""
    text = json.dumps({"units": [{"crate": crate, "version": "1.0.0", "source": "registry+x", "features": features}]})
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as members:
        for name, content in ((f"{SHARE[1:]}/{layer}/{CONTENTS}", text), (f"{SHARE[1:]}/{layer}/warm.list", "x")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            members.addfile(entry, io.BytesIO(content.encode()))
    return packed.getvalue()


def image(answers: Answers, steps: Mapping[str, bytes], labels: Mapping[str, str]) -> str:
    """Have an image in the registry whose steps made layers; return its digest."""
    history = [{"created_by": "ENV A=B", "empty_layer": True}, *({"created_by": step} for step in steps)]
    configuration = json.dumps({"config": {"Labels": labels}, "history": history}).encode()
    layers = [stored(answers, layer) for layer in steps.values()]
    manifest = json.dumps({"config": stored(answers, configuration), "layers": layers}).encode()
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    answers.rows[f"/v2/org/rust/manifests/{digest}"] = (200, {}, manifest)
    return digest


def test_of_an_image_only_the_layers_are_read_that_list_what_it_holds(answers: Answers) -> None:
    big = b"gigabytes"
    steps = {
        "RUN debian": big,
        "RUN |2 LAYER=core /bin/sh -c sh /run/factory/contents.sh # buildkit": gzip.compress(
            listing("core", "a", ["std"])
        ),
        "RUN |2 LAYER=web /bin/sh -c sh /run/factory/contents.sh # buildkit": zstandard.compress(
            listing("web", "a", ["derive"])
        ),
    }
    said = said_by(registry(answers), image(answers, steps, {Label.BASE_NAME: "base:1", Label.BASE_DIGEST: "sha256:b"}))
    assert said.cooked == {PackageId("a", "1.0.0", "registry+x"): frozenset({"std", "derive"})}
    assert (said.base, said.base_digest) == ("base:1", "sha256:b")
    asked = [path for _, path, _ in answers.asked]
    assert not any(path.endswith(hashlib.sha256(big).hexdigest()) for path in asked)
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ({"RUN debian": b"x"}, "does not list what was cooked"),
        ({"RUN sh /run/factory/contents.sh": b"no archive"}, "its contents cannot be read"),
        ({"RUN sh /run/factory/contents.sh": b"\x1f\x8bdamaged"}, "its contents cannot be read"),
    ],
)
def test_an_image_that_does_not_say_what_it_holds_is_told(
    answers: Answers, steps: Mapping[str, bytes], told: str
) -> None:
    with pytest.raises(RegistryFaultError, match=told):
        said_by(registry(answers), image(answers, steps, {}))


# Logins


def test_a_name_and_a_password_of_dockers_store(answers: Answers, docker_config: Path) -> None:
    log_in(docker_config, answers.address)
    answers.login = 'Basic realm="here"'
    answers.wanted = f"Basic {base64.b64encode(f'me:{PASSWORD}'.encode()).decode()}"
    answers.rows["/v2/org/rust/manifests/web"] = (200, {}, IMAGE)
    client = registry(answers)
    assert client.manifest("web") is not None
    assert client.manifest("web") is not None
    # Asked for once: from then on it is sent at once.
    assert [("Authorization" in headers) for _, _, headers in answers.asked] == [False, True, True]


def test_a_token_of_the_service_that_the_registry_names(answers: Answers, docker_config: Path) -> None:
    log_in(docker_config, answers.address)
    scope = "repository:org/rust:pull"
    answers.login = f'Bearer realm="http://{answers.address}/token",service="registry",scope="{scope}"'
    answers.wanted = "Bearer abc"
    answers.rows["/v2/org/rust/manifests/web"] = (200, {}, IMAGE)
    query = "service=registry&scope=repository%3Aorg%2Frust%3Apull"
    answers.rows[f"/token?{query}"] = (200, {}, b'{"token": "abc"}')
    assert registry(answers).manifest("web") is not None
    method, path, headers = answers.asked[1]
    assert (method, parse_qs(urlsplit(path).query)["scope"]) == ("GET", [scope])
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == f"me:{PASSWORD}"


def test_a_password_goes_to_no_service_that_would_hear_it_unencrypted(
    answers: Answers, docker_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_in(docker_config, answers.address)
    answers.login = 'Bearer realm="http://token.test/",service="x"'
    with pytest.raises(RegistryFaultError, match="it refused") as caught:
        registry(answers).tags()
    assert PASSWORD not in str(caught.value) + capsys.readouterr().err


def test_without_a_login_nothing_else_is_tried(answers: Answers, docker_config: Path) -> None:
    (docker_config / ".netrc").write_text(f"machine 127.0.0.1 login me password {PASSWORD}\n")
    answers.login = 'Basic realm="here"'
    with pytest.raises(RegistryFaultError, match="it refused") as caught:
        registry(answers).tags()
    assert "docker login" in caught.value.advice
    assert not any("Authorization" in headers for _, _, headers in answers.asked)


@pytest.mark.runs_programs
def test_a_credential_helper_of_docker_is_asked(
    answers: Answers, docker_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = docker_config / "docker-credential-planted"
    helper.write_text(f"""#!/bin/sh\nread -r _\necho '{{"Username": "me", "Secret": "{PASSWORD}"}}'\n""")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(docker_config), prepend=":")
    (docker_config / "config.json").write_text(json.dumps({"credHelpers": {answers.address: "planted"}}))
    answers.login = 'Basic realm="here"'
    answers.wanted = f"Basic {base64.b64encode(f'me:{PASSWORD}'.encode()).decode()}"
    answers.rows["/v2/org/rust/tags/list?n=1000"] = (200, {}, b'{"tags": ["a"]}')
    assert registry(answers).tags() == ("a",)


def test_a_store_that_does_not_answer_is_told(answers: Answers, docker_config: Path) -> None:
    (docker_config / "config.json").write_text(json.dumps({"credHelpers": {answers.address: "not-there"}}))
    with pytest.raises(RegistryFaultError, match="credential store"):
        registry(answers)
