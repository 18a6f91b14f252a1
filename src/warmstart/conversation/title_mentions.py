"""Titles in texts."""

from collections.abc import Sequence

from warmstart.data.histories import Histories


class TitleMentions:
    """Finds the items whose titles texts contain.

    Args:
        titles: of each item.
    """

    def __init__(self, titles: Sequence[str]) -> None:
        self._titles = [title.lower() for title in titles]

    def find(self, texts: Sequence[str]) -> Histories:
        """Find the items that each text names, in the order of their first mention."""
        found = []
        for text in texts:
            low = text.lower()
            places = [(low.find(title), row) for row, title in enumerate(self._titles) if title]
            found.append([row for place, row in sorted(places) if place >= 0])
        return Histories.from_lists(found)
