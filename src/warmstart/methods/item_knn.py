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

from warmstart.abilities import FoldsIn
from warmstart.config import Config
from warmstart.core import FitContext, LanguageModels, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.splits.sequences import repeated
from warmstart.rank import mean_metric, top_k
from warmstart.servable import ItemEncoding, ItemRows, Servable
from warmstart.similar_users import SimilarUsers

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


class ItemKNN(Servable, FoldsIn):
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

    def _user_states(self, users: np.ndarray) -> sparse.csr_matrix:
        return decayed(self.fitted.histories.take(users), len(self.fitted.catalogue), self._decay)

    def _history_states(self, histories: Histories, similar: SimilarUsers) -> sparse.csr_matrix:
        return decayed(histories, len(self.fitted.catalogue), self._decay)

    def warm_items(self, items: np.ndarray) -> sparse.csr_matrix:
        """Neighbours of the items, shape (n_items, items)."""
        return sparse.csr_matrix(self._similar[:, items])

    def _score_warm(self, states: sparse.csr_matrix, items: sparse.csr_matrix) -> np.ndarray:
        return sparse.csr_matrix(states @ items).toarray()

    # -- cold items, by interactions that were folded in or clicks since the fit --

    def item_rows(self, encoding: ItemEncoding) -> ItemRows:
        return self._rows(sparse.csr_matrix((len(self.fitted.catalogue), len(encoding["vectors"]))))

    def cold_rows(self, items: np.ndarray) -> ItemRows:
        """Neighbours of the items that were folded in."""
        return self._rows(self._similar[:, items])

    def can_score(self, rows: ItemRows) -> np.ndarray:
        return np.asarray(rows["similarities"].any(axis=1))

    def _score_item_rows(self, states: sparse.csr_matrix, rows: ItemRows) -> np.ndarray:
        similar = rows["similarities"]
        offsets = np.arange(len(similar) + 1) * similar.shape[1]
        found = (similar.ravel(), rows["neighbours"].ravel(), offsets)
        return (
            states @ sparse.csr_matrix(found, (len(similar), states.get_shape()[1])).T
        ).toarray()

    def observed_rows(self, clicks: sparse.csr_matrix) -> ItemRows:
        return self._rows(self._nearest(clicks))

    def _score_observed_rows(self, states: sparse.csr_matrix, rows: ItemRows) -> np.ndarray:
        return self._score_item_rows(states, rows)

    def _nearest(self, clicks: sparse.csr_matrix) -> sparse.csr_matrix:
        """Neighbours of new items, CSR, shape (n_items, items)."""
        return _neighbours(clicks, self.fitted.positives, self.config)

    def _rows(self, similar: sparse.csr_matrix) -> ItemRows:
        """The neighbours in columns of a matrix as arrays, 0 after the last one."""
        columns = similar.tocsc()
        counts, n_items = np.diff(columns.indptr), len(self.fitted.catalogue)
        place = (
            np.repeat(np.arange(len(counts)), counts),
            np.arange(columns.nnz) - np.repeat(columns.indptr[:-1], counts),
        )
        shape = (len(counts), min(self.config.neighbours, n_items))
        neighbours, similarities = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        neighbours[place], similarities[place] = columns.indices, columns.data
        return {"neighbours": neighbours, "similarities": similarities}

    def _fold_in(self, rows: np.ndarray, clicks: sparse.csr_matrix) -> None:
        n_items = len(self.fitted.catalogue)
        place = (np.ones(len(rows), np.float32), (np.arange(len(rows)), rows))
        into = sparse.csr_matrix(place, shape=(len(rows), n_items))
        keep = np.ones(n_items, np.float32)
        keep[rows] = 0
        others = self._similar @ sparse.diags_array(keep, dtype=np.float32)
        self._similar = sparse.csr_matrix(others + self._nearest(clicks) @ into)
        self._similar.eliminate_zeros()

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

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
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
    return _neighbours(matrix.T.tocsr(), matrix, config, own=True)


def _neighbours(
    users: sparse.csr_matrix, matrix: sparse.csr_matrix, config: ItemKNNConfig, own: bool = False
) -> sparse.csr_matrix:
    """As ``nearest_items``, for items with these users, CSR, shape (items, n_users).

    ``own`` says that they are the items of ``matrix``, in its order.
    """
    seen, by_item = matrix.copy(), users.copy()
    seen.data, by_item.data = np.ones_like(seen.data), np.ones_like(by_item.data)
    n, n_items = by_item.get_shape()[0], seen.get_shape()[1]
    counts = np.bincount(seen.indices, minlength=n_items).astype(np.float32)
    k = min(config.neighbours, n_items)
    found = [sparse.csr_matrix((0, n_items), dtype=np.float32)]
    for start in range(0, n, _ITEMS_AT_ONCE):
        block = np.arange(start, min(start + _ITEMS_AT_ONCE, n))
        common = (by_item[block] @ seen).toarray()
        if own:
            common[np.arange(len(block)), block] = 0
        root = np.sqrt(np.diff(by_item.indptr)[block, None].astype(np.float32) * counts[None])
        similarity = common / np.maximum(root + np.float32(config.shrinkage), 1e-9)
        similarity[common == 0] = np.nan
        positions, best = top_k(similarity.astype(np.float32), k)
        of, place = np.nonzero(positions >= 0)
        nearest = (best[of, place], (of, positions[of, place]))
        found.append(sparse.csr_matrix(nearest, shape=(len(block), n_items)))
    return sparse.csr_matrix(sparse.vstack(found).T)


def decayed(histories: Histories, n_items: int, decay: float) -> sparse.csr_matrix:
    """Weight the items of histories by age: float32 CSR, shape (queries, n_items).

    The newest item has the weight 1, the one before it ``decay``, then ``decay``^2, ... An item
    that occurs twice counts at its newest place.
    """
    age = histories.offsets[1:][histories.queries] - 1 - np.arange(len(histories.items))
    weights = (np.float32(decay) ** age.astype(np.float32)).astype(np.float32)
    newest = ~repeated(histories.queries[::-1], histories.items[::-1])[::-1]
    places = (histories.queries[newest], histories.items[newest])
    return sparse.csr_matrix((weights[newest], places), shape=(len(histories), n_items))
