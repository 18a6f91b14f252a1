"""The two kinds of task that measure a recommender: rank candidates, or predict labels."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from scipy import sparse

from warmstart.data.queries import Queries

Ties: TypeAlias = Literal["random", "middle"]


@dataclass(frozen=True)
class RankingTask:
    """Rank the candidates of each query.

    Attributes:
        name: name of the slice, such as "cold", "warm", "overall" or "all".
        queries: who asks.
        candidates: item rows, int32: shape (candidates,), ascending, the same for all queries, or
            shape (queries, c), a set for each query.
        relevance: bool CSR, shape (queries, n_items): ground truth, among the candidates.
        masked: bool CSR, shape (queries, n_items): pairs excluded from the ranking.
        groups: int32, shape (queries,): queries of one group are not independent (turns of one
            dialogue), so intervals and tests resample groups; the users' rows by default.
        ties: "random" breaks ties by a seeded order; "middle" places an item in the middle of
            those with the same score, as some published figures do.
        cold_items: how many cold items a list will be drawn from in use, where these are more or
            fewer than ``candidates`` has; for choices of how many cold items enter a list. No
            metric depends on it. None: as many as ``candidates`` has.
        part_of: name of the task whose queries these are a part of, and their positions in it, so
            that one ranking serves both; or None.
    """

    name: str
    queries: Queries
    candidates: np.ndarray
    relevance: sparse.csr_matrix
    masked: sparse.csr_matrix
    groups: np.ndarray | None = None
    ties: Ties = "random"
    cold_items: int | None = None
    part_of: tuple[str, np.ndarray] | None = field(default=None, repr=False)

    @property
    def users(self) -> np.ndarray:
        """Row numbers of the users, int32, shape (queries,); -1 for an unknown user."""
        return self.queries.users

    def slice(self, name: str, rows: np.ndarray) -> "RankingTask":
        """Make a task of some queries, given by a boolean mask, with the same candidates."""
        return replace(self.take(rows), name=name, part_of=(self.name, np.flatnonzero(rows)))

    def take(self, rows: np.ndarray) -> "RankingTask":
        """Select queries by position or boolean mask."""
        own = self.candidates.ndim == 2
        return replace(
            self,
            part_of=None,
            queries=self.queries.take(rows),
            candidates=self.candidates[rows] if own else self.candidates,
            relevance=self.relevance[rows],
            masked=self.masked[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    @cached_property
    def hash(self) -> str:
        """sha256 of everything that a metric of the task depends on."""
        digest = hashlib.sha256(f"{self.name} {self.ties} {self.queries.hash}".encode())
        digest.update(f"{self.candidates.shape}".encode() + self.candidates.tobytes() + b"|")
        for pairs in (self.relevance, self.masked):
            digest.update(pairs.indptr.tobytes() + pairs.indices.tobytes() + b"|")
        return digest.hexdigest()


@dataclass(frozen=True)
class LabelTask:
    """Predict whether each user will like an item.

    Attributes:
        name: name of the slice, such as "all".
        queries: one query per pair; its history ends before the event that is predicted.
        items: int32 item rows, shape (pairs,).
        labels: bool, shape (pairs,): whether the item is liked.
        groups: int32, shape (pairs,): the user of each pair, a row number; known or not to a model.
    """

    name: str
    queries: Queries
    items: np.ndarray
    labels: np.ndarray
    groups: np.ndarray = field(repr=False)

    def take(self, rows: np.ndarray) -> "LabelTask":
        """Select pairs by position or boolean mask."""
        return LabelTask(
            self.name,
            self.queries.take(rows),
            self.items[rows],
            self.labels[rows],
            self.groups[rows],
        )

    @cached_property
    def hash(self) -> str:
        """sha256 of everything that a metric of the task depends on."""
        digest = hashlib.sha256(f"{self.name} {self.queries.hash}".encode())
        for array in (self.items, self.labels, self.groups):
            digest.update(array.tobytes() + b"|")
        return digest.hexdigest()


Task: TypeAlias = RankingTask | LabelTask
Validation: TypeAlias = Mapping[str, Task]
"""Slice name -> validation task, on which a fit makes its choices."""


def ranking_task(valid: Validation | None, *names: str) -> RankingTask | None:
    """Return the first of the named ranking tasks that ``valid`` has, or None."""
    for name in names:
        task = (valid or {}).get(name)
        if isinstance(task, RankingTask):
            return task
    return None
