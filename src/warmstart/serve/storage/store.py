"""The durable store: acknowledged writes are committed here and survive a crash of the process.

SQLite by default, PostgreSQL for several machines, through SQLAlchemy; ``migrations/`` upgrades an
older store to the current schema. Every write of an item, an encoding or an interaction appends to
``changes`` in the same transaction, and each index follows this log.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC

import sqlalchemy as sa

from warmstart.serve.storage.changes import PAGE, ChangeLog
from warmstart.serve.storage.database import Database, StoreError, chunked
from warmstart.serve.storage.encoding_store import EncodingStore
from warmstart.serve.storage.event_store import EventStore
from warmstart.serve.storage.item_store import ItemStore, as_item
from warmstart.serve.storage.key_store import KeyStore
from warmstart.serve.storage.leadership import Leadership
from warmstart.serve.storage.model_store import ModelStore
from warmstart.serve.storage.records import ItemState
from warmstart.serve.storage.tables import encodings, events, items


class Store:
    """Items, encodings, interactions, keys, models and changes of one database.

    Safe for several threads and processes.

    Args:
        url: SQLAlchemy URL, ``sqlite:///file`` or ``postgresql://...``.

    Raises:
        ConfigError: another kind of database, a malformed URL, or a store of a newer warmstart.
        StoreError: the store cannot be reached.
    """

    def __init__(self, url: str | sa.URL) -> None:
        self.database = Database(url)
        self.changes = ChangeLog(self.database)
        self.items = ItemStore(self.database, self.changes)
        self.encodings = EncodingStore(self.database, self.changes)
        self.events = EventStore(self.database, self.changes)
        self.keys = KeyStore(self.database, self.changes)
        self.models = ModelStore(self.database, self.changes)
        self.leadership = Leadership(self.database)

    @property
    def is_postgres(self) -> bool:
        """Whether the database is PostgreSQL."""
        return self.database.is_postgres

    def close(self) -> None:
        """Give up the leadership, if it is held, and close all connections."""
        with suppress(StoreError):  # else the lease ends by itself
            self.leadership.release()
        self.changes.close()
        self.database.close()

    # -- for an index --

    def item_states(self, model: str, names: Sequence[str]) -> dict[str, ItemState]:
        """States of the given items, by name, with their encodings by one model."""
        with self.database.read() as connection:
            return _item_states(connection, model, names)

    def all_item_states(self, model: str) -> Iterator[dict[str, ItemState]]:
        """Like ``item_states``, for all items that were written or clicked, page by page."""
        last = ""
        while True:  # a transaction for each page: one for all could last too long
            with self.database.read() as connection:
                # A limit per table: otherwise every page would scan both tables.
                pages = [
                    sa.select(table.c.item)
                    .where(table.c.item > last)
                    .distinct()
                    .order_by(table.c.item)
                    .limit(PAGE)
                    .subquery()
                    for table in (items, events)
                ]
                query = sa.union(*(sa.select(page.c.item) for page in pages)).order_by("item")
                names = list(connection.execute(query.limit(PAGE)).scalars())
                if not names:
                    return
                states = _item_states(connection, model, names)
            yield states
            last = names[-1]


def _item_states(
    connection: sa.Connection, model: str, names: Sequence[str]
) -> dict[str, ItemState]:
    rows = {
        row.item: as_item(row) for row in chunked(connection, sa.select(items), items.c.item, names)
    }
    query = sa.select(encodings).where(encodings.c.model == model)
    encoded = {row.item: row for row in chunked(connection, query, encodings.c.item, names)}
    users: dict[str, dict[str, float]] = {name: {} for name in names}
    last = sa.func.max(events.c.happened).label("last")
    query = sa.select(events.c.item, events.c.user, last)
    query = query.group_by(events.c.item, events.c.user)
    for row in chunked(connection, query, events.c.item, names):
        time = row.last if row.last.tzinfo else row.last.replace(tzinfo=UTC)  # as SQLite has it
        users[row.item][row.user] = time.timestamp()
    found = {}
    for name in names:
        item, encoding = rows.get(name), encoded.get(name)
        valid = encoding is not None and item is not None and encoding.content == item.content
        arrays = encoding.arrays if encoding is not None and valid else None
        found[name] = ItemState(item, arrays, users[name])
    return found
