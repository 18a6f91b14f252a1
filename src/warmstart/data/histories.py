"""Histories: the items that users had, oldest first, as ragged arrays."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from warmstart.data.interactions import Interactions
from warmstart.errors import DataError


@dataclass(frozen=True)
class Histories:
    """One history per query, oldest event first.

    Attributes:
        offsets: int64, shape (queries + 1,): history q is ``items[offsets[q] : offsets[q + 1]]``.
        items: int32 row numbers of items, shape (events,); an item may occur several times.
        times: int64, shape (events,): unix seconds or positions; or None.
        ratings: float32, shape (events,): how the item was rated, for methods that tell liked from
            disliked items; or None, and then all items are liked.
    """

    offsets: np.ndarray
    items: np.ndarray
    times: np.ndarray | None = None
    ratings: np.ndarray | None = None

    def __post_init__(self) -> None:
        counts = np.diff(self.offsets)
        if len(self.offsets) == 0 or self.offsets[0] != 0 or (counts < 0).any():
            raise DataError("histories: offsets must start at 0 and must not decrease")
        for name, values in (
            ("items", self.items),
            ("times", self.times),
            ("ratings", self.ratings),
        ):
            if values is not None and len(values) != self.offsets[-1]:
                raise DataError(
                    f"histories: {len(values)} {name} do not match offsets that end at "
                    f"{self.offsets[-1]}"
                )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def from_lists(cls, histories: Iterable[Sequence[int] | np.ndarray]) -> "Histories":
        """Build histories from one list of item rows per query, oldest first."""
        lists = [np.asarray(items, np.int32) for items in histories]
        offsets = np.cumsum([0, *(len(items) for items in lists)]).astype(np.int64)
        return cls(offsets, np.concatenate([np.zeros(0, np.int32), *lists]))

    @classmethod
    def from_interactions(cls, events: Interactions, n_users: int) -> "Histories":
        """Collect the history of every user: one per user row, in the order of the events.

        ``Interactions`` of a data set stand in the order of time, then position, within a user.
        """
        order = np.argsort(events.users, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(events.users, minlength=n_users))])
        times = None if events.times is None else events.times[order]
        return cls(offsets.astype(np.int64), events.items[order], times)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Number of events of each history: int64, shape (queries,)."""
        return np.diff(self.offsets)

    @cached_property
    def queries(self) -> np.ndarray:
        """The query of each event: int64, shape (events,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def __getitem__(self, query: int) -> np.ndarray:
        """The items of one history, oldest first: int32."""
        return self.items[self.offsets[query] : self.offsets[query + 1]]

    def liked(self, threshold: float) -> np.ndarray:
        """Whether each event is rated at least ``threshold``, bool; all are if none is rated."""
        if self.ratings is None:
            return np.ones(len(self.items), bool)
        return self.ratings >= np.float32(threshold)

    def take(self, queries: np.ndarray) -> "Histories":
        """Select histories by position or boolean mask, in the given order."""
        rows = np.arange(len(self))[queries]
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        starts = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return self._at(offsets, starts + np.arange(offsets[-1]))

    def last(self, n: int) -> "Histories":
        """Keep the newest ``n`` events of each history."""
        kept = np.minimum(self.lengths, n)
        offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        starts = np.repeat(self.offsets[1:] - kept - offsets[:-1], kept)
        return self._at(offsets, starts + np.arange(offsets[-1]))

    def where(self, keep: np.ndarray) -> "Histories":
        """Keep the events of a boolean mask, shape (events,)."""
        counts = np.bincount(self.queries[keep], minlength=len(self))
        return self._at(np.concatenate([[0], np.cumsum(counts)]), np.flatnonzero(keep))

    @cached_property
    def numbered(self) -> "Histories":
        """The same histories with the number of each event in place of its time.

        So ``take``, ``last`` and ``where`` tell which events they kept.
        """
        return Histories(self.offsets, self.items, np.arange(len(self.items)), self.ratings)

    @property
    def numbers(self) -> np.ndarray:
        """The number that ``numbered`` gave each event: int64, shape (events,)."""
        assert self.times is not None
        return self.times

    def mean(self, table: np.ndarray) -> np.ndarray:
        """Average the rows of a table over the different items of each history.

        Args:
            table: a row for each item, float32, shape (items, width).

        Returns:
            float32, shape (queries, width); zeros for an empty history.
        """
        matrix = self.matrix(len(table))
        counts = np.maximum(matrix.getnnz(axis=1), 1)[:, None].astype(np.float32)
        return np.asarray(matrix @ table) / counts

    def matrix(self, n_items: int) -> sparse.csr_matrix:
        """The items of each history: float32 CSR of ones, shape (queries, n_items)."""
        found = sparse.csr_matrix(
            (np.ones(len(self.items), np.float32), self.items.copy(), self.offsets),
            shape=(len(self), n_items),
        )
        found.sum_duplicates()
        found.data[:] = 1
        return found

    def padded(self, length: int, padding: int) -> np.ndarray:
        """The newest events of each history, right-aligned: int32, shape (queries, length).

        Args:
            length: columns; older events are cut.
            padding: value of the places before a short history.
        """
        recent = self.last(length)
        places = np.full((len(self), length), padding, np.int32)
        column = np.arange(len(recent.items)) - recent.offsets[1:][recent.queries] + length
        places[recent.queries, column] = recent.items
        return places

    @cached_property
    def hash(self) -> str:
        """sha256 of all arrays; another order of the events gives another hash."""
        digest = hashlib.sha256()
        for array in (self.offsets, self.items, self.times, self.ratings):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
            digest.update(b"|")
        return digest.hexdigest()

    def _at(self, offsets: np.ndarray, events: np.ndarray) -> "Histories":
        times = None if self.times is None else self.times[events]
        ratings = None if self.ratings is None else self.ratings[events]
        return Histories(offsets.astype(np.int64), self.items[events], times, ratings)


def concatenated(parts: Sequence[Histories]) -> Histories:
    """Concatenate the queries of several histories, with the times and ratings that all have."""

    def joined(name: str) -> np.ndarray | None:
        arrays = [getattr(part, name) for part in parts]
        return None if any(array is None for array in arrays) else np.concatenate(arrays)

    lengths = np.concatenate([part.lengths for part in parts])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.concatenate([part.items for part in parts])
    return Histories(offsets, items, joined("times"), joined("ratings"))
