"""Calibration of cold scores against warm scores: one factor for each user.

Warm and cold items are scored by different models, so the factor decides how much of a list is
cold. What a text says about a user grows with the user's history: the cold scores of an active user
are all large, those of an inactive one all small. With one factor for both, the active user's list
is all cold and the inactive one's all warm. So every user's cold scores are first brought to one
standard deviation:

    factor_u = cold_weight x warm^(1 - user_std_exponent) x warm_u^user_std_exponent / cold_u

where warm_u and cold_u are the standard deviations of user u's scores of (unseen) warm and of cold
items, and warm is the median of warm_u. How warm_u depends on the length of the history differs
between backbones, hence the exponent. Both constants are chosen on the overall slice of the
validation part. A positive factor never changes the order within a user's cold items, so the best k
of each side are ranked once and merged for every pair of constants.
"""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Self

import numpy as np
from pydantic import Field

from warmstart.config import Config
from warmstart.data.dataset import Dataset
from warmstart.data.splits.cold import Validation
from warmstart.errors import ConfigError
from warmstart.rank import Metric, ScoreFunction, rank_slice

COLD_WEIGHTS = tuple(float(2**exponent) for exponent in np.arange(-4, 4.01, 0.25))
USER_STD_EXPONENTS = (0.0, 0.5, 1.0)
_METRIC = Metric.parse("ndcg@20")
_MAX_ITEMS = 5000  # items whose scores a standard deviation is estimated on
_USERS_AT_ONCE = 512


class CalibrationConfig(Config):
    """The constants of cold scores against warm ones; see ``simulate.calibration``.

    Attributes:
        cold_weight: factor on cold scores of the same standard deviation as warm ones; chosen on
            validation if there is any. 1 favours neither side.
        user_std_exponent: exponent on the standard deviation of the user's warm scores: 0 uses one
            value for all users, 1 each user's own; chosen likewise. 0.5 is between the two.
    """

    cold_weight: float = Field(default=1.0, gt=0)
    user_std_exponent: float = Field(default=0.5, ge=0, le=1)


@dataclass(frozen=True)
class ColdCalibration:
    """Factors on cold scores.

    Attributes:
        user_factors: factor on each user's cold scores, float32, shape (n_users,).
    """

    user_factors: np.ndarray

    @classmethod
    def identity(cls, n_users: int) -> Self:
        """Leaves scores unchanged."""
        return cls(np.ones(n_users, np.float32))

    def apply(self, users: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Cold scores, shape (users, items), on the scale of warm ones; float32."""
        return scores * self.user_factors[users][:, None]


def fit_calibration(
    config: CalibrationConfig,
    score_warm: ScoreFunction,
    score_cold: ScoreFunction,
    reference: np.ndarray,
    data: Dataset,
    valid: Validation | None,
) -> tuple[ColdCalibration, dict[str, Any]]:
    """Compute the factors; their constants are chosen on validation if there is any.

    Args:
        config: the constants to use without validation.
        score_warm: scores of warm items.
        score_cold: scores of cold items, not calibrated.
        reference: uncalibrated scores of some cold items for all users, float32, shape
            (items, n_users).
        data: tells which items are warm and what users have seen.
        valid: validation slices.

    Returns:
        The factors, and the chosen constants.

    Raises:
        ConfigError: ``valid`` has no overall slice.
    """
    warm_std = _warm_std(score_warm, data)
    cold_std = np.std(reference, axis=0, dtype=np.float64)
    median_std = float(np.median(warm_std[warm_std > 0])) if (warm_std > 0).any() else 1.0

    def factors(cold_weight: float, exponent: float) -> np.ndarray:
        own_std = np.where(warm_std > 0, warm_std, median_std)
        wanted = cold_weight * median_std ** (1 - exponent) * own_std**exponent
        return np.divide(wanted, cold_std, out=wanted, where=cold_std > 0).astype(np.float32)

    if valid is None:
        return ColdCalibration(factors(config.cold_weight, config.user_std_exponent)), {}
    if "overall" not in valid:
        raise ConfigError(f"calibrating cold scores needs the overall slice, got {sorted(valid)}")
    task = valid["overall"]
    warm_side, cold_side = (
        rank_slice(
            partial(score_warm_and_cold, warm=data.warm, score_warm=warm, score_cold=cold),
            task,
            _METRIC.k,
        )
        for warm, cold in ((score_warm, cannot_score), (cannot_score, score_cold))
    )
    hits = np.concatenate([warm_side.hits, cold_side.hits], axis=1)

    def quality(cold_weight: float, exponent: float) -> float:
        scaled = cold_side.scores * factors(cold_weight, exponent)[task.users][:, None]
        scores = np.concatenate([warm_side.scores, scaled], axis=1)
        order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), axis=1, kind="stable")
        merged = np.take_along_axis(hits, order[:, : _METRIC.k], axis=1)
        return float(_METRIC.per_user(merged, warm_side.n_relevant).mean())

    cold_weight, exponent = max(
        product(COLD_WEIGHTS, USER_STD_EXPONENTS), key=lambda constants: quality(*constants)
    )
    chosen = {"cold_weight": cold_weight, "user_std_exponent": exponent}
    return ColdCalibration(factors(cold_weight, exponent)), chosen


def score_warm_and_cold(
    users: np.ndarray,
    items: np.ndarray,
    warm: np.ndarray,
    score_warm: ScoreFunction,
    score_cold: ScoreFunction,
) -> np.ndarray:
    """Scores of items for users: warm items from one model, cold items from another.

    Args:
        users: int32, shape (queries,).
        items: int32, shape (items,).
        warm: which items are warm, bool, shape (n_items,).
        score_warm: scores of warm items, by row number.
        score_cold: scores of cold items, by row number.

    Returns:
        float32, shape (queries, items).
    """
    scores = np.empty((len(users), len(items)), np.float32)
    is_warm = warm[items]
    for side, score in ((is_warm, score_warm), (~is_warm, score_cold)):
        if side.any():
            scores[:, side] = score(users, items[side])
    return scores


def cannot_score(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """NaN for every pair: the scores of a model that does not know these items."""
    return np.full((len(users), len(items)), np.nan, np.float32)


def reference_items(data: Dataset) -> np.ndarray:
    """Rows of the items that standard deviations of cold scores are estimated on, int32, ascending.

    These are cold items of the catalogue. If there are none they are warm items, which the method
    must then score as if it had never seen their interactions.
    """
    return _evenly(np.arange(data.n_items) if data.warm.all() else np.flatnonzero(~data.warm))


def _warm_std(score_warm: ScoreFunction, data: Dataset) -> np.ndarray:
    """Standard deviation of every user's scores of unseen warm items, float64, (n_users,)."""
    items = _evenly(np.flatnonzero(data.warm))
    result = np.empty(data.n_users)
    for start in range(0, data.n_users, _USERS_AT_ONCE):
        users = np.arange(start, min(start + _USERS_AT_ONCE, data.n_users), dtype=np.int32)
        scores = score_warm(users, items).astype(np.float64)
        unseen = data.matrix[users][:, items].toarray() == 0
        result[users] = np.std(scores, axis=1, where=unseen | ~unseen.any(axis=1)[:, None])
    return result


def _evenly(rows: np.ndarray) -> np.ndarray:
    """At most ``_MAX_ITEMS`` of the rows, evenly spaced, int32."""
    places = np.linspace(0, len(rows) - 1, min(_MAX_ITEMS, len(rows))).astype(np.int64)
    return rows[places].astype(np.int32)
