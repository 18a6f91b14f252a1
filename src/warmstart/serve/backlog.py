"""Which items wait for the language model."""

import threading
from collections.abc import Iterable


class Backlog:
    """Names in order of arrival, each once; safe to use from several threads.

    What was taken counts as waiting until it is done, and waits again if it comes in meanwhile.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, None] = {}
        self._taken: dict[str, None] = {}

    def __len__(self) -> int:
        with self._changed:
            return len(self._waiting | self._taken)

    def add(self, names: Iterable[str]) -> None:
        """They wait from now on."""
        with self._changed:
            self._waiting |= dict.fromkeys(names)
            self._changed.notify_all()

    def discard(self, names: Iterable[str]) -> None:
        """They wait no more."""
        with self._changed:
            for name in names:
                self._waiting.pop(name, None)

    def take(self, limit: int, seconds: float) -> list[str]:
        """The first ones; waits so long for one to come, then gives none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, seconds)
            names = list(self._waiting)[:limit]
            for name in names:
                del self._waiting[name]
            self._taken |= dict.fromkeys(names)
        return names

    def done(self, names: Iterable[str]) -> None:
        """They were taken, and are dealt with."""
        with self._changed:
            for name in names:
                self._taken.pop(name, None)

    def back(self, names: Iterable[str]) -> None:
        """They were taken, and are still to do: they come first."""
        with self._changed:
            names = list(names)
            self._waiting = dict.fromkeys(names) | self._waiting
        self.done(names)
