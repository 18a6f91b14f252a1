"""Turn scores over users into simulated interactions: each item's top users, with weights."""

import math

import numpy as np
from pydantic import Field
from scipy.special import expit

from warmstart.config import Config
from warmstart.data.interactions import MIN_WEIGHT, Interactions
from warmstart.errors import ConfigError
from warmstart.rank import top_k


class PlattConfig(Config):
    """Platt scaling from a distribution p over users to the probability of an interaction.

    With x = audience_size * p the probability is sigma(intercept + slope * log x). The defaults
    give x / (1 + x), which is close to x where x is small.

    Attributes:
        intercept, slope: fitted on validation if given: unfitted probabilities were half of the
            observed rate on CiteULike (docs/log.md).
    """

    intercept: float = 0.0
    slope: float = Field(default=1.0, ge=0)

    def probability(self, log_expected: np.ndarray) -> np.ndarray:
        """Probabilities for log x, float32, of the same shape."""
        return expit(self.intercept + self.slope * log_expected).astype(np.float32)


def top_users(scores: np.ndarray, k: int, provenance: str) -> Interactions:
    """Return the k users with the highest scores for each item, weighted by their scores.

    Args:
        scores: float32, shape (items, n_users); clipped to (0, 1] they are the weights.
        k: users per item.
        provenance: name of the simulator.

    Returns:
        items x k interactions whose ``items`` are rows of ``scores``, each item's best user first.
    """
    users, weights = top_k(np.ascontiguousarray(scores), k)
    return Interactions.from_arrays(
        users.ravel(),
        np.repeat(np.arange(len(scores)), k),
        weights=np.clip(weights, MIN_WEIGHT, 1).ravel(),
        provenance=provenance,
    )


def likely_users(
    log_probabilities: np.ndarray,
    k: int,
    *,
    audience_size: float,
    platt: PlattConfig,
    provenance: str,
    rng: np.random.Generator | None = None,
) -> Interactions:
    """Return each item's k likeliest users, or sample k users; weights are probabilities.

    Args:
        log_probabilities: of a distribution over users, float32, shape (items, n_users).
        k: users per item.
        audience_size: expected number of users of an item.
        platt: maps the distribution to the probability of an interaction.
        provenance: name of the simulator.
        rng: samples k distinct users from the distribution (Gumbel top-k); None takes the top k.

    Returns:
        items x k interactions whose ``items`` are rows of ``log_probabilities``, each item's
        likeliest user first (sampled users in the order of the draw).

    Raises:
        ConfigError: k is larger than the number of users.
    """
    n_items, n_users = log_probabilities.shape
    if k > n_users:
        raise ConfigError(f"{provenance}: k must be within 1..{n_users} users, got {k}")
    keys = np.ascontiguousarray(log_probabilities)
    if rng is not None:
        keys = keys + rng.gumbel(size=keys.shape).astype(np.float32)
    users, _ = top_k(keys, k)
    log_expected = np.take_along_axis(log_probabilities, users, axis=1) + math.log(audience_size)
    probabilities = platt.probability(log_expected)
    return Interactions.from_arrays(
        users.ravel(),
        np.repeat(np.arange(n_items), k),
        weights=np.clip(probabilities, MIN_WEIGHT, 1).ravel(),
        provenance=provenance,
    )


def relative_weights(scores: np.ndarray) -> np.ndarray:
    """Weight each item's users in proportion to their scores; the best user's weight is 1.

    Args:
        scores: float32, shape (items, users); users of an item without a positive score all get 1.

    Returns:
        float32 in (0, 1], of the same shape.
    """
    if scores.size == 0:
        return scores
    best = scores.max(axis=1, keepdims=True)
    weights = np.ones_like(scores)
    np.divide(np.maximum(scores, 0), best, out=weights, where=best > 0)
    return np.clip(weights, MIN_WEIGHT, 1)
