"""What click models learn from: labelled pairs, each with the user's history before it.

A history with ratings is needed for every pair, and histories of one user overlap. So a pair does
not hold its history: it holds a range of one array of events that all pairs share.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from warmstart.backbones.base import shape_of
from warmstart.data.histories import Histories
from warmstart.data.ratings import Ratings
from warmstart.errors import DataError


@dataclass(frozen=True)
class Events:
    """Rated events of many users, the events of one user in one range, oldest first.

    Attributes:
        items: int32 row numbers, shape (events,).
        liked: bool, shape (events,): whether the user liked the item.
    """

    items: np.ndarray
    liked: np.ndarray

    @cached_property
    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the disliked and of the liked events, ascending: int64."""
        return np.flatnonzero(~self.liked), np.flatnonzero(self.liked)


@dataclass(frozen=True)
class HistoryRanges:
    """The history of each pair, as a range of shared events.

    Attributes:
        events: the events of all users.
        starts, ends: int64, shape (pairs,): the history of pair p is the events
            ``starts[p] : ends[p]``.
    """

    events: Events
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of_histories(cls, histories: Histories, threshold: float) -> "HistoryRanges":
        """Use one history per pair; without ratings, all its items are liked."""
        ratings = histories.ratings
        if ratings is None:
            liked = np.ones(len(histories.items), bool)
        else:
            liked = ratings >= np.float32(threshold)
        return cls(Events(histories.items, liked), histories.offsets[:-1], histories.offsets[1:])

    @property
    def lengths(self) -> np.ndarray:
        """Number of events of each history: int64, shape (pairs,)."""
        return self.ends - self.starts

    def take(self, rows: np.ndarray | slice) -> "HistoryRanges":
        """Select pairs by position, boolean mask or slice; the events are shared, not copied."""
        return HistoryRanges(self.events, self.starts[rows], self.ends[rows])

    def last(self, n: int) -> "HistoryRanges":
        """Keep the newest ``n`` events of each history."""
        return replace(self, starts=np.maximum(self.starts, self.ends - n))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Add up values of events over each history: float64, shape (pairs,).

        ``values`` has shape (events,).
        """
        total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
        return total[self.ends] - total[self.starts]

    def latest_items(self, length: int, *, liked: bool, padding: int) -> np.ndarray:
        """The newest liked, or disliked, items of each history: int32, shape (pairs, length).

        Args:
            length: columns; older items are cut.
            liked: whether to take the liked items.
            padding: value of the places before a short list.
        """
        positions = self.events.positions[int(liked)]
        first = np.searchsorted(positions, self.starts)
        stop = np.searchsorted(positions, self.ends)
        at = stop[:, None] + np.arange(-length, 0)
        found = np.full(at.shape, padding, np.int32)
        given = at >= first[:, None]
        found[given] = self.events.items[positions[at[given]]]
        return found


@dataclass(frozen=True)
class ClickData:
    """Pairs whose label is known, for training.

    The pairs of one user stand in the order of time.

    Attributes:
        users: int32 row numbers, shape (pairs,).
        items: int32 row numbers, shape (pairs,).
        labels: bool, shape (pairs,): whether the user likes the item.
        histories: the user's history before each pair; it must not contain the pair.
        n_users: number of users.
        n_items: number of items, rated or not.
        threshold: lowest rating of a liked item, for histories that queries bring with ratings.
        attributes: item attributes, such as genres, of which there are tens: bool or float CSR,
            shape (n_items, values); or None.
        text_vectors: float32, shape (n_items, width); or None.

    Raises:
        DataError: there are no pairs, all labels are equal, or a shape or row number is wrong.
    """

    users: np.ndarray
    items: np.ndarray
    labels: np.ndarray
    histories: HistoryRanges
    n_users: int
    n_items: int
    threshold: float
    attributes: sparse.csr_matrix | None = None
    text_vectors: np.ndarray | None = None

    def __post_init__(self) -> None:
        lengths = [len(c) for c in (self.users, self.items, self.labels, self.histories)]
        if len(set(lengths)) > 1:
            raise DataError(
                f"click data: users, items, labels and histories have lengths {lengths}; "
                "allowed: equal lengths"
            )
        if self.labels.all() or not self.labels.any():
            raise DataError(f"click data: all labels of the {len(self)} pairs are equal")
        check_rows("click data", "user", self.users, 0, self.n_users)
        check_rows("click data", "item", self.items, 0, self.n_items)
        check_rows("click data: histories", "item", self.histories.events.items, 0, self.n_items)
        for name in ("attributes", "text_vectors"):
            table = getattr(self, name)
            if table is not None and table.shape[0] != self.n_items:
                raise DataError(
                    f"click data: {name} have {table.shape[0]} rows for {self.n_items} items"
                )

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def from_ratings(
        cls,
        ratings: Ratings,
        *,
        threshold: float,
        n_users: int,
        n_items: int,
        attributes: sparse.csr_matrix | None = None,
        text_vectors: np.ndarray | None = None,
    ) -> "ClickData":
        """Make a pair of every rating; its history is what the user had rated before.

        Ratings of the same moment are not part of each other's history: nobody knows their order.

        Args:
            ratings: training ratings, ordered by user, then time.
            threshold: lowest rating of a liked item.
            n_users: number of users.
            n_items: number of items.
            attributes: see the class.
            text_vectors: see the class.

        Raises:
            DataError: see the class.
        """
        labels = ratings.labels(threshold)
        new_user = np.ones(len(ratings), bool)
        new_user[1:] = ratings.users[1:] != ratings.users[:-1]
        new_moment = np.ones(len(ratings), bool)
        if ratings.times is not None:
            new_moment[1:] = ratings.times[1:] != ratings.times[:-1]
        ranges = (_latest_start(new_user), _latest_start(new_user | new_moment))
        histories = HistoryRanges(Events(ratings.items, labels), *ranges)
        return cls(
            ratings.users, ratings.items, labels, histories, n_users, n_items, threshold,
            attributes, text_vectors,
        )  # fmt: skip

    def take(self, rows: np.ndarray) -> "ClickData":
        """Select pairs by ascending position or boolean mask; their histories stay complete."""
        return replace(
            self,
            users=self.users[rows],
            items=self.items[rows],
            labels=self.labels[rows],
            histories=self.histories.take(rows),
        )

    @cached_property
    def by_user(self) -> HistoryRanges:
        """All pairs of each user as a history: one per user row."""
        order = np.argsort(self.users, kind="stable")
        counts = np.bincount(self.users, minlength=self.n_users)
        ends = np.cumsum(counts)
        return HistoryRanges(Events(self.items[order], self.labels[order]), ends - counts, ends)

    @property
    def n_features(self) -> int:
        """Number of columns of ``item_features``."""
        attributes = 0 if self.attributes is None else shape_of(self.attributes)[1]
        return attributes + (0 if self.text_vectors is None else self.text_vectors.shape[1])

    def item_features(self, items: np.ndarray) -> np.ndarray:
        """Compute the features of items: float32, shape (items, n_features)."""
        return item_features(
            len(items),
            None if self.attributes is None else self.attributes[items],
            None if self.text_vectors is None else self.text_vectors[items],
        )

    @cached_property
    def hash(self) -> str:
        """sha256 of everything that a fit depends on."""
        digest = hashlib.sha256(f"{self.n_users} {self.n_items} {self.threshold}".encode())
        ranges = self.histories
        arrays = [self.users, self.items, self.labels, ranges.starts, ranges.ends]
        arrays += [ranges.events.items, ranges.events.liked]
        if self.attributes is not None:
            arrays += [self.attributes.indptr, self.attributes.indices, self.attributes.data]
        if self.text_vectors is not None:
            arrays.append(self.text_vectors)
        for array in arrays:
            digest.update(f"{array.shape} {array.dtype} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def item_features(
    n_items: int, attributes: sparse.csr_matrix | None, text_vectors: np.ndarray | None
) -> np.ndarray:
    """Return attributes, scaled to unit length, then text vectors: float32, (n_items, features)."""
    parts = [np.zeros((n_items, 0), np.float32)]
    if attributes is not None:
        rows = attributes.toarray().astype(np.float32)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        parts.append(np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0))
    if text_vectors is not None:
        parts.append(text_vectors.astype(np.float32))
    return np.concatenate(parts, axis=1)


def check_rows(who: str, kind: str, rows: np.ndarray, low: int, stop: int) -> None:
    """Check row numbers.

    Raises:
        DataError: a row number is below ``low`` or not below ``stop``.
    """
    wrong = rows[(rows < low) | (rows >= stop)]
    if len(wrong):
        raise DataError(
            f"{who}: {kind} row {wrong[0]} is unknown; allowed: from {low} to {stop - 1}"
        )


def _latest_start(is_start: np.ndarray) -> np.ndarray:
    """For each event the position of the last start up to it: int64, shape (events,)."""
    return np.flatnonzero(is_start)[np.cumsum(is_start) - 1]
