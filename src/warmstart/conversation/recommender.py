"""Base of the methods that can be asked in words."""

from collections.abc import Sequence

from warmstart.abilities import AddsItems, Converses
from warmstart.conversation.title_mentions import TitleMentions
from warmstart.core import Recommender
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.splits.dialogue_split import Requests, requests_of
from warmstart.errors import DataError


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
