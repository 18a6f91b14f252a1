"""Text vectors of the items of an index: which items are similar."""

from collections.abc import Iterator

import numpy as np

from warmstart.serve.engine.candidates import best_rows
from warmstart.serve.engine.score_table import NOWHERE, ScoreTable


class TextVectors:
    """Compares items by their texts.

    Args:
        trained: unit vectors of the catalogue, float32, shape (n_items, width); None without texts.
    """

    def __init__(self, trained: np.ndarray | None) -> None:
        self._trained = trained
        self.table: ScoreTable | None = None

    def vector(self, slot: int) -> np.ndarray | None:
        """The vector of an item, shape (width,); None if it has none."""
        assert self.table is not None
        column = self.table.column(slot)
        if column >= self.table.first_new:
            segment, row = self.table.place(column)
            return segment.table["vectors"][row]
        known = self._trained is not None and column != NOWHERE
        return self._trained[slot] if known else None  # pyright: ignore[reportOptionalSubscript]

    def most_similar(self, slot: int, others: np.ndarray, k: int) -> list[tuple[int, float]]:
        """The k most similar of some items, with their cosine similarities, best first."""
        own, vectors = self.vector(slot), [self.vector(other) for other in others.tolist()]
        at = [place for place, vector in enumerate(vectors) if vector is not None]
        if own is None or not len(own) or not at:
            return []
        similarity = np.stack([vectors[place] for place in at]) @ own  # pyright: ignore
        best = np.argsort(-similarity, kind="stable")[:k].tolist()
        return [(int(others[at[place]]), float(similarity[place])) for place in best]

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
        table = self.table
        assert table is not None
        if self._trained is not None:
            similarity = self._trained @ vector
            similarity[~table.trained_in_place] = np.nan
            yield np.arange(len(similarity)), similarity
        for segment in table.segments[1:]:
            listed = segment.listed()
            similarity = segment.table["vectors"][: len(listed)] @ vector
            similarity[~listed] = np.nan
            yield segment.table["slot"][: len(listed)], similarity
