"""Items as written, each with the key that owns it."""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from warmstart.errors import WarmstartError
from warmstart.serve.storage.changes import ChangeLog
from warmstart.serve.storage.database import Database, chunked
from warmstart.serve.storage.records import Item, WriteOutcome
from warmstart.serve.storage.tables import encodings, events, items

_PAGE = 20_000


class NotAllowedError(WarmstartError):
    """An item may not be changed with this key; nothing was written.

    Args:
        item: the item.
        reason: why not, to be put after the name of the item.
    """

    def __init__(self, item: str, reason: str) -> None:
        super().__init__(f"item {item!r} {reason}")
        self.item, self.reason = item, reason


class ItemStore:
    """The items of a store."""

    def __init__(self, database: Database, changes: ChangeLog) -> None:
        self._database, self._changes = database, changes

    def write(
        self, written: Sequence[Item], *, own_only: bool = False, reserved: Collection[str] = ()
    ) -> list[WriteOutcome]:
        """Insert or update items; an item with the same content is left as it is.

        An item keeps the owner that wrote it first.

        Args:
            written: the items; each ``owner`` is the key that writes it.
            own_only: refuse to change items of another owner.
            reserved: items that may not be written unless they were written before.

        Returns:
            The outcome of each item, in order.

        Raises:
            NotAllowedError: an item has another owner, or is reserved.
            StoreError: nothing was written.
        """
        found: list[WriteOutcome] = []
        with self._database.write() as connection:
            names = [item.item for item in written]
            columns = (items.c.item, items.c.content, items.c.owner, items.c.deleted, items.c.error)
            query = sa.select(*columns)
            old = {row.item: row for row in chunked(connection, query, items.c.item, names)}
            fresh: dict[str, Item] = {}
            for item in written:
                row = old.get(item.item)
                _check_owner(item.item, row, item.owner, own_only=own_only, reserved=reserved)
                known = fresh.get(item.item)
                content = row.content if row and not row.deleted and not row.error else None
                if (known.content if known else content) == item.content:
                    found.append("unchanged")
                    continue
                found.append("updated" if known or content is not None else "created")
                fresh[item.item] = item
            for item in fresh.values():
                values = {**vars(item), "written": datetime.now(UTC)}
                statement = self._database.insert(items).values(values)
                kept = {"item", "owner"}
                others = {name: value for name, value in values.items() if name not in kept}
                connection.execute(
                    statement.on_conflict_do_update(index_elements=["item"], set_=others)
                )
            self._changes.append(connection, "item", fresh)
        return found

    def delete(
        self, name: str, owner: str, *, own_only: bool = False, reserved: Collection[str] = ()
    ) -> bool:
        """Delete an item: it is no longer recommended, and its columns and text are erased.

        Its id and its owner are kept, so that nobody else takes its place.

        Args:
            name: the item.
            owner: key that deletes it.
            own_only: refuse to delete an item of another owner.
            reserved: items that may not be deleted unless they were written before.

        Returns:
            Whether the item was written before.

        Raises:
            NotAllowedError: the item has another owner, or is reserved.
            StoreError: nothing was written.
        """
        with self._database.write() as connection:
            query = sa.select(items.c.owner).where(items.c.item == name)
            row = connection.execute(query).first()
            _check_owner(name, row, owner, own_only=own_only, reserved=reserved)
            erased = {"columns": {}, "text": "", "content": "", "deleted": True, "error": None}
            values = {"item": name, "owner": owner, "written": datetime.now(UTC), **erased}
            statement = self._database.insert(items).values(values)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["item"], set_={"written": values["written"], **erased}
                )
            )
            connection.execute(encodings.delete().where(encodings.c.item == name))
            self._changes.append(connection, "item", [name])
        return row is not None

    def get(self, name: str) -> Item | None:
        """An item as written; None if it was never written."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(items).where(items.c.item == name)).first()
        return None if row is None else as_item(row)

    def contents(self) -> Iterator[list[tuple[str, str, bool]]]:
        """Pages of all items by name: name, content, and whether it is deleted."""
        last, columns = "", (items.c.item, items.c.content, items.c.deleted)
        while True:  # a transaction for each page: one for all could last too long
            query = sa.select(*columns).where(items.c.item > last).order_by(items.c.item)
            with self._database.read() as connection:
                page = [tuple(row) for row in connection.execute(query.limit(_PAGE))]
            if not page:
                return
            yield page
            last = page[-1][0]

    def among(self, names: Sequence[str]) -> dict[str, Item]:
        """Those of the given items that were ever written, by name."""
        with self._database.read() as connection:
            query = sa.select(items)
            return {
                row.item: as_item(row) for row in chunked(connection, query, items.c.item, names)
            }

    def known(self, names: Sequence[str]) -> set[str]:
        """Those of the given items that were ever written."""
        with self._database.read() as connection:
            query = sa.select(items.c.item)
            return {row.item for row in chunked(connection, query, items.c.item, names)}

    def newest(
        self, limit: int, offset: int = 0, *, owner: str | None = None, search: str = ""
    ) -> list[Item]:
        """Items ordered by their last write, the newest first.

        Args:
            limit: maximum number of items.
            offset: number of newer items to skip.
            owner: only items of this key.
            search: only items whose id or text contains this, in upper or lower case.
        """
        query = sa.select(items).order_by(items.c.written.desc(), items.c.item)
        if owner is not None:
            query = query.where(items.c.owner == owner)
        if search:
            places = (items.c.item, items.c.text)
            query = query.where(sa.or_(*(p.icontains(search, autoescape=True) for p in places)))
        with self._database.read() as connection:
            return [as_item(row) for row in connection.execute(query.limit(limit).offset(offset))]

    def has_ids(self) -> bool:
        """Whether any item or interaction is stored."""
        with self._database.read() as connection:
            queries = [sa.select(table.c.item).limit(1) for table in (items, events)]
            return any(connection.execute(query).first() is not None for query in queries)

    def mark_failed(self, item: Item, message: str) -> None:
        """Mark an item that cannot be encoded, so that the encoder skips it."""
        with self._database.write() as connection:
            same = (items.c.item == item.item) & (items.c.content == item.content)
            connection.execute(items.update().where(same).values(error=message))
            self._changes.append(connection, "item", [item.item])

    def clear_failures(self) -> None:
        """Unmark failed items, so that the encoder retries them: the cause may be gone."""
        failed = items.c.error.is_not(None)
        with self._database.read() as connection:
            if connection.execute(sa.select(items.c.item).where(failed).limit(1)).first() is None:
                return
        with self._database.write() as connection:
            names = list(connection.execute(sa.select(items.c.item).where(failed)).scalars())
            connection.execute(items.update().where(failed).values(error=None))
            self._changes.append(connection, "item", names)


def as_item(row: Any) -> Item:
    """The item of a row of the table."""
    return Item(row.item, row.columns, row.text, row.content, row.owner, row.deleted, row.error)


def _check_owner(
    name: str, row: Any, owner: str, *, own_only: bool, reserved: Collection[str]
) -> None:
    if row is None and name in reserved:
        raise NotAllowedError(
            name, "is in the training data: only a key of scope admin may change it"
        )
    if own_only and row is not None and row.owner != owner:
        raise NotAllowedError(name, "belongs to another key")
