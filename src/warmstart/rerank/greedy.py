"""A list that grows by the best candidate at a time."""

import numpy as np

_ROUNDING = 1e-12  # of sums of some float64 numbers


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

        Values that differ by rounding alone are ties: equal sums may differ in the last bit.

        Args:
            values: finite, shape (candidates,).

        Returns:
            Its place among the candidates.
        """
        free = np.where(self._free, values, -np.inf)
        highest = free.max()
        best = int((free >= highest - _ROUNDING * max(1.0, abs(highest))).argmax())
        self._free[best] = False
        self.chosen.append(best)
        return best
