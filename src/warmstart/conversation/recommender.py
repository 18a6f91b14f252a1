"""Base of the methods that can be asked in words."""

from collections.abc import Sequence

from warmstart.abilities import AddsItems, Converses
from warmstart.conversation.title_mentions import TitleMentions
from warmstart.core import Recommender
from warmstart.data.histories import Histories


class ConversationRecommender(Recommender, AddsItems, Converses):
    """A method that answers texts and recognises the titles of its catalogue in them."""

    _titles: tuple[tuple[str, ...], TitleMentions] | None = None

    def _find_mentions(self, texts: Sequence[str]) -> Histories:
        return self._title_mentions.find(texts)

    @property
    def _title_mentions(self) -> TitleMentions:
        """Finds the titles of the catalogue; made anew after a fit and after adding items."""
        names = self.fitted.catalogue.names
        if self._titles is None or self._titles[0] is not names:
            self._titles = names, TitleMentions(names)
        return self._titles[1]
