"""nbcrs: ranks items by what was recommended after the training dialogues most like this one.

The nearest-neighbour recommender of He et al., "Large Language Models as Zero-Shot Conversational
Recommenders" (CIKM 2023), with weighted votes; see ``conversation.similar_requests``. An item that
was never recommended is scored by warm items with similar texts. A simple rival.
"""

import numpy as np
from pydantic import Field

from warmstart.conversation.query_texts import NEWEST_TURNS, newest_turns
from warmstart.conversation.recommender import StandInRecommender
from warmstart.conversation.similar_requests import SimilarRequests, SimilarRequestsConfig
from warmstart.core import FitContext, LanguageModels, Traits
from warmstart.data.dataset import Dataset
from warmstart.data.queries import Queries
from warmstart.lm.text_vectors import TextVectors


class NBCRSConfig(SimilarRequestsConfig):
    """Settings of nbcrs.

    Attributes:
        turns: newest turns that the text encoder reads.
        stand_ins: warm items with similar texts that speak for an item that was never recommended.
    """

    turns: int = Field(default=NEWEST_TURNS, ge=1)
    stand_ins: int = Field(default=10, ge=1)


class NBCRS(StandInRecommender):
    """Nearest training dialogues vote."""

    name = "nbcrs"
    config_type = NBCRSConfig
    traits = Traits(
        reads=frozenset({"dialogues", "texts"}),
        cold_items="content",
        answers=frozenset({"text"}),
        needs=frozenset({"encoder"}),
        scores_by_lm=True,
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        requests = self._training_requests(data)
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(data.catalogue.texts, context.encoder)
            vectors = self._read(requests.queries.texts or ())
        self._requests = SimilarRequests(vectors, requests.targets, data.n_items, self.config)
        self._find_stand_ins(np.bincount(requests.targets, minlength=data.n_items) > 0)

    def _read(self, texts: tuple[str, ...]) -> np.ndarray:
        return self._texts.encode([newest_turns(text, self.config.turns) for text in texts])

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        scores = self._requests.score(self._read(queries.texts or ()))
        return self._of_items(scores, items)

    def _state(self) -> dict[str, np.ndarray]:
        requests = {"requests": self._requests.vectors, "targets": self._requests.targets}
        return {**self._stand_in_state(), **requests}

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._restore_stand_ins(state, models)
        self._requests = SimilarRequests(
            state["requests"], state["targets"], len(self._learned), self.config
        )
