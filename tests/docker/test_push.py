"""Pushing: on the real engine to the real registry, and through a proxy that lets the registry misbehave."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from factory import process
from factory.engine import Engine
from factory.files import write_json
from factory.labels import Label
from factory.planning.plan import PlannedLayer
from factory.planning.plan_file import plan_to_json
from factory.platforms import Platform
from tests.docker.conftest import ENGINE
from tests.docker.listed import images_like
from tests.docker.shop import BASE, DATE, DAY, LAYERS, Shop
from tests.fault_proxy import FaultProxy, Trouble
from tests.unit.builders import plan_for, unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@pytest.fixture(scope="module")
def old(shops: Shop) -> Shop:
    """A repository to which images were pushed before."""
    shop = replace(
        shops, name=f"{shops.name}-old", environment={**shops.environment, "FACTORY_IMAGE_NAME": f"{shops.name}-old"}
    )
    shop.build("old")
    assert shop.factory("push").returncode == 0
    return shop


@pytest.fixture
def proxy(registry: str) -> Iterator[FaultProxy]:
    with FaultProxy(registry) as proxy:
        yield proxy


def test_a_push_gives_every_layer_an_index_with_tags_that_stay_and_tags_that_move(shop: Shop) -> None:
    plan = shop.build("one")
    answer = shop.factory("push", "--json")
    assert answer.returncode == 0, answer.stderr
    pushed = {row["layer"]: row for row in json.loads(answer.stdout)["layers"]}
    assert list(pushed) == list(LAYERS)
    for layer in LAYERS:
        stays = f"{layer}-1.95.0-{DATE}-{plan.layer_digest(layer)[:12]}"
        assert pushed[layer]["tags"] == {"immutable": [stays], "moving": [layer, f"{layer}-1.95"]}
        index = shop.inspect(stays)
        assert index is not None
        assert index["digest"] == pushed[layer]["index"]
        assert [row["digest"] for row in index["manifests"]] == [Engine().image(f"{shop.repository}:{layer}").id]
    assert set(shop.tags().values()) == {row["index"] for row in pushed.values()}
    # Nothing of the push is left in the engine.
    assert sorted(images_like(shop.repository)) == sorted(f"{shop.repository}:{layer}" for layer in LAYERS)
    # A second push has nothing to do, whatever the day.
    for other in (shop, shop.with_environment(SOURCE_DATE_EPOCH=str(DAY + 86_400))):
        again = other.factory("push")
        assert (again.returncode, again.stdout) == (3, "")
        assert "nothing to push" in again.stderr


def test_a_layer_that_adds_nothing_has_the_tags_and_the_image_of_the_one_below(shop: Shop) -> None:
    plan = shop.build("one")
    db = PlannedLayer(name="db", parent="web", budget_bytes=None, estimated_bytes=0, keys=())
    write_json(shop.folder / "plan.json", plan_to_json(replace(plan, layers=(*plan.layers, db))))
    process.run(["docker", "tag", f"{shop.repository}:web", f"{shop.repository}:db"])
    answer = shop.factory("push", "--json")
    assert answer.returncode == 0, answer.stderr
    _, web, db_row = json.loads(answer.stdout)["layers"]
    assert (db_row["layer"], db_row["index"]) == ("db", web["index"])
    assert db_row["tags"]["immutable"] == [f"db-1.95.0-{DATE}-{plan.layer_digest('web')[:12]}"]
    for tag in ("db", "db-1.95", *db_row["tags"]["immutable"]):
        index = shop.inspect(tag)
        assert index is not None
        assert index["digest"] == web["index"]
    assert "db: pushing" not in answer.stderr
    tags = requests.get(f"http://{shop.registry}/v2/{shop.name}/tags/list", timeout=30).json()["tags"]
    assert sorted(tag for tag in tags if tag.startswith("db")) == sorted(
        ["db", "db-1.95", *db_row["tags"]["immutable"]]
    )
    again = shop.factory("push")
    assert again.returncode == 3, again.stderr


def test_what_is_made_and_verified_again_gets_the_tags_of_its_day(shop: Shop) -> None:
    """By them another machine knows how old images are."""
    plan = shop.build("one")
    assert shop.factory("push").returncode == 0
    before = shop.tags()
    later = shop.with_environment(SOURCE_DATE_EPOCH=str(DAY + 86_400))
    assert later.factory("push").returncode == 3
    shop.verify(day="20261129")
    answer = later.factory("push", "--json")
    assert answer.returncode == 0, answer.stderr
    assert shop.tags() == before
    for row in json.loads(answer.stdout)["layers"]:
        assert row["tags"]["immutable"] == [f"{row['layer']}-1.95.0-20261129-{plan.layer_digest(row['layer'])[:12]}"]
        index = shop.inspect(row["tags"]["immutable"][0])
        assert index is not None
        assert index["digest"] == before[row["layer"]] == row["index"]
    assert "pushing linux" not in answer.stderr
    assert later.factory("push").returncode == 3


def test_only_what_was_verified_is_pushed(shop: Shop, tmp_path: Path) -> None:
    shop.build("never verified", verified=False)
    refused = shop.factory("push")
    assert refused.returncode == 1
    for layer in LAYERS:
        assert f"Run `factory verify {shop.repository}:{layer}` first" in refused.stderr
    shop.verify(ok=False)
    failed = shop.factory("push")
    assert failed.returncode == 1
    assert "did not pass its last verification: owners and modes" in failed.stderr
    assert shop.tags() == {}
    # The record of another machine goes before.
    shop.verify()
    records = sorted(
        (Path(shop.environment["FACTORY_CACHE_DIR"]) / "proofs").iterdir(), key=lambda p: p.stat().st_mtime
    )
    carried = []
    for number, record in enumerate(records[-len(LAYERS) :]):
        carried += ["--proof", str(record.rename(tmp_path / f"proof-{number}.json"))]
    assert shop.factory("push").returncode == 1
    assert shop.factory("push", *carried).returncode == 0


def test_an_image_of_another_plan_is_not_pushed(shop: Shop) -> None:
    shop.build("one")
    other = plan_for({layer: [unit("other")] for layer in LAYERS[:1]})
    write_json(shop.folder / "plan.json", plan_to_json(other))
    answer = shop.factory("push")
    assert answer.returncode == 2
    assert "Name the plan that it was built from" in answer.stderr


def test_a_platform_that_lacks_an_image_stops_everything(shop: Shop) -> None:
    shop.build("one")
    answer = shop.with_environment(FACTORY_PLATFORMS="linux/amd64,linux/arm64").factory("push")
    assert answer.returncode == 2, answer.stderr
    assert shop.tags() == {}


def test_a_tag_that_stays_is_never_moved(shop: Shop) -> None:
    plan = shop.build("one")
    assert shop.factory("push").returncode == 0
    before = shop.tags()
    # Other bytes from the same plan, such as on another base image.
    shop.build_layer("web", "other bytes", plan)
    shop.verify()
    answer = shop.factory("push")
    assert answer.returncode == 6
    assert "is there already, and it is another image" in answer.stderr
    assert shop.tags() == before
    numbered = shop.factory("push", "--serial", "2", "--json")
    assert numbered.returncode == 0, numbered.stderr
    core, web = json.loads(numbered.stdout)["layers"]
    assert (core["changed"], web["changed"]) == (False, True)
    assert web["tags"]["immutable"] == [f"web-1.95.0-{DATE}-{plan.layer_digest('web')[:12]}-2"]
    assert shop.tags()["core"] == before["core"]


def test_a_dry_run_prints_the_commands_and_asks_no_registry(shop: Shop, proxy: FaultProxy) -> None:
    behind = shop.through(proxy)
    behind.build("one")
    answer = behind.factory("push", "--dry-run")
    assert answer.returncode == 0, answer.stderr
    assert proxy.asked == []
    commands = answer.stdout.splitlines()
    moves = [[layer for layer in LAYERS if f"--tag={behind.repository}:{layer}" in row.split()] for row in commands]
    assert moves[-2:] == [["core"], ["web"]]
    assert not any(moves[:-2])


# What may go wrong


def new() -> str:
    """Return the content of images that were never built."""
    return secrets.token_hex(8)


def test_a_registry_that_is_down_is_told_and_nothing_is_lost(old: Shop) -> None:
    with FaultProxy(old.registry) as proxy:
        behind = old.through(proxy)
    behind.build(new())
    answer = behind.factory("push")
    assert answer.returncode == 6
    assert "it did not answer" in answer.stderr
    assert "trying again in" in answer.stderr
    assert "Connection refused" in answer.stderr


def test_what_passes_is_tried_again(old: Shop, proxy: FaultProxy) -> None:
    behind = old.through(proxy)
    before = old.tags()
    behind.build(new())
    left = [
        ("HEAD", "/manifests/", Trouble(status=429, headers={"Retry-After": "1"})),
        ("POST", "/blobs/uploads/", Trouble(cut_after=0)),
        ("PUT", "/blobs/uploads/", Trouble(cut_after=50)),
        ("PUT", "/manifests/", Trouble(status=500)),
    ]

    def rule(method: str, path: str) -> Trouble | None:
        met = next((row for row in left if row[0] == method and row[1] in path), None)
        if met is None:
            return None
        left.remove(met)
        return met[2]

    proxy.rule = rule
    # One more than there are troubles, as all of them may meet the same command.
    answer = behind.with_environment(FACTORY_PUSH_ATTEMPTS=str(len(left) + 1)).factory("push")
    assert answer.returncode == 0, answer.stderr
    assert left == []
    assert "it did not answer; trying again" in answer.stderr
    assert set(old.tags()) == {"core", "core-1.95", "web", "web-1.95"}
    assert not set(old.tags().values()) & set(before.values())


def test_what_stays_wrong_moves_no_tag_and_a_rerun_succeeds(old: Shop, proxy: FaultProxy) -> None:
    behind = old.through(proxy)
    before = old.tags()
    behind.build(new())
    troubles = [
        (("", "/manifests/"), Trouble(status=429), "it asked for patience"),
        (("POST", "/blobs/uploads/"), Trouble(status=403), "it refused"),
        (("", "/blobs/uploads/"), Trouble(cut_after=0), "it did not answer"),
    ]
    for pattern, trouble, told in troubles:
        proxy.meet(pattern, trouble)
        answer = behind.factory("push")
        assert answer.returncode == 6, answer.stderr
        assert told in answer.stderr
        assert ("trying again" in answer.stderr) == (told != "it refused")
        assert old.tags() == before
    proxy.behave()
    assert behind.factory("push").returncode == 0
    assert not set(old.tags().values()) & set(before.values())


def test_a_failure_between_the_moving_tags_moves_them_back(old: Shop, proxy: FaultProxy) -> None:
    behind = old.through(proxy)
    before = old.tags()
    behind.build(new())
    proxy.meet(("PUT", "/manifests/web-1.95"), Trouble(status=503))
    # Its own immutable tag begins alike.
    rule = proxy.rule
    proxy.rule = lambda method, path: rule(method, path) if path.endswith("/web-1.95") else None
    answer = behind.factory("push")
    assert answer.returncode == 6
    assert "moved back: core, core-1.95" in answer.stderr
    assert old.tags() == before
    proxy.behave()
    assert behind.factory("push").returncode == 0
    assert not set(old.tags().values()) & set(before.values())


def test_tags_that_cannot_be_moved_back_are_named(old: Shop, proxy: FaultProxy) -> None:
    behind = old.through(proxy)
    behind.build(new())
    gone: list[str] = []

    def rule(method: str, path: str) -> Trouble | None:
        if method == "PUT" and path.endswith("/manifests/web"):
            gone.append(path)
        return Trouble(cut_after=0) if gone else None

    proxy.rule = rule
    answer = behind.factory("push")
    assert answer.returncode == 6
    assert "not known whether moved: core (from sha256:" in answer.stderr
    proxy.behave()
    assert behind.factory("push").returncode == 0
    assert len(set(old.tags().values())) == len(LAYERS)


def test_a_slow_registry_is_waited_for_as_long_as_allowed(old: Shop, proxy: FaultProxy) -> None:
    behind = old.through(proxy)
    behind.build(new())
    before = old.tags()
    proxy.meet(("PUT", "/blobs/uploads/"), Trouble(wait=8), times=2)
    answer = behind.with_environment(FACTORY_PUSH_TIMEOUT="2", FACTORY_PUSH_ATTEMPTS="1").factory("push")
    assert answer.returncode == 6
    assert "did not finish within 2 s" in answer.stderr
    assert old.tags() == before
    proxy.meet(("PUT", "/blobs/uploads/"), Trouble(wait=1), times=2)
    assert behind.factory("push").returncode == 0
    assert not set(old.tags().values()) & set(before.values())


def test_a_killed_push_leaves_old_tags_whole_and_the_next_one_finishes(old: Shop, proxy: FaultProxy) -> None:
    behind = old.through(proxy)
    before = old.tags()
    behind.build(new())
    proxy.meet(("PUT", "/manifests/web-1.95.0"), Trouble(wait=5))

    def kill(session: int) -> Any:  # noqa: ANN401 - a context manager
        return _killed(session, lambda: any("PUT" in row and "/web-1.95.0" in row for row in proxy.asked[seen:]))

    seen = len(proxy.asked)
    words = [sys.executable, "-m", "factory", "push"]
    killed = process.run(words, cwd=behind.folder, env=behind.environment, check=False, timeout=120, beside=kill)
    assert killed.returncode == -signal.SIGKILL
    assert old.tags() == before
    proxy.behave()
    # What the killed run had started waits for its answer, and holds the lock until it has one.
    end = time.monotonic() + 60
    while (again := behind.factory("push")).returncode == 4 and time.monotonic() < end:
        assert "another factory is using" in again.stderr, again.stderr
        time.sleep(0.5)
    assert again.returncode == 0, again.stderr
    assert not set(old.tags().values()) & set(before.values())


def test_an_interrupted_push_leaves_no_tag_behind_the_others(old: Shop, proxy: FaultProxy) -> None:
    behind = old.through(proxy)
    before = old.tags()
    behind.build(new())
    moving = threading.Event()

    def rule(method: str, path: str) -> Trouble | None:
        if method != "PUT" or not path.endswith("/manifests/web"):
            return None
        # The tags of core have moved.
        moving.set()
        return Trouble(wait=3)

    def interrupt(session: int) -> Any:  # noqa: ANN401 - a context manager
        return _killed(session, moving.is_set, signal.SIGTERM)

    proxy.rule = rule
    words = [sys.executable, "-m", "factory", "push"]
    ended = process.run(words, cwd=behind.folder, env=behind.environment, check=False, timeout=120, beside=interrupt)
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert "interrupted" in ended.stderr
    after = old.tags()
    assert not set(after.values()) & set(before.values())
    assert len(set(after.values())) == len(LAYERS)


class _killed:  # noqa: N801 - a context manager
    """Kill a process, or send it another signal, once something is true, or after a minute."""

    def __init__(self, pid: int, when: Any, number: int = signal.SIGKILL) -> None:  # noqa: ANN401 - a predicate
        self._thread = threading.Thread(target=self._wait, args=(pid, when, number), daemon=True)

    def _wait(self, pid: int, when: Any, number: int) -> None:  # noqa: ANN401 - a predicate
        end = time.monotonic() + 60
        while time.monotonic() < end and not when():
            time.sleep(0.05)
        os.kill(pid, number)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()


def test_two_pushes_at_once_do_not_race(old: Shop, proxy: FaultProxy) -> None:
    behind = old.through(proxy)
    behind.build(new())
    proxy.meet(("PUT", "/blobs/uploads/"), Trouble(wait=4), times=1)
    answers: list[process.Completed] = []
    first = threading.Thread(target=lambda: answers.append(behind.factory("push")))
    first.start()
    end = time.monotonic() + 60
    while time.monotonic() < end and not any("PUT" in row for row in proxy.asked):
        time.sleep(0.05)
    second = behind.factory("push")
    first.join()
    assert second.returncode == 4
    assert "another factory is using" in second.stderr
    assert answers[0].returncode == 0, answers[0].stderr


def test_a_push_from_another_machine_in_between_is_noticed(old: Shop, proxy: FaultProxy) -> None:
    behind = old.through(proxy)
    behind.build(new())
    stolen: list[str] = []

    def rule(method: str, path: str) -> Trouble | None:
        if method == "PUT" and "/manifests/web-1.95.0" in path and not stolen:
            stolen.append(path)
            names = [f"{old.repository}:core", f"{old.repository}:web"]
            process.run(["docker", "buildx", "imagetools", "create", f"--tag={names[0]}", names[1]])
        return None

    proxy.rule = rule
    answer = behind.factory("push")
    assert answer.returncode == 6
    assert "was moved by somebody else during this push" in answer.stderr
    proxy.behave()
    assert behind.factory("push").returncode == 0


def test_a_clock_before_the_compilers_day_is_refused(old: Shop) -> None:
    plan = old.build(new())
    contract = plan_to_json(plan)
    contract["contract"]["toolchain"]["rustc_verbose"] += "commit-date: 2026-04-14\n"
    write_json(old.folder / "plan.json", contract)
    answer = old.with_environment(SOURCE_DATE_EPOCH="0").factory("push")
    assert answer.returncode == 4
    assert "today is 19700101 here" in answer.stderr


# Signatures


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory, docker_env: Mapping[str, str]) -> Mapping[str, str]:
    """Fetch cosign; return the environment in which it signs by a new key, with `KEYS` as the folder."""
    fetched = process.run([sys.executable, ENGINE, "cosign"], check=False)
    if not fetched.ok:
        pytest.skip(f"no cosign: {fetched.stderr.strip()}")
    folder = tmp_path_factory.mktemp("keys")
    path = f"{Path(fetched.stdout.strip()).parent}{os.pathsep}{docker_env['PATH']}"
    environment = {"PATH": path, "COSIGN_PASSWORD": "secret of a test"}
    for name in ("ours", "theirs"):
        (folder / name).mkdir()
        whole = {**docker_env, **environment}
        process.run(["cosign", "generate-key-pair"], cwd=folder / name, env=whole)
    return {**environment, "KEYS": str(folder)}


@pytest.fixture
def signed(shop: Shop, keys: Mapping[str, str]) -> Shop:
    return shop.with_environment(**keys, FACTORY_PUSH_SIGN="key", FACTORY_PUSH_KEY=f"{keys['KEYS']}/ours/cosign.key")


def test_an_index_is_signed_with_its_contents_before_tags_move_to_it(signed: Shop, keys: Mapping[str, str]) -> None:
    signed.build("signed")
    answer = signed.factory("push", "--json")
    assert answer.returncode == 0, answer.stderr
    assert all(row["signed"] for row in json.loads(answer.stdout)["layers"])
    verify = ("verify", f"{signed.repository}:web", "--signature", "--json", "--key")
    verified = signed.factory(*verify, f"{keys['KEYS']}/ours/cosign.pub")
    assert verified.returncode == 0, verified.stderr
    checks = json.loads(verified.stdout)["checks"]
    assert [check["name"] for check in checks] == ["signature", "attested cyclonedx", "attested slsaprovenance1"]
    stranger = signed.factory(*verify, f"{keys['KEYS']}/theirs/cosign.pub")
    assert stranger.returncode == 1
    assert not any(check["ok"] for check in json.loads(stranger.stdout)["checks"])
    again = signed.factory("push")
    assert again.returncode == 3, again.stderr


def attested(shop: Shop, keys: Mapping[str, str], kind: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the predicate of a type that is attested of web's index."""
    key = f"--key={keys['KEYS']}/ours/cosign.pub"
    words = ["cosign", "verify-attestation", key, "--insecure-ignore-tlog=true", "--allow-http-registry"]
    told = process.run([*words, f"--type={kind}", f"{shop.repository}:web"], env=shop.environment)
    envelope = json.loads(told.stdout.splitlines()[0])
    return json.loads(base64.b64decode(envelope["payload"]))["predicate"]


