"""content_knn: an item is as good as the similar items that the user already has.

For every item, warm or cold, its nearest warm items by cosine of the text vectors (itself left out);
score(u, i) = sum of the cosines over those neighbours that u has interacted with.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.config import Config
from warmstart.core import AddsItems, FitContext, Recommender, Traits
from warmstart.data.dataset import Dataset
from warmstart.lm.vectors import TextVectors
from warmstart.rank import top_k

_BLOCK = 1024


class ContentKNNConfig(Config):
    """Settings of content_knn.

    Attributes:
        neighbours: how many nearest warm items count.
    """

    neighbours: int = Field(50, ge=1)


class ContentKNN(Recommender, AddsItems):
    """Item-to-item text similarity over the user's history."""

    name = "content_knn"
    config_type = ContentKNNConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts"}), cold_items="content", needs_lm=True
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        with context.run.stage("encode"):
            self._texts = TextVectors.of(data.catalogue.texts, context.lm)
        with context.run.stage("neighbours"):
            rows = np.arange(data.n_items, dtype=np.int32)
            self._similar = self._neighbours(self._texts.rows, rows)

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``; a sum of cosines."""
        seen = self.fitted.seen[users]
        n_known = self._similar.shape[1]
        return (seen[:, :n_known] @ self._similar[items].T).toarray()

    def _add_texts(self, texts: Sequence[str]) -> None:
        vectors = self._texts.append(texts)
        rows = np.full(len(texts), -1, np.int32)
        self._similar = sparse.vstack([self._similar, self._neighbours(vectors, rows)], "csr")

    def _neighbours(self, vectors: np.ndarray, rows: np.ndarray) -> sparse.csr_matrix:
        """Cosines to the nearest warm items, CSR, shape (len(vectors), items of the fit)."""
        warm = np.flatnonzero(self.fitted.warm)
        k = min(self.config.neighbours, len(warm))
        place = np.full(int(max(rows.max(initial=-1), warm.max())) + 2, -1, np.int32)
        place[warm] = np.arange(len(warm))
        blocks = []
        for start in range(0, len(vectors), _BLOCK):
            cosines = vectors[start : start + _BLOCK] @ self._texts.rows[warm].T
            own = place[rows[start : start + _BLOCK]]
            cosines[np.flatnonzero(own >= 0), own[own >= 0]] = np.nan
            positions, values = top_k(cosines, k)
            found = positions >= 0
            query, _ = np.nonzero(found)
            shape = (len(cosines), len(self.fitted.warm))
            columns = warm[positions[found]]
            blocks.append(sparse.csr_matrix((values[found], (query, columns)), shape=shape))
        return sparse.vstack(blocks, "csr")[:, : self._n_fitted()]

    def _n_fitted(self) -> int:
        """Items at the time of the fit: all warm items are among them."""
        return int(np.flatnonzero(self.fitted.warm).max()) + 1

    def _state(self) -> dict[str, np.ndarray]:
        similar = self._similar
        return {
            "vectors": self._texts.rows,
            "similar.data": similar.data,
            "similar.indices": similar.indices,
            "similar.indptr": similar.indptr,
        }

    def _restore(self, state: dict[str, np.ndarray], lm: Any | None) -> None:
        vectors = state["vectors"]
        self._texts = TextVectors(vectors, self.fitted.lm_spec or {}, lm)
        arrays = tuple(state[f"similar.{name}"] for name in ("data", "indices", "indptr"))
        self._similar = sparse.csr_matrix(arrays, shape=(len(vectors), self._n_fitted()))
