"""Transactions on the database of a store: SQLite, or PostgreSQL for several machines.

Nothing waits for ever: every lock, statement and idle transaction has a timeout, and a server that
does not answer at all loses the connection. Writers are serialised from the beginning of their
transaction to its commit (SQLite has one writer anyway; in PostgreSQL they take a lock), so what is
numbered in a transaction is numbered in commit order.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import event as engine_events
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from warmstart.errors import ConfigError, DataError, WarmstartError

CONNECTIONS = 8  # of one process, at most
LOCK_SECONDS = 5  # until a writer that waits for another one gives up
STATEMENT_SECONDS = 15  # until a statement, or a transaction without statements, is ended
_ANSWER_SECONDS = STATEMENT_SECONDS + 3  # until a server that does not answer is given up
_WRITER_LOCK_ID = 7_218_005  # PostgreSQL advisory lock that writers take
_SQLITE_OPTIONS = {"timeout": LOCK_SECONDS, "check_same_thread": False}
_POSTGRES_OPTIONS = {  # an unreachable server counts as lost after 5 s (connecting) or 25 s
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "options": " ".join(
        f"-c {name}={value}"
        for name, value in {
            "lock_timeout": f"{LOCK_SECONDS}s",
            "statement_timeout": f"{STATEMENT_SECONDS}s",
            "idle_in_transaction_session_timeout": f"{STATEMENT_SECONDS}s",
            # The server drops a client that has vanished, and with it its locks.
            "tcp_keepalives_idle": 10,
            "tcp_keepalives_interval": 5,
            "tcp_keepalives_count": 3,
        }.items()
    ),
}


class StoreError(WarmstartError):
    """The store cannot be reached, read or written; nothing was written."""


class Database:
    """Reads and writes in transactions. Safe for several threads and processes.

    Args:
        url: SQLAlchemy URL, ``sqlite:///file`` or ``postgresql://...``.

    Raises:
        ConfigError: another kind of database, a malformed URL, or a store of a newer warmstart.
        StoreError: the store cannot be reached.

    Attributes:
        url: the URL with its driver.
        is_postgres: whether it is PostgreSQL.
        written: set by every write of this process.
        insert: the dialect's ``insert``, which can update on conflict.
    """

    def __init__(self, url: str | sa.URL) -> None:
        self.url = store_url(url)
        self.is_postgres = self.url.get_backend_name() == "postgresql"
        self.written = threading.Event()
        self.insert: Any = postgresql.insert if self.is_postgres else sqlite.insert
        if not self.is_postgres:
            _create_private(self.url)
        self.engine = sa.create_engine(
            self.url,
            pool_pre_ping=True,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=LOCK_SECONDS,
            hide_parameters=True,  # logged errors must not show texts of clients or hashes of keys
            connect_args=_POSTGRES_OPTIONS if self.is_postgres else _SQLITE_OPTIONS,
        )
        if self.is_postgres:
            engine_events.listen(self.engine, "do_connect", _connect_bounded)
        else:
            engine_events.listen(self.engine, "connect", _configure_sqlite)
            engine_events.listen(self.engine, "begin", _begin)
        self._writer = self.engine.execution_options(writes=True)
        try:
            self._migrate()
        except BaseException as error:
            self.close()
            if not isinstance(error, StoreError):
                raise
            advice = "" if self.is_postgres else "; its folder must exist and must not be read-only"
            raise StoreError(f"{self.url.render_as_string()}: {error}{advice}") from error

    def _migrate(self) -> None:
        with as_file(files("warmstart.serve.storage") / "migrations") as folder:
            config = alembic.config.Config()
            config.set_main_option("script_location", str(folder))
            with self.write() as connection:
                config.attributes["connection"] = connection
                try:
                    alembic.command.upgrade(config, "head")
                except CommandError as error:
                    raise ConfigError(
                        f"the store was written by a newer warmstart ({error}); use that version"
                    ) from None

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    # -- transactions --

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection to read with.

        Raises:
            StoreError: the store cannot be read.
        """
        try:
            with self.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"the store cannot be read: {short(error)}") from error

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A connection whose writes are committed at the end of the block, or rolled back on error.

        Raises:
            StoreError: nothing was written.
        """
        try:
            with self._writer.connect() as connection, connection.begin():
                if self.is_postgres:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK_ID)))
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"the store cannot be written: {short(error)}") from error
        self.written.set()

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A read connection that sees the store at one moment, whatever is written meanwhile.

        Raises:
            StoreError: the store cannot be read.
        """
        with self.read() as connection:
            if self.is_postgres:  # in SQLite every transaction is a snapshot
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    def vacuum(self) -> None:
        """Give the space of deleted rows back.

        Raises:
            StoreError: the store cannot be written.
        """
        try:
            with self.engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            ) as connection:
                connection.exec_driver_sql("VACUUM")
        except SQLAlchemyError as error:
            raise StoreError(f"the store cannot be written: {short(error)}") from error


