"""The durable store: acknowledged writes are committed here and survive a crash of the process.

SQLite by default, PostgreSQL for several replicas, through SQLAlchemy; ``migrations/`` upgrades an
older store to the current schema. Every write appends to ``changes`` in the same transaction, and
each index follows this table. Changes are numbered in commit order, because writers are serialised
(SQLite has one writer anyway; in PostgreSQL they take a lock). Otherwise a follower that has seen
number 8 could miss number 7, committed later. No decision depends on a clock.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

import alembic.command
import alembic.config
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import event as engine_events
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from warmstart.errors import ConfigError, DataError, WarmstartError
from warmstart.serve.storage.tables import changes, encodings, events, items, keys

WriteOutcome = Literal["created", "updated", "unchanged"]

_WRITER_LOCK_ID = 7_218_005  # PostgreSQL advisory lock that writers take
_LEADER_LOCK_ID = 7_218_006  # lock held by the replica that runs the encoder
_CHANNEL = "warmstart"
_PAGE = 2000
_MAX_CHANGES = 1_000_000  # a follower that is further behind rebuilds its index
_SQLITE_OPTIONS = {"timeout": 30, "check_same_thread": False}
_KEEPALIVE = {  # an unresponsive server counts as lost after 5 s (connecting) or 25 s
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class StoreError(WarmstartError):
    """The store cannot be reached, read or written; nothing was written."""


class ChangesLostError(StoreError):
    """Changes that a follower has not seen are no longer stored; its index must be rebuilt."""


@dataclass(frozen=True)
class Item:
    """An item as written.

    Attributes:
        item: external id, as text.
        columns: columns as given.
        text: text for the language model, composed from the text columns.
        content: sha256 of text and columns; "" for an item of the artefact that was only deleted.
        owner: id of the key that wrote it.
        deleted: whether it is excluded from all lists.
        error: why it could not be encoded; None otherwise.
    """

    item: str
    columns: dict[str, Any]
    text: str
    content: str
    owner: str
    deleted: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Event:
    """A user's interaction with an item; ``event`` identifies it, so duplicates are ignored."""

    event: str
    user: str
    item: str
    owner: str


@dataclass(frozen=True)
class Key:
    """An API key; ``secret`` is the sha256 of its secret."""

    key: str
    name: str
    scope: str
    secret: str
    revoked: bool = False


@dataclass(frozen=True)
class Change:
    """A changed item, key or model.

    ``kind`` is "item", "events" (new interactions with an item), "key" or "model".
    """

    number: int
    kind: str
    name: str


@dataclass(frozen=True)
class ItemState:
    """The part of the store that an index needs for one item.

    Attributes:
        item: the item as written; None for an item of the artefact that was only clicked.
        encoding: packed arrays; None until the language model has encoded the current text.
        users: external ids of the users who interacted with it, as text, each with the unix
            seconds of the last interaction.
    """

    item: Item | None
    encoding: bytes | None
    users: Mapping[str, float]

    @property
    def is_waiting(self) -> bool:
        """Whether the item still has to be encoded."""
        item = self.item
        if item is None or item.deleted or item.error is not None:
            return False
        return self.encoding is None and item.content != ""


