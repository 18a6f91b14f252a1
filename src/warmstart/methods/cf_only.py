"""cf_only: a collaborative-filtering backbone and nothing else.

It cannot score an item that nobody has clicked (NaN). Interactions that arrive for such an item are
folded in (``fold_in``): users and warm items stay bit for bit as they are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from warmstart.backbones import BackboneConfig
from warmstart.backbones.bpr import BprConfig
from warmstart.config import Config
from warmstart.core import AddsItems, FitContext, Recommender, Traits
from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions
from warmstart.data.split import Validation
from warmstart.errors import DataError
from warmstart.simulate.scale import ScaledConfig, fit_scale
from warmstart.simulate.warmed import Warmed, fit_backbone, over_users


class CFOnlyConfig(Config):
    """Settings of cf_only.

    Attributes:
        backbone: which one, with its settings.
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
        self._warmed = Warmed(backbone, data.n_users)
        self._warmed.append_blank(int((~data.warm).sum()))

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``; NaN for an item without interactions."""
        return self._warmed.score(users, items, self.fitted.warm)

    def fold_in(self, events: Interactions) -> None:
        """Score cold items by these interactions, simulated or observed, from now on.

        Args:
            events: their ``items`` are rows of cold items. Items not named here stay as they are.

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
        place = np.cumsum(~warm) - 1
        self._warmed.replace(place[rows], matrix)

    def calibrate(self, data: Dataset, valid: Validation) -> None:
        """Bring the scores of folded-in items beside those of warm ones, see ``simulate.scale``.

        Args:
            data: what was fitted.
            valid: slices on which the constants are chosen.
        """
        warmed, place = self._warmed, np.cumsum(~data.warm) - 1
        known = warmed.folded[~np.isnan(warmed.folded).any(axis=1)]
        warmed.scale, _ = fit_scale(
            ScaledConfig(),
            warmed.backbone.score,
            lambda u, i: warmed.score_cold(u, place[i]),
            over_users(warmed.backbone, known, data.n_users),
            data,
            valid,
        )

    def _add_texts(self, texts: Sequence[str]) -> None:
        self._warmed.append_blank(len(texts))

    def _state(self) -> dict[str, np.ndarray]:
        return self._warmed.state()

    def _restore(self, state: dict[str, np.ndarray], lm: Any | None) -> None:
        self._warmed = Warmed.restore(self.config.backbone, state)