def chunked(
    connection: sa.Connection, query: Any, column: Any, values: Sequence[Any]
) -> Iterator[Any]:
    """Rows whose column is one of the values, in chunks: databases limit query parameters."""
    for start in range(0, len(values), 500):
        yield from connection.execute(query.where(column.in_(values[start : start + 500])))


def store_url(url: str | sa.URL) -> sa.URL:
    """Parse the URL of a store and set the database driver.

    Raises:
        ConfigError: another kind of database, or a malformed URL.
    """
    try:
        address = sa.make_url(url)
    except (ArgumentError, ValueError) as error:  # ValueError: the port is no number
        raise ConfigError(f"store: {error}") from None
    kinds = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}
    kind = address.get_backend_name()
    if kind not in kinds:
        raise ConfigError(f"store must be sqlite:///... or postgresql://..., got {kind}://...")
    return address.set(drivername=kinds[kind])


def existing_store_url(url: str | sa.URL) -> sa.URL:
    """Parse the URL of a store that must exist already; opening a SQLite file would create it.

    Raises:
        ConfigError: another kind of database, or a malformed URL.
        DataError: there is no such SQLite file.
    """
    address = store_url(url)
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").is_file():
        raise DataError(f"there is no store {address.database!r}")
    return address


def short(error: SQLAlchemyError) -> str:
    """The first line of a database error."""
    return (str(getattr(error, "orig", None) or error).strip() or repr(error)).splitlines()[0]


def _create_private(url: sa.URL) -> None:
    """Create the file readable by its owner only: SQLite's companion files get the same mode."""
    if url.database and url.database != ":memory:":
        path = Path(url.database)
        if path.parent.is_dir() and not path.exists():
            path.touch(mode=0o600)


def _connect_bounded(_dialect: Any, _record: Any, args: Any, options: Any) -> Any:
    """Connect to PostgreSQL such that no answer is waited for without end."""
    import psycopg
    from psycopg.pq import TransactionStatus

    class Bounded(psycopg.Connection[Any]):
        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            try:
                return super().wait(gen, interval, timeout or _ANSWER_SECONDS)
            except psycopg.OperationalError as error:
                if timeout or self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                    raise
                self.pgconn.finish()  # the answer to this statement could come to the next one
                raise psycopg.OperationalError("the server does not answer") from error

    return Bounded.connect(*args, **options)


def _configure_sqlite(connection: Any, _: Any) -> None:
    """Let readers not block the writer, commits be on disk at their return, deletions erase."""
    connection.isolation_level = None  # _begin starts the transactions
    # SQLite's own function knows only ASCII, PostgreSQL's all letters.
    connection.create_function("lower", 1, lambda text: text and text.lower(), deterministic=True)
    timeout = f"busy_timeout={1000 * LOCK_SECONDS}"
    pragmas = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", timeout)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: sa.Connection) -> None:
    """Take SQLite's write lock before the first read: upgrading a read transaction could fail."""
    options = connection.get_execution_options()
    if options.get("isolation_level") == "AUTOCOMMIT":
        return
    writes = options.get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
