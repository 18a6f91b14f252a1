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


def directions(states: np.ndarray, events: sparse.csr_matrix, ridge: float) -> np.ndarray:
    """Compute unit vectors that tell the states before an item from all states.

    Args:
        states: float32, shape (n, width).
        events: weights, float32 CSR, shape (items, n).
        ridge: added to the covariance matrix, in units of its mean eigenvalue.

    Returns:
        float32, shape (items, width); NaN for an item without events.
    """
    centred = states - states.mean(axis=0)
    covariance = centred.T @ centred / len(centred)
    strength = ridge * np.trace(covariance) / len(covariance)
    means = events @ centred  # their length does not matter
    found = np.linalg.solve(covariance + strength * np.eye(len(covariance)), means.T).T
    with np.errstate(invalid="ignore"):
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def lengths(
    found: np.ndarray, states: np.ndarray, table: np.ndarray, share: np.ndarray, longest: float
) -> np.ndarray:
    """Compute the lengths at which the mean probability of each item is its share of the events.

    Args:
        found: directions, float32, shape (items, width).
        states: float32, shape (n, width); at most 4,096 of them are used, evenly spaced.
        table: vectors of the other items, float32, shape (others, width).
        share: float32, shape (items,).
        longest: upper limit of a length.

    Returns:
        float32, shape (items,).
    """
    sample = states[np.linspace(0, len(states) - 1, min(_SAMPLE_SIZE, len(states))).astype(int)]
    others = np.empty(len(sample), np.float32)
    for begin in range(0, len(sample), _STATES_AT_ONCE):
        block = slice(begin, begin + _STATES_AT_ONCE)
        others[block] = logsumexp(sample[block] @ table.T, axis=1)
    low, high = np.zeros(len(found)), np.full(len(found), longest)
    for begin in range(0, len(found), _ITEMS_AT_ONCE):
        block = slice(begin, begin + _ITEMS_AT_ONCE)
        scores = found[block] @ sample.T
        for _ in range(_HALVINGS):
            middle = (low[block] + high[block]) / 2
            below = expit(middle[:, None] * scores - others).mean(axis=1) < share[block]
            low[block] = np.where(below, middle, low[block])
            high[block] = np.where(below, high[block], middle)
    return low.astype(np.float32)
