"""Where measured costs are kept: an embedded SQLite file, or a PostgreSQL that several factories share.

Both speak the same few statements. A write is one transaction: killed in the middle, it has not happened. SQLite lets
one writer in at a time, and the others wait for it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sqlite3
import time
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from factory.costs.samples import MOST_SAMPLES, Record, Sample
from factory.costs.traits import Kind, Traits
from factory.errors import ConfigurationError, EnvironmentFaultError
from factory.model import UnitKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SCHEMA = 1

WAIT_SECONDS = 60
"""How long to wait for another writer, or for a server to answer."""

_BETWEEN_ATTEMPTS = 0.05

_CREATE = (
    "CREATE TABLE IF NOT EXISTS factory_costs (version INTEGER NOT NULL)",
    """CREATE TABLE IF NOT EXISTS unit (
        key TEXT PRIMARY KEY, crate TEXT NOT NULL, version TEXT NOT NULL, kind TEXT NOT NULL,
        opt_level TEXT NOT NULL, features TEXT NOT NULL, source_bytes BIGINT)""",
    """CREATE TABLE IF NOT EXISTS sample (
        key TEXT NOT NULL REFERENCES unit (key), rustc TEXT NOT NULL, platform TEXT NOT NULL, cook TEXT NOT NULL,
        seconds DOUBLE PRECISION NOT NULL, bytes BIGINT NOT NULL, cores INTEGER NOT NULL,
        PRIMARY KEY (key, rustc, platform, cook))""",
)

_ADD_UNIT = """INSERT INTO unit (key, crate, version, kind, opt_level, features, source_bytes)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET source_bytes =
        CASE WHEN unit.source_bytes IS NULL OR excluded.source_bytes > unit.source_bytes
        THEN excluded.source_bytes ELSE unit.source_bytes END"""

_ADD_SAMPLE = """INSERT INTO sample (key, rustc, platform, cook, seconds, bytes, cores) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key, rustc, platform, cook) DO UPDATE SET
        seconds = excluded.seconds, bytes = excluded.bytes, cores = excluded.cores
    WHERE (excluded.seconds, excluded.bytes, excluded.cores) < (sample.seconds, sample.bytes, sample.cores)"""

_FORGET = """DELETE FROM sample WHERE (key, rustc, platform, cook) IN (
    SELECT key, rustc, platform, cook FROM (
        SELECT key, rustc, platform, cook,
            row_number() OVER (PARTITION BY key, rustc, platform ORDER BY cook) AS place FROM sample) AS placed
    WHERE place > ?)"""

_READ = """SELECT sample.key, rustc, platform, crate, version, kind, opt_level, features, source_bytes,
        cook, seconds, bytes, cores
    FROM sample JOIN unit ON unit.key = sample.key"""


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """The address of a store: `sqlite:///PATH` or `postgresql://USER@HOST/DATABASE`, without a password."""

    text: str

    @property
    def file(self) -> Path | None:
        """The SQLite file; `None` for a server."""
        return Path(self.text.removeprefix("sqlite:///")) if self.text.startswith("sqlite:///") else None


def store_url(configured: str | None) -> StoreUrl:
    """Return the address of the store: the configured one, else a file in this user's data directory."""
    default = platformdirs.user_data_path("rust-warm-factory") / "costs.sqlite"
    return StoreUrl(configured or f"sqlite:///{default}")


@contextlib.contextmanager
def open_store(url: StoreUrl) -> Iterator[CostStore]:
    """Open a store, which is made where it is missing.

    Raises `EnvironmentFaultError` where it cannot be reached or is no store of ours, `ConfigurationError` where the
    driver is missing or a newer factory made it.
    """
    connection, fault = _connect(url)
    try:
        with _explained(url, fault):
            store = CostStore(connection, url, fault)
            store.prepare()
        yield store
    finally:
        connection.close()


