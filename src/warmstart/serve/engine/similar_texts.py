"""Which items of an index have similar texts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from warmstart.serve.engine.candidates import best_rows
from warmstart.serve.engine.score_table import NOWHERE

if TYPE_CHECKING:
    from warmstart.serve.engine.index import Index


class SimilarTexts:
    """Compares items by the vectors of their texts.

    Args:
        index: the index that has the items.
    """

    def __init__(self, index: "Index") -> None:
        self._index, self._trained = index, index.model.text_vectors

    def vector(self, slot: int) -> np.ndarray | None:
        """The vector of an item, shape (width,); None if it has none."""
        table = self._index.table
        column = table.column(slot)
        if column >= table.first_new:
            segment, row = table.place(column)
            return segment.table["vectors"][row]
        return None if self._trained is None or column == NOWHERE else self._trained[slot]

    def most_similar(self, slot: int, others: np.ndarray, k: int) -> list[tuple[int, float]]:
        """The k most similar of some items, with their cosine similarities, best first."""
        own = self.vector(slot)
        found = {other: self.vector(other) for other in others.tolist()}
        vectors = {other: vector for other, vector in found.items() if vector is not None}
        if own is None or not len(own) or not vectors:
            return []
        similarity = np.stack([*vectors.values()]) @ own
        best = np.argsort(-similarity, kind="stable")[:k].tolist()
        known = list(vectors)
        return [(known[at], float(similarity[at])) for at in best]

    def nearest(self, vector: np.ndarray, k: int, without: int = NOWHERE) -> dict[int, float]:
        """Items, of all that may be in lists, that include the k most similar, in no order."""
        found: dict[int, float] = {}  # an item that has moved meanwhile is there once
        for slots, similarity in self._similarities(vector):
            similarity[slots == without] = np.nan
            rows = best_rows(similarity, k)
            found |= zip(slots[rows].tolist(), similarity[rows].tolist(), strict=True)
        return found

    def _similarities(self, vector: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Items with their similarities, NaN for those that may be in no list."""
        table = self._index.table
        if self._trained is not None:
            similarity = self._trained @ vector
            similarity[~table.trained_in_place] = np.nan
            yield np.arange(len(similarity)), similarity
        for segment in table.segments[1:]:
            listed = segment.listed()
            similarity = segment.table["vectors"][: len(listed)] @ vector
            similarity[~listed] = np.nan
            yield segment.table["slot"][: len(listed)], similarity
