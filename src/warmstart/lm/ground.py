"""Grounding: which item of the catalogue a freely written title means.

A title that is one of the catalogue's up to case, accents, punctuation and white space is that
item. Any other text means the item whose title has the nearest vector (Bao et al. 2023, "A Bi-Step
Grounding Paradigm for Large Language Models in Recommendation Systems"). Constrained writing
(``generate_lists``) needs no grounding; this is for texts that were written without constraints.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.core import Encoder
from warmstart.errors import DataError, shortened
from warmstart.lm.generate import Allowed, allowed_mask

_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Grounded:
    """The items of one written list.

    Attributes:
        items: int64, shape (titles,); -1 where no item is near enough or none is left.
        similarities: cosine of the vectors of the written and the found title, 1 for an equal one,
            NaN where no item was found; float32, shape (titles,).
    """

    items: np.ndarray
    similarities: np.ndarray


class Grounding:
    """Finds the items of written titles.

    Args:
        titles: the title of each item; titles may be equal.
        encoder: encodes titles as unit vectors; any language model.

    Raises:
        DataError: there is no title, or one is empty.
    """

    def __init__(self, titles: Sequence[str], encoder: Encoder) -> None:
        empty = [row for row, title in enumerate(titles) if not title.strip()]
        if len(titles) == 0 or empty:
            what = f"title {empty[0]} is empty" if empty else "there are no titles"
            raise DataError(f"grounding: {what}")
        self._encoder = encoder
        self._vectors = encoder.encode(titles)
        self._items_of: dict[str, list[int]] = {}
        for row, title in enumerate(titles):
            self._items_of.setdefault(normalised(title), []).append(row)

    def ground(
        self,
        lists: Sequence[Sequence[str]],
        *,
        allowed: Allowed | None = None,
        distinct: bool = True,
        min_similarity: float = -1.0,
    ) -> list[Grounded]:
        """Find the items of written lists of titles.

        Args:
            lists: the titles of each list, in order.
            allowed: which items may be next in a list, as for ``generate_lists``; None allows all.
            distinct: an item stands in a list once: a title whose item is taken means the next
                nearest one. The publication lets an item stand several times, which counts one hit
                several times.
            min_similarity: a text that is less similar to every title means no item.

        Returns:
            For each list its items. Of several items with the same title the first allowed one is
            taken. An empty text means no item.

        Raises:
            DataError: a list is no list of texts.
        """
        for number, titles in enumerate(lists):
            if isinstance(titles, str) or not all(isinstance(text, str) for text in titles):
                raise DataError(
                    f"grounding: list {number} is {shortened(titles)}; allowed: a list of texts"
                )
        texts = sorted({text for titles in lists for text in titles if text.strip()})
        vectors = dict(zip(texts, self._encoder.encode(texts), strict=True)) if texts else {}
        found = []
        for number, titles in enumerate(lists):
            items = np.full(len(titles), -1, np.int64)
            similarities = np.full(len(titles), np.nan, np.float32)
            free = np.ones(len(self._vectors), bool)
            for place, text in enumerate(titles):
                if text not in vectors:
                    continue
                open_ = free
                if allowed is not None:
                    open_ = free & allowed_mask(allowed, number, items[:place], len(free))
                item, similarity = self._nearest(text, vectors[text], open_)
                if item < 0 or similarity < min_similarity:
                    continue
                items[place], similarities[place] = item, similarity
                free[item] = not distinct
            found.append(Grounded(items, similarities))
        return found

    def _nearest(self, text: str, vector: np.ndarray, open_: np.ndarray) -> tuple[int, float]:
        """The item among the open ones, and its similarity; -1 if none is open."""
        for item in self._items_of.get(normalised(text), []):
            if open_[item]:
                return item, 1.0
        if not open_.any():
            return -1, 0.0
        similarities = np.where(open_, self._vectors @ vector, -np.inf)
        item = int(similarities.argmax())
        return item, float(similarities[item])


def normalised(title: str) -> str:
    """Reduce a title to its letters and digits: no case, accents, punctuation or white space."""
    decomposed = unicodedata.normalize("NFKD", title.casefold())
    plain = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    return _NOT_WORD.sub("", plain) or title.strip()
