"""markov: scores an item by how often it followed the last item of the history. A simple rival.

    p(i | j) = (n_ji + strength p(i)) / (n_j + strength)

n_ji is how often item i came next after item j, n_j = sum_i n_ji, and p(i) the share of item i in
all interactions: the additively smoothed first-order Markov chain.
"""

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.abilities import AddsItems
from warmstart.config import Config
from warmstart.core import FitContext, LanguageModels, Recommender, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories


class MarkovConfig(Config):
    """Settings of markov.

    Attributes:
        strength: pseudo-count of the overall shares of items; 1 counts them as one event, which
            orders the items that never followed the last one.
    """

    strength: float = Field(default=1.0, gt=0)


class Markov(Recommender, AddsItems):
    """Scores the next item by the last one."""

    name = "markov"
    config_type = MarkovConfig
    traits = Traits(
        reads=frozenset({"order"}),
        cold_items="none",
        answers=frozenset({"history"}),
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        self._follows = following_items(data.histories, data.n_items)
        counts = np.bincount(data.histories.items, minlength=data.n_items).astype(np.float32)
        self._share = counts / counts.sum()

    def _score_histories(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        """Probabilities; NaN for an item without interactions.

        A history without items gets the overall shares.
        """
        known = histories.lengths > 0
        last = np.zeros(len(histories), np.int64)
        last[known] = histories.items[histories.offsets[1:][known] - 1]
        followed = self._follows[last][:, items].toarray()
        total = np.asarray(self._follows.sum(axis=1), np.float32).ravel()[last]
        followed[~known], total[~known] = 0, 0
        strength = np.float32(self.config.strength)
        scores = (followed + strength * self._share[items]) / (total + strength)[:, None]
        scores[:, ~self.fitted.warm[items]] = np.nan
        return scores

    def _add_items(self, items: Catalogue) -> None:
        n_items = len(self.fitted.catalogue) + len(items)
        self._follows = self._follows.copy()
        self._follows.resize((n_items, n_items))
        self._share = np.concatenate([self._share, np.zeros(len(items), np.float32)])

    def _state(self) -> dict[str, np.ndarray]:
        follows = self._follows
        return {
            "follows.data": follows.data,
            "follows.indices": follows.indices,
            "follows.indptr": follows.indptr,
            "share": self._share,
        }

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        arrays = tuple(state[f"follows.{name}"] for name in ("data", "indices", "indptr"))
        n_items = len(self.fitted.catalogue)
        self._follows = sparse.csr_matrix(arrays, shape=(n_items, n_items))
        self._share = state["share"]


def following_items(histories: Histories, n_items: int) -> sparse.csr_matrix:
    """Count how often each item came next after each other one.

    Returns:
        Float32 CSR, shape (n_items, n_items): row j, column i is n_ji.
    """
    is_last = np.zeros(len(histories.items), bool)
    is_last[histories.offsets[1:][histories.lengths > 0] - 1] = True
    before = np.flatnonzero(~is_last)
    pairs = (histories.items[before], histories.items[before + 1])
    counts = sparse.csr_matrix((np.ones(len(before), np.float32), pairs), shape=(n_items, n_items))
    counts.sum_duplicates()
    return counts
