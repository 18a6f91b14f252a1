"""text_ridge: from an item's text to scores of all users in closed form. The baseline to beat.

    text ──LM──▶ vector ──(kernel) ridge, warm items' interactions──▶ a score for every user

See ``warmstart.simulate.ridge`` for the regression.
"""

from collections.abc import Sequence

import numpy as np

from warmstart.abilities import AddsItems, Simulates
from warmstart.core import Encoder, FitContext, Recommender, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.interactions import Interactions
from warmstart.lm.text_vectors import TextVectors
from warmstart.simulate.calibration import score_warm_and_cold
from warmstart.simulate.ridge import RidgeConfig, RidgeHead, fit_ridge
from warmstart.simulate.top_users import top_users


class TextRidge(Recommender, AddsItems, Simulates):
    """Scores warm and cold items alike by ridge regression on their texts."""

    name = "text_ridge"
    config_type = RidgeConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts"}),
        cold_items="content",
        answers=frozenset({"user", "history"}),
        needs_lm=True,
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(data.catalogue.texts, context.encoder)
        self._warm_rows = data.matrix.T.tocsr()[np.flatnonzero(data.warm)]
        self._head = fit_ridge(self.config, self._texts.rows, data, context)

    def _score_users(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``; near 1 for a likely pair, near 0 for an unlikely one."""
        return score_warm_and_cold(
            users, items, self.fitted.warm, self._score_warm, self._text_scores
        )

    def _score_histories(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        """As ``_score_users``, by the regression of the history on the texts."""
        known = histories.matrix(len(self._texts.rows))[:, self.fitted.warm]
        return self._head.predict_for(known, self._warm_vectors, self._texts.rows[items])

    @property
    def _warm_vectors(self) -> np.ndarray:
        return self._texts.rows[self.fitted.warm]

    def _text_scores(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self._head.predict(self._texts.rows[items], users).T

    def _score_warm(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As ``_text_scores``; computes no kernel if all warm items span the solution."""
        position = (np.cumsum(self.fitted.warm) - 1)[items]
        known = self._head.fitted_scores(self._warm_rows, position, users)
        return self._text_scores(users, items) if known is None else known.T

    def simulate_texts(self, texts: Sequence[str], k: int) -> Interactions:
        """As ``Simulates.simulate_texts``; weights are scores, clipped to (0, 1]."""
        return top_users(self._head.predict(self._texts.encode(texts)), k, self.name)

    def _add_items(self, items: Catalogue) -> None:
        self._texts.append(items.texts)

    def _state(self) -> dict[str, np.ndarray]:
        return {"vectors": self._texts.rows, **self._head.state()}

    def _restore(self, state: dict[str, np.ndarray], lm: Encoder | None) -> None:
        self._texts = TextVectors(state["vectors"], self.fitted.lm_spec or {}, lm)
        self._warm_rows = self.fitted.positives.T.tocsr()[np.flatnonzero(self.fitted.warm)]
        self._head = RidgeHead.restore(self.config, state)
