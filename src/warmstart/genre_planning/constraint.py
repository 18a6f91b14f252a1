"""Which items may be next in a list that must have exactly the chosen genres.

An item may stand at the next place if all its genres are chosen ones, and the places after it
suffice for the genres that are then still missing. So a list that can be completed stays so, and a
finished one has every chosen genre and no other.
"""

from functools import cache

import numpy as np

MAX_GENRES = 62  # of a list: a set of them is an int64


class ListConstraint:
    """The rule of one list.

    Args:
        genres: bool, shape (items, genres).
        chosen: the genres that the list must have, at most ``MAX_GENRES``.
        allowed: the items that may be listed at all, bool, shape (items,).
        length: number of items of the list; fewer if not so many items fit.

    Attributes:
        possible: whether there is such a list.
    """

    def __init__(
        self, genres: np.ndarray, chosen: np.ndarray, allowed: np.ndarray, length: int
    ) -> None:
        others = np.ones(genres.shape[1], bool)
        others[chosen] = False
        own = genres[:, chosen]
        self._genres = genres
        self._inside = allowed & own.any(axis=1) & ~genres[:, others].any(axis=1)
        self._bits = own.astype(np.int64) @ (1 << np.arange(len(chosen), dtype=np.int64))
        self._all = (1 << len(chosen)) - 1
        self._length = min(length, int(self._inside.sum()))
        self.possible = bool(
            len(chosen) and self._coverable(self._sets(self._inside), self._all, self._length)
        )

    def next_items(self, listed: np.ndarray, wanted: int = -1) -> np.ndarray:
        """Say which items may be next.

        Args:
            listed: the items so far, int64.
            wanted: the genre that the next item should have, if there is such an item; -1 for any.

        Returns:
            bool, shape (items,).
        """
        open_ = self._inside.copy()
        open_[listed] = False
        had = int(np.bitwise_or.reduce(self._bits[listed])) if len(listed) else 0
        missing, after = self._all & ~had, self._length - len(listed) - 1
        sets = self._sets(open_)
        good = [own for own in sets if self._coverable(sets, missing & ~own, after)]
        fitting = open_ & np.isin(self._bits, good)
        if wanted >= 0 and (fitting & self._genres[:, wanted]).any():
            return fitting & self._genres[:, wanted]
        return fitting if fitting.any() else open_

    def _sets(self, items: np.ndarray) -> tuple[int, ...]:
        return tuple(np.unique(self._bits[items]).tolist())

    @staticmethod
    def _coverable(sets: tuple[int, ...], missing: int, places: int) -> bool:
        """Whether so many sets have all missing genres together."""

        @cache
        def covers(missing: int, places: int) -> bool:
            if missing == 0:
                return True
            if places <= 0:
                return False
            lowest = missing & -missing
            useful = {own & missing for own in sets if own & lowest}
            return any(covers(missing & ~own, places - 1) for own in useful)

        return covers(missing, places)
