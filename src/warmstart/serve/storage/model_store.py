"""Models that were swapped in, so that a restart serves the last one again."""

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from warmstart.serve.storage.changes import ChangeLog
from warmstart.serve.storage.database import Database
from warmstart.serve.storage.tables import models


@dataclass(frozen=True)
class AnnouncedModel:
    """A model to swap in.

    Attributes:
        number: counts the announcements.
        folder: of the artefact, relative to ``models_folder``.
        started_with: hash of the model that the command line named then. A service that is started
            with another one serves that one: it is newer than the announcement.
    """

    number: int
    folder: str
    started_with: str


class ModelStore:
    """The announced models of a store."""

    def __init__(self, database: Database, changes: ChangeLog) -> None:
        self._database, self._changes = database, changes

    def announce(self, folder: str, started_with: str) -> None:
        """Announce a model to every replica."""
        row = {"folder": folder, "started_with": started_with, "announced": datetime.now(UTC)}
        with self._database.write() as connection:
            connection.execute(models.insert().values(row))
            self._changes.notify(connection)

    def latest(self) -> AnnouncedModel | None:
        """The model that was announced last."""
        query = sa.select(models).order_by(models.c.number.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else AnnouncedModel(row.number, row.folder, row.started_with)

    def in_force(self, started_with: str) -> AnnouncedModel | None:
        """The model that was announced last, unless the service was started with another one."""
        latest = self.latest()
        return latest if latest is not None and latest.started_with == started_with else None
