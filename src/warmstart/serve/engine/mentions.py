"""Recognises the items of an index by their titles, also those that the fit did not know."""

import threading
import time
from typing import TYPE_CHECKING

from warmstart.conversation.title_mentions import TitleMentions

if TYPE_CHECKING:
    from warmstart.serve.engine.index import Index

_SHARE = 0.05  # of the time that making the search anew may take while items are written


class Mentions:
    """Finds the items that a text names. Thread-safe.

    One search over the titles of all items, so that the longest title wins. After items were
    written, it is made anew by the next conversation, but so that this takes at most a twentieth of
    the time; until then, a new item is not recognised.

    Args:
        index: the index that has the items; it reports each written item to ``changed``.
    """

    def __init__(self, index: "Index") -> None:
        self._index, self._lock = index, threading.Lock()
        self._changed: dict[int, None] = {}
        self._titles: dict[int, str] = {}
        self._slots: list[int] = []
        self._search: TitleMentions | None = None
        self._made, self._seconds = 0.0, 0.0

    def changed(self, slot: int) -> None:
        """Look up the title of an item again: it was written or deleted."""
        self._changed[slot] = None

    def find(self, text: str) -> list[int]:
        """The slots of the items that a text names, in the order of their first mention."""
        with self._lock:
            search, slots = self._current()
        (found,) = search.find([text])
        return [slots[row] for row in found.tolist()]

    def prepare(self) -> None:
        """Make the search, so that no conversation waits for it."""
        with self._lock:
            self._current()

    def _current(self) -> tuple[TitleMentions, list[int]]:
        """The search, and the slot of each of its titles."""
        search, started = self._search, time.monotonic()
        if search is None:
            self._titles = dict.fromkeys(self._index.named_slots(), "")
            for slot in self._titles:
                self._changed[slot] = None
        if search is None or (self._changed and started > self._made + self._seconds / _SHARE):
            for slot in list(self._changed):
                del self._changed[slot]  # first: it may change again meanwhile
                self._titles[slot] = self._index.title(slot)
            self._titles = {slot: title for slot, title in self._titles.items() if title}
            search = self._search = TitleMentions(list(self._titles.values()))
            self._slots = list(self._titles)
            self._made = time.monotonic()
            self._seconds = self._made - started
        return search, self._slots
