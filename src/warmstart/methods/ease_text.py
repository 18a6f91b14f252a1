"""ease_text: EASE for warm items, the closed-form ridge head on texts for cold ones.

    interactions ──EASE──────────────────▶ scores of warm items ─┐
    text ──LM──▶ vector ──(kernel) ridge─▶ scores of cold items ─┴ x factor of the user ─▶ one list

Both are solved in closed form, without a gradient step. The two constants of the calibration
(``simulate.calibration``) are chosen on the overall validation slice.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.backbones import build
from warmstart.backbones.ease import EaseConfig
from warmstart.backbones.fit import fit_backbone
from warmstart.core import FitContext, LanguageModels, Traits
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.lm.text_vectors import TextVectors
from warmstart.retrieval.queries import ProductQueries
from warmstart.servable import ItemRows, QueryStates
from warmstart.similar_users import SimilarUsers
from warmstart.simulate.calibration import (
    CalibrationConfig,
    ColdCalibration,
    fit_calibration,
    min_variation,
    reference_items,
)
from warmstart.simulate.ridge import RidgeConfig, RidgeHead, fit_ridge
from warmstart.simulate.ridge_recommender import RidgeRecommender
from warmstart.storage import nest, unnest


class EaseTextConfig(CalibrationConfig):
    """Settings of ease_text; for the calibration of cold scores see ``CalibrationConfig``.

    Attributes:
        ease: settings of EASE, which scores warm items.
        ridge: settings of the ridge head, which scores cold items.
    """

    ease: EaseConfig = Field(default_factory=EaseConfig)
    ridge: RidgeConfig = Field(default_factory=RidgeConfig)


@dataclass(frozen=True)
class EaseTextStates:
    """Who asks: states of EASE, weights of the ridge head, and the calibration of each query."""

    ease: Any
    weights: np.ndarray
    calibration: ColdCalibration


class EaseText(RidgeRecommender):
    """Scores warm items by EASE, and cold items by ridge regression on their texts."""

    name = "ease_text"
    config_type = EaseTextConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts"}),
        cold_items="content",
        answers=frozenset({"user", "history"}),
        needs=frozenset({"encoder"}),
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        width = context.encoder.width
        self.config.ridge.check_size(self.name, int(data.warm.sum()), data.n_users, width)
        self._ease = fit_backbone(self.config.ease, data, context)
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(data.catalogue.texts, context.encoder)
        self._head = fit_ridge(self.config.ridge, self._texts.rows, data, context)
        with context.run.stage("calibrate"):
            self._calibration, self.fitted.choices = fit_calibration(
                self.config,
                self._ease.score,
                lambda u, i: self._head.predict(self._texts.rows[i], u).T,
                self._head.score_as_cold(self._texts.rows, reference_items(data), data),
                data,
                context.valid,
                min_variation=min_variation(data),
            )

    def _user_states(self, users: np.ndarray) -> EaseTextStates:
        calibration = self._calibration.take(users)
        return EaseTextStates(self._ease.user_states(users), self._user_weights(users), calibration)

    def _history_states(self, histories: Histories, similar: SimilarUsers) -> EaseTextStates:
        """The calibration is that of users with similar histories."""
        known = histories.matrix(len(self.fitted.catalogue))
        calibration = self._calibration.averaged(similar.weights(known))
        weights = self._history_weights(histories)
        return EaseTextStates(self._ease.history_states(known), weights, calibration)

    def warm_items(self, items: np.ndarray) -> Any:
        return self._ease.warm_items(items)

    def _score_warm(self, states: EaseTextStates, items: Any) -> np.ndarray:
        return self._ease.score_states(states.ease, items)

    def _score_item_rows(self, states: EaseTextStates, rows: ItemRows) -> np.ndarray:
        return states.calibration.calibrate((rows["features"] @ states.weights).T)

    def cold_queries(self, states: QueryStates) -> ProductQueries | None:
        own: EaseTextStates | None = states.single
        return None if own is None else own.calibration.as_queries(own.weights.T)

    def observed_rows(self, clicks: sparse.csr_matrix) -> ItemRows:
        return {"folded": self._ease.fold_in(clicks)}

    def _score_observed_rows(self, states: EaseTextStates, rows: ItemRows) -> np.ndarray:
        return self._ease.score_folded_states(states.ease, rows["folded"])

    def _state(self) -> dict[str, np.ndarray]:
        return {
            "vectors": self._texts.rows,
            **self._calibration.state(),
            **self._head.state(),
            **nest("ease", self._ease.state()),
        }

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._ease = build(self.config.ease).restore(unnest("ease", state))
        self._texts = TextVectors(state["vectors"], self.fitted.lms["encoder"], models.encoder)
        self._head = RidgeHead.restore(self.config.ridge, state)
        self._calibration = ColdCalibration.restore(state)
