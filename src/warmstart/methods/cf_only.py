"""cf_only: a collaborative-filtering backbone and nothing else.

It cannot score an item that nobody has clicked (NaN). Interactions that arrive later for such an
item are folded in (``fold_in``): users and warm items stay bit for bit as they are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from warmstart.abilities import AddsItems
from warmstart.backbones import BackboneConfig
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.fit import fit_backbone
from warmstart.config import Config
from warmstart.core import FitContext, Recommender, Traits
from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions
from warmstart.data.splits.cold import Validation
from warmstart.errors import DataError
from warmstart.simulate.calibration import CalibrationConfig, fit_calibration
from warmstart.simulate.hybrid import HybridScorer, scores_over_users


class CFOnlyConfig(Config):
    """Settings of cf_only.

    Attributes:
        backbone: the CF model, with its settings.
    """

    backbone: BackboneConfig = Field(default_factory=BprConfig, discriminator="kind")


class CFOnly(Recommender, AddsItems):
    """A backbone as a recommender."""

    name = "cf_only"
    config_type = CFOnlyConfig
    traits = Traits(reads=frozenset({"interactions"}), cold_items="none")

    def _fit(self, data: Dataset, context: FitContext) -> None:
        backbone = fit_backbone(self.config.backbone, data, context)
        self.fitted.choices = {"backbone": backbone.chosen.model_dump(mode="json")}
        self._hybrid = HybridScorer(backbone, data.n_users)
        self._hybrid.append_unscored(int((~data.warm).sum()))

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``; NaN for an item without interactions."""
        return self._hybrid.score(users, items, self.fitted.warm)

    def fold_in(self, events: Interactions) -> None:
        """Score cold items by the given interactions, simulated or observed, from now on.

        Args:
            events: their ``items`` are rows of cold items. Items without events stay as they are.

        Raises:
            DataError: an item is warm.
        """
        warm = self.fitted.warm
        if warm[events.items].any():
            row = int(events.items[warm[events.items]][0])
            raise DataError(f"cf_only: only cold items are folded in, item row {row} is warm")
        n_users = len(self.fitted.user_ids)
        rows = np.unique(events.items)
        matrix = events.matrix(n_users, len(warm)).T.tocsr()[rows]
        position = np.cumsum(~warm) - 1
        self._hybrid.replace(position[rows], matrix)

    def calibrate(self, data: Dataset, valid: Validation) -> None:
        """Calibrate the scores of folded-in items against those of warm ones.

        See ``simulate.calibration``.

        Args:
            data: what the backbone was fitted on.
            valid: slices on which the constants are chosen.
        """
        hybrid, position = self._hybrid, np.cumsum(~data.warm) - 1
        known = hybrid.folded[~np.isnan(hybrid.folded).any(axis=1)]
        hybrid.calibration, _ = fit_calibration(
            CalibrationConfig(),
            hybrid.backbone.score,
            lambda u, i: hybrid.score_cold(u, position[i]),
            scores_over_users(hybrid.backbone, known, data.n_users),
            data,
            valid,
        )

    def _add_texts(self, texts: Sequence[str]) -> None:
        self._hybrid.append_unscored(len(texts))

    def _state(self) -> dict[str, np.ndarray]:
        return self._hybrid.state()

    def _restore(self, state: dict[str, np.ndarray], lm: Any | None) -> None:
        self._hybrid = HybridScorer.restore(self.config.backbone, state)
