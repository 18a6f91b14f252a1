"""Simulators that keep users as rows of a table, which can be searched in parts, on any machine."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from warmstart.abilities import Simulates
from warmstart.data.interactions import Interactions
from warmstart.retrieval.found import Found
from warmstart.retrieval.history_table import HistoryTable
from warmstart.retrieval.table import VectorTable


class TableSimulator(Simulates):
    """A simulator that may keep its users as rows of a table.

    If it does, ``simulate_texts`` gives what ``simulated`` makes of a search of ``user_table`` for
    ``user_queries``, with log-normalisers and the keys of ``sampling_keys_of``. Parts of the table
    may be searched apart and merged (``retrieval.found.merge``).

    Attributes:
        needs_log_normalisers: whether ``simulated`` needs log-normalisers over all users.
    """

    needs_log_normalisers: ClassVar[bool] = True

    @abstractmethod
    def user_table(self) -> VectorTable | HistoryTable | None:
        """One row for each user; None if the scores are no products of short vectors."""

    @abstractmethod
    def user_queries(self, texts: Sequence[str]) -> np.ndarray:
        """What to search the table with: float32, shape (texts, width)."""

    def sampling_keys_of(self, queries: np.ndarray) -> np.ndarray | None:
        """Keys to sample users with, uint32, shape (queries, 2); None to take the likeliest."""
        return None

    @abstractmethod
    def simulated(self, found: Found) -> Interactions:
        """What was found as interactions; ``items`` are positions of queries."""
