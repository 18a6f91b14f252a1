"""Vectors of new items from the states that they follow; the network stays frozen.

The direction is that of linear discriminant analysis: the mean state before the item, centred,
times the inverse of the states' covariance matrix. It keeps what is particular to these states. The
mean alone keeps what all states have in common, and ranks the item high for everybody.

The length gives the item its share: over all states, the softmax expects as many events of it as
were observed. Unit length, which trained vectors have, would not: an item that follows from states
of many kinds would enter far too many lists.
"""

import numpy as np
from scipy import sparse
from scipy.special import expit, logsumexp

_HALVINGS = 30
_ITEMS_AT_ONCE, _STATES_AT_ONCE, _SAMPLE_SIZE = 256, 512, 4096
_MAX_LENGTH = 4.0  # of a vector that is folded in, relative to the longest learned one


class ItemFoldIn:
    """Computes vectors of new items; prepared once from states of all kinds.

    Args:
        states: states that tell what is not particular to an item, float32, shape (n, width). Each
            stands for an equal part of the training events. At most 4,096 of them are used, evenly
            spaced.
        table: vectors of the learned items, float32, shape (items, width).
        n_events: number of training events that were predicted.
        ridge: added to the covariance matrix, in units of its mean eigenvalue.
    """

    def __init__(self, states: np.ndarray, table: np.ndarray, n_events: int, ridge: float) -> None:
        sample = np.linspace(0, len(states) - 1, min(_SAMPLE_SIZE, len(states))).astype(int)
        self._states, self._n_events = states[sample], n_events
        self._mean = states.mean(axis=0)
        centred = self._states - self._mean
        covariance = centred.T @ centred / len(centred)
        strength = ridge * np.trace(covariance) / len(covariance)
        self._covariance = covariance + strength * np.eye(len(covariance), dtype=np.float32)
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
        share = np.asarray(events.sum(axis=1)).ravel() / self._n_events
        return directions * self._lengths(directions, share)[:, None]

    def _directions(self, states: np.ndarray, events: sparse.csr_matrix) -> np.ndarray:
        """Unit vectors that tell the states before an item from all states."""
        means = events @ (states - self._mean)  # their length does not matter
        found = np.linalg.solve(self._covariance, means.T).T
        with np.errstate(invalid="ignore"):
            return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    def _lengths(self, directions: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Lengths at which the mean probability of each item is its share of the events."""
        low, high = np.zeros(len(directions)), np.full(len(directions), self._longest)
        for begin in range(0, len(directions), _ITEMS_AT_ONCE):
            block = slice(begin, begin + _ITEMS_AT_ONCE)
            scores = directions[block] @ self._states.T
            for _ in range(_HALVINGS):
                middle = (low[block] + high[block]) / 2
                expected = expit(middle[:, None] * scores - self._others).mean(axis=1)
                low[block] = np.where(expected < share[block], middle, low[block])
                high[block] = np.where(expected < share[block], high[block], middle)
        return low.astype(np.float32)
