"""Recommenders that score by a hybrid scorer, taken apart to be served."""

from typing import Any

import numpy as np
from scipy import sparse

from warmstart.backbones.base import FactorBackbone
from warmstart.data.histories import Histories
from warmstart.retrieval.queries import ProductQueries
from warmstart.servable import ItemRows, QueryStates, Servable
from warmstart.similar_users import SimilarUsers
from warmstart.simulate.hybrid import HybridScorer, HybridStates, can_score


class HybridRecommender(Servable):
    """A recommender whose scores are those of its ``HybridScorer``."""

    _hybrid: HybridScorer

    @property
    def hybrid(self) -> HybridScorer:
        """The fitted scorer of warm and cold items."""
        return self._hybrid

    @property
    def _folds_in_histories(self) -> bool:
        return self._hybrid.backbone.folds_in_users

    def _user_states(self, users: np.ndarray) -> HybridStates:
        return self._hybrid.user_states(users)

    def _history_states(self, histories: Histories, similar: SimilarUsers) -> HybridStates:
        known = histories.matrix(len(self.fitted.catalogue))
        return self._hybrid.history_states(known, similar.weights(known))

    def warm_items(self, items: np.ndarray) -> Any:
        return self._hybrid.backbone.warm_items(items)

    def _score_warm(self, states: HybridStates, items: Any) -> np.ndarray:
        return self._hybrid.backbone.score_states(states.backbone, items)

    def cold_rows(self, items: np.ndarray) -> ItemRows:
        return self._hybrid.rows((np.cumsum(~self.fitted.warm) - 1)[items])

    def can_score(self, rows: ItemRows) -> np.ndarray:
        return can_score(rows)

    def _score_item_rows(self, states: HybridStates, rows: ItemRows) -> np.ndarray:
        return self._hybrid.score_rows(states, rows)

    def warm_vectors(self, items: Any) -> np.ndarray | None:
        return items if isinstance(self._hybrid.backbone, FactorBackbone) else None

    def warm_queries(self, states: QueryStates) -> ProductQueries:
        return ProductQueries.of(states.mean(lambda own: own.backbone))

    def cold_vectors(self, rows: ItemRows) -> np.ndarray | None:
        """None if a cold score is more than the product of two vectors."""
        if not self._cold_scores_are_products:
            return None
        fusion, parts = self._hybrid.fusion, []
        if fusion.weight < 1:
            parts.append(rows["folded"] * np.float32(fusion.factor_first))
        if fusion.weight > 0:
            parts.append(rows["text_vectors"] * np.float32(fusion.factor_second))
        return np.concatenate(parts, axis=1) * rows["item_scales"][:, None]

    @property
    def _cold_scores_are_products(self) -> bool:
        hybrid = self._hybrid
        folded = hybrid.fusion.weight == 1 or isinstance(hybrid.backbone, FactorBackbone)
        text = hybrid.fusion.weight == 0 or hybrid.text_scores.users is not None
        return folded and text

    def cold_queries(self, states: QueryStates) -> ProductQueries | None:
        own: HybridStates | None = states.single
        if own is None:
            return None
        weight, parts = self._hybrid.fusion.weight, []
        if weight < 1:
            parts.append(own.backbone)
        if weight > 0:
            parts.append(own.text_users)
        return own.calibration.as_queries(np.concatenate(parts, axis=1))

    def observed_rows(self, clicks: sparse.csr_matrix) -> ItemRows:
        return {"folded": self._hybrid.backbone.fold_in(clicks)}

    def _score_observed_rows(self, states: HybridStates, rows: ItemRows) -> np.ndarray:
        return self._hybrid.backbone.score_folded_states(states.backbone, rows["folded"])
