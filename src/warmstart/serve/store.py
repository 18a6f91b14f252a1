"""The durable store: what was acknowledged is here, whatever happens to the process.

SQLite by default, PostgreSQL for several replicas, through SQLAlchemy; ``migrations/`` brings an
older store to the present form. Every write appends to ``changes`` in the same transaction, and an
index follows these. Numbers of changes are in the order of commits, because writers stand in line
(SQLite has one writer anyway; in PostgreSQL they take a lock): else a follower that has seen number
8 could miss 7, committed later. No decision rests on a clock.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import as_file, files
from typing import Any, Literal

import alembic.command
import alembic.config
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import event as listening
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from warmstart.errors import ConfigError, WarmstartError
from warmstart.serve.tables import changes, events, items, keys, readings

Outcome = Literal["created", "updated", "unchanged"]

_LINE = 7_218_005  # PostgreSQL's number of the lock that writers take
_LEADER = 7_218_006  # and of the lock that the reading replica holds
_CHANNEL = "warmstart"
_PAGE = 2000
_KEPT = 1_000_000  # changes that a follower may be behind
_ALONE = {"timeout": 30, "check_same_thread": False}
_ALIVE = {  # seconds until a server that vanished without a word is taken for gone
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class StoreError(WarmstartError):
    """The store cannot be reached or cannot write now; nothing was written."""


class LostError(StoreError):
    """Changes that a follower has yet to see are no longer there: it must begin anew."""


@dataclass(frozen=True)
class Item:
    """An item as it was written.

    Attributes:
        item: external id, as text.
        columns: as given.
        text: composed of them, what the language model reads.
        content: hash of text and columns.
        owner: the key that wrote it.
        deleted: it is to be recommended no more.
        error: why it could not be read; None otherwise.
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
    """A user's interaction with an item; ``event`` names it, so that it can be told twice."""

    event: str
    user: str
    item: str
    owner: str


@dataclass(frozen=True)
class Key:
    """An API key; ``secret`` is a hash."""

    key: str
    name: str
    scope: str
    secret: str
    revoked: bool = False


@dataclass(frozen=True)
class Change:
    """One write: ``kind`` is "item", "events", "key" or "model"; ``name`` says which one."""

    number: int
    kind: str
    name: str


@dataclass(frozen=True)
class Stored:
    """All that an index needs of an item.

    Attributes:
        item: as written; None for an item of the model's own catalogue that was only clicked.
        reading: packed arrays; None until the language model has read the present text.
        users: external ids of those who interacted, as text.
    """

    item: Item | None
    reading: bytes | None
    users: frozenset[str]

    @property
    def waits(self) -> bool:
        """Whether the language model has yet to read it."""
        item = self.item
        if item is None or item.deleted or item.error is not None:
            return False
        return self.reading is None and item.text != ""


