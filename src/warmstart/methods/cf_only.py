"""cf_only: a collaborative-filtering backbone alone.

Its score of an item without interactions is NaN. Later interactions with such an item are folded in
(``fold_in``); users and warm items stay bit for bit as they are.
"""

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.abilities import FoldsIn
from warmstart.backbones import BackboneConfig
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.fit import fit_backbone
from warmstart.config import Config
from warmstart.core import FitContext, LanguageModels, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.tasks import Validation
from warmstart.servable import ItemEncoding, ItemRows
from warmstart.simulate.calibration import CalibrationConfig, fit_calibration
from warmstart.simulate.hybrid import HybridScorer, scores_over_users
from warmstart.simulate.hybrid_recommender import HybridRecommender


class CFOnlyConfig(Config):
    """Settings of cf_only.

    Attributes:
        backbone: kind and settings of the CF model.
    """

    backbone: BackboneConfig = Field(default_factory=BprConfig)


class CFOnly(HybridRecommender, FoldsIn):
    """Recommends warm items by a backbone, and cold ones after ``fold_in``."""

    name = "cf_only"
    config_type = CFOnlyConfig
    traits = Traits(reads=frozenset({"interactions"}), cold_items="none")

    def _fit(self, data: Dataset, context: FitContext) -> None:
        backbone = fit_backbone(self.config.backbone, data, context)
        self.fitted.choices = {"backbone": backbone.choices}
        self._hybrid = HybridScorer(backbone, data.n_users)
        self._hybrid.append(self._hybrid.unscored_rows(int((~data.warm).sum())))

    def item_rows(self, encoding: ItemEncoding) -> ItemRows:
        return self._hybrid.unscored_rows(len(encoding["vectors"]))

    def _fold_in(self, rows: np.ndarray, clicks: sparse.csr_matrix) -> None:
        position = np.cumsum(~self.fitted.warm) - 1
        self._hybrid.refold(position[rows], clicks)

    def calibrate(self, data: Dataset, valid: Validation) -> None:
        """Calibrate the scores of folded-in items against those of warm items.

        See ``simulate.calibration``.

        Args:
            data: the data that the backbone was fitted on.
            valid: validation slices, on which the constants are chosen.
        """
        hybrid, position = self._hybrid, np.cumsum(~data.warm) - 1
        known = hybrid.folded[~np.isnan(hybrid.folded).any(axis=1)]
        hybrid.calibration, _ = fit_calibration(
            CalibrationConfig(),
            hybrid.backbone.score,
            lambda u, i: hybrid.score_cold(u, position[i]),
            lambda users: scores_over_users(hybrid.backbone, known, users),
            data,
            valid,
        )

    def _add_items(self, items: Catalogue) -> None:
        self._hybrid.append(self._hybrid.unscored_rows(len(items)))

    def _state(self) -> dict[str, np.ndarray]:
        return self._hybrid.state()

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._hybrid = HybridScorer.restore(self.config.backbone, state)
