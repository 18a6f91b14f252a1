"""Recorded interactions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from warmstart.errors import WarmstartError
from warmstart.serve.storage.changes import ChangeLog
from warmstart.serve.storage.database import Database, chunked
from warmstart.serve.storage.records import Click, Event
from warmstart.serve.storage.tables import events


class EventConflictError(WarmstartError):
    """An event id was used before for another user or item; nothing was written.

    Args:
        position: position of the first such event.
        event: the event.
    """

    def __init__(self, position: int, event: Event) -> None:
        super().__init__(f"the event id {event.event!r} was used for another user or item")
        self.position, self.event = position, event


class EventStore:
    """The interactions of a store, numbered in commit order; an index follows these numbers.

    An event id is unique among those of one key.
    """

    def __init__(self, database: Database, changes: ChangeLog) -> None:
        self._database, self._changes = database, changes

    def record(self, recorded: Sequence[Event], *, skip_conflicts: bool = False) -> "Recorded":
        """Store interactions; one that is already stored, with the same event id, is ignored.

        Args:
            recorded: the interactions.
            skip_conflicts: leave out events whose id is used for another user or item, instead of
                refusing all.

        Raises:
            EventConflictError: an event id is stored already, or given twice, for another user or
                item.
            StoreError: nothing was written.
        """
        with self._database.write() as connection:
            names = [event.event for event in recorded]
            query = sa.select(events.c.event, events.c.user, events.c.item, events.c.owner)
            seen = {
                (row.owner, row.event): (row.user, row.item)
                for row in chunked(connection, query, events.c.event, names)
            }
            fresh: list[Event] = []
            conflicts: list[int] = []
            for position, event in enumerate(recorded):
                key, content = (event.owner, event.event), (event.user, event.item)
                if key not in seen:
                    seen[key] = content
                    fresh.append(event)
                elif seen[key] != content:
                    conflicts.append(position)
            if conflicts and not skip_conflicts:
                raise EventConflictError(conflicts[0], recorded[conflicts[0]])
            now = datetime.now(UTC)
            rows = [  # a microsecond apart, so that their order is kept
                {**vars(event), "happened": now + timedelta(microseconds=place)}
                for place, event in enumerate(fresh)
            ]
            if rows:
                connection.execute(events.insert(), rows)
                self._changes.notify(connection)
        return Recorded(len(fresh), conflicts)

    def after(self, number: int, limit: int) -> list[Click]:
        """The first ``limit`` interactions after a number, in order."""
        query = sa.select(events.c.number, events.c.user, events.c.item)
        query = query.where(events.c.number > number).order_by(events.c.number).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [Click(row.number, row.user, row.item) for row in rows]

    def latest(self) -> int:
        """Number of the last interaction; 0 if there is none."""
        with self._database.read() as connection:
            query = sa.select(sa.func.coalesce(sa.func.max(events.c.number), 0))
            return connection.execute(query).scalar_one()

    def last_items(self, user: str, limit: int) -> list[str]:
        """The items of the last interactions of a user, the last one last."""
        query = sa.select(events.c.item).where(events.c.user == user)
        query = query.order_by(events.c.number.desc()).limit(limit)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())[::-1]

    def erase(self, user: str) -> int:
        """Delete all interactions of a user for good; return their number."""
        with self._database.write() as connection:
            last = connection.execute(sa.select(sa.func.max(events.c.number))).scalar() or 0
            erased = connection.execute(events.delete().where(events.c.user == user)).rowcount
            # A follower may have seen later interactions of this user already: they stay.
            self._changes.append(connection, "erased", [f"{last}:{user}"] if erased else [])
        return erased


@dataclass(frozen=True)
class Recorded:
    """The number of new interactions, and the positions of those left out as conflicts."""

    new: int
    conflicts: list[int]
