"""co_mention: ranks items by how often they are mentioned in dialogues with those mentioned so far.

Item-kNN over the mentions of dialogues, smoothed; see ``conversation.co_mention``. An item that no
training dialogue mentions is scored by warm items with similar texts. A simple rival.
"""

import numpy as np

from warmstart.conversation.co_mention import CoMentionConfig, CoMentions, fit_co_mentions
from warmstart.conversation.recommender import ConversationRecommender
from warmstart.conversation.stand_ins import StandIns, nearest_warm, of_catalogue
from warmstart.core import FitContext, LanguageModels, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.lm.text_vectors import TextVectors
from warmstart.storage import nest, unnest


class CoMention(ConversationRecommender):
    """Item-kNN over mentions."""

    name = "co_mention"
    config_type = CoMentionConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts"}),
        cold_items="content",
        answers=frozenset({"history"}),
        needs=frozenset({"encoder"}),
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(data.catalogue.texts, context.encoder)
        with context.run.stage("counts"):
            self._counts = fit_co_mentions(data.matrix, self._texts.rows, self.config)
            self._stand_ins = of_catalogue(self._texts.rows, data.warm, self.config.stand_ins)

    def _score_histories(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        return self._stand_ins.take(items).mean(self._counts.score(histories))

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        if queries.texts is None:
            return super()._score(queries, items)
        return self._score_histories(queries.histories_or(self.fitted.histories), items)

    def _add_items(self, items: Catalogue) -> None:
        n_known = len(self._counts.popularity)
        new = nearest_warm(
            self._texts.append(items.texts), self._texts.rows[:n_known],
            self.fitted.warm[:n_known], self.config.stand_ins,
        )  # fmt: skip
        self._stand_ins = self._stand_ins.extended(new)

    def _state(self) -> dict[str, np.ndarray]:
        return {
            "vectors": self._texts.rows,
            "stand_ins": self._stand_ins.items,
            "stand_in_weights": self._stand_ins.weights,
            **nest("counts", self._counts.state()),
        }

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._texts = TextVectors(state["vectors"], self.fitted.lms["encoder"], models.encoder)
        self._stand_ins = StandIns(state["stand_ins"], state["stand_in_weights"])
        self._counts = CoMentions.from_state(unnest("counts", state), self.config)
