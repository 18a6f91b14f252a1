"""The abstract ``Split``: training data, and the tasks of its validation and test parts."""

import platform
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions
from warmstart.data.tasks import RankingTask, Task, Validation
from warmstart.errors import ConfigError
from warmstart.version import __version__

Protocol: TypeAlias = Literal[
    "time-cold", "random-cold", "next-item", "user-random", "windows", "dialogues", "labels"
]
Part: TypeAlias = Literal["valid", "test"]
Mask: TypeAlias = Literal["all", "train", "none"]
"""Pairs left out of a ranking: "all" that are known of who asks, "train"ing pairs only, "none"."""


class Split(ABC):
    """Training data and held-out tasks of a data set; immutable.

    Attributes:
        dataset: users and catalogue, with all events.
        protocol: the protocol that made the split.
        manifest: how the split was made: ``seed`` or ``cutoffs`` and other options; ``left_out``,
            reason -> number of events in no part; ``slice_definitions``, what a slice is where it
            depends on the options; ``notes``, other counts and known defects. Not part of ``hash``.
    """

    dataset: Dataset
    protocol: Protocol
    manifest: dict[str, Any]

    @cached_property
    def train(self) -> Dataset:
        """The data set restricted to training: interactions, ratings, dialogues."""
        return self._train()

    @cached_property
    def hash(self) -> str:
        """sha256 of everything that a metric depends on; ``manifest`` does not enter it."""
        return self._hash()

    @property
    @abstractmethod
    def masks(self) -> tuple[Mask, ...]:
        """The masks that the protocol knows, the default first."""

    @property
    def metric_suffix(self) -> str:
        """Suffix of metrics over sampled candidates, such as "~uni19"; "" for full rankings."""
        return ""

    @abstractmethod
    def tasks(self, part: Part, mask: Mask | None = None) -> dict[str, Task]:
        """Build the tasks of one part, by slice name.

        Args:
            part: "valid" or "test".
            mask: one of ``masks``; None takes the first.

        Raises:
            ConfigError: an unknown part, or a mask that the protocol does not know.
        """

    def validation(self) -> Validation:
        """Build the validation tasks on which a fit makes its choices.

        No test label is read, except that frozen negatives avoid the test items of their user.
        """
        return self.tasks("valid")

    @abstractmethod
    def _train(self) -> Dataset: ...

    @abstractmethod
    def _hash(self) -> str: ...

    @abstractmethod
    def part_counts(self) -> dict[str, dict[str, int]]:
        """Count the events, users, items, ... of each part."""

    def __repr__(self) -> str:
        counts = self.part_counts()
        unit = next(iter(counts["train"]))
        parts = ", ".join(f"{name} {found[unit]:,}" for name, found in counts.items())
        return f"Split({self.dataset.name!r}, {self.protocol}; {unit}: {parts})"

    def summary(self) -> dict[str, Any]:
        """Collect counts of the parts and slices, the hashes and the manifest, for printing."""
        slices = {
            f"{part} {name}": _counts(task)
            for part in get_args(Part)
            for name, task in self.tasks(part).items()
        }
        return {
            "data": {"name": self.dataset.name, "hash": self.dataset.hash, **self.dataset.counts},
            "protocol": self.protocol,
            "hash": self.hash,
            "parts": self.part_counts(),
            "slices": slices,
            **self.manifest,
        }

    def _check_words(self, part: Part, mask: Mask | None) -> Mask:
        """Return ``mask``, or the default one, after checking both words."""
        check_word("part", part, get_args(Part))
        if mask is None:
            return self.masks[0]
        check_word("mask", mask, self.masks)
        return mask


def check_word(what: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Check that ``value`` is one of the allowed words.

    Raises:
        ConfigError: it is not.
    """
    if value not in allowed:
        raise ConfigError(f"{what} {value!r}; allowed: {', '.join(allowed)}")


def versions() -> dict[str, str]:
    """Return the versions that a manifest records."""
    return {
        "warmstart": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def training_data(dataset: Dataset, train: Interactions, until: np.ndarray | None) -> Dataset:
    """Restrict a data set to the training interactions of a split.

    Pairs rated below the threshold and ratings remain if their item has a training interaction and,
    with ``until``, if they are not later. A rating of a held-out pair never remains. Dialogues
    belong to no part, so none remains.

    Args:
        dataset: the whole data set.
        train: its training interactions.
        until: int64, shape (n_users,): time of each user's last training event; None if the split
            does not follow time.
    """
    below, ratings = dataset.below_threshold, dataset.ratings
    kept = np.isin(below.items, train.items)
    if until is not None and below.times is not None:
        kept &= below.times <= until[below.users]
    below = below.where(kept)
    if ratings is not None:
        keys = ratings.users.astype(np.int64) << 32 | ratings.items
        kept = np.isin(keys, np.concatenate([train.keys, below.keys]))
        if until is not None and ratings.times is not None:
            kept &= ratings.times <= until[ratings.users]
        ratings = ratings.where(kept)
    return replace(
        dataset, interactions=train, below_threshold=below, ratings=ratings, dialogues=None
    )


def last_times(events: Interactions, n_users: int) -> np.ndarray | None:
    """Time of each user's last event: int64, shape (n_users,), lowest without any; or None."""
    if events.times is None:
        return None
    last = np.full(n_users, np.iinfo(np.int64).min)
    np.maximum.at(last, events.users, events.times)
    return last


def _counts(task: Task) -> dict[str, int]:
    queries = task.queries
    users = queries.users if task.groups is None else task.groups
    counts = {"queries": len(queries), "users": len(np.unique(users))}
    if isinstance(task, RankingTask):
        candidates = task.candidates.shape[-1]
        return counts | {"pairs": int(task.relevance.nnz), "candidates": candidates}
    return counts | {"pairs": len(task.items), "liked": int(task.labels.sum())}
