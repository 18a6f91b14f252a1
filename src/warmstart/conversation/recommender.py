"""Bases of the methods that can be asked in words."""

from collections.abc import Sequence

import numpy as np

from warmstart.abilities import AddsItems, Converses
from warmstart.conversation.stand_ins import StandIns, nearest_warm, of_catalogue
from warmstart.conversation.title_mentions import TitleMentions
from warmstart.core import LanguageModels, Recommender
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.splits.dialogue_split import Requests, requests_of
from warmstart.errors import DataError
from warmstart.lm.text_vectors import TextVectors


class ConversationRecommender(Recommender, AddsItems, Converses):
    """A method that answers texts and recognises the titles of its catalogue in them."""

    _titles: tuple[tuple[str, ...], TitleMentions] | None = None

    def _training_requests(self, data: Dataset) -> Requests:
        """The requests of the training dialogues.

        Raises:
            DataError: there is none.
        """
        assert data.dialogues is not None
        requests = requests_of(data.dialogues)
        if not len(requests.targets):
            raise DataError(
                f"{self.name}: learns from what the system recommends, but in the "
                f"{len(data.dialogues)} dialogues of {data.name!r} no turn of the system has an "
                "item that was not mentioned before it"
            )
        return requests

    def _find_mentions(self, texts: Sequence[str]) -> Histories:
        return self._title_mentions.find(texts)

    @property
    def _title_mentions(self) -> TitleMentions:
        """Finds the titles of the catalogue; made anew after a fit and after adding items."""
        names = self.fitted.catalogue.names
        if self._titles is None or self._titles[0] is not names:
            self._titles = names, TitleMentions(names)
        return self._titles[1]


class StandInRecommender(ConversationRecommender):
    """A method that is learned by item; warm items with similar texts speak for all others.

    Its ``_fit`` sets ``_texts`` and calls ``_find_stand_ins``; its settings have ``stand_ins``.
    """

    _texts: TextVectors
    _stand_ins: StandIns
    _learned: np.ndarray

    def _find_stand_ins(self, learned: np.ndarray) -> None:
        """Find who speaks for the items of the catalogue.

        Args:
            learned: whether something was learned of each item, bool, shape (n_items,).
        """
        self._learned = learned
        self._stand_ins = of_catalogue(self._texts.rows, learned, self.config.stand_ins)

    def _of_items(self, scores: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scores of items by those of the items of the fit: float32, shape (queries, items)."""
        return self._stand_ins.take(items).mean(scores)

    def _add_items(self, items: Catalogue) -> None:
        table = self._texts.rows[: len(self._learned)]
        new = self._texts.append(items.texts)
        found = nearest_warm(new, table, self._learned, self.config.stand_ins)
        self._stand_ins = self._stand_ins.extended(found)

    def _stand_in_state(self) -> dict[str, np.ndarray]:
        """The arrays from which ``_restore_stand_ins`` rebuilds all of this."""
        return {
            "vectors": self._texts.rows,
            "stand_ins": self._stand_ins.items,
            "stand_in_weights": self._stand_ins.weights,
            "learned": self._learned,
        }

    def _restore_stand_ins(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._texts = TextVectors(state["vectors"], self.fitted.lms["encoder"], models.encoder)
        self._stand_ins = StandIns(state["stand_ins"], state["stand_in_weights"])
        self._learned = state["learned"]
