"""A collaborative model chooses the items that may be written."""

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
    """Keeps the best items of each set of genres; items without interactions are left out.

    Args:
        backbone: the fitted model.
        warm: which items have interactions, bool, shape (items of the fit,).
        n: items of each set of genres.
    """

    def __init__(self, backbone: Backbone, warm: np.ndarray, n: int) -> None:
        self._backbone, self._warm, self._n = backbone, np.flatnonzero(warm), n

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
        return cls(backbone, data.warm, config.items)

    @classmethod
    def restore(
        cls, config: ShortlistConfig, state: dict[str, np.ndarray], warm: np.ndarray
    ) -> Self:
        """Load what ``state`` returned."""
        return cls(build(config.backbone).restore(state), warm, config.items)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of the model."""
        return self._backbone.state()

    def kept(self, histories: Histories, allowed: np.ndarray, table: np.ndarray) -> np.ndarray:
        """Restrict the allowed items.

        Args:
            histories: who asks.
            allowed: bool, shape (histories, items).
            table: the genres of the items, bool, shape (items, genres).

        Returns:
            bool, shape (histories, items).
        """
        states = self._backbone.history_states(histories.matrix(allowed.shape[1]))
        scores = self._backbone.score_states(states, self._backbone.warm_items(self._warm))
        _, groups = np.unique(table[self._warm], axis=0, return_inverse=True)
        kept = np.zeros_like(allowed)
        for row, own in enumerate(scores):
            open_ = np.flatnonzero(allowed[row, self._warm])
            order = open_[np.lexsort((-own[open_], groups[open_]))]
            starts = np.searchsorted(groups[order], groups[order])
            kept[row, self._warm[order[np.arange(len(order)) - starts < self._n]]] = True
        return kept
