"""The queue of items waiting for the language model."""

import threading
from collections.abc import Iterable


class EncodeQueue:
    """Queue of distinct item names in order of arrival. Thread-safe.

    A taken name counts as waiting until ``done``; if it is added meanwhile, it waits again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, None] = {}
        self._taken: dict[str, None] = {}

    def __len__(self) -> int:
        with self._changed:
            return len(self._waiting | self._taken)

    def add(self, names: Iterable[str]) -> None:
        """Append names; names that are already waiting keep their place."""
        with self._changed:
            self._waiting |= dict.fromkeys(names)
            self._changed.notify_all()

    def discard(self, names: Iterable[str]) -> None:
        """Remove waiting names; taken names are not affected."""
        with self._changed:
            for name in names:
                self._waiting.pop(name, None)

    def take(self, limit: int, seconds: float) -> list[str]:
        """Take the oldest names, at most ``limit``; block up to ``seconds`` if none wait."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, seconds)
            names = list(self._waiting)[:limit]
            for name in names:
                del self._waiting[name]
            self._taken |= dict.fromkeys(names)
        return names

    def done(self, names: Iterable[str]) -> None:
        """Mark taken names as finished."""
        with self._changed:
            for name in names:
                self._taken.pop(name, None)

    def put_back(self, names: Iterable[str]) -> None:
        """Return unfinished taken names to the front of the queue."""
        with self._changed:
            names = list(names)
            self._waiting = dict.fromkeys(names) | self._waiting
        self.done(names)
