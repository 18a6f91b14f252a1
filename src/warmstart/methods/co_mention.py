"""co_mention: ranks items by how often they are mentioned in dialogues with those mentioned so far.

Item-kNN over the mentions of dialogues, smoothed; see ``conversation.co_mention``. An item that no
training dialogue mentions is scored by warm items with similar texts. A simple rival.
"""

import numpy as np

from warmstart.conversation.co_mention import CoMentionConfig, CoMentions, fit_co_mentions
from warmstart.conversation.recommender import StandInRecommender
from warmstart.core import FitContext, LanguageModels, Traits
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.lm.text_vectors import TextVectors
from warmstart.storage import nest, unnest


class CoMention(StandInRecommender):
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
            self._find_stand_ins(data.warm)

    def _score_histories(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        return self._of_items(self._counts.score(histories), items)

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        if queries.texts is None:
            return super()._score(queries, items)
        return self._score_histories(queries.histories_or(self.fitted.histories), items)

    def _state(self) -> dict[str, np.ndarray]:
        return {**self._stand_in_state(), **nest("counts", self._counts.state())}

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._restore_stand_ins(state, models)
        self._counts = CoMentions.from_state(unnest("counts", state), self.config)
