"""The lease of the replica that runs the encoder.

A replica leads while it holds an unexpired lease. One that is frozen, or cut off from the store,
cannot renew it, and loses it to another one. Two replicas may lead for a moment (a leader wakes up
in the middle of a batch); they then encode the same items twice, with the same result.

Only the clock of the database counts, so the clocks of the replicas may differ.
"""

import time
import uuid

import sqlalchemy as sa

from warmstart.serve.storage.database import Database
from warmstart.serve.storage.tables import leases

LEASE_SECONDS = 6.0
_RENEW_SECONDS = 2.0  # a lease younger than this is not renewed yet
_ENCODER = "encoder"


class Leadership:
    """Takes and renews the lease for one process."""

    def __init__(self, database: Database) -> None:
        self._database, self._holder = database, uuid.uuid4().hex
        self._renewed = float("-inf")

    def acquire(self) -> bool:
        """Take or renew the lease; return whether this process leads.

        Raises:
            StoreError: the store cannot be written.
        """
        if time.monotonic() - self._renewed < _RENEW_SECONDS:
            return True
        asked, database = time.monotonic(), self._database
        now: sa.ColumnElement[float] = sa.literal_column(
            "EXTRACT(EPOCH FROM clock_timestamp())"
            if database.is_postgres
            else "(julianday('now') - 2440587.5) * 86400.0",
            sa.Double,
        )
        # A lease that ends later than any can was made before the clock was set back.
        is_running = leases.c.expires.between(now, now + LEASE_SECONDS)
        is_mine = leases.c.holder == self._holder
        if self._renewed == float("-inf") and self._exists(is_running & ~is_mine):
            return False  # another process leads; known without a write
        values = {"name": _ENCODER, "holder": self._holder, "expires": now + LEASE_SECONDS}
        statement = database.insert(leases).values(values)
        statement = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"holder": statement.excluded.holder, "expires": statement.excluded.expires},
            where=is_mine | ~is_running,
        ).returning(leases.c.holder)
        with database.write() as connection:
            leads = connection.execute(statement).first() is not None
        self._renewed = asked if leads else float("-inf")
        return leads

    def _exists(self, condition: sa.ColumnElement[bool]) -> bool:
        with self._database.read() as connection:
            return connection.execute(sa.select(leases.c.name).where(condition)).first() is not None

    def release(self) -> None:
        """Give the lease up, so that another replica need not wait for its end."""
        if self._renewed > float("-inf"):
            self._renewed = float("-inf")
            with self._database.write() as connection:
                connection.execute(leases.delete().where(leases.c.holder == self._holder))
