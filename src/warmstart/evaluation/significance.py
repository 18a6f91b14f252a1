"""Intervals and tests over users: what a difference between two methods is worth.

Users are the sampling unit: all functions take one value a user and method or metric, and resample
users. ``scipy.stats.bootstrap`` and ``permutation_test`` do the same for one statistic at a time
and build an index array per call; here one matrix of resampling counts serves all methods and all
metrics of a slice with a single matrix product (20 methods x 7 metrics x 5,000 users x 2,000
resamples: about a second), and using the same resamples everywhere is what makes the differences
paired. Everything is deterministic from the seed.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from warmstart.errors import DataError

_RESAMPLES_AT_ONCE = 200


@dataclass(frozen=True)
class Interval:
    """A mean with its interval.

    Attributes:
        value: the (weighted) mean over users.
        low, high: ends of the percentile bootstrap interval.
    """

    value: float
    low: float
    high: float


def bootstrap_means(
    values: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Means over resampled users.

    A resample draws as many users as there are, with replacement; that is one multinomial count a
    user, and the means are ``counts @ values / users``. The counts depend on the number of users
    and the seed only, so two calls with the same users are paired.

    Args:
        values: float64, shape (users, columns): one column a method or metric.
        weights: float64, shape (users, columns): what a user weighs in the mean; 1 where None.
        n_resamples: number of resamples.
        seed: of the resamples.

    Returns:
        float64, shape (n_resamples, columns).

    Raises:
        DataError: values or weights are not tables of equal shape with at least one user.
    """
    values, weights = _table(values, weights)
    n_users = len(values)
    weighted = values * weights
    rng = np.random.default_rng(seed)
    means = np.empty((n_resamples, values.shape[1]))
    for start in range(0, n_resamples, _RESAMPLES_AT_ONCE):
        rows = slice(start, min(start + _RESAMPLES_AT_ONCE, n_resamples))
        counts = _resample_counts(rng, rows.stop - start, n_users)
        means[rows] = (counts @ weighted) / (counts @ weights)
    return means


def intervals(
    values: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """The mean of each column with its percentile bootstrap interval; arguments as above."""
    values, weights = _table(values, weights)
    means = bootstrap_means(values, weights, n_resamples=n_resamples, seed=seed)
    return _summaries(np.average(values, axis=0, weights=weights), means, level)


def paired_intervals(
    values: np.ndarray,
    baseline: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """The mean of ``values - baseline`` of each column, the same users resampled in both."""
    return intervals(
        _difference(values, baseline), weights, level=level, n_resamples=n_resamples, seed=seed
    )


def randomisation_p(
    values: np.ndarray,
    baseline: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> np.ndarray:
    """Two-sided paired randomisation test: were the two methods exchangeable for every user?

    Each resample swaps the two values of a random half of the users. p counts the resamples with
    a difference at least as large as the one observed, which itself counts as one: p is never 0.

    Args:
        values: float64, shape (users, columns).
        baseline: the same of the other method.
        weights: as in ``bootstrap_means``; the same for both.
        n_resamples: number of resamples; p is at least 1 / (n_resamples + 1).
        seed: of the swaps.

    Returns:
        p-values, float64, shape (columns,).

    Raises:
        DataError: the tables do not have the same shape.
    """
    difference, weights = _table(_difference(values, baseline), weights)
    weighted = difference * weights
    observed = np.abs(weighted.sum(axis=0))
    # Sums of the same numbers in another order differ in their last bits; they count as equal.
    threshold = observed - 1e-12 * np.abs(weighted).sum(axis=0)
    rng = np.random.default_rng(seed)
    as_large = np.zeros(weighted.shape[1], np.int64)
    for start in range(0, n_resamples, _RESAMPLES_AT_ONCE):
        size = min(_RESAMPLES_AT_ONCE, n_resamples - start)
        signs = _random_signs(rng, size, len(weighted))
        as_large += (np.abs(signs @ weighted) >= threshold).sum(axis=0)
    return (1 + as_large) / (1 + n_resamples)


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values adjusted for several tests by Holm's step-down rule, float64, same shape.

    The i-th smallest of m is multiplied by m - i + 1 and never falls below the one before it.
    """
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    result = np.empty_like(adjusted)
    result[order] = adjusted
    return result


def detectable_effect(
    values: np.ndarray,
    baseline: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    level: float = 0.95,
    power: float = 0.8,
) -> np.ndarray:
    """The smallest true difference that a paired test would find with the given power.

    (z_{(1 + level) / 2} + z_power) x the standard error of the paired difference, from the normal
    approximation; float64, shape (columns,). A smaller difference is no ground for a claim.
    """
    difference, weights = _table(_difference(values, baseline), weights)
    mean = np.average(difference, axis=0, weights=weights)
    scaled = (difference - mean) * (weights / weights.mean(axis=0))
    error = np.sqrt((scaled**2).sum(axis=0) / max(len(scaled) - 1, 1) / len(scaled))
    return float(stats.norm.ppf((1 + level) / 2) + stats.norm.ppf(power)) * error


def _resample_counts(rng: np.random.Generator, n_resamples: int, n_users: int) -> np.ndarray:
    """How often each user is drawn: float64, shape (n_resamples, n_users), rows sum to n_users.

    Counting uniform draws is the multinomial distribution, and some ten times faster than
    ``rng.multinomial``, which draws one binomial number a user.
    """
    drawn = rng.integers(n_users, size=(n_resamples, n_users))
    drawn += np.arange(n_resamples)[:, None] * n_users
    counts = np.bincount(drawn.ravel(), minlength=n_resamples * n_users)
    return counts.reshape(n_resamples, n_users).astype(np.float64)


def _random_signs(rng: np.random.Generator, n_resamples: int, n_users: int) -> np.ndarray:
    """-1 or 1 with equal chance, float64, shape (n_resamples, n_users)."""
    n_bytes = -(-n_users // 8)
    packed = rng.integers(256, size=(n_resamples, n_bytes), dtype=np.uint8)
    return np.unpackbits(packed, axis=1, count=n_users).astype(np.float64) * 2 - 1


def _summaries(observed: np.ndarray, means: np.ndarray, level: float) -> list[Interval]:
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return [
        Interval(float(value), float(lowest), float(highest))
        for value, lowest, highest in zip(observed, low, high, strict=True)
    ]


def _difference(values: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    values, baseline = np.asarray(values, np.float64), np.asarray(baseline, np.float64)
    if values.shape != baseline.shape:
        raise DataError(
            f"paired comparison: values have shape {values.shape}, the baseline {baseline.shape}; "
            "both need the same users"
        )
    return values - baseline


def _table(values: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(values, np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, np.float64)
    if values.ndim != 2 or len(values) == 0 or weights.shape != values.shape:
        raise DataError(
            "resampling needs values and weights of one shape (users, columns) with at least one "
            f"user, got {values.shape} and {weights.shape}"
        )
    return values, weights
