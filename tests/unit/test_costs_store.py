"""The store of measurements: joined in any order, whole after a crash, open to one writer at a time."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory import process
from factory.costs.exchange import FORMAT, from_lines, joined, to_lines
from factory.costs.samples import MOST_SAMPLES, Record, Sample, chosen
from factory.costs.store import StoreUrl, open_store, store_url
from factory.costs.traits import Kind, Traits
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.model import UnitKey

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

PLATFORM = "x86_64-unknown-linux-gnu"


def record(key: str, *samples: Sample, source_bytes: int | None = 5000, rustc: str = "rustc 1.95.0") -> Record:
    return Record(
        key=UnitKey(key),
        rustc=rustc,
        platform=PLATFORM,
        traits=Traits(
            crate=f"crate-{key[:1]}",
            version="1.0.0",
            kind=Kind.LIBRARY,
            opt_level="3",
            features=("alloc", "std"),
            source_bytes=source_bytes,
        ),
        samples=samples or (sample(1, 2.5),),
    )


def sample(cook: int, seconds: float, size: int = 1000) -> Sample:
    return Sample(cook=f"{cook:032x}", seconds=seconds, bytes=size, cores=2)


samples = st.builds(sample, st.integers(0, 30), st.floats(0, 1000), st.integers(0, 10**9))
records = st.builds(
    lambda key, rustc, many: record(key, *chosen(many), rustc=rustc),
    st.sampled_from(("a1", "a2", "b1")),
    st.sampled_from(("rustc 1.95.0", "rustc 1.96.0")),
    st.lists(samples, min_size=1, max_size=12),
)


def url_in(folder: Path) -> StoreUrl:
    return StoreUrl(f"sqlite:///{folder / 'deep' / 'costs.sqlite'}")


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    known = (record("a1", sample(1, 2.0), sample(2, 3.0)), record("b1", source_bytes=None))
    with open_store(url_in(tmp_path)) as store:
        store.add(known)
    with open_store(url_in(tmp_path)) as store:
        assert store.records() == known
        assert store.records(crate="crate-b") == known[1:]
        assert store.records(crate="crate-z") == ()


def test_many_cooks_give_the_median() -> None:
    many = record("a1", sample(1, 2.0, 10), sample(2, 90.0, 10), sample(3, 2.5, 12))
    assert (many.cost.seconds, many.cost.bytes, many.cost.measured) == (2.5, 10, True)


@given(st.lists(records, max_size=6), st.randoms())
def test_joining_stores_does_not_depend_on_order_or_repetition(many: list[Record], random: Random) -> None:
    again = [*many, *random.sample(many, k=len(many) // 2)]
    random.shuffle(again)
    halfway = random.randint(0, len(again))
    in_two_steps = joined([*joined(again[:halfway]), *joined(again[halfway:])])
    assert in_two_steps == joined(many)
    assert all(len(one.samples) <= MOST_SAMPLES for one in in_two_steps)


def test_the_store_joins_like_that_too(tmp_path: Path) -> None:
    cooks = [record("a1", sample(number, float(number)), source_bytes=None) for number in range(20)]
    cooks += [record("a1", sample(3, 1.0)), record("b1", sample(3, 7.0))]
    for name, order in (("one", cooks), ("other", [*cooks[::-1], *cooks])):
        with open_store(url_in(tmp_path / name)) as store:
            for one in order:
                store.add([one])
            assert store.records() == joined(cooks)
    assert median(kept.seconds for kept in joined(cooks)[0].samples) == 4.0


@given(st.lists(records, max_size=6), st.randoms())
def test_exported_lines_are_the_same_for_the_same_measurements(many: list[Record], random: Random) -> None:
    text = to_lines(many)
    assert to_lines(random.sample(many, k=len(many))) == text
    assert to_lines(from_lines(text, "costs.jsonl")) == text
    assert len(text.splitlines()) == 1 + len({(one.key, one.rustc) for one in many})


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "costs.jsonl:2: no measured costs: Expecting"),
        ("7", "costs.jsonl:2: no measured costs: it is built otherwise"),
        ('{"key": "a"}', "costs.jsonl:2: no measured costs: 'samples' is missing"),
        ("SECONDS", "costs.jsonl:2: no measured costs: -1"),
        ("KIND", "costs.jsonl:2: no measured costs: 'liquid'"),
    ],
)
def test_a_damaged_file_is_refused_with_the_line(line: str, what: str) -> None:
    good = to_lines([record("a1")]).splitlines()[1]
    line = {"SECONDS": good.replace("2.5", "-1"), "KIND": good.replace('"lib"', '"liquid"')}.get(line, line)
    first = to_lines([]).strip()
    with pytest.raises(ConfigurationError, match=what):
        from_lines(f"{first}\n{line}\n", "costs.jsonl")


@pytest.mark.parametrize("text", ["", "\n", "{}\n", "[1]"])
def test_a_file_of_something_else_is_refused(text: str) -> None:
    assert FORMAT["schema"] == 1
    with pytest.raises(ConfigurationError, match=r"costs\.jsonl"):
        from_lines(text, "costs.jsonl")


@pytest.mark.runs_programs
def test_a_writer_that_is_killed_leaves_the_store_whole(tmp_path: Path) -> None:
    url = url_in(tmp_path)
    with open_store(url) as store:
        store.add([record("a1")])
    # Writes batch after batch, says so, and is killed in one of them.
    script = f"""
