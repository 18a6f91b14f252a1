"""nbcrs: ranks items by what was recommended after the training dialogues most like this one.

The nearest-neighbour recommender of He et al., "Large Language Models as Zero-Shot Conversational
Recommenders" (CIKM 2023), with weighted votes; see ``conversation.similar_requests``. An item that
was never recommended is scored by warm items with similar texts. A simple rival.
"""

import numpy as np
from pydantic import Field

from warmstart.conversation.query_texts import NEWEST_TURNS, newest_turns
from warmstart.conversation.recommender import ConversationRecommender
from warmstart.conversation.similar_requests import SimilarRequests, SimilarRequestsConfig
from warmstart.conversation.stand_ins import StandIns, nearest_warm, of_catalogue
from warmstart.core import FitContext, LanguageModels, Traits
from warmstart.data.catalogue import Catalogue
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


class NBCRS(ConversationRecommender):
    """Nearest training dialogues vote."""

    name = "nbcrs"
    config_type = NBCRSConfig
    traits = Traits(
        reads=frozenset({"dialogues", "texts"}),
        cold_items="content",
        answers=frozenset({"text"}),
        needs=frozenset({"encoder"}),
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        requests = self._training_requests(data)
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(data.catalogue.texts, context.encoder)
            vectors = self._read(requests.queries.texts or ())
        self._requests = SimilarRequests(vectors, requests.targets, data.n_items, self.config)
        answered = np.bincount(requests.targets, minlength=data.n_items) > 0
        self._stand_ins = of_catalogue(self._texts.rows, answered, self.config.stand_ins)

    def _read(self, texts: tuple[str, ...]) -> np.ndarray:
        return self._texts.encode([newest_turns(text, self.config.turns) for text in texts])

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        scores = self._requests.score(self._read(queries.texts or ()))
        return self._stand_ins.take(items).mean(scores)

    def _add_items(self, items: Catalogue) -> None:
        n_known = self._requests.n_items
        answered = np.bincount(self._requests.targets, minlength=n_known) > 0
        new = nearest_warm(
            self._texts.append(items.texts), self._texts.rows[:n_known], answered,
            self.config.stand_ins,
        )  # fmt: skip
        self._stand_ins = self._stand_ins.extended(new)

    def _state(self) -> dict[str, np.ndarray]:
        return {
            "vectors": self._texts.rows,
            "stand_ins": self._stand_ins.items,
            "stand_in_weights": self._stand_ins.weights,
            "requests": self._requests.vectors,
            "targets": self._requests.targets,
            "n_items": np.array([self._requests.n_items]),
        }

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._texts = TextVectors(state["vectors"], self.fitted.lms["encoder"], models.encoder)
        self._stand_ins = StandIns(state["stand_ins"], state["stand_in_weights"])
        n_items = int(state["n_items"][0])
        self._requests = SimilarRequests(state["requests"], state["targets"], n_items, self.config)