class Store:
    """Reads and writes; safe to use from several threads and processes.

    Args:
        url: SQLAlchemy URL, ``sqlite:///file`` or ``postgresql://...``.

    Raises:
        ConfigError: another kind of database, a URL that is none, or a store of a newer warmstart.
        StoreError: it cannot be reached.
    """

    def __init__(self, url: str | sa.URL) -> None:
        place = place_of(url)
        self.is_postgres = place.get_backend_name() == "postgresql"
        options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 8}
        # an error that is logged is not to show what clients wrote, nor a key's hash
        options |= {"hide_parameters": True}
        options |= {"connect_args": _ALIVE if self.is_postgres else _ALONE}
        self._engine = sa.create_engine(place, **options)
        if not self.is_postgres:
            listening.listen(self._engine, "connect", _durable)
            listening.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(writes=True)
        self._insert: Any = postgresql.insert if self.is_postgres else sqlite.insert
        self._news = threading.Event()
        self._listening: Any = None
        self._leading: Any = None
        try:
            self._migrate()
        except BaseException as error:
            self._engine.dispose()
            if not isinstance(error, StoreError):
                raise
            advice = "" if self.is_postgres else "; its folder must exist and may not be read-only"
            raise StoreError(f"{place.render_as_string()}: {error}{advice}") from error

    def _migrate(self) -> None:
        with as_file(files("warmstart.serve") / "migrations") as folder:
            config = alembic.config.Config()
            config.set_main_option("script_location", str(folder))
            with self._write() as connection:
                config.attributes["connection"] = connection
                try:
                    alembic.command.upgrade(config, "head")
                except CommandError as error:
                    raise ConfigError(
                        f"the store was written by a newer warmstart ({error}): use that one"
                    ) from None

    def close(self) -> None:
        """Let go of all connections."""
        for connection in (self._listening, self._leading):
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
        """A transaction; writers stand in line from its beginning to its commit."""
        try:
            with self._writer.connect() as connection, connection.begin():
                if self.is_postgres:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LINE)))
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"the store cannot be written: {_short(error)}") from error
        self._news.set()

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A connection that sees the store as it is now, whatever is written meanwhile.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._read() as connection:
            if self.is_postgres:  # SQLite's transactions see no other's writing anyway
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def whole(self) -> Iterator[sa.Connection]:
        """A connection whose writing is kept if the block ends well, else none of it.

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

    def write_items(self, written: Sequence[Item]) -> list[Outcome]:
        """Insert or update; what is already so is left alone.

        Returns:
            What happened to each, in order.
        """
        found: list[Outcome] = []
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
        """Recommend an item no more; what was written of it stays."""
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
        """An item as it was written; None if it never was."""
        with self._read() as connection:
            row = connection.execute(sa.select(items).where(items.c.item == name)).first()
        return None if row is None else _item(row)

    def newest(self, limit: int, offset: int = 0) -> list[Item]:
        """Items by the time of their last writing, the newest first."""
        with self._read() as connection:
            query = sa.select(items).order_by(items.c.written.desc(), items.c.item)
            return [_item(row) for row in connection.execute(query.limit(limit).offset(offset))]

    def unread(self, model: str) -> list[str]:
        """Names of items whose present text the model has yet to read, oldest first."""
        with self._read() as connection:
            return list(connection.execute(self._unread(model, items.c.item)).scalars())

    def unread_among(self, model: str, names: Sequence[str]) -> list[Item]:
        """Those of some items, without going through all."""
        with self._read() as connection:
            query = self._unread(model, items)
            return [_item(row) for row in _chunked(connection, query, items.c.item, names)]

    def _unread(self, model: str, what: Any) -> sa.Select[Any]:
        same = (readings.c.item == items.c.item) & (readings.c.model == model)
        return (
            sa.select(what)
            .select_from(items.outerjoin(readings, same))
            .where(~items.c.deleted, items.c.error.is_(None), items.c.text != "")
            .where(readings.c.content.is_distinct_from(items.c.content))
            .order_by(items.c.written, items.c.item)
        )

    def save_readings(self, model: str, found: Iterable[tuple[Item, bytes]]) -> None:
        """Keep what the language model said; a later text of the item makes it void."""
        with self._write() as connection:
            names = []
            for item, arrays in found:
                row = {
                    "item": item.item,
                    "model": model,
                    "content": item.content,
                    "arrays": arrays,
                }
                statement = self._insert(readings).values(row)
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["item", "model"],
                        set_={"content": item.content, "arrays": arrays},
                    )
                )
                names.append(item.item)
            self._changed(connection, "item", names)

    def forget_readings(self, model: str, names: Sequence[str]) -> None:
        """Have items read anew by a model."""
        with self._write() as connection:
            mine = readings.delete().where(readings.c.model == model)
            for name in names:
                connection.execute(mine.where(readings.c.item == name))
            self._changed(connection, "item", names)

    def fail(self, item: Item, message: str) -> None:
        """Note that an item cannot be read, so that it is not tried again and again."""
        with self._write() as connection:
            same = (items.c.item == item.item) & (items.c.content == item.content)
            connection.execute(items.update().where(same).values(error=message))
            self._changed(connection, "item", [item.item])

    def forget_failures(self) -> None:
        """Have what could not be read tried again: the reason may have passed."""
        with self._write() as connection:
            failed = items.c.error.is_not(None)
            names = list(connection.execute(sa.select(items.c.item).where(failed)).scalars())
            connection.execute(items.update().where(failed).values(error=None))
            self._changed(connection, "item", names)

    # -- events --

    def record(self, happened: Sequence[Event]) -> int:
        """Keep interactions; one that was told before is left alone.

        Returns:
            How many were new.
        """
        with self._write() as connection:
            names = [event.event for event in happened]
            old = {
                row.event
                for row in _chunked(connection, sa.select(events.c.event), events.c.event, names)
            }
            fresh = {event.event: event for event in happened if event.event not in old}
            now = datetime.now(UTC)
            rows = [{**vars(event), "happened": now} for event in fresh.values()]
            if rows:
                connection.execute(events.insert(), rows)
            self._changed(connection, "events", {event.item: None for event in fresh.values()})
        return len(rows)

    def history(self, user: str) -> list[str]:
        """Items that a user was recorded with."""
        with self._read() as connection:
            query = sa.select(events.c.item).distinct().where(events.c.user == user)
            return list(connection.execute(query.order_by(events.c.item)).scalars())

    # -- for an index --

    def stored(self, model: str, names: Sequence[str]) -> dict[str, Stored]:
        """Items by name, with their readings by a model and the users who interacted."""
        with self._read() as connection:
            return self._stored(connection, model, names)

    def everything(self, model: str) -> Iterator[dict[str, Stored]]:
        """As ``stored``, of all items that were written or clicked, page by page."""
        with self._read() as connection:
            last = ""
            while True:
                # each side is cut by itself, or every page would go through all of both
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
                yield self._stored(connection, model, names)
                last = names[-1]

    def _stored(
        self, connection: sa.Connection, model: str, names: Sequence[str]
    ) -> dict[str, Stored]:
        rows = {
            row.item: _item(row)
            for row in _chunked(connection, sa.select(items), items.c.item, names)
        }
        query = sa.select(readings).where(readings.c.model == model)
        read = {row.item: row for row in _chunked(connection, query, readings.c.item, names)}
        users: dict[str, set[str]] = {name: set() for name in names}
        query = sa.select(events.c.item, events.c.user).distinct()
        for row in _chunked(connection, query, events.c.item, names):
            users[row.item].add(row.user)
        found = {}
        for name in names:
            item, reading = rows.get(name), read.get(name)
            valid = reading is not None and item is not None and reading.content == item.content
            arrays = reading.arrays if reading is not None and valid else None
            found[name] = Stored(item, arrays, frozenset(users[name]))
        return found

    def latest(self) -> int:
        """Number of the last change; 0 before the first."""
        with self._read() as connection:
            query = sa.select(sa.func.coalesce(sa.func.max(changes.c.number), 0))
            return connection.execute(query).scalar_one()

    def changes(self, after: int, limit: int = _PAGE) -> list[Change]:
        """Changes behind number ``after``, in order.

        Raises:
            LostError: some of them are no longer kept, or the store is an older copy.
        """
        with self._read() as connection:
            query = sa.select(changes).where(changes.c.number > after)
            rows = connection.execute(query.order_by(changes.c.number).limit(limit)).all()
            ends = (sa.func.min(changes.c.number), sa.func.max(changes.c.number))
            first, last = (connection.execute(sa.select(end)).scalar() for end in ends)
        if first is not None and first > after + 1:
            raise LostError(f"changes {after + 1} to {first - 1} are no longer kept")
        if (last or 0) < after:
            raise LostError(f"the store ends with change {last or 0}, change {after} was seen")
        return [Change(row.number, row.kind, row.name) for row in rows]

    def forget_changes(self, kept: int = _KEPT) -> None:
        """Drop all but the last changes; an index that was started later does not need them."""
        with self._write() as connection:
            last = connection.execute(sa.select(sa.func.max(changes.c.number))).scalar() or 0
            connection.execute(changes.delete().where(changes.c.number <= last - kept))

    def announce(self, kind: str, name: str) -> None:
        """Tell all that follow the changes, of a model to swap in for example."""
        with self._write() as connection:
            self._changed(connection, kind, [name])

    def wait(self, seconds: float) -> None:
        """Return at the next write by this process, in PostgreSQL by any, or after a while."""
        if not self.is_postgres:
            self._news.wait(seconds)  # at once if there was one since the last time
            self._news.clear()
            return
        try:
            if self._listening is None:
                import psycopg

                place = self._engine.url.set(drivername="postgresql")
                self._listening = psycopg.connect(
                    place.render_as_string(hide_password=False), autocommit=True, connect_timeout=5
                )
                self._listening.execute(f"LISTEN {_CHANNEL}")
                return  # what came before the first LISTEN is read now
            for _ in self._listening.notifies(timeout=seconds, stop_after=1):
                pass
        except Exception:  # noqa: BLE001 - the server is gone; the next call tries anew
            self._listening = None
            time.sleep(min(seconds, 0.5))

    def leads(self) -> bool:
        """Whether this process is the one that reads: among replicas one is, until it is gone.

        PostgreSQL lets go of the lock when the connection ends, however it ends; no clock is asked.
        """
        if not self.is_postgres:
            return True
        if self._leading is not None:
            try:
                self._leading.exec_driver_sql("SELECT 1")
                return True
            except SQLAlchemyError:
                self._leading.invalidate()
                self._leading = None
        try:
            candidate = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if candidate.execute(sa.select(sa.func.pg_try_advisory_lock(_LEADER))).scalar():
                self._leading = candidate
                return True
            candidate.close()
        except SQLAlchemyError as error:
            raise StoreError(f"the store cannot be read: {_short(error)}") from error
        return False

    # -- keys --

    def add_key(self, key: Key) -> None:
        """Keep a new key."""
        with self._write() as connection:
            connection.execute(keys.insert().values({**vars(key), "made": datetime.now(UTC)}))
            self._changed(connection, "key", [key.key])

    def keys(self) -> list[Key]:
        """All keys, revoked ones too, oldest first."""
        with self._read() as connection:
            rows = connection.execute(sa.select(keys).order_by(keys.c.made, keys.c.key)).all()
        return [Key(row.key, row.name, row.scope, row.secret, row.revoked) for row in rows]

    def revoke(self, key: str) -> bool:
        """Let a key open nothing any more; false if there is no such key."""
        with self._write() as connection:
            found = connection.execute(keys.update().where(keys.c.key == key).values(revoked=True))
            self._changed(connection, "key", [key] if found.rowcount else [])
        return bool(found.rowcount)


def place_of(url: str | sa.URL) -> sa.URL:
    """Where a store is, with the driver that reaches it.

    Raises:
        ConfigError: another kind of database, or a URL that is none.
    """
    try:
        place = sa.make_url(url)
    except ArgumentError as error:
        raise ConfigError(f"store: {error}") from None
    kinds = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}
    kind = place.get_backend_name()
    if kind not in kinds:
        raise ConfigError(f"store must be sqlite:///... or postgresql://..., got {kind}://...")
    return place.set(drivername=kinds[kind])


def _durable(connection: Any, _: Any) -> None:
    """SQLite: many readers beside the writer; a commit is on the disk when it returns."""
    connection.isolation_level = None  # SQLAlchemy's own BEGIN, see _begin
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: sa.Connection) -> None:
    """SQLite: a writer takes its place in line at once; upgrading a read later could fail."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _chunked(
    connection: sa.Connection, query: Any, column: Any, names: Sequence[str]
) -> Iterator[Any]:
    """Rows whose column is one of the names; databases limit the length of such a list."""
    for start in range(0, len(names), 500):
        yield from connection.execute(query.where(column.in_(names[start : start + 500])))


def _item(row: Any) -> Item:
    return Item(row.item, row.columns, row.text, row.content, row.owner, row.deleted, row.error)


def _short(error: SQLAlchemyError) -> str:
    return (str(getattr(error, "orig", None) or error).strip() or repr(error)).splitlines()[0]
