"""ease_text: EASE for warm items, the closed-form ridge head on texts for cold ones.

    interactions ──EASE──────────────────▶ scores of warm items ─┐
    text ──LM──▶ vector ──(kernel) ridge─▶ scores of cold items ─┴ x factor of the user ─▶ one list

Both are solved in closed form, without a gradient step. The two constants of the calibration
(``simulate.calibration``) are chosen on the overall validation slice.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from warmstart.abilities import AddsItems, Simulates
from warmstart.backbones import build
from warmstart.backbones.ease import EaseConfig
from warmstart.backbones.fit import fit_backbone
from warmstart.core import Encoder, FitContext, Recommender, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.interactions import Interactions
from warmstart.lm.text_vectors import TextVectors
from warmstart.similar_users import similar_users
from warmstart.simulate.calibration import (
    CalibrationConfig,
    ColdCalibration,
    fit_calibration,
    min_variation,
    reference_items,
    score_warm_and_cold,
)
from warmstart.simulate.ridge import RidgeConfig, RidgeHead, fit_ridge
from warmstart.simulate.top_users import top_users
from warmstart.storage import nest, unnest


class EaseTextConfig(CalibrationConfig):
    """Settings of ease_text; for the calibration of cold scores see ``CalibrationConfig``.

    Attributes:
        ease: settings of EASE, which scores warm items.
        ridge: settings of the ridge head, which scores cold items.
    """

    ease: EaseConfig = Field(default_factory=EaseConfig)
    ridge: RidgeConfig = Field(default_factory=RidgeConfig)


class EaseText(Recommender, AddsItems, Simulates):
    """Scores warm items by EASE, and cold items by ridge regression on their texts."""

    name = "ease_text"
    config_type = EaseTextConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts"}),
        cold_items="content",
        answers=frozenset({"user", "history"}),
        needs_lm=True,
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        self._ease = fit_backbone(self.config.ease, data, context)
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(data.catalogue.texts, context.encoder)
        self._head = fit_ridge(self.config.ridge, self._texts.rows, data, context)
        with context.run.stage("calibrate"):
            self._calibration, self.fitted.choices = fit_calibration(
                self.config,
                self._ease.score,
                self._score_text,
                self._head.score_as_cold(self._texts.rows, reference_items(data), data),
                data,
                context.valid,
                min_variation=min_variation(data),
            )

    def _score_users(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``: EASE's scores; calibrated ridge scores for cold items."""
        return score_warm_and_cold(
            users,
            items,
            self.fitted.warm,
            self._ease.score,
            lambda u, i: self._calibration.apply(u, self._score_text(u, i)),
        )

    def _score_histories(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        """As ``_score_users``; the calibration is that of users with similar histories."""
        fitted = self.fitted
        known = histories.matrix(len(fitted.catalogue))
        calibration = self._calibration.averaged(similar_users(fitted.positives, known))
        warm_vectors = self._texts.rows[fitted.warm]

        def score_text(rows: np.ndarray, items: np.ndarray) -> np.ndarray:
            vectors = self._texts.rows[items]
            return self._head.predict_for(known[rows][:, fitted.warm], warm_vectors, vectors)

        return score_warm_and_cold(
            np.arange(len(histories)),
            items,
            fitted.warm,
            lambda rows, items: self._ease.score_histories(known[rows], items),
            lambda rows, items: calibration.apply(rows, score_text(rows, items)),
        )

    def simulate_texts(self, texts: Sequence[str], k: int) -> Interactions:
        """As ``Simulates.simulate_texts``; weights are ridge scores, clipped to (0, 1]."""
        return top_users(self._head.predict(self._texts.encode(texts)), k, self.name)

    def _score_text(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self._head.predict(self._texts.rows[items], users).T

    def _add_items(self, items: Catalogue) -> None:
        self._texts.append(items.texts)

    def _state(self) -> dict[str, np.ndarray]:
        return {
            "vectors": self._texts.rows,
            **self._calibration.state(),
            **self._head.state(),
            **nest("ease", self._ease.state()),
        }

    def _restore(self, state: dict[str, np.ndarray], lm: Encoder | None) -> None:
        self._ease = build(self.config.ease).restore(unnest("ease", state))
        self._texts = TextVectors(state["vectors"], self.fitted.lm_spec or {}, lm)
        self._head = RidgeHead.restore(self.config.ridge, state)
        self._calibration = ColdCalibration.restore(state)
