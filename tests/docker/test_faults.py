"""What becomes of a build and a push whose engine has no room, or is killed: real ones, of images of some kilobytes."""

from __future__ import annotations

import io
import sys
import tarfile
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from factory import process
from factory.cargo.toolchain import find_toolchain
from factory.engine import FULL_ADVICE, Engine, bake
from factory.errors import BuildFailedError, EnvironmentFaultError
from factory.files import write_json, write_text
from factory.process import MEMORY_ADVICE
from tests.docker.crates import KILLED, Crate, CrateRegistry
from tests.docker.engines import own_engine
from tests.docker.listed import images_like
from tests.docker.shop import LAYERS
from tests.fault_proxy import FaultProxy, Trouble
from tests.hostile import manifest, write_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.docker.engines import OwnEngine
    from tests.docker.shop import Shop

ROOM = 64
"""MB of the engine's disk."""

WAITING = """
#include <stdio.h>
#include <unistd.h>
int main(void) {
    unsigned seconds = 0;
    FILE *said = fopen("/seconds", "r");
    if (!said || fscanf(said, "%u", &seconds) != 1) return 1;
    puts("waiting");
    fflush(stdout);
    sleep(seconds);
    return 0;
}
"""


@pytest.fixture(scope="module")
def small_engine(docker_env: Mapping[str, str]) -> Iterator[OwnEngine]:
    with own_engine(docker_env, megabytes=ROOM) as engine:
        yield engine


@pytest.fixture
def engine(small_engine: OwnEngine, monkeypatch: pytest.MonkeyPatch) -> OwnEngine:
    monkeypatch.setenv("DOCKER_HOST", small_engine.environment["DOCKER_HOST"])
    return small_engine


def built(context: Path, dockerfile: str, on_line: Callable[[str], None] = lambda _line: None) -> str:
    """Build as `factory build` builds each layer."""
    write_text(context / "Dockerfile", f"FROM scratch\n{dockerfile}\n")
    target = {"context": str(context), "output": ["type=docker"], "tags": ["fault-test/image"]}
    write_json(context / "bake.json", {"target": {"image": target}})
    return bake_image(context, on_line)


def bake_image(context: Path, on_line: Callable[[str], None] = lambda _line: None) -> str:
    return bake(
        context / "bake.json",
        "image",
        engine=Engine(),
        folders=[context],
        timeout=120,
        on_line=on_line,
        on_cache_fault=lambda _fault: None,
    )


