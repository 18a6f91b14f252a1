"""Disk cache of text vectors, keyed by the hash of the text: one SQLite file per LM setting.

SQLite locks between processes and survives a kill. Every row has a checksum over key and vector, so
a damaged row counts as missing and is computed again; a damaged file is moved aside. A cache that
cannot be used (read-only folder, full disk) costs time but does not change the result.
"""

import logging
import os
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

logger = logging.getLogger(__name__)

T = TypeVar("T")

_WAIT = 60.0  # seconds to wait for another writer
_LOOKUP = 500  # keys per query; the lowest limit of SQLite versions is 999


def cache_folder() -> Path:
    """Return the environment variable WARMSTART_CACHE, else the user's cache folder."""
    chosen = os.environ.get("WARMSTART_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "warmstart"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "warmstart"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "warmstart"


class Cache(Protocol):
    """What an encoder needs of a cache."""

    def read(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """Return the vectors of the keys that are present."""
        ...

    def write(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Store float32 vectors of shape (keys, width)."""
        ...


class VectorCache:
    """Maps the hash of a text to a float32 vector.

    Args:
        file: the SQLite file; created on first use.
        width: length of a vector.
    """

    def __init__(self, file: Path, width: int) -> None:
        self.file = file
        self.width = width

    def read(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """Return the vectors of the keys that are present and intact."""
        found: dict[bytes, np.ndarray] = {}
        damaged = 0
        for key, blob, check in self._guarded(lambda db: list(_rows(db, keys)), []):
            if len(blob) == 4 * self.width and zlib.crc32(key + blob) == check:
                found[key] = np.frombuffer(blob, "<f4")
            else:
                damaged += 1
        if damaged:
            logger.warning("%s: %d damaged vector(s) will be computed again", self.file, damaged)
        return found

    def write(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Store float32 vectors of shape (keys, width) in one transaction."""
        rows = []
        for key, vector in zip(keys, vectors, strict=True):
            blob = np.ascontiguousarray(vector, "<f4").tobytes()
            rows.append((key, blob, zlib.crc32(key + blob)))

        def insert(db: sqlite3.Connection) -> None:
            with db:
                db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)

        self._guarded(insert, None)

    def _guarded(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Run ``work``; if the cache fails, log the reason and return ``otherwise``."""
        try:
            with self._connection() as db:
                return work(db)
        except (OSError, sqlite3.OperationalError) as error:
            logger.warning("embedding cache %s cannot be used now: %s", self.file, error)
        except sqlite3.DatabaseError as error:
            self._move_aside(error)
        return otherwise

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.file, timeout=_WAIT)) as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS vectors "
                "(text_hash BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL)"
            )
            yield db

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self.file.with_name(self.file.name + ".corrupt")
        logger.warning(
            "embedding cache %s is damaged (%s); moved to %s", self.file, error, aside.name
        )
        # A rollback journal belongs to the damaged file and must not be replayed into the next.
        self.file.with_name(self.file.name + "-journal").unlink(missing_ok=True)
        if self.file.exists():
            os.replace(self.file, aside)


def _rows(db: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes, int]]:
    for start in range(0, len(keys), _LOOKUP):
        some = keys[start : start + _LOOKUP]
        marks = ",".join("?" * len(some))
        yield from db.execute(
            f"SELECT text_hash, vector, checksum FROM vectors WHERE text_hash IN ({marks})", some
        )
