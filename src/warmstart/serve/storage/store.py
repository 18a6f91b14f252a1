"""The durable store: acknowledged writes are committed here and survive a crash of the process.

SQLite by default, PostgreSQL for several machines, through SQLAlchemy; ``migrations/`` upgrades an
older store to the current schema. Every write of an item or an encoding appends to ``changes`` in
the same transaction, and interactions have numbers of their own; each index follows both.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

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
from warmstart.serve.storage.tables import encodings, items


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
        """Like ``item_states``, for all items that were written, page by page."""
        last = ""
        while True:  # a transaction for each page: one for all could last too long
            with self.database.read() as connection:
                query = sa.select(items.c.item).where(items.c.item > last).order_by(items.c.item)
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
    found = {}
    for name in names:
        item, encoding = rows.get(name), encoded.get(name)
        valid = encoding is not None and item is not None and encoding.content == item.content
        found[name] = ItemState(item, encoding.arrays if encoding is not None and valid else None)
    return found
