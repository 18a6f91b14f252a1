"""popular: ranks items by their number of training interactions, the same for every user.

A cold item has no interactions, so all cold items tie below every warm item.
"""

import numpy as np

from warmstart.abilities import AddsItems
from warmstart.config import Config
from warmstart.core import FitContext, Recommender, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.queries import Queries


class PopularConfig(Config):
    """Empty: popular has no settings."""


class Popular(Recommender, AddsItems):
    """Scores an item by its number of training interactions."""

    name = "popular"
    config_type = PopularConfig
    traits = Traits(
        reads=frozenset({"interactions"}),
        cold_items="prior",
        answers=frozenset({"user", "history", "text"}),
        personal=False,
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        self._counts = data.matrix.getnnz(axis=0).astype(np.float32)

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``; the score is the item's number of interactions."""
        return np.tile(self._counts[items], (len(queries), 1))

    def _add_items(self, items: Catalogue) -> None:
        self._counts = np.concatenate([self._counts, np.zeros(len(items), np.float32)])

    def _state(self) -> dict[str, np.ndarray]:
        return {"counts": self._counts}

    def _restore(self, state: dict[str, np.ndarray], lm: object | None) -> None:
        self._counts = state["counts"]
