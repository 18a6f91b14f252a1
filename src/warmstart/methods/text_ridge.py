"""text_ridge: from an item's text to scores of all users in closed form. The baseline to beat.

    text ──LM──▶ vector ──(kernel) ridge, warm items' interactions──▶ a score for every user

See ``warmstart.simulate.ridge`` for the regression.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from warmstart.core import FitContext, LanguageModels, Traits
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.lm.text_vectors import TextVectors
from warmstart.retrieval.queries import ProductQueries
from warmstart.servable import ItemRows, QueryStates
from warmstart.similar_users import SimilarUsers
from warmstart.simulate.ridge import RidgeConfig, RidgeHead, fit_ridge
from warmstart.simulate.ridge_recommender import RidgeRecommender


@dataclass(frozen=True)
class TextRidgeStates:
    """Who asks: their warm items, CSR, shape (queries, warm items), and weights of the head."""

    known: sparse.csr_matrix
    weights: np.ndarray


class TextRidge(RidgeRecommender):
    """Scores warm and cold items alike by ridge regression on their texts."""

    name = "text_ridge"
    config_type = RidgeConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts"}),
        cold_items="content",
        answers=frozenset({"user", "history"}),
        needs=frozenset({"encoder"}),
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        width = context.encoder.width
        self.config.check_size(self.name, int(data.warm.sum()), data.n_users, width)
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(data.catalogue.texts, context.encoder)
        self._head = fit_ridge(self.config, self._texts.rows, data, context)

    def _user_states(self, users: np.ndarray) -> TextRidgeStates:
        known = self.fitted.positives[users][:, self.fitted.warm]
        return TextRidgeStates(known, self._user_weights(users))

    def _history_states(self, histories: Histories, similar: SimilarUsers) -> TextRidgeStates:
        """The regression of the histories on the texts."""
        known = histories.matrix(len(self.fitted.catalogue))[:, self.fitted.warm]
        return TextRidgeStates(known, self._history_weights(histories))

    def warm_items(self, items: np.ndarray) -> np.ndarray:
        """Positions among the warm items if these span the solution, else features."""
        if self._spans_fit:
            return (np.cumsum(self.fitted.warm) - 1)[items]
        return self._head.features(self._texts.rows[items])

    def _score_warm(self, states: TextRidgeStates, items: np.ndarray) -> np.ndarray:
        if self._spans_fit:
            return self._head.fitted_scores(states.known, states.weights, items)
        return (items @ states.weights).T

    def _score_warm_items(self, states: QueryStates, items: np.ndarray) -> np.ndarray:
        return self._in_blocks(super()._score_warm_items, states, items)

    @property
    def _spans_fit(self) -> bool:
        return self._head.spans_fit(int(self.fitted.warm.sum()))

    def _score_item_rows(self, states: TextRidgeStates, rows: ItemRows) -> np.ndarray:
        return (rows["features"] @ states.weights).T

    def warm_vectors(self, items: np.ndarray) -> np.ndarray | None:
        return None if self._spans_fit else items

    def warm_queries(self, states: QueryStates) -> ProductQueries:
        return self.cold_queries(states)

    def cold_queries(self, states: QueryStates) -> ProductQueries:
        return ProductQueries.of(states.mean(lambda own: own.weights.T))

    def _state(self) -> dict[str, np.ndarray]:
        return {"vectors": self._texts.rows, **self._head.state()}

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._texts = TextVectors(state["vectors"], self.fitted.lms["encoder"], models.encoder)
        self._head = RidgeHead.restore(self.config, state)
