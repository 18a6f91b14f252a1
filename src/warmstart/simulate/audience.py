"""From scores over users to simulated interactions."""

import numpy as np

from warmstart.data.interactions import Interactions
from warmstart.rank import top_k

_SMALLEST = np.float32(1e-6)  # a weight must be positive for the pair to be an interaction at all


def audience(scores: np.ndarray, k: int, provenance: str) -> Interactions:
    """The k best users of each item.

    Args:
        scores: float32, shape (items, n_users); used as weights after cutting to (0, 1].
        k: users an item.
        provenance: name of the simulator.

    Returns:
        items x k interactions whose ``items`` are rows of ``scores``, the best user first.
    """
    users, weights = top_k(np.ascontiguousarray(scores), k)
    return Interactions.of(
        users.ravel(),
        np.repeat(np.arange(len(scores)), k),
        weights=np.clip(weights, _SMALLEST, 1).ravel(),
        provenance=provenance,
    )


def relative(strengths: np.ndarray) -> np.ndarray:
    """Weights of an item's users in proportion to their strengths, the strongest 1.

    Args:
        strengths: float32, shape (items, users); a row without a positive one counts all alike.

    Returns:
        float32 in (0, 1], of the same shape.
    """
    if strengths.size == 0:
        return strengths
    best = strengths.max(axis=1, keepdims=True)
    weights = np.ones_like(strengths)
    np.divide(np.maximum(strengths, 0), best, out=weights, where=best > 0)
    return np.clip(weights, _SMALLEST, 1)
