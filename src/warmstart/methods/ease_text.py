"""ease_text: EASE for warm items, closed-form text-to-distribution for cold ones.

    interactions ──EASE──────────────────────▶ scores of warm items ─┐
    text ──LM──▶ vector ──(kernel) ridge─────▶ scores of cold items ─┴ x scale_u ─▶ one list

No gradient step anywhere. The two constants of the scale (``simulate.scale``) are chosen on the
overall validation slice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from warmstart.backbones import build
from warmstart.backbones.ease import EaseConfig
from warmstart.core import AddsItems, FitContext, Recommender, Simulates, Traits
from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions
from warmstart.lm.vectors import TextVectors
from warmstart.simulate.audience import audience
from warmstart.simulate.distribution import under
from warmstart.simulate.ridge import RidgeConfig, TextRidge, fit_ridge
from warmstart.simulate.scale import (
    ColdScale,
    ScaledConfig,
    fit_scale,
    reference_items,
    score_beside,
)
from warmstart.simulate.warmed import fit_backbone


class EaseTextConfig(ScaledConfig):
    """Settings of ease_text; the scale between its sides is in ``ScaledConfig``.

    Attributes:
        ease: the warm side.
        ridge: the cold side.
    """

    ease: EaseConfig = Field(default_factory=EaseConfig)
    ridge: RidgeConfig = Field(default_factory=RidgeConfig)


class EaseText(Recommender, AddsItems, Simulates):
    """Two closed forms and one scale."""

    name = "ease_text"
    config_type = EaseTextConfig
    traits = Traits(reads=frozenset({"interactions", "texts"}), cold_items="content", needs_lm=True)

    def _fit(self, data: Dataset, context: FitContext) -> None:
        self._ease = fit_backbone(self.config.ease, data, context)
        with context.run.stage("encode"):
            self._texts = TextVectors.of(data.catalogue.texts, context.lm)
        self._head = fit_ridge(self.config.ridge, self._texts.rows, data, context)
        with context.run.stage("scale"):
            self._scale, self.fitted.choices = fit_scale(
                self.config,
                self._ease.score,
                self._score_text,
                self._head.as_if_new(self._texts.rows, reference_items(data), data),
                data,
                context.valid,
            )

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``; EASE's score, or the scaled regression's."""
        return score_beside(
            users,
            items,
            self.fitted.warm,
            self._ease.score,
            lambda u, i: self._scale.apply(u, self._score_text(u, i)),
        )

    def simulate_texts(self, texts: Sequence[str], k: int) -> Interactions:
        """As ``Simulates.simulate_texts``; the weight is the regression's score, cut to (0, 1]."""
        return audience(self._head.predict(self._texts.encode(texts)), k, self.name)

    def _score_text(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self._head.predict(self._texts.rows[items], users).T

    def _add_texts(self, texts: Sequence[str]) -> None:
        self._texts.append(texts)

    def _state(self) -> dict[str, np.ndarray]:
        ease = {f"ease.{name}": array for name, array in self._ease.state().items()}
        scale = self._scale.factors
        return {"vectors": self._texts.rows, "scale": scale, **self._head.state(), **ease}

    def _restore(self, state: dict[str, np.ndarray], lm: Any | None) -> None:
        self._ease = build(self.config.ease).restore(under("ease.", state))
        self._texts = TextVectors(state["vectors"], self.fitted.lm_spec or {}, lm)
        self._head = TextRidge.restore(self.config.ridge, state)
        self._scale = ColdScale(state["scale"])
