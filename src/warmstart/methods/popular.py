"""popular: ranks items by their number of training interactions, the same for every user.

A cold item has no interactions, so all cold items tie below every warm item. With ``recent_days``,
only the interactions of the last days of the training data count.
"""

import numpy as np
from pydantic import Field

from warmstart.abilities import AddsItems
from warmstart.config import Config
from warmstart.core import FitContext, LanguageModels, Recommender, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.queries import Queries
from warmstart.errors import DataError

_SECONDS = 24 * 60 * 60


class PopularConfig(Config):
    """Settings of popular.

    Attributes:
        recent_days: number of days before the last training interaction whose interactions count;
            None counts all. Where tastes change, a few weeks are a stronger rival than all time.
    """

    recent_days: float | None = Field(default=None, gt=0)


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
        if self.config.recent_days is None:
            self._counts = data.matrix.getnnz(axis=0).astype(np.float32)
            return
        events = data.interactions
        if events.times is None or data.clock != "unix":
            raise DataError(
                f"popular: recent_days needs the time of each interaction, but {data.name!r} has "
                + ("none" if events.times is None else "positions")
            )
        recent = events.times > events.times.max() - self.config.recent_days * _SECONDS
        counts = np.bincount(events.items[recent], minlength=data.n_items)
        self._counts = counts.astype(np.float32)

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``; the score is the item's number of interactions that count."""
        return np.tile(self._counts[items], (len(queries), 1))

    def _add_items(self, items: Catalogue) -> None:
        self._counts = np.concatenate([self._counts, np.zeros(len(items), np.float32)])

    def _state(self) -> dict[str, np.ndarray]:
        return {"counts": self._counts}

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._counts = state["counts"]
