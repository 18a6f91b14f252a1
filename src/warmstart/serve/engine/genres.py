"""The genres of the items of an index, for lists under a control.

Every item has the number of a set of genres; very many items share few sets. The sets are read by
the first list under a control, and kept up to date from then on: a service that is never asked for
such a list pays nothing.
"""

import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from warmstart.controlled_lists import check_wish, genre_column
from warmstart.data.attributes import Attribute
from warmstart.data.control import Control
from warmstart.data.readers.item_records import catalogue_of_records
from warmstart.errors import DataError

if TYPE_CHECKING:
    from warmstart.serve.engine.index import Index

Genres = tuple[str, ...]
"""The different genres of an item: the first one of its column, then the others in order."""

_ITEMS_AT_ONCE = 65536
_MAX_CHANGED = 4096  # items, before they are read although no list has asked
_BYTES_OF_A_SET, _BYTES_OF_A_GENRE = 250, 100


@dataclass(frozen=True)
class GenresOf:
    """The genres of some items.

    Attributes:
        numbers: the set of each item, a position in ``sets``, int64, shape (items,).
        sets: the different sets; the empty one for items without genres.
    """

    numbers: np.ndarray
    sets: list[Genres]

    def take(self, at: np.ndarray) -> "GenresOf":
        """Select items by position or mask."""
        return GenresOf(self.numbers[at], self.sets)

    def counts(self) -> Counter[str]:
        """Number of items of each genre."""
        found: Counter[str] = Counter()
        for number in self.numbers.tolist():
            found.update(self.sets[number])
        return found


