"""Similar requests: what was recommended after the training dialogues most like this one.

The nearest-neighbour recommender of He et al., "Large Language Models as Zero-Shot Conversational
Recommenders" (CIKM 2023), NBCRS, whose votes are weighted here and smoothed by popularity:

    score(q, i) = log( sum of w_n over neighbours n with target i, + c p(i) ),
    w = softmax(cos / t) over the neighbours
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.config import Config
from warmstart.rank import top_k

_SMALLEST = 1e-9
_ROWS_AT_ONCE = 1024


class SimilarRequestsConfig(Config):
    """Settings of similar requests.

    Attributes:
        neighbours: training requests that vote.
        temperature: t of the weights of neighbours by cosine. Small ones listen to the nearest few.
        smoothing: c, the weight of popularity relative to all votes.
    """

    neighbours: int = Field(default=500, ge=1)
    temperature: float = Field(default=0.1, gt=0)
    smoothing: float = Field(default=0.1, gt=0)


@dataclass(frozen=True)
class SimilarRequests:
    """Training requests with their answers.

    Attributes:
        vectors: unit text vectors of the requests, float32, shape (requests, width).
        targets: what was recommended, int32, shape (requests,).
        n_items: items of the fit.
        config: the settings.
    """

    vectors: np.ndarray
    targets: np.ndarray
    n_items: int
    config: SimilarRequestsConfig

    def score(self, texts: np.ndarray) -> np.ndarray:
        """Score all items of the fit.

        Args:
            texts: unit text vectors of the queries, float32, shape (queries, width).

        Returns:
            float32, shape (queries, n_items).
        """
        found = np.empty((len(texts), self.n_items), np.float32)
        for start in range(0, len(texts), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            found[block] = np.log(np.maximum(self._votes(texts[block]) + self._prior, _SMALLEST))
        return found

    @cached_property
    def _prior(self) -> np.ndarray:
        """The term c p(i) of each item, float32."""
        counts = np.bincount(self.targets, minlength=self.n_items).astype(np.float32)
        return np.float32(self.config.smoothing) * counts / max(counts.sum(), 1)

    def _votes(self, texts: np.ndarray) -> np.ndarray:
        """Summed weights of the neighbours that vote for each item: (queries, n_items)."""
        if not len(self.vectors):
            return np.zeros((len(texts), self.n_items), np.float32)
        n = min(self.config.neighbours, len(self.vectors))
        places, cosines = top_k(texts @ self.vectors.T, n)
        raised = np.exp((cosines - cosines[:, :1]) / self.config.temperature)
        weights = raised / raised.sum(axis=1, keepdims=True)
        rows = np.repeat(np.arange(len(texts)), n)
        pairs = (weights.ravel(), (rows, self.targets[places.ravel()]))
        return sparse.csr_matrix(pairs, shape=(len(texts), self.n_items)).toarray()
