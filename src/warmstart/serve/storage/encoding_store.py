"""Encodings of items: what each model's language model made of their texts."""

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from warmstart.serve.storage.changes import ChangeLog
from warmstart.serve.storage.database import Database, chunked
from warmstart.serve.storage.item_store import as_item
from warmstart.serve.storage.records import Item
from warmstart.serve.storage.tables import encodings, items


class EncodingStore:
    """The encodings of a store; one is invalid once its item has new content."""

    def __init__(self, database: Database, changes: ChangeLog) -> None:
        self._database, self._changes = database, changes

    def missing(self, model: str) -> list[str]:
        """Names of items whose current text the model has not encoded, oldest first."""
        with self._database.read() as connection:
            return list(connection.execute(_missing(model, items.c.item)).scalars())

    def missing_among(self, model: str, names: Sequence[str]) -> list[Item]:
        """Like ``missing``, but the items themselves, and only among the given names."""
        with self._database.read() as connection:
            query = _missing(model, items)
            return [as_item(row) for row in chunked(connection, query, items.c.item, names)]

    def save(self, model: str, found: Iterable[tuple[Item, bytes]]) -> None:
        """Store packed encodings."""
        with self._database.write() as connection:
            names = []
            for item, arrays in found:
                row = {
                    "item": item.item,
                    "model": model,
                    "content": item.content,
                    "arrays": arrays,
                }
                statement = self._database.insert(encodings).values(row)
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["item", "model"],
                        set_={"content": item.content, "arrays": arrays},
                    )
                )
                names.append(item.item)
            self._changes.append(connection, "item", names)

    def delete(self, model: str, names: Sequence[str]) -> None:
        """Delete a model's encodings of some items, so that they are computed again."""
        with self._database.write() as connection:
            mine = encodings.delete().where(encodings.c.model == model)
            for name in names:
                connection.execute(mine.where(encodings.c.item == name))
            self._changes.append(connection, "item", names)

    def prune(self, kept: Iterable[str]) -> int:
        """Delete the encodings by all but the given models; return their number."""
        with self._database.write() as connection:
            other = encodings.delete().where(encodings.c.model.not_in(list(kept)))
            return connection.execute(other).rowcount


def _missing(model: str, columns: Any) -> sa.Select[Any]:
    same = (encodings.c.item == items.c.item) & (encodings.c.model == model)
    return (
        sa.select(columns)
        .select_from(items.outerjoin(encodings, same))
        .where(~items.c.deleted, items.c.error.is_(None), items.c.content != "")
        .where(encodings.c.content.is_distinct_from(items.c.content))
        .order_by(items.c.written, items.c.item)
    )