class ItemGenres:
    """The genres of all items of an index. Thread-safe.

    Args:
        index: the index; it reports each written or deleted item to ``changed``.
    """

    def __init__(self, index: "Index") -> None:
        self._index, self._lock = index, threading.Lock()
        self._changed: dict[int, None] | None = None  # None until a list asks
        self._set_of = np.zeros(0, np.int32)  # by slot
        self._sets: list[Genres] = [()]
        self._number_of: dict[Genres, int] = {(): 0}
        self._uses = [1]  # items with each set; the empty set is never freed
        self._free: list[int] = []  # numbers of sets that no item has any more
        self._items_with: Counter[str] = Counter()
        self._n_genres = 0  # of all sets together

    def changed(self, slot: int) -> None:
        """Look up the genres of an item again: it was written or deleted."""
        if self._changed is None:
            return
        self._changed[slot] = None
        if len(self._changed) > _MAX_CHANGED and self._lock.acquire(blocking=False):
            try:
                self._follow()
            finally:
                self._lock.release()

    def check(self, control: Control) -> None:
        """Check that the genres that a control asks for exist.

        Raises:
            ConfigError: a genre is unknown, or there are fewer genres than asked for.
            DataError: the items have no column of genres.
        """
        column = genre_column(self._index.model.fitted.catalogue)
        with self._lock:
            self._follow()
            check_wish(control, column, self._items_with)

    def of(self, slots: np.ndarray) -> GenresOf:
        """The genres of some items, by their slots; the items have a column of genres."""
        with self._lock:
            self._follow()
            numbers, inside = np.zeros(len(slots), np.int32), slots < len(self._set_of)
            numbers[inside] = self._set_of[slots[inside]]
            (used,) = np.nonzero(np.bincount(numbers, minlength=len(self._sets)))
            places = np.zeros(len(self._sets), np.int64)
            places[used] = np.arange(len(used))
            return GenresOf(places[numbers], [self._sets[number] for number in used.tolist()])

    @property
    def nbytes(self) -> int:
        """Memory in bytes, about."""
        sets = len(self._sets) * _BYTES_OF_A_SET + self._n_genres * _BYTES_OF_A_GENRE
        return self._set_of.nbytes + sets

    # -- with the lock --

    def _follow(self) -> None:
        if self._changed is None:
            changed = self._changed = {}  # first: items may change from now on
            self._read_trained()
            changed |= dict.fromkeys(self._index.written_slots())
        slots = list(self._changed)
        for start in range(0, len(slots), _ITEMS_AT_ONCE):
            some = slots[start : start + _ITEMS_AT_ONCE]
            for slot in some:
                del self._changed[slot]  # first: it may change again meanwhile
            self._read(some)

    def _read_trained(self) -> None:
        catalogue = self._index.model.fitted.catalogue
        attribute = catalogue.attribute(genre_column(catalogue))
        for slot, genres in enumerate(_genres_of(attribute, np.arange(len(catalogue)))):
            self._set(slot, genres)

    def _read(self, slots: Sequence[int]) -> None:
        catalogue = self._index.model.fitted.catalogue
        name, written = genre_column(catalogue), {}
        for slot in slots:
            columns = self._index.written_columns(slot)
            if columns is not None:
                written[slot] = orjson.dumps(columns.get(name))
            elif self._index.is_trained_slot(slot):
                (genres,) = _genres_of(catalogue.attribute(name), np.array([slot]))
                self._set(slot, genres)
            else:
                self._set(slot, ())
        different = [*dict.fromkeys(written.values())]  # many items have the same genres
        read = self._genres_of_cells([orjson.loads(cell) for cell in different])
        genres_in = dict(zip(different, read, strict=True))
        for slot, cell in written.items():
            self._set(slot, genres_in[cell])

    def _genres_of_cells(self, cells: Sequence[Any]) -> list[Genres]:
        """The genres in cells of written items, read as ``Recommender.add_items`` reads them."""
        catalogue = self._index.model.fitted.catalogue
        name = genre_column(catalogue)
        like = replace(catalogue, columns=catalogue.columns.select(name), text_columns=())
        try:
            read = catalogue_of_records([{name: cell} for cell in cells], [""] * len(cells), like)
        except DataError:
            if len(cells) == 1:
                return [()]
            half = len(cells) // 2
            return self._genres_of_cells(cells[:half]) + self._genres_of_cells(cells[half:])
        return list(_genres_of(read.attribute(name), np.arange(len(cells))))

    def _set(self, slot: int, genres: Genres) -> None:
        if slot >= len(self._set_of):
            grown = np.zeros(max(slot + 1, 2 * len(self._set_of)), np.int32)
            grown[: len(self._set_of)] = self._set_of
            self._set_of = grown
        old, number = int(self._set_of[slot]), self._number(genres)
        self._uses[number] += 1
        self._items_with.update(genres)
        self._set_of[slot] = number
        for genre in self._sets[old]:
            self._items_with[genre] -= 1
            if not self._items_with[genre]:
                del self._items_with[genre]
        if old:
            self._uses[old] -= 1
            if not self._uses[old]:
                self._n_genres -= len(self._sets[old])
                del self._number_of[self._sets[old]]
                self._sets[old] = ()
                self._free.append(old)

    def _number(self, genres: Genres) -> int:
        number = self._number_of.get(genres)
        if number is not None:
            return number
        if self._free:
            number = self._free.pop()
        else:
            number = len(self._sets)
            self._sets.append(())
            self._uses.append(0)
        self._sets[number] = genres = tuple(map(sys.intern, genres))
        self._number_of[genres] = number
        self._n_genres += len(genres)
        return number


def _genres_of(attribute: Attribute, rows: np.ndarray) -> Iterator[Genres]:
    """The genres of some items of a column."""
    ends, columns, values = attribute.matrix.indptr, attribute.matrix.indices, attribute.values
    for start, end, first in zip(
        ends[rows].tolist(), ends[rows + 1].tolist(), attribute.first[rows].tolist(), strict=True
    ):
        others = [at for at in columns[start:end].tolist() if at != first]
        yield tuple(values[at] for at in ([first] if first >= 0 else []) + others)
