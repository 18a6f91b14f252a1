"""A collaborative model whose best items may be written."""

from typing import Self

import numpy as np

from warmstart.backbones import Backbone, build
from warmstart.backbones.fit import fit_backbone
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.errors import ConfigError
from warmstart.genre_planning.settings import ShortlistConfig


class Shortlist:
    """Scores the items with interactions for histories.

    Args:
        backbone: the fitted model.
        warm: which items have interactions, bool, shape (items of the fit,).
    """

    def __init__(self, backbone: Backbone, warm: np.ndarray) -> None:
        self._backbone, self._warm = backbone, np.flatnonzero(warm)

    @classmethod
    def fit(cls, config: ShortlistConfig, data: Dataset, context: FitContext) -> Self:
        """Fit the model.

        Raises:
            ConfigError: the model does not read histories of unknown users.
        """
        backbone = fit_backbone(config.backbone, data, context)
        if not backbone.folds_in_users:
            raise ConfigError(
                f"shortlist: backbone {config.backbone.kind!r} does not read histories of unknown "
                "users; allowed: for example 'ease' or 'ials'"
            )
        return cls(backbone, data.warm)

    @classmethod
    def restore(
        cls, config: ShortlistConfig, state: dict[str, np.ndarray], warm: np.ndarray
    ) -> Self:
        """Load what ``state`` returned."""
        return cls(build(config.backbone).restore(state), warm)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of the model."""
        return self._backbone.state()

    def scores(self, histories: Histories, n_items: int) -> np.ndarray:
        """Score all items for histories: float32, shape (histories, n_items); NaN for cold ones."""
        states = self._backbone.history_states(histories.matrix(n_items))
        found = np.full((len(histories), n_items), np.nan, np.float32)
        found[:, self._warm] = self._backbone.score_states(
            states, self._backbone.warm_items(self._warm)
        )
        return found
