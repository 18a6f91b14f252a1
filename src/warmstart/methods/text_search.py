"""text_search: ranks items by the similarity of their texts to what was said.

    newest turns of the dialogue ──► vector ──┐
                                              ├── cosine = score
    text of the item ───────────────► vector ─┘

Nothing is learned of what follows a dialogue: the content score that an adapted model must beat
(He et al., "Reindex-Then-Adapt: Improving Large Language Models for Conversational Recommendation",
WSDM 2025, section 2). A vector is that of a text encoder, or of TF-IDF over single words.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from warmstart.config import Config
from warmstart.conversation.query_texts import NEWEST_TURNS, newest_turns
from warmstart.conversation.recommender import ConversationRecommender
from warmstart.conversation.tfidf import StopWords, TfidfVectors
from warmstart.core import FitContext, LanguageModels, LMRole, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.queries import Queries
from warmstart.data.splits.dialogue_split import requests_of
from warmstart.lm.text_vectors import TextVectors


class TextSearchConfig(Config):
    """Settings of text_search.

    Attributes:
        kind: "encoder" (vectors of the text encoder) or "tfidf" (TF-IDF of single words; extra
            ``tfidf``).
        turns: newest turns of the dialogue that are read, without the speakers' names.
        stop_words: words that "tfidf" does not read: "english" (scikit-learn's list) or None.
    """

    kind: Literal["encoder", "tfidf"] = "encoder"
    turns: int = Field(default=NEWEST_TURNS, ge=1)
    stop_words: StopWords = "english"


class TextSearch(ConversationRecommender):
    """Scores items by the cosine of their text and the newest turns.

    An empty text, and one without a word that "tfidf" knows, has no direction, and so equal scores
    for all items: zeros.
    """

    name = "text_search"
    config_type = TextSearchConfig
    # "tfidf" also counts the words of the training dialogues, if there are any; it learns nothing
    # from their answers, and works without them.
    traits = Traits(
        reads=frozenset({"texts"}),
        cold_items="content",
        answers=frozenset({"text"}),
        scores_by_lm=True,
    )

    @property
    def needs(self) -> frozenset[LMRole]:
        """As ``Recommender.needs``: the text encoder if it makes the vectors."""
        return frozenset({"encoder"} if self.config.kind == "encoder" else ())

    def _fit(self, data: Dataset, context: FitContext) -> None:
        items = data.catalogue.texts
        with context.run.stage("encode"):
            if self.config.kind == "encoder":
                self._texts = TextVectors.from_texts(items, context.encoder)
                return
            said = () if data.dialogues is None else requests_of(data.dialogues).queries.texts
            requests = dict.fromkeys(self._read(said or ()))  # a turn with two items counts once
            self._texts = TfidfVectors.fit(items, list(requests), self.config.stop_words)

    def _read(self, texts: tuple[str, ...]) -> list[str]:
        """What is read of each dialogue."""
        return [newest_turns(text, self.config.turns) for text in texts]

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``; the scores are cosines."""
        said, texts = self._read(queries.texts or ()), self._texts
        if isinstance(texts, TfidfVectors):
            return (texts.encode(said) @ texts.rows[items].T).toarray()
        return texts.encode(said) @ texts.rows[items].T

    def _add_items(self, items: Catalogue) -> None:
        self._texts.append(items.texts)

    def _state(self) -> dict[str, np.ndarray]:
        if isinstance(self._texts, TfidfVectors):
            return self._texts.state()
        return {"vectors": self._texts.rows}

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        if self.config.kind == "tfidf":
            self._texts = TfidfVectors.restore(state, self.config.stop_words)
            return
        spec = self.fitted.lms["encoder"]
        self._texts = TextVectors(state["vectors"], spec, models.encoder)
