"""Vectors of new items from the states that they follow; the network stays frozen.

The direction is that of a ridge regression without intercept: of whether the item follows a state,
on the state. So it is the mean state before the item, times the inverse of the states' second
moments. It keeps what is particular to these states, and if the item follows all states alike, what
they have in common. The mean alone ranks the item high for everybody.

The length gives the item its share: over all states, the softmax expects as many events of it as
were observed, but at least as many as the average item has, since a new item had little time. Unit
length, which trained vectors have, would not: an item that follows from states of many kinds would
enter far too many lists.
"""

import numpy as np
from scipy import sparse
from scipy.special import expit, logsumexp

from warmstart.sampling import evenly_spaced

_HALVINGS = 30
_ITEMS_AT_ONCE, _STATES_AT_ONCE = 256, 512
SAMPLE_SIZE = 4096
"""States that ``ItemFoldIn`` uses at most."""
_MAX_LENGTH = 4.0  # of a vector that is folded in, relative to the longest learned one


class ItemFoldIn:
    """Computes vectors of new items; prepared once from states of all kinds.

    Args:
        states: states that tell what is not particular to an item, float32, shape (n, width). Each
            stands for an equal part of the training events. At most 4,096 of them are used, evenly
            spaced.
        table: vectors of the learned items, float32, shape (items, width).
        n_events: number of training events that were predicted.
        ridge: strength of the regression, in units of the mean variance of the states.
    """

    def __init__(self, states: np.ndarray, table: np.ndarray, n_events: int, ridge: float) -> None:
        sample = evenly_spaced(len(states), SAMPLE_SIZE)
        self._states, self._n_events, self._n_items = states[sample], n_events, len(table)
        moments = self._states.T @ self._states / len(sample)
        mean = self._states.mean(axis=0)
        strength = ridge * np.trace(moments - np.outer(mean, mean)) / len(moments)
        self._moments = moments + strength * np.eye(len(moments), dtype=np.float32)
        self._longest = _MAX_LENGTH * float(np.linalg.norm(table, axis=1).max())
        self._others = np.empty(len(sample), np.float32)
        for begin in range(0, len(sample), _STATES_AT_ONCE):
            block = slice(begin, begin + _STATES_AT_ONCE)
            self._others[block] = logsumexp(self._states[block] @ table.T, axis=1)

    def vectors(self, states: np.ndarray, events: sparse.csr_matrix) -> np.ndarray:
        """Compute the vectors of new items.

        Args:
            states: states before the events, float32, shape (n, width).
            events: how often each item follows each state, float32 CSR, shape (items, n).

        Returns:
            float32, shape (items, width); NaN for an item without events.
        """
        directions = self._directions(states, events)
        counts = np.asarray(events.sum(axis=1)).ravel()
        share = np.maximum(counts / self._n_events, 1 / self._n_items)
        return directions * self._lengths(directions, share)[:, None]

    def _directions(self, states: np.ndarray, events: sparse.csr_matrix) -> np.ndarray:
        """Unit vectors that tell the states before an item from all states."""
        sums = events @ states  # their length does not matter
        found = np.linalg.solve(self._moments, sums.T).T
        with np.errstate(invalid="ignore"):
            return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    def _lengths(self, directions: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Lengths at which the mean probability of each item is its share of the events.

        The probability is smallest at some length and grows from there on; the longer of two
        lengths is taken, since a vector of zeros would say nothing.
        """
        found = np.empty(len(directions), np.float32)
        for begin in range(0, len(directions), _ITEMS_AT_ONCE):
            block = slice(begin, begin + _ITEMS_AT_ONCE)
            scores = directions[block] @ self._states.T

            def expected(length: np.ndarray, scores: np.ndarray = scores) -> np.ndarray:
                return expit(length[:, None] * scores - self._others).mean(axis=1)

            low, high = np.zeros(len(scores)), np.full(len(scores), self._longest)
            for _ in range(_HALVINGS):
                left, right = low + (high - low) / 3, high - (high - low) / 3
                falls = expected(left) > expected(right)
                low, high = np.where(falls, left, low), np.where(falls, high, right)
            high = np.full(len(scores), self._longest)
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                short = expected(middle) < share[block]
                low, high = np.where(short, middle, low), np.where(short, high, middle)
            found[block] = low
        return found