def test_who_joins_platforms_pulls_none_of_them_and_attests_what_they_say(
    signed: Shop, keys: Mapping[str, str]
) -> None:
    both = tuple(Platform)
    wide = signed.with_environment(FACTORY_PLATFORMS=",".join(both))
    wide.build_for(both, "far")
    proofs = []
    for platform in both:
        assert wide.factory("--platform", platform, "push", "--stage").returncode == 0
        names = [f"{wide.repository}:{layer}-{platform.architecture}" for layer in LAYERS]
        proofs += [f"--proof={wide.record_of(name)}" for name in names]
        process.run(["docker", "image", "rm", *names])
    joined = wide.factory("push", "--join", *proofs)
    assert joined.returncode == 0, joined.stderr
    assert images_like(wide.repository) == []
    crates = attested(wide, keys, "cyclonedx")["components"]
    assert [crate["purl"] for crate in crates] == ["pkg:cargo/web-crate@1.0.0?repository_url=x"]
    made_from = attested(wide, keys, "slsaprovenance1")["buildDefinition"]["resolvedDependencies"]
    name, digest = BASE[Label.BASE_NAME], BASE[Label.BASE_DIGEST].removeprefix("sha256:")
    assert made_from[-1] == {"uri": f"docker-image://{name}", "digest": {"sha256": digest}}


def test_what_was_pushed_unsigned_is_signed_by_the_next_push(signed: Shop, keys: Mapping[str, str]) -> None:
    signed.build("later")
    assert signed.with_environment(FACTORY_PUSH_SIGN="none").factory("push").returncode == 0
    verify = ("verify", f"{signed.repository}:web", "--signature", "--key", f"{keys['KEYS']}/ours/cosign.pub")
    assert signed.factory(*verify).returncode == 1
    assert signed.factory("push").returncode == 0
    assert signed.factory(*verify).returncode == 0


def test_a_wrong_password_stops_before_anything_is_pushed(signed: Shop) -> None:
    signed.build("locked")
    answer = signed.with_environment(COSIGN_PASSWORD="wrong").factory("push")  # noqa: S106 - wrong on purpose
    assert answer.returncode == 4
    assert "COSIGN_PASSWORD" in answer.stderr
    assert signed.tags() == {}
