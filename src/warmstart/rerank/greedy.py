"""A list that grows by the best candidate at a time."""

import numpy as np


class GreedyList:
    """The candidates chosen so far.

    Attributes:
        chosen: places among the candidates, in list order.
    """

    def __init__(self, n_candidates: int) -> None:
        self.chosen: list[int] = []
        self._free = np.ones(n_candidates, bool)

    def take(self, values: np.ndarray) -> int:
        """Add the candidate with the highest value that is not in the list; ties: the first.

        Args:
            values: finite, shape (candidates,).

        Returns:
            Its place among the candidates.
        """
        best = int(np.where(self._free, values, -np.inf).argmax())
        self._free[best] = False
        self.chosen.append(best)
        return best
