"""Recommenders that score cold items by a ridge head on their texts, taken apart to be served."""

from collections.abc import Callable, Sequence

import numpy as np

from warmstart.data.catalogue import Catalogue
from warmstart.data.histories import Histories
from warmstart.data.interactions import Interactions
from warmstart.lm.text_vectors import TextVectors
from warmstart.retrieval.found import Found
from warmstart.retrieval.history_table import HistoryTable
from warmstart.retrieval.table import VectorTable
from warmstart.servable import ItemEncoding, ItemRows, QueryStates, Servable
from warmstart.simulate.ridge import RidgeHead
from warmstart.simulate.table_simulator import TableSimulator
from warmstart.simulate.top_users import top_users
from warmstart.simulate.user_scores import found_users


class RidgeRecommender(Servable, TableSimulator):
    """A recommender with a ridge head; users are columns of weights, texts are rows of features."""

    needs_log_normalisers = False  # weights are scores
    _texts: TextVectors
    _head: RidgeHead
    _features: np.ndarray | None = None  # of the catalogue, with a rank, (n_items, rank)

    def _keep_features(self) -> None:
        """Keep the features of the catalogue if they are short."""
        if self._head.is_low_rank:
            self._features = self._features_of_texts(self._texts.rows)

    def _features_of(self, items: np.ndarray) -> np.ndarray:
        """Features of items of the catalogue, float32, shape (items, width)."""
        if self._features is not None:
            return self._features[items]
        return self._head.features(self._texts.rows[items])

    def _features_of_texts(self, vectors: np.ndarray) -> np.ndarray:
        blocks = self._head.item_blocks(len(vectors))
        parts = [self._head.features(vectors[rows]) for rows in blocks]
        return np.concatenate([self._head.features(vectors[:0]), *parts])

    def _ridge_state(self) -> dict[str, np.ndarray]:
        features = {} if self._features is None else {"features": self._features}
        return {"vectors": self._texts.rows, **features}

    @property
    def text_vectors(self) -> np.ndarray:
        """Unit text vectors of the catalogue, float32, shape (n_items, width)."""
        return self._texts.rows

    @property
    def audience_calibration(self) -> str:
        """As ``Servable.audience_calibration``."""
        return "scores of a regression, cut at 0 and 1; not fitted to held-out items"

    def encode_items(self, items: Catalogue, *, audience: int = 0) -> tuple[ItemEncoding, ItemRows]:
        """As ``Servable.encode_items``."""
        encoding = {"vectors": self._texts.encode(items.texts)}
        rows = self.item_rows(encoding)
        if audience:
            k = min(audience, len(self.fitted.user_ids))
            top = self._top_users(rows["features"], k)
            encoding["audience"] = top.users.reshape(len(items), k)
            encoding["probabilities"] = top.weights.reshape(len(items), k)
        return encoding, rows

    def item_rows(self, encoding: ItemEncoding) -> ItemRows:
        """As ``Servable.item_rows``: the features of the texts."""
        return {"features": self._features_of_texts(encoding["vectors"])}

    def cold_rows(self, items: np.ndarray) -> ItemRows:
        """As ``Servable.cold_rows``."""
        return {"features": self._features_of(items)}

    def cold_vectors(self, rows: ItemRows) -> np.ndarray:
        """As ``Servable.cold_vectors``: the features of the texts."""
        return rows["features"]

    def _score_cold_items(self, states: QueryStates, items: np.ndarray) -> np.ndarray:
        return self._in_blocks(super()._score_cold_items, states, items)

    def _in_blocks(
        self,
        score: Callable[[QueryStates, np.ndarray], np.ndarray],
        states: QueryStates,
        items: np.ndarray,
    ) -> np.ndarray:
        """Score items in blocks, since their features may take much memory."""
        blocks = self._head.item_blocks(len(items))
        return np.concatenate([score(states, items[rows]) for rows in blocks], axis=1)

    def _user_weights(self, users: np.ndarray) -> np.ndarray:
        """Weights of known users, float32, shape (features, users)."""
        return self._head.user_weights(users)

    def _history_weights(self, histories: Histories) -> np.ndarray:
        """Weights of unknown users, float32, shape (features, histories)."""
        known, warm = histories.matrix(len(self._texts.rows)), np.flatnonzero(self.fitted.warm)
        return self._head.history_weights(known, self._texts.rows, warm)

    def simulate_texts(self, texts: Sequence[str], k: int) -> Interactions:
        """As ``Simulates.simulate_texts``; weights are ridge scores, clipped to (0, 1]."""
        return self._top_users(self.user_queries(texts), k)

    def _top_users(self, features: np.ndarray, k: int) -> Interactions:
        if self._head.table is None:
            return top_users(features @ self._head.weights, k, self.name)
        return self.simulated(self._head.table.search(features, k))

    def user_table(self) -> VectorTable | HistoryTable | None:
        """As ``TableSimulator.user_table``: there is one if the head has a rank."""
        return self._head.table

    def user_queries(self, texts: Sequence[str]) -> np.ndarray:
        """As ``TableSimulator.user_queries``."""
        return self._head.features(self._texts.encode(texts))

    def simulated(self, found: Found) -> Interactions:
        """As ``TableSimulator.simulated``."""
        return found_users(found, found.scores, self.name)

    def _add_items(self, items: Catalogue) -> None:
        start = len(self._texts.rows)
        self._texts.append(items.texts)
        if self._features is not None:
            new = self._features_of_texts(self._texts.rows[start:])
            self._features = np.concatenate([self._features, new])