class Store:
    """Items, encodings, interactions, keys and changes. Safe for several threads and processes.

    Args:
        url: SQLAlchemy URL, ``sqlite:///file`` or ``postgresql://...``.

    Raises:
        ConfigError: another kind of database, a malformed URL, or a store of a newer warmstart.
        StoreError: the store cannot be reached.
    """

    def __init__(self, url: str | sa.URL) -> None:
        address = store_url(url)
        self.is_postgres = address.get_backend_name() == "postgresql"
        options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 8}
        # Logged errors must not show what clients wrote, nor the hashes of keys.
        options |= {"hide_parameters": True}
        options |= {"connect_args": _KEEPALIVE if self.is_postgres else _SQLITE_OPTIONS}
        self._engine = sa.create_engine(address, **options)
        if not self.is_postgres:
            engine_events.listen(self._engine, "connect", _configure_sqlite)
            engine_events.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(writes=True)
        self._insert: Any = postgresql.insert if self.is_postgres else sqlite.insert
        self._written = threading.Event()
        self._listening: Any = None
        self._leader_connection: Any = None
        try:
            self._migrate()
        except BaseException as error:
            self._engine.dispose()
            if not isinstance(error, StoreError):
                raise
            advice = "" if self.is_postgres else "; its folder must exist and must not be read-only"
            raise StoreError(f"{address.render_as_string()}: {error}{advice}") from error

    def _migrate(self) -> None:
        with as_file(files("warmstart.serve.storage") / "migrations") as folder:
            config = alembic.config.Config()
            config.set_main_option("script_location", str(folder))
            with self._write() as connection:
                config.attributes["connection"] = connection
                try:
                    alembic.command.upgrade(config, "head")
                except CommandError as error:
                    raise ConfigError(
                        f"the store was written by a newer warmstart ({error}); use that version"
                    ) from None

    def close(self) -> None:
        """Close all connections."""
        for connection in (self._listening, self._leader_connection):
            if connection is not None:
                connection.close()
        self._engine.dispose()

    # -- transactions --

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"the store cannot be read: {_short(error)}") from error

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """A write transaction; writers are serialised from its beginning to its commit."""
        try:
            with self._writer.connect() as connection, connection.begin():
                if self.is_postgres:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK_ID)))
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"the store cannot be written: {_short(error)}") from error
        self._written.set()

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A read connection that sees the store at one moment, whatever is written meanwhile.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._read() as connection:
            if self.is_postgres:  # in SQLite every transaction is a snapshot
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A connection whose writes are committed at the end of the block, or rolled back on error.

        Raises:
            StoreError: nothing was written.
        """
        with self._write() as connection:
            yield connection

    def _changed(self, connection: sa.Connection, kind: str, names: Iterable[str]) -> None:
        rows = [{"kind": kind, "name": name} for name in names]
        if rows:
            connection.execute(changes.insert(), rows)
            if self.is_postgres:
                connection.execute(sa.text(f"NOTIFY {_CHANNEL}"))

    # -- items --

    def write_items(self, written: Sequence[Item]) -> list[WriteOutcome]:
        """Insert or update items; an item with the same content is left as it is.

        Returns:
            The outcome of each item, in order.
        """
        found: list[WriteOutcome] = []
        with self._write() as connection:
            names = [item.item for item in written]
            query = sa.select(items.c.item, items.c.content, items.c.deleted, items.c.error)
            old = {row.item: row for row in _chunked(connection, query, items.c.item, names)}
            fresh: dict[str, Item] = {}
            for item in written:
                row = old.get(item.item)
                known = fresh.get(item.item)
                content = row.content if row and not row.deleted and not row.error else None
                if (known.content if known else content) == item.content:
                    found.append("unchanged")
                    continue
                found.append("updated" if known or content is not None else "created")
                fresh[item.item] = item
            for item in fresh.values():
                values = {**vars(item), "written": datetime.now(UTC)}
                statement = self._insert(items).values(values)
                others = {name: value for name, value in values.items() if name != "item"}
                connection.execute(
                    statement.on_conflict_do_update(index_elements=["item"], set_=others)
                )
            self._changed(connection, "item", fresh)
        return found

    def delete_item(self, item: Item) -> None:
        """Mark an item as deleted; its columns stay in the store."""
        with self._write() as connection:
            values = {**vars(item), "deleted": True, "written": datetime.now(UTC)}
            statement = self._insert(items).values(values)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["item"], set_={"deleted": True, "written": values["written"]}
                )
            )
            self._changed(connection, "item", [item.item])

    def item(self, name: str) -> Item | None:
        """An item as written; None if it was never written."""
        with self._read() as connection:
            row = connection.execute(sa.select(items).where(items.c.item == name)).first()
        return None if row is None else _item(row)

    def newest(self, limit: int, offset: int = 0) -> list[Item]:
        """Items ordered by their last write, the newest first."""
        with self._read() as connection:
            query = sa.select(items).order_by(items.c.written.desc(), items.c.item)
            return [_item(row) for row in connection.execute(query.limit(limit).offset(offset))]

    def has_ids(self) -> bool:
        """Whether any item or interaction is stored."""
        with self._read() as connection:
            queries = [sa.select(table.c.item).limit(1) for table in (items, events)]
            return any(connection.execute(query).first() is not None for query in queries)

    def unencoded(self, model: str) -> list[str]:
        """Names of items whose current text the model has not encoded, oldest first."""
        with self._read() as connection:
            return list(connection.execute(self._unencoded(model, items.c.item)).scalars())

    def unencoded_among(self, model: str, names: Sequence[str]) -> list[Item]:
        """Like ``unencoded``, but the items themselves, and only among the given names."""
        with self._read() as connection:
            query = self._unencoded(model, items)
            return [_item(row) for row in _chunked(connection, query, items.c.item, names)]

    def _unencoded(self, model: str, columns: Any) -> sa.Select[Any]:
        same = (encodings.c.item == items.c.item) & (encodings.c.model == model)
        return (
            sa.select(columns)
            .select_from(items.outerjoin(encodings, same))
            .where(~items.c.deleted, items.c.error.is_(None), items.c.content != "")
            .where(encodings.c.content.is_distinct_from(items.c.content))
            .order_by(items.c.written, items.c.item)
        )

    def save_encodings(self, model: str, found: Iterable[tuple[Item, bytes]]) -> None:
        """Store packed encodings; an encoding is invalid once its item has new content."""
        with self._write() as connection:
            names = []
            for item, arrays in found:
                row = {
                    "item": item.item,
                    "model": model,
                    "content": item.content,
                    "arrays": arrays,
                }
                statement = self._insert(encodings).values(row)
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["item", "model"],
                        set_={"content": item.content, "arrays": arrays},
                    )
                )
                names.append(item.item)
            self._changed(connection, "item", names)

    def delete_encodings(self, model: str, names: Sequence[str]) -> None:
        """Delete a model's encodings of some items, so that they are computed again."""
        with self._write() as connection:
            mine = encodings.delete().where(encodings.c.model == model)
            for name in names:
                connection.execute(mine.where(encodings.c.item == name))
            self._changed(connection, "item", names)

    def mark_failed(self, item: Item, message: str) -> None:
        """Mark an item that cannot be encoded, so that the encoder skips it."""
        with self._write() as connection:
            same = (items.c.item == item.item) & (items.c.content == item.content)
            connection.execute(items.update().where(same).values(error=message))
            self._changed(connection, "item", [item.item])

    def clear_failures(self) -> None:
        """Unmark failed items, so that the encoder retries them: the cause may be gone."""
        with self._write() as connection:
            failed = items.c.error.is_not(None)
            names = list(connection.execute(sa.select(items.c.item).where(failed)).scalars())
            connection.execute(items.update().where(failed).values(error=None))
            self._changed(connection, "item", names)

    # -- events --

    def record_events(self, recorded: Sequence[Event]) -> int:
        """Store interactions; those with an event id that is already stored are ignored.

        Returns:
            The number of new interactions.
        """
        with self._write() as connection:
            names = [event.event for event in recorded]
            old = {
                row.event
                for row in _chunked(connection, sa.select(events.c.event), events.c.event, names)
            }
            fresh = {event.event: event for event in recorded if event.event not in old}
            now = datetime.now(UTC)
            rows = [  # a microsecond apart, so that their order is kept
                {**vars(event), "happened": now + timedelta(microseconds=place)}
                for place, event in enumerate(fresh.values())
            ]
            if rows:
                connection.execute(events.insert(), rows)
            self._changed(connection, "events", {event.item: None for event in fresh.values()})
        return len(rows)

    def history(self, user: str) -> list[str]:
        """Items that a user interacted with, sorted by id."""
        with self._read() as connection:
            query = sa.select(events.c.item).distinct().where(events.c.user == user)
            return list(connection.execute(query.order_by(events.c.item)).scalars())

    # -- for an index --

    def item_states(self, model: str, names: Sequence[str]) -> dict[str, ItemState]:
        """States of the given items, by name, with their encodings by one model."""
        with self._read() as connection:
            return self._item_states(connection, model, names)

    def all_item_states(self, model: str) -> Iterator[dict[str, ItemState]]:
        """Like ``item_states``, for all items that were written or clicked, page by page."""
        with self._read() as connection:
            last = ""
            while True:
                # A limit per table: otherwise every page would scan both tables.
                pages = [
                    sa.select(table.c.item)
                    .where(table.c.item > last)
                    .distinct()
                    .order_by(table.c.item)
                    .limit(_PAGE)
                    .subquery()
                    for table in (items, events)
                ]
                query = sa.union(*(sa.select(page.c.item) for page in pages)).order_by("item")
                names = list(connection.execute(query.limit(_PAGE)).scalars())
                if not names:
                    return
                yield self._item_states(connection, model, names)
                last = names[-1]

    def _item_states(
        self, connection: sa.Connection, model: str, names: Sequence[str]
    ) -> dict[str, ItemState]:
        rows = {
            row.item: _item(row)
            for row in _chunked(connection, sa.select(items), items.c.item, names)
        }
        query = sa.select(encodings).where(encodings.c.model == model)
        encoded = {row.item: row for row in _chunked(connection, query, encodings.c.item, names)}
        users: dict[str, dict[str, float]] = {name: {} for name in names}
        last = sa.func.max(events.c.happened).label("last")
        query = sa.select(events.c.item, events.c.user, last)
        query = query.group_by(events.c.item, events.c.user)
        for row in _chunked(connection, query, events.c.item, names):
            time = row.last if row.last.tzinfo else row.last.replace(tzinfo=UTC)  # as SQLite has it
            users[row.item][row.user] = time.timestamp()
        found = {}
        for name in names:
            item, encoding = rows.get(name), encoded.get(name)
            valid = encoding is not None and item is not None and encoding.content == item.content
            arrays = encoding.arrays if encoding is not None and valid else None
            found[name] = ItemState(item, arrays, users[name])
        return found

    def latest(self) -> int:
        """Number of the last change; 0 if there is none."""
        with self._read() as connection:
            query = sa.select(sa.func.coalesce(sa.func.max(changes.c.number), 0))
            return connection.execute(query).scalar_one()

    def changes(self, after: int, limit: int = _PAGE) -> list[Change]:
        """The first ``limit`` changes after number ``after``, in order.

        Raises:
            ChangesLostError: some of them are no longer stored, or the store is an older copy.
        """
        with self._read() as connection:
            query = sa.select(changes).where(changes.c.number > after)
            rows = connection.execute(query.order_by(changes.c.number).limit(limit)).all()
            ends = (sa.func.min(changes.c.number), sa.func.max(changes.c.number))
            first, last = (connection.execute(sa.select(end)).scalar() for end in ends)
        if first is not None and first > after + 1:
            raise ChangesLostError(f"changes {after + 1} to {first - 1} are no longer stored")
        if (last or 0) < after:
            raise ChangesLostError(
                f"the store ends at change {last or 0}, but change {after} was already seen"
            )
        return [Change(row.number, row.kind, row.name) for row in rows]

    def trim_changes(self, kept: int = _MAX_CHANGES) -> None:
        """Delete all but the last ``kept`` changes; an index built later does not need them."""
        with self._write() as connection:
            last = connection.execute(sa.select(sa.func.max(changes.c.number))).scalar() or 0
            connection.execute(changes.delete().where(changes.c.number <= last - kept))

    def append_change(self, kind: str, name: str) -> None:
        """Append a change that concerns every follower, such as a model to swap in."""
        with self._write() as connection:
            self._changed(connection, kind, [name])

    def wait(self, seconds: float) -> None:
        """Block until this process (PostgreSQL: any process) writes, at most ``seconds``."""
        if not self.is_postgres:
            self._written.wait(seconds)  # returns at once after a write since the last call
            self._written.clear()
            return
        try:
            if self._listening is None:
                import psycopg

                address = self._engine.url.set(drivername="postgresql")
                self._listening = psycopg.connect(
                    address.render_as_string(hide_password=False),
                    autocommit=True,
                    connect_timeout=5,
                )
                self._listening.execute(f"LISTEN {_CHANNEL}")
                return  # the caller now reads the changes made before LISTEN
            for _ in self._listening.notifies(timeout=seconds, stop_after=1):
                pass
        except Exception:  # noqa: BLE001 - the server is gone; the next call reconnects
            self._listening = None
            time.sleep(min(seconds, 0.5))

    def is_leader(self) -> bool:
        """Whether this process runs the encoder; exactly one replica does.

        PostgreSQL releases the lock when the connection ends for any reason, so no clock is needed.
        With SQLite, every process leads.
        """
        if not self.is_postgres:
            return True
        if self._leader_connection is not None:
            try:
                self._leader_connection.exec_driver_sql("SELECT 1")
                return True
            except SQLAlchemyError:
                self._leader_connection.invalidate()
                self._leader_connection = None
        try:
            candidate = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if candidate.execute(sa.select(sa.func.pg_try_advisory_lock(_LEADER_LOCK_ID))).scalar():
                self._leader_connection = candidate
                return True
            candidate.close()
        except SQLAlchemyError as error:
            raise StoreError(f"the store cannot be read: {_short(error)}") from error
        return False

    # -- keys --

    def add_key(self, key: Key) -> None:
        """Store a new key."""
        with self._write() as connection:
            connection.execute(keys.insert().values({**vars(key), "made": datetime.now(UTC)}))
            self._changed(connection, "key", [key.key])

    def keys(self) -> list[Key]:
        """All keys, including revoked ones, oldest first."""
        with self._read() as connection:
            rows = connection.execute(sa.select(keys).order_by(keys.c.made, keys.c.key)).all()
        return [Key(row.key, row.name, row.scope, row.secret, row.revoked) for row in rows]

    def revoke(self, key: str) -> bool:
        """Revoke a key; return whether it exists."""
        with self._write() as connection:
            found = connection.execute(keys.update().where(keys.c.key == key).values(revoked=True))
            self._changed(connection, "key", [key] if found.rowcount else [])
        return bool(found.rowcount)


def store_url(url: str | sa.URL) -> sa.URL:
    """Parse the URL of a store and set the database driver.

    Raises:
        ConfigError: another kind of database, or a malformed URL.
    """
    try:
        address = sa.make_url(url)
    except ArgumentError as error:
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


def _configure_sqlite(connection: Any, _: Any) -> None:
    """Let readers not block the writer, and have commits on disk when they return."""
    connection.isolation_level = None  # _begin starts the transactions
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: sa.Connection) -> None:
    """Take SQLite's write lock before the first read: upgrading a read transaction could fail."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _chunked(
    connection: sa.Connection, query: Any, column: Any, names: Sequence[str]
) -> Iterator[Any]:
    """Rows whose column is one of the names, in chunks: databases limit query parameters."""
    for start in range(0, len(names), 500):
        yield from connection.execute(query.where(column.in_(names[start : start + 500])))


def _item(row: Any) -> Item:
    return Item(row.item, row.columns, row.text, row.content, row.owner, row.deleted, row.error)


def _short(error: SQLAlchemyError) -> str:
    return (str(getattr(error, "orig", None) or error).strip() or repr(error)).splitlines()[0]
