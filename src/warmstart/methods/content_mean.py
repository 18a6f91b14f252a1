"""content_mean: scores an item by its similarity to the mean text of the user's history.

    score(u, i) = mean of the text vectors of u's history . text vector of i

The simplest content-based recommender (Pazzani and Billsus, "Content-Based Recommendation Systems",
in The Adaptive Web, 2007: a profile of the user as the mean of the items), with nothing to fit but
the language model's vectors. Where texts name kinds of things, as titles of products do, it ranks
new items better than regressions from texts to vectors (docs/results.md).
"""

import numpy as np

from warmstart.config import Config
from warmstart.core import FitContext, LanguageModels, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.lm.text_vectors import TextVectors
from warmstart.servable import ItemEncoding, ItemRows, ProductServable
from warmstart.similar_users import SimilarUsers


class ContentMeanConfig(Config):
    """content_mean has no settings."""


class ContentMean(ProductServable):
    """Scores items by the mean text vector of the history."""

    name = "content_mean"
    config_type = ContentMeanConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts"}),
        cold_items="content",
        answers=frozenset({"user", "history"}),
        needs=frozenset({"encoder"}),
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(data.catalogue.texts, context.encoder)

    @property
    def _vectors_of_items(self) -> np.ndarray:
        return self._texts.rows

    @property
    def counts_in_histories(self) -> np.ndarray:
        """Items with a text."""
        return self.fitted.catalogue.has_text

    def _user_states(self, users: np.ndarray) -> np.ndarray:
        return self._history_states(self.fitted.histories.take(users), None)

    def _history_states(self, histories: Histories, similar: SimilarUsers | None) -> np.ndarray:
        """Mean vectors over the different items of each history; zeros for an empty one."""
        return histories.mean(self._texts.rows)

    def encode_items(self, items: Catalogue, *, audience: int = 0) -> tuple[ItemEncoding, ItemRows]:
        encoding = {"vectors": self._texts.encode(items.texts)}
        return encoding, self.item_rows(encoding)

    def item_rows(self, encoding: ItemEncoding) -> ItemRows:
        return {"vectors": encoding["vectors"]}

    @property
    def text_vectors(self) -> np.ndarray:
        return self._texts.rows

    def _add_items(self, items: Catalogue) -> None:
        self._texts.append(items.texts)

    def _state(self) -> dict[str, np.ndarray]:
        return {"vectors": self._texts.rows}

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._texts = TextVectors(state["vectors"], self.fitted.lms["encoder"], models.encoder)
