"""Base of the methods that can be asked in words."""

from collections.abc import Sequence

from warmstart.abilities import AddsItems, Converses
from warmstart.conversation.title_mentions import TitleMentions
from warmstart.core import Recommender
from warmstart.data.histories import Histories


class ConversationRecommender(Recommender, AddsItems, Converses):
    """A method that answers texts and recognises the titles of its catalogue in them."""

    _titles: tuple[int, TitleMentions] | None = None

    def _find_mentions(self, texts: Sequence[str]) -> Histories:
        return self._title_mentions.find(texts)

    @property
    def _title_mentions(self) -> TitleMentions:
        """Finds the titles of the catalogue; made anew when items were added."""
        names = self.fitted.catalogue.names
        if self._titles is None or self._titles[0] != len(names):
            self._titles = len(names), TitleMentions(names)
        return self._titles[1]
