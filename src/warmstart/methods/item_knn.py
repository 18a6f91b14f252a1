"""item_knn: scores an item by its co-occurrence with the items of a history. A simple rival.

    similarity(i, j) = n_ij / (sqrt(n_i n_j) + shrinkage),    score(h, i) = sum over j in h of
                                                              decay^age(j) similarity(i, j)

n_i is the number of users of item i and n_ij that of both; only the nearest neighbours of each item
count. Sarwar et al., "Item-based Collaborative Filtering Recommendation Algorithms", WWW 2001, with
the shrinkage of Aiolli, "Efficient Top-N Recommendation for Very Large Scale Binary Rated
Datasets", RecSys 2013. ``decay`` below 1 counts older items of a history less.
"""

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.abilities import AddsItems
from warmstart.config import Config
from warmstart.core import FitContext, Recommender, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.rank import mean_metric, top_k

_ITEMS_AT_ONCE = 1024
DECAYS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
_METRIC = "ndcg@10"


class ItemKNNConfig(Config):
    """Settings of item_knn.

    Attributes:
        neighbours: nearest items that are kept of each item. All neighbours rank best on sparse
            logs; 200 keeps memory bounded and loses little.
        shrinkage: added to the denominator of similarities, against items with few users.
        decay: weight of an item relative to the next newer one of its history, in (0, 1]; chosen on
            validation if the task has histories. The default counts all alike.
    """

    neighbours: int = Field(default=200, ge=1)
    shrinkage: float = Field(default=0.0, ge=0)
    decay: float = Field(default=1.0, gt=0, le=1)


class ItemKNN(Recommender, AddsItems):
    """Item-based nearest neighbours over the user's history."""

    name = "item_knn"
    config_type = ItemKNNConfig
    traits = Traits(
        reads=frozenset({"interactions", "order"}),
        cold_items="none",
        answers=frozenset({"history"}),
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        with context.run.stage("neighbours"):
            self._similar = nearest_items(data.matrix, self.config)
        self._decay = self.config.decay
        task = context.task("all", "warm")
        if task is not None:
            qualities = {}
            for self._decay in DECAYS:
                qualities[self._decay] = mean_metric(self.score, task, _METRIC)
            self._decay = max(DECAYS, key=qualities.__getitem__)
            self.fitted.choices = {"decay": self._decay}

    def _score_histories(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        """As ``Recommender._score_histories``; NaN for an item without interactions."""
        n_items = len(self.fitted.catalogue)
        scores = (decayed(histories, n_items, self._decay) @ self._similar[:, items]).toarray()
        scores[:, ~self.fitted.warm[items]] = np.nan
        return scores

    def _add_items(self, items: Catalogue) -> None:
        n_items = len(self.fitted.catalogue) + len(items)
        self._similar = self._similar.copy()
        self._similar.resize((n_items, n_items))

    def _state(self) -> dict[str, np.ndarray]:
        similar = self._similar
        return {
            "similar.data": similar.data,
            "similar.indices": similar.indices,
            "similar.indptr": similar.indptr,
            "decay": np.array([self._decay]),
        }

    def _restore(self, state: dict[str, np.ndarray], lm: object | None) -> None:
        arrays = tuple(state[f"similar.{name}"] for name in ("data", "indices", "indptr"))
        n_items = len(self.fitted.catalogue)
        self._similar = sparse.csr_matrix(arrays, shape=(n_items, n_items))
        self._decay = float(state["decay"][0])


def nearest_items(matrix: sparse.csr_matrix, config: ItemKNNConfig) -> sparse.csr_matrix:
    """Compute the similarities of each item to its nearest items.

    Args:
        matrix: interactions, CSR, shape (n_users, n_items).
        config: number of neighbours and shrinkage.

    Returns:
        Float32 CSR, shape (n_items, n_items), the neighbours of item i in COLUMN i; an item is not
        its own neighbour.
    """
    seen = matrix.copy()
    seen.data = np.ones_like(seen.data)
    by_item = seen.T.tocsr()
    counts = np.diff(by_item.indptr).astype(np.float32)
    n_items = len(counts)
    columns, rows, values = [], [], []
    for start in range(0, n_items, _ITEMS_AT_ONCE):
        own = np.arange(start, min(start + _ITEMS_AT_ONCE, n_items))
        common = (by_item[own] @ seen).toarray()
        common[np.arange(len(own)), own] = 0
        similarity = common / np.maximum(
            np.sqrt(counts[own, None] * counts[None]) + np.float32(config.shrinkage), 1e-9
        )
        similarity[common == 0] = np.nan
        positions, best = top_k(similarity.astype(np.float32), min(config.neighbours, n_items))
        found = positions >= 0
        columns.append(np.repeat(own, found.sum(axis=1)))
        rows.append(positions[found])
        values.append(best[found])
    found = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(found, shape=(n_items, n_items), dtype=np.float32)


def decayed(histories: Histories, n_items: int, decay: float) -> sparse.csr_matrix:
    """Weight the items of histories by age: float32 CSR, shape (queries, n_items).

    The newest item has the weight 1, the one before it ``decay``, then ``decay``^2, ...
    """
    age = histories.offsets[1:][histories.queries] - 1 - np.arange(len(histories.items))
    weights = np.float32(decay) ** age.astype(np.float32)
    found = sparse.csr_matrix(
        (weights.astype(np.float32), histories.items.copy(), histories.offsets),
        shape=(len(histories), n_items),
    )
    found.sum_duplicates()
    return found