class CostStore:
    """An open store."""

    def __init__(self, connection: Any, url: StoreUrl, fault: type[Exception]) -> None:  # noqa: ANN401 - DB-API 2
        self._connection = connection
        self._url = url
        self._fault = fault

    def prepare(self) -> None:
        """Make the tables where they are missing; raise `ConfigurationError` where a newer factory made them."""
        with self._writing() as cursor:
            for statement in _CREATE:
                cursor.execute(statement)
            cursor.execute("SELECT version FROM factory_costs")
            versions = [row[0] for row in cursor.fetchall()]
            if not versions:
                cursor.execute(self._sql("INSERT INTO factory_costs (version) VALUES (?)"), (SCHEMA,))
            elif versions != [SCHEMA]:
                raise ConfigurationError(
                    f"{self._url.text}: made by another version of factory, with format {versions[0]}, not {SCHEMA}",
                    advice="Use that version, or export with it and import here.",
                )

    def add(self, records: Iterable[Record]) -> None:
        """Add the records, all or none; what is known already changes nothing."""
        rows = sorted(records, key=lambda record: (record.key, record.rustc, record.platform))
        with _explained(self._url, self._fault), self._writing() as cursor:
            cursor.executemany(self._sql(_ADD_UNIT), [_unit_row(record) for record in rows])
            cursor.executemany(self._sql(_ADD_SAMPLE), [row for record in rows for row in _sample_rows(record)])
            cursor.execute(self._sql(_FORGET), (MOST_SAMPLES,))

    def records(self, *, crate: str | None = None) -> tuple[Record, ...]:
        """Return everything that is known, or all of one crate, sorted by crate, version, kind and key."""
        where, values = ("", ()) if crate is None else (" WHERE crate = ?", (crate,))
        with _explained(self._url, self._fault):
            cursor = self._connection.cursor()
            cursor.execute(self._sql(_READ + where), values)
            rows = sorted(cursor.fetchall(), key=lambda row: (row[3], row[4], row[5], row[0], row[1], row[2], row[9]))
            self._connection.rollback()
        return tuple(_record(list(same)) for _, same in groupby(rows, key=lambda row: (row[0], row[1], row[2])))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        cursor = self._connection.cursor()
        cursor.execute("BEGIN IMMEDIATE" if self._url.file is not None else "BEGIN")
        try:
            if self._url.file is None:
                # One writer at a time here too: two that touch the same rows in another order would block each other.
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext('rust-warm-factory costs'))")
            yield cursor
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def _sql(self, statement: str) -> str:
        return statement if self._url.file is not None else statement.replace("?", "%s")


def _connect(url: StoreUrl) -> tuple[Any, type[Exception]]:
    if url.file is None:
        return _connect_to_server(url)
    with _explained(url, sqlite3.Error):
        try:
            url.file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFaultError(
                f"{url.file}: {error.strerror}", advice="Name another place in `costs.url`."
            ) from error
        connection = sqlite3.connect(url.file, timeout=WAIT_SECONDS, isolation_level=None)
        _log_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")
    return connection, sqlite3.Error


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log, which takes the file alone for a moment; SQLite does not wait for that itself."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_BETWEEN_ATTEMPTS)
        else:
            return


def _connect_to_server(url: StoreUrl) -> tuple[Any, type[Exception]]:
    try:
        driver = importlib.import_module("psycopg")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "`costs.url` names a PostgreSQL, and its driver is not installed",
            advice="Install rust-warm-factory[postgres].",
        ) from error
    with _explained(url, driver.Error):
        connection = driver.connect(url.text, connect_timeout=WAIT_SECONDS, autocommit=True)
        connection.execute(f"SET lock_timeout = '{WAIT_SECONDS}s'")
    return connection, driver.Error


@contextlib.contextmanager
def _explained(url: StoreUrl, fault: type[Exception]) -> Iterator[None]:
    try:
        yield
    except fault as error:
        said = str(error).strip().partition("\n")[0]
        raise EnvironmentFaultError(
            f"the store of costs {url.text}: {said}", advice="Look at `costs.url`: it may name another place."
        ) from error


def _unit_row(record: Record) -> tuple[Any, ...]:
    traits = record.traits
    features = json.dumps(list(traits.features))
    return (
        record.key,
        traits.crate,
        traits.version,
        traits.kind.value,
        traits.opt_level,
        features,
        traits.source_bytes,
    )


def _sample_rows(record: Record) -> list[tuple[Any, ...]]:
    return [
        (record.key, record.rustc, record.platform, sample.cook, sample.seconds, sample.bytes, sample.cores)
        for sample in record.samples
    ]


def _record(rows: list[tuple[Any, ...]]) -> Record:
    key, rustc, platform, crate, version, kind, opt_level, features, source_bytes = rows[0][:9]
    return Record(
        key=UnitKey(key),
        rustc=rustc,
        platform=platform,
        traits=Traits(
            crate=crate,
            version=version,
            kind=Kind(kind),
            opt_level=opt_level,
            features=tuple(json.loads(features)),
            source_bytes=source_bytes,
        ),
        samples=tuple(Sample(cook=row[9], seconds=row[10], bytes=row[11], cores=row[12]) for row in rows),
    )
