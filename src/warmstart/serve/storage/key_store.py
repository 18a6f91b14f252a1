"""API keys, hashed."""

from datetime import UTC, datetime

import sqlalchemy as sa

from warmstart.serve.storage.changes import ChangeLog
from warmstart.serve.storage.database import Database
from warmstart.serve.storage.records import Key
from warmstart.serve.storage.tables import keys


class KeyStore:
    """The keys of a store."""

    def __init__(self, database: Database, changes: ChangeLog) -> None:
        self._database, self._changes = database, changes

    def add(self, key: Key) -> None:
        """Store a new key."""
        with self._database.write() as connection:
            connection.execute(keys.insert().values({**vars(key), "made": datetime.now(UTC)}))
            self._changes.notify(connection)

    def all(self) -> list[Key]:
        """All keys, including revoked ones, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(keys).order_by(keys.c.made, keys.c.key)).all()
        return [Key(row.key, row.name, row.scope, row.secret, row.revoked) for row in rows]

    def version(self) -> tuple[int, int]:
        """A value that differs after every change of the keys: how many there are, and revoked.

        Keys are never deleted, and a revocation is never undone.
        """
        with self._database.read() as connection:
            revoked = sa.func.coalesce(sa.func.sum(sa.cast(keys.c.revoked, sa.Integer)), 0)
            row = connection.execute(sa.select(sa.func.count(), revoked).select_from(keys)).one()
        return int(row[0]), int(row[1])

    def revoke(self, key: str) -> bool:
        """Revoke a key; return whether it exists."""
        with self._database.write() as connection:
            found = connection.execute(keys.update().where(keys.c.key == key).values(revoked=True))
            self._changes.notify(connection)
        return bool(found.rowcount)
