"""``LabelSplit``: held-out ratings, each a pair whose label is predicted."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions
from warmstart.data.queries import Queries
from warmstart.data.ratings import Ratings
from warmstart.data.splits.base import Mask, Part, Protocol, Split
from warmstart.data.splits.part_codes import CODE_OF, LEFT_OUT, PART_NAMES, TEST, TRAIN
from warmstart.data.splits.sequences import before
from warmstart.data.tasks import LabelTask, Task
from warmstart.errors import DataError


@dataclass(frozen=True, repr=False)
class LabelSplit(Split):
    """A split in which each rating has one part.

    A query is a held-out rating: its user, -1 if the user rated nothing in training, and what the
    user rated before, with the ratings. Its label says whether the rating is at least
    ``dataset.positive_rating``. One slice, "all".

    Attributes:
        dataset: users and catalogue, with all ratings and a threshold.
        parts: int8, shape (ratings,): the part of each rating; see ``part_codes``.
        manifest: see ``Split``.
    """

    dataset: Dataset
    parts: np.ndarray
    manifest: dict[str, Any] = field(default_factory=dict)
    protocol: Protocol = "labels"

    @property
    def ratings(self) -> Ratings:
        """All ratings of the data set."""
        if self.dataset.ratings is None or self.dataset.positive_rating is None:
            raise DataError("the split is broken: labels need ratings and a threshold")
        return self.dataset.ratings

    @property
    def labels(self) -> np.ndarray:
        """Whether each rating is a positive: bool, shape (ratings,)."""
        return self.ratings.labels(self.dataset.positive_rating or 0)

    def _train(self) -> Dataset:
        ratings = self.ratings.where(self.parts == TRAIN)
        positives, below = by_threshold(ratings, self.dataset.positive_rating or 0)
        return replace(
            self.dataset,
            interactions=positives,
            below_threshold=below,
            ratings=ratings,
            dialogues=None,
        )

    @property
    def masks(self) -> tuple[Mask, ...]:
        """Only "none": nothing is ranked."""
        return ("none",)

    def tasks(self, part: Part, mask: Mask | None = None) -> dict[str, Task]:
        self._check_words(part, mask)
        ratings = self.ratings
        known = np.flatnonzero(self.parts != LEFT_OUT)
        sequences = ratings.where(known).histories(self.dataset.n_users)
        events = np.flatnonzero(self.parts[known] == CODE_OF[part])
        histories, _ = before(sequences, events)
        if histories.times is not None and ratings.times is not None:
            # Nobody knows the order of ratings of one second, which a user often enters at once.
            moments = ratings.times[known][events]
            histories = histories.where(histories.times < moments[histories.queries])
        users = ratings.users[known][events].astype(np.int32)
        trained = np.isin(users, ratings.users[self.parts == TRAIN])
        return {
            "all": LabelTask(
                "all",
                Queries(np.where(trained, users, np.int32(-1)), histories),
                ratings.items[known][events].astype(np.int32),
                self.labels[known][events],
                users,
            )
        }

    def _hash(self) -> str:
        threshold = self.dataset.positive_rating
        digest = hashlib.sha256(f"{self.protocol} {threshold} {self.dataset.hash}".encode())
        digest.update(self.ratings.hash.encode() + self.parts.tobytes())
        return digest.hexdigest()

    def part_counts(self) -> dict[str, dict[str, int]]:
        counts, labels = {}, self.labels
        for code, name in enumerate(PART_NAMES[: TEST + 1]):
            rows = self.parts == code
            counts[name] = {
                "ratings": int(rows.sum()),
                "liked": int(labels[rows].sum()),
                "users": len(np.unique(self.ratings.users[rows])),
                "items": len(np.unique(self.ratings.items[rows])),
            }
        return counts


def by_threshold(ratings: Ratings, threshold: float) -> tuple[Interactions, Interactions]:
    """Merge ratings into positive pairs and pairs below the threshold.

    A pair with a rating of at least ``threshold`` is a positive, at the time of its first such
    rating, whatever its other ratings are: the rule of ``readers.assemble``.
    """
    liked = ratings.labels(threshold)
    positives, below = _pairs(ratings.where(liked)), _pairs(ratings.where(~liked))
    return positives, below.where(~np.isin(below.keys, positives.keys))


def _pairs(ratings: Ratings) -> Interactions:
    """The first rating of each pair, in the order of the ratings."""
    events = Interactions.from_arrays(ratings.users, ratings.items, times=ratings.times)
    _, first = np.unique(events.keys, return_index=True)
    return events.where(np.sort(first))
