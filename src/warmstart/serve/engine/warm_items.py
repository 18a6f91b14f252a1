"""The warm items of the served model: all their scores, or the best of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from warmstart.retrieval.table import VectorTable
from warmstart.servable import QueryStates, Servable
from warmstart.serve.engine.candidates import best_products, best_rows


class WarmItems:
    """Scores the warm items of a model; their positions are those among its warm items.

    Args:
        model: the served model.
        threads: number of threads that search for the best items of one call.

    Attributes:
        rows: their rows in the catalogue, int64.
    """

    def __init__(self, model: Servable, threads: int) -> None:
        self._model, self._threads = model, threads
        self.rows = np.flatnonzero(model.fitted.warm)
        self._items: Any = model.warm_items(self.rows)
        vectors = model.warm_vectors(self._items)
        self._products, self._bias = None, np.zeros(len(self.rows), np.float32)
        if vectors is not None:
            self._bias[~np.isfinite(vectors).all(axis=1)] = -np.inf  # these have no scores
            self._products = VectorTable(np.nan_to_num(vectors))

    def __len__(self) -> int:
        return len(self.rows)

    def scores(self, states: QueryStates, at: np.ndarray | None = None) -> np.ndarray:
        """Scores of the items at some positions, or of all: float32, shape (queries, items)."""
        if at is None:
            return self._model.score_warm(states, self._items)
        if self._products is None:  # what scoring takes may have no rows to select
            return self._model.score_warm(states, self._items)[:, at]
        return self._model.score_warm(states, self._items[at])

    def best(
        self, states: QueryStates, k: int, bias: np.ndarray, excluded: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Find the best items of each query.

        Args:
            states: who asks.
            k: number of items.
            bias: added when items are compared, float32, shape (items,); -inf leaves an item out.
            excluded: positions that each query leaves out.

        Returns:
            For each query positions that include the k best, and their scores, without the bias.
        """
        bias = bias + self._bias
        queries = None if self._products is None else self._model.warm_queries(states)
        if self._products is not None and queries is not None:
            found = best_products(
                self._products, queries, k, bias, excluded,
                lambda at: self.scores(states, at), self._threads,
            )  # fmt: skip
            if found is not None:
                return found
        scores, best = self.scores(states), []
        for line, left_out in zip(scores, excluded, strict=True):
            compared = line + bias
            compared[left_out] = np.nan
            at = best_rows(compared, k)
            best.append((at, line[at]))
        return best
