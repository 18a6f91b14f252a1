"""Back up a store to one file, and restore a store from it.

    store ──▶ file: a SQLite store with one more table, "backup", of the hashes of all tables
    file ──▶ check ──▶ copy, migrated to the current schema ──▶ empty store, SQLite or PostgreSQL

A backup is read in one transaction, so it shows the store at one moment, whatever is written
meanwhile. Both operations complete or change nothing.
"""

import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from warmstart.errors import DataError, WarmstartError
from warmstart.serve.storage.database import existing_store_url, store_url
from warmstart.serve.storage.store import Store
from warmstart.serve.storage.tables import leases, metadata
from warmstart.storage import atomic_file

_PAGE = 500  # rows copied at once
_HASHES = "backup"  # the table of hashes in a backup file
_TABLES = [table for table in metadata.sorted_tables if table is not leases]  # a lease is brief


def back_up(store: str, file: Path) -> dict[str, int]:
    """Copy a store to a new file; the store may be in use.

    Args:
        store: SQLAlchemy URL.
        file: path of the backup, which must not exist; its folder is created.

    Returns:
        Number of rows of each table.

    Raises:
        DataError: the file exists or cannot be written, or the SQLite store does not exist.
        ConfigError: another kind of database, a malformed URL, or a store of a newer warmstart.
        StoreError: the store cannot be read, or the disk is full.
    """
    if file.exists():
        raise DataError(
            f"{file} already exists; a backup is never overwritten: choose another name"
        )
    place = existing_store_url(store)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # A folder for SQLite's companion files, beside the target so that renaming works.
        with (
            atomic_file(file) as temporary,
            tempfile.TemporaryDirectory(prefix=".backup-", dir=file.parent) as scratch,
        ):
            fresh = Path(scratch) / "store"
            with closing(Store(place)) as source, closing(Store(_url(fresh))) as target:
                rows = _copy(source, target)
            _seal(fresh)
            os.replace(fresh, temporary)
    except (OSError, sqlite3.Error) as error:
        raise DataError(f"{file} cannot be written: {error}") from None
    return rows


def restore(file: Path, store: str) -> dict[str, int]:
    """Fill an empty store from a backup.

    Args:
        file: backup written by ``back_up``.
        store: SQLAlchemy URL; a SQLite file is created.

    Returns:
        Number of rows of each table.

    Raises:
        DataError: the file is missing, not a backup, damaged, or of a newer warmstart; or the
            store is not empty.
        ConfigError: another kind of database, a malformed URL, or a store of a newer warmstart.
        StoreError: the store cannot be written.
    """
    place = store_url(store)
    with _checked(file) as source, closing(Store(place)) as target:
        return _copy(source, target)


# -- rows --


def _copy(source: Store, target: Store) -> dict[str, int]:
    rows: dict[str, int] = {}
    with source.database.snapshot() as read, target.database.write() as write:
        _require_empty(write)
        for table in _TABLES:
            rows[table.name] = 0
            found = read.execute(sa.select(table), execution_options={"yield_per": _PAGE})
            for page in found.mappings().partitions():
                write.execute(table.insert(), [_portable(row) for row in page])
                rows[table.name] += len(page)
        counted = [table for table in _TABLES if "number" in table.c]
        for table in counted if target.is_postgres else ():
            # Inserted numbers do not advance its counter, as they do in SQLite.
            last = sa.select(sa.func.max(table.c.number)).scalar_subquery()
            counter = sa.func.pg_get_serial_sequence(table.name, table.c.number.name)
            write.execute(sa.select(sa.func.setval(counter, last)))  # null changes nothing
    return rows


def _require_empty(write: sa.Connection) -> None:
    rows = {
        table.name: write.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in _TABLES
    }
    if any(rows.values()):
        held = ", ".join(f"{count} {name}" for name, count in rows.items() if count)
        raise DataError(f"the store is not empty (it has {held}); restore into a new one")


def _portable(row: Any) -> dict[str, Any]:
    """Convert times to UTC: SQLite stores no time zone, PostgreSQL returns the session's."""
    return {name: _utc(value) for name, value in row.items()}


def _utc(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# -- the file --


def _url(path: Path) -> sa.URL:
    return sa.URL.create("sqlite", database=str(path))


def _seal(path: Path) -> None:
    """Turn a SQLite store into a single file and add a hash of every table."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        found = _hashed(connection)
        connection.execute(f"CREATE TABLE {_HASHES} (name TEXT, rows INTEGER, sha256 TEXT)")
        connection.executemany(f"INSERT INTO {_HASHES} VALUES (?, ?, ?)", found)


@contextmanager
def _checked(file: Path) -> Iterator[Store]:
    """Open a checked copy of a backup as a store, migrated to the current schema."""
    if not file.is_file():
        raise DataError(f"{file} is not an existing file; give one written by 'warmstart backup'")
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "store"
        try:
            shutil.copyfile(file, copy)
        except OSError as error:
            raise DataError(f"{file} cannot be copied to check it: {error.strerror}") from None
        try:
            _check(copy)
            store = Store(_url(copy))
        except (WarmstartError, sqlite3.DatabaseError) as error:
            raise DataError(f"{file} cannot be restored: {error}") from None
        with closing(store):
            yield store


def _check(copy: Path) -> None:
    """Check that every table still has the hash from the time of the backup.

    Raises:
        DataError: a table differs, the file is damaged, or it is not a backup.
        sqlite3.DatabaseError: the file is damaged, or not a database.
    """
    with closing(sqlite3.connect(copy)) as connection:
        if _HASHES not in _tables(connection):
            raise DataError("it is not a backup made by warmstart")
        (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if result != "ok":
            raise DataError(f"it is damaged: {result}")
        expected = connection.execute(f"SELECT name, rows, sha256 FROM {_HASHES}").fetchall()
        found = _hashed(connection)
    wrong = sorted({str(name) for name, *_ in {*expected} ^ {*found}})
    if wrong:
        raise DataError(f"it is damaged or was changed after it was made: table {wrong}")


def _tables(connection: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    return sorted(name for (name,) in connection.execute(query))


def _hashed(connection: sqlite3.Connection) -> list[tuple[str, int, str]]:
    """Name, number of rows and sha256 of every table."""
    found = []
    for name in _tables(connection):
        if name == _HASHES:
            continue
        count, sha256, quoted = 0, hashlib.sha256(), name.replace('"', '""')
        connection.text_factory = bytes  # damaged text must be hashed, not decoded
        for row in connection.execute(f'SELECT * FROM "{quoted}" ORDER BY rowid'):
            count += 1
            sha256.update(repr(row).encode())
        connection.text_factory = str
        found.append((name, count, sha256.hexdigest()))
    return found
