"""The store of measurements in a real PostgreSQL, from Debian's package, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory import process
from factory.costs.exchange import joined, to_lines
from factory.costs.store import StoreUrl, open_store
from factory.errors import ConfigurationError, EnvironmentFaultError
from tests.unit.test_costs_store import record, sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cargo.conftest import Program

pytestmark = pytest.mark.cargo

PACKAGES = ("postgresql-15", "postgresql-17")
"""Of Debian 12 and 13."""

NOBODY = "65534"


@pytest.fixture(scope="module")
def server() -> Iterator[StoreUrl]:
    """Start an empty server on a free port: the installed one, else one unpacked from Debian's package."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'rust-warm-factory[postgres]'")
    # Not below pytest's own directory, which only this user may enter.
    with tempfile.TemporaryDirectory(prefix="factory-postgres-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield from _served(folder)


def _served(folder: Path) -> Iterator[StoreUrl]:
    programs = _installed() or _unpacked(folder)
    if programs is None:
        pytest.skip("no PostgreSQL here, and apt has no package of it")
    home = folder / "home"
    home.mkdir()
    as_nobody: tuple[str, ...] = ()
    if os.geteuid() == 0:  # as which PostgreSQL refuses to run
        os.chown(home, int(NOBODY), int(NOBODY))
        as_nobody = ("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={home} -c fsync=off"
    data = home / "data"

    def run(*words: str) -> None:
        process.run([*as_nobody, str(programs / words[0]), *words[1:]], cwd=home, timeout=120)

    run("initdb", "--pgdata", str(data), "--username", "factory", "--auth", "trust", "--no-sync")
    # Its log goes into a file: a server that holds our pipes open would never seem to have started.
    run("pg_ctl", "--pgdata", str(data), "--wait", "--log", str(home / "log"), "--options", options, "start")
    try:
        yield StoreUrl(f"postgresql://factory@127.0.0.1:{port}/postgres")
    finally:
        run("pg_ctl", "--pgdata", str(data), "--wait", "--mode", "immediate", "stop")


def _installed() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _unpacked(folder: Path) -> Path | None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return None
    for package in PACKAGES:
        if process.run(["apt-get", "download", package], cwd=folder, check=False, timeout=300).ok:
            (archive,) = folder.glob(f"{package}_*.deb")
            process.run(["dpkg-deb", "--extract", str(archive), str(folder / "unpacked")], timeout=300)
            return next((folder / "unpacked/usr/lib/postgresql").glob("*/bin"))
    return None


def test_a_server_joins_as_a_file_does(server: StoreUrl) -> None:
    cooks = [record("a1", sample(number, float(number)), source_bytes=None) for number in range(20)]
    cooks += [record("a1", sample(3, 1.0)), record("b1", sample(3, 7.0), source_bytes=2**40)]
    with open_store(server) as store:
        for one in (*cooks[::-1], *cooks):
            store.add([one])
        assert store.records() == joined(cooks)
        assert store.records(crate="crate-b") == joined(cooks)[1:]


def test_factories_that_write_at_once_lose_nothing(server: StoreUrl) -> None:
    def write(number: int) -> None:
        records = [record(f"c{other}", sample(number, 1.0)) for other in range(50)]
        with open_store(server) as store:
            store.add(records if number % 2 else records[::-1])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    with open_store(server) as store:
        assert [len(one.samples) for one in store.records(crate="crate-c")] == [6] * 50


def test_what_fails_halfway_has_not_happened(server: StoreUrl) -> None:
    with open_store(server) as store:
        before = store.records()
        with pytest.raises(EnvironmentFaultError, match="out of range"):
            store.add([record("d1"), record("d2", sample(1, 1.0, size=2**70))])
        assert store.records() == before


def test_the_program_moves_measurements_from_a_file_to_a_server(
    server: StoreUrl, program: Program, tmp_path: Path
) -> None:
    text = to_lines([record("e1", sample(1, 2.5)), record("e2", sample(1, 3.5))])
    (tmp_path / "costs.jsonl").write_text(text)
    shared = program.under({"FACTORY_COSTS_URL": server.text})
    first = shared("costs", "import", tmp_path / "costs.jsonl")
    again = shared("costs", "import", tmp_path / "costs.jsonl")
    assert "2 units read, 2 of them new" in first.stderr
    assert "2 units read, 0 of them new" in again.stderr
    shown = shared.json("costs", "show", "crate-e")["units"]
    assert [(unit["key"], unit["seconds"]) for unit in shown] == [("e1", 2.5), ("e2", 3.5)]
    assert shared("costs", "path").stdout.strip() == server.text
    exported = shared("costs", "export").stdout.splitlines()
    assert set(text.splitlines()) <= set(exported)


def test_a_server_that_is_not_there_is_explained(program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    away = program.under({"FACTORY_COSTS_URL": f"postgresql://factory@127.0.0.1:{port}/postgres"})
    refused = away("costs", "show", code=4)
    assert "refused" in refused.stderr
    assert "costs.url" in refused.stderr


def test_an_address_with_a_password_is_refused_without_showing_it(program: Program) -> None:
    leaky = program.under({"FACTORY_COSTS_URL": "postgresql://factory:hunter2@127.0.0.1/postgres"})
    refused = leaky("costs", "show", code=2)
    assert "PGPASSWORD" in refused.stderr
    assert "hunter2" not in refused.stderr + refused.stdout


def test_a_database_of_something_else_is_left_alone(server: StoreUrl) -> None:
    with open_store(server) as store, store._writing() as cursor:
        cursor.execute("UPDATE factory_costs SET version = 99")
    with pytest.raises(ConfigurationError, match="format 99"), open_store(server):
        pass
