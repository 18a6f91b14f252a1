"""The cap on the exposure of items without clicks.

The exposure of an item is the fraction of users whose top 20 it enters. It is measured on a sample
of users: each has a threshold, the score of the 20th best warm item, and an item enters the list if
its score is higher. The penalty of an item is the smallest number that, subtracted from its scores,
keeps its exposure within ``max_exposure``.
"""

import numpy as np

from warmstart.sampling import evenly_spaced
from warmstart.servable import ItemRows, Servable, item_blocks, take_rows
from warmstart.serve.engine.warm_items import WarmItems

TOP = 20  # length of the list that an item must enter to count as exposed
_SAMPLE_SIZE = 1000  # users on whom exposure is measured
_USERS_AT_ONCE = 16
_ROUNDING = np.float32(1 + 1e-5)


class ExposureCap:
    """Measures exposures and computes penalties.

    Args:
        model: the served model.
        warm: its warm items.
        max_exposure: fraction of users whose top 20 an item may enter before its first click.
    """

    def __init__(self, model: Servable, warm: WarmItems, max_exposure: float) -> None:
        n_users = len(model.fitted.user_ids)
        sample = evenly_spaced(n_users, _SAMPLE_SIZE).astype(np.int32)
        self._model, self._allowed = model, int(max_exposure * len(sample))
        self._thresholds = np.full(len(sample), np.inf, np.float32)
        depth = min(TOP, len(warm))
        all_items, nothing = np.zeros(len(warm), np.float32), np.zeros(0, np.int64)
        for start in range(0, len(sample) if depth else 0, _USERS_AT_ONCE):
            states = model.user_states(sample[start : start + _USERS_AT_ONCE])
            best = warm.best(states, depth, all_items, [nothing] * len(states))
            for user, (_, scores) in enumerate(best, start):
                if len(scores) >= depth:  # else the user has no full list that an item could enter
                    self._thresholds[user] = np.sort(scores)[-depth]
        self._states = model.user_states(sample)

    def margins(self, rows: ItemRows) -> np.ndarray:
        """Item scores minus the thresholds of the sampled users, float32, (items, users)."""
        scores = self._model.score_item_rows(self._states, rows)
        return (scores - self._thresholds[:, None]).T

    def penalties(self, rows: ItemRows) -> np.ndarray:
        """Penalties that keep exposure within ``max_exposure``, float32, shape (items,).

        They are the smallest ones but for a margin, so that rounding lets no further user in.
        """
        n_items, n_users = len(next(iter(rows.values()))), len(self._thresholds)
        penalties = np.zeros(n_items, np.float32)
        if self._allowed < n_users:
            for block in item_blocks(n_items, n_users):
                margins = -self.margins(take_rows(rows, block))
                penalties[block] = -np.partition(margins, self._allowed, axis=1)[:, self._allowed]
        return np.maximum(penalties, 0) * _ROUNDING
