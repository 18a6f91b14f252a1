"""Rate limits: a sliding window of counts by name, in memory.

The library ``limits``, whose notation is read here, keeps its counts with a timer thread that is
started again after each expiry; that took a tenth of the time of a list (docs/decisions.md).
"""

import time
from collections import Counter

from limits import RateLimitItem


class RateLimiter:
    """Counts requests in the current and the previous window; the latter counts by its overlap.

    Args:
        rate: maximum number of requests of one name, and the window in seconds.
    """

    def __init__(self, rate: RateLimitItem) -> None:
        self._most, self._seconds = rate.amount, rate.get_expiry()
        self._window, self._current, self._previous = 0, Counter[str](), Counter[str]()

    def count(self, name: str) -> float:
        """Count a request; return 0, or the seconds to wait if there were too many already."""
        window, passed = divmod(time.monotonic(), self._seconds)
        if window != self._window:
            follows = window == self._window + 1
            self._previous = self._current if follows else Counter()
            self._window, self._current = window, Counter()
        left = self._seconds - passed
        if self._current[name] + self._previous[name] * left / self._seconds >= self._most:
            return max(left, 1.0)
        self._current[name] += 1
        return 0.0
