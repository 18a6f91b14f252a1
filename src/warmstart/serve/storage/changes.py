"""The log of changes, which indexes follow, and the notification that there are new ones."""

import sqlite3
import time
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from warmstart.serve.storage.database import Database, StoreError
from warmstart.serve.storage.records import Change
from warmstart.serve.storage.tables import changes

PAGE = 2000
_CHANNEL = "warmstart"
_LOOK_SECONDS = 0.01  # between two looks at what other processes wrote to an SQLite file
_KEPT = 1_000_000  # a follower that is further behind rebuilds its index


class ChangesLostError(StoreError):
    """Changes that a follower has not seen are no longer stored; its index must be rebuilt."""


class ChangeLog:
    """One row for each changed thing, numbered in commit order.

    Otherwise a follower that has seen number 8 could miss number 7, committed later. No decision
    depends on a clock.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listening: Any = None
        self._looking: sqlite3.Connection | None = None
        self._version = -1

    def append(self, connection: sa.Connection, kind: str, names: Iterable[str]) -> None:
        """Append changes in a write transaction."""
        rows = [{"kind": kind, "name": name} for name in names]
        if rows:
            connection.execute(changes.insert(), rows)
            self.notify(connection)

    def notify(self, connection: sa.Connection) -> None:
        """Wake the followers of all processes at the commit of a write transaction."""
        if self._database.is_postgres:
            connection.execute(sa.text(f"NOTIFY {_CHANNEL}"))

    def latest(self) -> int:
        """Number of the last change; 0 if there is none."""
        with self._database.read() as connection:
            query = sa.select(sa.func.coalesce(sa.func.max(changes.c.number), 0))
            return connection.execute(query).scalar_one()

    def after(self, number: int, limit: int = PAGE) -> list[Change]:
        """The first ``limit`` changes after a number, in order.

        Raises:
            ChangesLostError: some of them are no longer stored, or the store is an older copy.
        """
        with self._database.read() as connection:
            query = sa.select(changes).where(changes.c.number > number)
            rows = connection.execute(query.order_by(changes.c.number).limit(limit)).all()
            ends = (sa.func.min(changes.c.number), sa.func.max(changes.c.number))
            first, last = (connection.execute(sa.select(end)).scalar() for end in ends)
        if first is not None and first > number + 1:
            raise ChangesLostError(f"changes {number + 1} to {first - 1} are no longer stored")
        if (last or 0) < number:
            raise ChangesLostError(
                f"the store ends at change {last or 0}, but change {number} was already seen"
            )
        return [Change(row.number, row.kind, row.name) for row in rows]

    def trim(self, kept: int = _KEPT) -> None:
        """Delete all but the last ``kept`` changes; an index built later does not need them."""
        with self._database.write() as connection:
            last = connection.execute(sa.select(sa.func.max(changes.c.number))).scalar() or 0
            connection.execute(changes.delete().where(changes.c.number <= last - kept))

    def wait(self, seconds: float) -> None:
        """Block until any process writes, at most ``seconds``."""
        if not self._database.is_postgres:
            end = time.monotonic() + seconds
            # A write of this process since the last call ends the wait at once.
            while not self._database.written.wait(_LOOK_SECONDS):
                if self._others_wrote() or time.monotonic() > end:
                    break
            self._database.written.clear()
            return
        try:
            if self._listening is None:
                import psycopg

                address = self._database.url.set(drivername="postgresql")
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

    def _others_wrote(self) -> bool:
        """Whether another connection to the SQLite file has written since the last call."""
        try:
            if self._looking is None:
                path = self._database.url.database or ""
                self._looking = sqlite3.connect(path, check_same_thread=False)
            version: int = self._looking.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:
            return True  # whoever reads the changes then is told why
        changed, self._version = version != self._version, version
        return changed

    def close(self) -> None:
        """Close the connections that wait for notifications."""
        for connection in (self._listening, self._looking):
            if connection is not None:
                connection.close()