import os, signal
from tests.unit.test_costs_store import record, sample
from factory.costs.store import StoreUrl, open_store
with open_store(StoreUrl({url.text!r})) as store:
    for batch in range(10**6):
        store.add([record(f"b{{batch}}-{{number}}", sample(batch, 1.0)) for number in range(200)])
        print(batch, flush=True)
"""
    pids: list[int] = []

    def kill_in_the_third_batch(line: str) -> None:
        if line == "2":
            os.kill(pids[0], signal.SIGKILL)

    done = process.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
        check=False,
        on_stdout=kill_in_the_third_batch,
        beside=lambda pid: _noting(pids, pid),
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with open_store(url) as store:
        kept = store.records()
        store.add([record("c1")])
        assert len(store.records()) == len(kept) + 1
    # Whole batches, and no part of one.
    assert len(kept) % 200 == 1
    assert len(kept) >= 601


def _noting(pids: list[int], pid: int) -> _Nothing:
    pids.append(pid)
    return _Nothing()


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with open_store(url_in(tmp_path)) as store:
            store.add([record("a1", sample(number, 1.0)), record(f"b{number}", sample(number, 1.0))])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    with open_store(url_in(tmp_path)) as store:
        assert [len(one.samples) for one in store.records()] == [6, 1, 1, 1, 1, 1, 1]


def test_a_file_of_something_else_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, and long enough to have what could be a header\n" * 20)
    with (
        pytest.raises(EnvironmentFaultError, match=r"notes\.txt: file is not a database"),
        open_store(StoreUrl(f"sqlite:///{path}")),
    ):
        pass
    assert path.read_text().startswith("not a database")


def test_a_store_of_a_newer_factory_is_left_alone(tmp_path: Path) -> None:
    url = url_in(tmp_path)
    with open_store(url) as store:
        store.add([record("a1")])
    assert url.file is not None
    with sqlite3.connect(url.file) as connection:
        connection.execute("UPDATE factory_costs SET version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="with format 99, not 1"), open_store(url):
        pass


def test_a_place_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(EnvironmentFaultError, match="costs"),
        open_store(StoreUrl(f"sqlite:///{tmp_path}/file/costs.sqlite")),
    ):
        pass


def test_the_store_is_a_file_of_the_user_unless_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert store_url(None).file == tmp_path / "rust-warm-factory" / "costs.sqlite"
    assert store_url("postgresql://user@host/costs").file is None
    assert store_url("sqlite:////var/costs.sqlite").file == (tmp_path / "/var/costs.sqlite")


def test_without_a_driver_a_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with (
        pytest.raises(ConfigurationError, match="its driver is not installed") as caught,
        open_store(StoreUrl("postgresql://user@127.0.0.1/costs")),
    ):
        pass
    assert "rust-warm-factory[postgres]" in caught.value.advice


def test_known_sources_win_over_unknown_ones() -> None:
    unknown, known = record("a1", sample(1, 1.0), source_bytes=None), record("a1", sample(2, 2.0))
    for order in ([unknown, known], [known, unknown]):
        (one,) = joined(order)
        assert one.traits.source_bytes == 5000
        assert one == replace(known, samples=(sample(1, 1.0), sample(2, 2.0)))