def test_a_full_disk_is_told_and_once_there_is_room_a_rerun_succeeds(engine: OwnEngine, tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(b"x" * (ROOM + 16 << 20))
    with pytest.raises(BuildFailedError) as caught:
        built(tmp_path, "COPY content /content")
    assert (caught.value.exit_code, caught.value.advice) == (5, FULL_ADVICE)
    assert "no space left on device" in caught.value.what
    process.run(["mount", "-o", f"remount,size={8 * ROOM}m", engine.folder / "data"])
    built(tmp_path, "COPY content /content")
    assert Engine().image("fault-test/image").layers


def cooked(folder: Path, base_image: str, docker_env: Mapping[str, str], *crates: Crate) -> process.Completed:
    """Analyze, plan and build for a program that needs crates, the last of which does not come out well."""
    needed = "[dependencies]\n" + "".join(f'{crate.name} = "1"\n' for crate in crates)
    write_files(folder / "app", {"Cargo.toml": manifest("app", needed), "src/main.rs": "fn main() {}\n"})
    (folder / "mirror").mkdir()
    with CrateRegistry(folder / "mirror") as mirror:
        for crate in crates:
            mirror.publish(crate)
        write_text(folder / "locking" / "config.toml", mirror.cargo_config)
        locked = find_toolchain().cargo(("generate-lockfile",), cwd=folder / "app", cargo_home=folder / "locking")
        assert locked.ok, locked.stderr
        environment = {
            **docker_env,
            "CARGO_HOME": str(folder / "cargo-home"),
            "FACTORY_BASE_IMAGE": base_image,
            "FACTORY_IMAGE_NAME": "fault-test/cook",
            "FACTORY_NETWORK_MIRROR": mirror.index,
            "FACTORY_TOOLCHAIN": find_toolchain().version,
        }
        program = [sys.executable, "-m", "factory"]
        for words in (["analyze", "app"], ["plan"]):
            process.run([*program, *words], cwd=folder, env=environment, timeout=300)
        return process.run([*program, "build"], cwd=folder, env=environment, check=False, timeout=300)


def test_a_disk_that_is_full_in_a_cook_blames_no_crate(
    base_image: str, docker_env: Mapping[str, str], tmp_path: Path
) -> None:
    """The device that is always full stands for the disk, in the layer's own step."""
    writing = 'std::io::Write::write_all(&mut std::fs::File::create("/dev/full").unwrap(), b"x").unwrap();'
    answer = cooked(
        tmp_path, base_image, docker_env, Crate(name="open-leaf"), Crate(name="open-full", build_script=writing)
    )
    assert answer.returncode == 5, answer.stderr
    assert "no space left on device: nothing of this layer is kept" in answer.stderr
    assert FULL_ADVICE in answer.stderr


def test_a_compiler_that_is_killed_for_its_memory_is_told_and_its_crate_is_not_dropped(
    base_image: str, docker_env: Mapping[str, str], tmp_path: Path
) -> None:
    """A real rustc, and the kernel's own signal: only that a macro has sent it, and no shortage."""
    answer = cooked(tmp_path, base_image, docker_env, Crate(name="open-leaf"), *KILLED)
    assert answer.returncode == 5, answer.stderr
    assert "out of memory: a program was killed, or got none; nothing of this layer is kept" in answer.stderr
    assert "could not compile `open-killed`" in answer.stderr
    assert MEMORY_ADVICE in answer.stderr


def test_an_engine_that_is_killed_in_a_build_is_told_and_a_rerun_succeeds(engine: OwnEngine, tmp_path: Path) -> None:
    write_text(tmp_path / "waiting.c", WAITING)
    process.run(["cc", "-static", "-o", tmp_path / "waiting", tmp_path / "waiting.c"])
    write_text(tmp_path / "seconds", "20")
    steps = 'COPY waiting seconds /\nRUN --network=none ["/waiting"]'
    with pytest.raises(EnvironmentFaultError) as caught:
        built(tmp_path, steps, on_line=lambda line: engine.kill() if "waiting" in line else None)
    assert caught.value.exit_code == 4
    assert "the Docker engine went away during `docker buildx bake" in caught.value.what
    assert "run the command again" in caught.value.advice
    engine.start()
    write_text(tmp_path / "seconds", "0")
    built(tmp_path, steps)
    assert Engine().image("fault-test/image").layers


def test_an_engine_that_is_killed_in_a_push_moves_no_tag_and_a_rerun_succeeds(
    engine: OwnEngine, shop: Shop, registry: str
) -> None:
    shop = replace(shop, environment={**shop.environment, "DOCKER_HOST": engine.environment["DOCKER_HOST"]})
    with FaultProxy(registry) as proxy:
        behind = shop.through(proxy)
        behind.build("whatever")
        proxy.meet(("PUT", "/blobs/uploads/"), Trouble(wait=5))
        killer = threading.Thread(target=_kill_at, args=(engine, proxy, "PUT"), daemon=True)
        killer.start()
        answer = behind.factory("push")
        killer.join()
        assert answer.returncode == 4, answer.stderr
        assert "the Docker engine went away while it pushed" in answer.stderr
        engine.start()
        assert shop.tags() == {}
        proxy.behave()
        again = behind.factory("push")
        assert again.returncode == 0, again.stderr
    assert set(shop.tags()) == {f"{layer}{ending}" for layer in LAYERS for ending in ("", "-1.95")}
    assert sorted(images_like(behind.repository)) == sorted(f"{behind.repository}:{layer}" for layer in LAYERS)


@pytest.mark.usefixtures("engine")
def test_a_base_that_nobody_has_is_told_with_the_way_out(tmp_path: Path) -> None:
    nowhere = "127.0.0.1:9/nobody/base:1"
    write_json(
        tmp_path / "bake.json",
        {
            "target": {
                "image": {"contexts": {"parent": f"docker-image://{nowhere}"}, "dockerfile-inline": "FROM parent"}
            }
        },
    )
    with pytest.raises(EnvironmentFaultError) as caught:
        bake_image(tmp_path)
    assert caught.value.what.startswith(f"{nowhere} is neither here nor can it be pulled: ")
    assert "factory base" in caught.value.advice


@pytest.mark.usefixtures("engine")
def test_what_a_pull_transfers_is_known_while_others_make_and_remove_images(tmp_path: Path) -> None:
    built(tmp_path / "ours", "COPY Dockerfile /")
    ours = Engine()
    size = ours.compressed_bytes("fault-test/image")
    assert size is not None
    done = threading.Event()
    others = [threading.Thread(target=_come_and_go, args=(f"other-{number}", done)) for number in range(2)]
    for other in others:
        other.start()
    try:
        until = time.monotonic() + 5
        # Whoever lists the others' images too fails about once in twenty times.
        while time.monotonic() < until:
            assert ours.compressed_bytes("fault-test/image") == size
    finally:
        done.set()
        for other in others:
            other.join(60)


def _come_and_go(name: str, done: threading.Event) -> None:
    """Make images and remove them, until told to end; each has another content."""
    until = time.monotonic() + 60
    number = 0
    while time.monotonic() < until and not done.is_set():
        number += 1
        image = f"fault-test/{name}:{number}"
        with io.BytesIO() as archive, tarfile.open(fileobj=archive, mode="w") as files:
            files.addfile(tarfile.TarInfo(f"{name}-{number}"))
            files.close()
            process.run(["docker", "import", "-", image], stdin=archive.getvalue().decode())
        process.run(["docker", "image", "rm", image])


def _kill_at(engine: OwnEngine, proxy: FaultProxy, method: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and not any(row.startswith(method) for row in proxy.asked):
        time.sleep(0.02)
    engine.kill()
