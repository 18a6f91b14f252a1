"""content_knn: scores an item by its similarity to items in the user's history.

Each item, warm or cold, has its nearest warm items by cosine of the text vectors (without itself);
score(u, i) is the sum of the cosines over those neighbours that user u has interacted with.
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
from warmstart.lm.text_vectors import TextVectors
from warmstart.rank import top_k

_BLOCK = 1024


class ContentKNNConfig(Config):
    """Settings of content_knn.

    Attributes:
        neighbours: number of nearest warm items per item.
    """

    neighbours: int = Field(default=50, ge=1)


class ContentKNN(Recommender, AddsItems):
    """Item kNN on text vectors, over the user's history."""

    name = "content_knn"
    config_type = ContentKNNConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts"}),
        cold_items="content",
        answers=frozenset({"user", "history"}),
        needs=frozenset({"encoder"}),
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        self._remember_histories()
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(data.catalogue.texts, context.encoder)
        with context.run.stage("neighbours"):
            warm_position = np.where(data.warm, np.cumsum(data.warm) - 1, -1)
            self._similar = self._neighbours(self._texts.rows, warm_position)

    def _score_users(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``; the score is a sum of cosines."""
        return (self._histories[users] @ self._similar[items].T).toarray()

    def _score_histories(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        """As ``_score_users``; only warm items of a history count."""
        known = histories.matrix(len(self._texts.rows))[:, self._warm]
        return (known @ self._similar[items].T).toarray()

    def _remember_histories(self) -> None:
        """Store the warm items and the users' interactions with them."""
        self._warm = np.flatnonzero(self.fitted.warm)
        self._histories = self.fitted.positives[:, self._warm].tocsr()

    def _neighbours(self, vectors: np.ndarray, warm_position: np.ndarray) -> sparse.csr_matrix:
        """Compute cosines to the nearest warm items, CSR, shape (items, warm items).

        Args:
            vectors: float32, shape (items, width).
            warm_position: position of each item among the warm items, -1 for a cold item.
        """
        k = min(self.config.neighbours, len(self._warm))
        counts, columns, values = [0], [], []
        for start in range(0, len(vectors), _BLOCK):
            rows = slice(start, start + _BLOCK)
            cosines = vectors[rows] @ self._texts.rows[self._warm].T
            is_warm = np.flatnonzero(warm_position[rows] >= 0)
            cosines[is_warm, warm_position[rows][is_warm]] = np.nan  # not its own neighbour
            positions, similar = top_k(cosines, k)
            found = positions >= 0
            counts.extend(found.sum(axis=1).tolist())
            columns.append(positions[found])
            values.append(similar[found])
        return sparse.csr_matrix(
            (np.concatenate(values), np.concatenate(columns), np.cumsum(counts)),
            shape=(len(vectors), len(self._warm)),
        )

    def _add_items(self, items: Catalogue) -> None:
        new = self._neighbours(self._texts.append(items.texts), np.full(len(items), -1))
        self._similar = sparse.csr_matrix(sparse.vstack([self._similar, new]))

    def _state(self) -> dict[str, np.ndarray]:
        similar = self._similar
        return {
            "vectors": self._texts.rows,
            "similar.data": similar.data,
            "similar.indices": similar.indices,
            "similar.indptr": similar.indptr,
        }

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._remember_histories()
        vectors = state["vectors"]
        self._texts = TextVectors(vectors, self.fitted.lms["encoder"], models.encoder)
        arrays = tuple(state[f"similar.{name}"] for name in ("data", "indices", "indptr"))
        self._similar = sparse.csr_matrix(arrays, shape=(len(vectors), len(self._warm)))
