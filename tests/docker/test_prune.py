"""`factory prune` on a real registry: hand-made images of some bytes, pushed by the registry's own API."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from factory import process
from factory.files import CACHEDIR_TAG, write_text
from factory.publish.push import alone
from tests.docker.engines import own_registry
from tests.fault_proxy import FaultProxy, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PLAN = "0123abcd4567"
MACHINES = ("amd64", "arm64")


def day(age: int) -> str:
    return (datetime.now(UTC) - timedelta(days=age)).strftime("%Y%m%d")


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A repository of its own in a registry, and the environment of the command."""

    registry: str
    upstream: str
    name: str
    environment: Mapping[str, str]
    folder: Path

    def through(self, proxy: FaultProxy) -> Shelf:
        return replace(self, registry=proxy.address)

    def prune(self, *words: str, **variables: str) -> process.Completed:
        environment = {
            **self.environment,
            "FACTORY_IMAGE_REGISTRY": self.registry,
            "FACTORY_IMAGE_NAME": self.name,
            "FACTORY_PRUNE_KEEP": "1",
            **variables,
        }
        command = [sys.executable, "-m", "factory", "prune", *words]
        return process.run(command, cwd=self.folder, env=environment, check=False, timeout=120)

    def url(self, rest: str) -> str:
        return f"http://{self.upstream}/v2/{self.name}/{rest}"

    def blob(self, content: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        started = requests.post(self.url("blobs/uploads/"), timeout=30)
        location = started.headers["Location"]
        place = location if location.startswith("http") else f"http://{self.upstream}{location}"
        answer = requests.put(f"{place}&digest={digest}", data=content, timeout=30)
        assert answer.status_code == 201, answer.text
        return {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}

    def put(self, document: Mapping[str, Any], *tags: str) -> str:
        content = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        for name in tags or (digest,):
            headers = {"Content-Type": str(document["mediaType"])}
            answer = requests.put(self.url(f"manifests/{name}"), data=content, headers=headers, timeout=30)
            assert answer.status_code == 201, answer.text
        return digest

    def image(self, content: str, *tags: str) -> str:
        layers = [self.blob(b"base" * 100), self.blob(content.encode() * 100)]
        config = self.blob(json.dumps({"of": content}).encode())
        return self.put({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers}, *tags)

    def index(self, children: Mapping[str, str], *tags: str) -> str:
        rows = [
            {"mediaType": IMAGE, "digest": digest, "size": 1, "platform": {"os": "linux", "architecture": machine}}
            for machine, digest in children.items()
        ]
        for row in rows:
            row["size"] = len(self.get(str(row["digest"])).content)
        return self.put({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows}, *tags)

    def push(self, age: int, *moving: str, line: str = "web-1.95.0") -> str:
        """A push of two platforms as `factory push` leaves it, and a signature; return the digest of its index."""
        tag = f"{line}-{day(age)}-{PLAN}"
        children = {machine: self.image(f"{tag} {machine}", f"{tag}-{machine}") for machine in MACHINES}
        index = self.index(children, tag, *moving)
        self.image(f"signature of {tag}", f"{index.replace(':', '-')}.sig")
        self.index({"amd64": self.image(f"attestation of {tag}")}, index.replace(":", "-"))
        return index

    def get(self, reference: str) -> requests.Response:
        return requests.get(self.url(f"manifests/{reference}"), headers={"Accept": f"{IMAGE}, {INDEX}"}, timeout=30)

    def tags(self) -> set[str]:
        return set(requests.get(self.url("tags/list"), timeout=30).json()["tags"] or ())

    def whole(self, index: str) -> bool:
        """Whether an index is there with all that is in it, and what is attached to it."""
        answer = self.get(index)
        if answer.status_code == 404:
            return False
        attached = [f"{index.replace(':', '-')}{ending}" for ending in (".sig", "")]
        parts = [row["digest"] for row in answer.json()["manifests"]]
        parts += [row["digest"] for row in self.get(attached[1]).json()["manifests"]]
        return all(self.get(name).status_code == 200 for name in (*attached, *parts))


@pytest.fixture
def shelf(registry: str, docker_env: Mapping[str, str], tmp_path: Path) -> Shelf:
    write_text(tmp_path / "cache" / "CACHEDIR.TAG", CACHEDIR_TAG)
    environment = {
        **docker_env,
        "FACTORY_CACHE_DIR": str(tmp_path / "cache"),
        "FACTORY_PUSH_ATTEMPTS": "2",
        "PYTHONPATH": str(ROOT),
    }
    name = f"prune-test/{secrets.token_hex(4)}"
    return Shelf(registry=registry, upstream=registry, name=name, environment=environment, folder=tmp_path)


@pytest.fixture
def proxy(registry: str) -> Iterator[FaultProxy]:
    with FaultProxy(registry) as proxy:
        yield proxy


def test_old_pushes_go_with_all_that_is_theirs_and_nothing_else(shelf: Shelf) -> None:
    moving, old, newest, other = (
        shelf.push(300, "web"),
        shelf.push(200),
        shelf.push(40),
        shelf.push(100, line="core-1.95.0"),
    )
    mine = shelf.image("mine", "mine")
    before = shelf.tags()

    shown = shelf.prune("--dry-run", "--json")
    assert shown.returncode == 0, shown.stderr
    assert shelf.tags() == before

    pruned = shelf.prune("--json")
    assert pruned.returncode == 0, pruned.stderr
    said, would = json.loads(pruned.stdout), json.loads(shown.stdout)
    assert {**said, "dry_run": True} == would
    gone = {tag for row in said["images"] if row["goes"] for tag in row["tags"]}
    assert gone == {tag for tag in before if day(200) in tag or old.replace(":", "-") in tag}
    assert shelf.tags() == before - gone
    assert [shelf.whole(index) for index in (moving, old, newest, other)] == [True, False, True, True]
    assert shelf.get(mine).status_code == 200
    # An index, two images, a signature, an attestation in its index; of the blobs all but the base's layer.
    assert said["manifests"] == 6
    (row,) = (row for row in said["images"] if row["digest"] == old)
    assert (row["reason"], row["goes"]) == ("200 days old, 1 newer of web-1.95.0", True)
    own = sum(len(f"web-1.95.0-{day(200)}-{PLAN} {machine}" * 100) for machine in MACHINES)
    assert own < row["bytes"] < own + 3000
    for digest in (row["digest"] for row in said["images"] if row["goes"]):
        assert shelf.get(digest).status_code == 404

    again = shelf.prune()
    assert (again.returncode, again.stdout) == (3, "")
    assert "nothing to prune" in again.stderr


def test_the_table_tells_what_and_why(shelf: Shelf) -> None:
    shelf.push(200)
    shelf.push(2)
    answer = shelf.prune("--dry-run")
    assert answer.returncode == 0, answer.stderr
    goes, _, stays = answer.stdout.partition("Stays")
    assert f"Would be pruned: {shelf.registry}/{shelf.name}" in goes
    (push,) = (row for row in goes.splitlines() if row.startswith("web-1.95.0"))
    assert re.split(r"\s{2,}", push.strip()) == [
        f"web-1.95.0-{day(200)}-{PLAN}",
        *("2 images, 2 attachments", "200 days old, 1 newer of web-1.95.0", "0"),
    ]
    assert "pushed 2 days ago" in stays
    assert "Would delete 6 manifests" in stays


def test_what_a_push_moved_to_meanwhile_is_spared(shelf: Shelf, proxy: FaultProxy) -> None:
    old, older = shelf.push(200), shelf.push(300)
    shelf.push(2, "web")
    listed: list[str] = []

    def rule(_method: str, path: str) -> Trouble | None:
        if "tags/list" in path:
            listed.append(path)
            if len(listed) == 2:
                shelf.put(shelf.get(old).json(), "web")
                shelf.index({"amd64": shelf.get(older).json()["manifests"][0]["digest"]}, f"web-1.95.0-{day(0)}-{PLAN}")
        return None

    proxy.rule = rule
    kept = shelf.get(older).json()["manifests"][0]["digest"]
    answer = shelf.through(proxy).prune()
    assert answer.returncode == 0, answer.stderr
    assert shelf.whole(old)
    assert shelf.get(older).status_code == 404
    assert shelf.get(kept).status_code == 200


def test_a_registry_that_does_not_delete_is_told_with_what_would_let_it(
    shelf: Shelf, docker_env: Mapping[str, str]
) -> None:
    with (
        own_registry(docker_env, REGISTRY_STORAGE_DELETE_ENABLED="false") as registry,
        FaultProxy(registry) as proxy,
    ):
        kept = replace(shelf, registry=proxy.address, upstream=registry)
        old = kept.push(200)
        kept.push(2)
        answer = kept.prune()
        assert answer.returncode == 6
        assert "this registry does not delete" in answer.stderr
        assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in answer.stderr
        assert sum(row.startswith("DELETE") for row in proxy.asked) == 1
        assert kept.whole(old)


def test_what_is_there_after_its_deletion_is_no_success(shelf: Shelf, proxy: FaultProxy) -> None:
    """Some registries, and what stands before them, answer 404 to what they do not do."""
    old = shelf.push(200)
    shelf.push(2)
    proxy.meet(("DELETE", ""), Trouble(status=404))
    answer = shelf.through(proxy).prune()
    assert answer.returncode == 6
    assert "the registry said 404, not found, and still has it" in answer.stderr
    assert shelf.whole(old)
    proxy.behave()
    assert shelf.through(proxy).prune().returncode == 0
    assert not shelf.whole(old)


@pytest.mark.parametrize(
    ("trouble", "code", "told"),
    [
        (Trouble(status=503), 0, "it did not answer; trying again"),
        (Trouble(status=429, headers={"Retry-After": "1"}), 0, "it asked for patience; trying again"),
        (Trouble(cut_after=0), 0, "it did not answer; trying again"),
        (Trouble(status=403), 6, "it refused"),
    ],
    ids=("503", "429", "cut", "403"),
)
def test_what_passes_is_tried_again_and_a_rerun_does_the_rest(
    shelf: Shelf, proxy: FaultProxy, trouble: Trouble, code: int, told: str
) -> None:
    old = shelf.push(200)
    shelf.push(2)
    proxy.meet(("DELETE", ""), trouble, times=1)
    answer = shelf.through(proxy).prune()
    assert answer.returncode == code, answer.stderr
    assert told in answer.stderr
    assert shelf.prune().returncode == (3 if code == 0 else 0)
    assert shelf.get(old).status_code == 404


def test_a_registry_that_is_down_and_one_without_the_repository(shelf: Shelf, registry: str) -> None:
    with FaultProxy(registry) as proxy:
        behind = shelf.through(proxy)
    down = behind.prune(FACTORY_PUSH_ATTEMPTS="1")
    assert down.returncode == 6
    assert "it did not answer" in down.stderr
    assert shelf.prune().returncode == 3


def test_a_prune_waits_for_no_push_of_this_machine(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.push(200)
    monkeypatch.setenv("FACTORY_CACHE_DIR", shelf.environment["FACTORY_CACHE_DIR"])
    with alone(f"{shelf.registry}/{shelf.name}"):
        answer = shelf.prune()
    assert answer.returncode == 4
    assert "another factory is using" in answer.stderr


def test_where_pushes_are_dated_back_so_is_today(shelf: Shelf) -> None:
    """A push that is under way with SOURCE_DATE_EPOCH has an old day in its tags."""
    shelf.push(200)
    shelf.push(2)
    then = datetime.now(UTC) - timedelta(days=190)
    assert shelf.prune(SOURCE_DATE_EPOCH=str(int(then.timestamp()))).returncode == 3
    ahead = datetime.now(UTC) + timedelta(days=4000)
    assert shelf.prune(SOURCE_DATE_EPOCH=str(int(ahead.timestamp())), FACTORY_PRUNE_DAYS="300").returncode == 3
