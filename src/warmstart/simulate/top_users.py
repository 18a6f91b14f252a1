"""From scores over users to simulated interactions: the best users of each item, with weights."""

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

    The probability is sigma(intercept + slope x log(audience_size x p)). The defaults leave small
    values of audience_size x p as they are.

    Attributes:
        intercept, slope: fitted on validation if there is any.
    """

    intercept: float = 0.0
    slope: float = Field(default=1.0, ge=0)


def top_users(scores: np.ndarray, k: int, provenance: str) -> Interactions:
    """The k best users of each item, weighted by their scores.

    Args:
        scores: float32, shape (items, n_users); clipped to (0, 1] as weights.
        k: users an item.
        provenance: name of the simulator.

    Returns:
        items x k interactions whose ``items`` are rows of ``scores``, the best user first.
    """
    users, weights = top_k(np.ascontiguousarray(scores), k)
    return Interactions.of(
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
    """The k likeliest users of each item, or k sampled ones, weighted by their probability.

    Args:
        log_probabilities: of a distribution over users, float32, shape (items, n_users).
        k: users an item.
        audience_size: expected number of users of an item.
        platt: from the distribution to the probability of an interaction.
        provenance: name of the simulator.
        rng: sample k distinct users from the distribution (Gumbel top-k) instead of the top k.

    Returns:
        items x k interactions whose ``items`` are rows of ``log_probabilities``, the best first.

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
    probabilities = expit(platt.intercept + platt.slope * log_expected)
    return Interactions.of(
        users.ravel(),
        np.repeat(np.arange(n_items), k),
        weights=np.clip(probabilities, MIN_WEIGHT, 1).ravel().astype(np.float32),
        provenance=provenance,
    )


def relative_weights(scores: np.ndarray) -> np.ndarray:
    """Weights of an item's users in proportion to their scores, the best user's 1.

    Args:
        scores: float32, shape (items, users); in a row without a positive score all weigh the same.

    Returns:
        float32 in (0, 1], of the same shape.
    """
    if scores.size == 0:
        return scores
    best = scores.max(axis=1, keepdims=True)
    weights = np.ones_like(scores)
    np.divide(np.maximum(scores, 0), best, out=weights, where=best > 0)
    return np.clip(weights, MIN_WEIGHT, 1)
