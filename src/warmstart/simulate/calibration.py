"""Calibration of cold scores against warm scores: one factor per user.

Warm and cold items are scored by different models, so the factor decides how much of a list is
cold. The text model's scores grow with the user's history: the cold scores of an active user are
all large, those of an inactive user all small. With one factor for everyone, an active user's list
would be all cold and an inactive user's all warm. So each user's cold scores are first divided by
their standard deviation:

    factor_u = cold_weight x warm^(1 - user_std_exponent) x warm_u^user_std_exponent / cold_u

where warm_u is the standard deviation of user u's scores of unseen warm items, cold_u that of the
user's scores of cold items, and warm the median of warm_u over users. How warm_u depends on the
length of the history differs between backbones, hence the exponent. Both constants are chosen on
the overall validation slice. A positive factor never changes the order of a user's cold items, so
the top k of each side is ranked once and merged anew for each pair of constants. Validation may
rank fewer cold items than a list will be drawn from (``RankingTask.cold_items``); a cold item that
is no hit then takes up as many places as it stands for.

Texts that tell the model nothing must not lift cold items. Where a user's cold scores hardly vary
between items, or there are too few different texts to tell, they are divided by their root mean
square, since their standard deviation is chance. And whatever the text of an item is, its scores
are bounded: scores above a limit are compressed, in the same order. If ``cold_weight`` is neither
given nor chosen, they stay below the user's highest warm score. Otherwise the limit is the user's
highest score of the fit, warm or cold, and scores exceed it by a tenth at most.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.config import Config
from warmstart.data.dataset import Dataset
from warmstart.data.tasks import RankingTask, Validation, ranking_task
from warmstart.errors import ConfigError
from warmstart.rank import Metric, UserScoreFunction, by_user, rank_task
from warmstart.retrieval.queries import ProductQueries
from warmstart.sampling import evenly_spaced
from warmstart.simulate.fusion import MIN_VARIATION

COLD_WEIGHTS = tuple(float(2**exponent) for exponent in np.arange(-4, 4.01, 0.25))
USER_STD_EXPONENTS = (0.0, 0.5, 1.0)
_METRIC = Metric.parse("ndcg@20")
_MAX_ITEMS = 5000  # maximum number of items per estimate of a standard deviation
_MANY_USERS, _MAX_ITEMS_OF_MANY = 65_536, 1000  # where users are many, fewer items
_USERS_AT_ONCE = 512
_SCORES_AT_ONCE = 2**23  # of reference items: 32 MB
_NEVER = 1e9  # a variation that no scores reach
_ROUNDING = 1e-6  # of a sum of numbers of places
_MIN_ITEMS = 20  # distinct texts that a standard deviation is estimated on
_HEADROOM = 0.1  # of the limit; how far scores above it reach
_MIN_ROOM = 1e-6  # the same where the limit is 0


class CalibrationConfig(Config):
    """Settings of the calibration of cold scores; see ``simulate.calibration``.

    Attributes:
        cold_weight: factor on cold scores that are scaled to the standard deviation of warm scores;
            above 1 it favours cold items. Chosen on validation if given; the default favours
            neither side, and keeps cold scores below the user's highest warm score.
        user_std_exponent: exponent on the standard deviation of the user's warm scores: 0 uses the
            median over users, 1 each user's value. Chosen on validation if given, since the best
            value differs between backbones (docs/log.md); the default is halfway.
    """

    cold_weight: float = Field(default=1.0, gt=0)
    user_std_exponent: float = Field(default=0.5, ge=0, le=1)


@dataclass(frozen=True)
class ColdCalibration:
    """Factors that bring each user's cold scores to the scale of the user's warm scores.

    Attributes:
        user_factors: float32, shape (n_users,).
        user_limits: scores above are compressed into the next tenth; float32, shape (n_users,).
    """

    user_factors: np.ndarray
    user_limits: np.ndarray

    @classmethod
    def identity(cls, n_users: int) -> Self:
        """Return the calibration that leaves all scores unchanged."""
        return cls(np.ones(n_users, np.float32), np.full(n_users, np.inf, np.float32))

    def take(self, users: np.ndarray) -> Self:
        """Return the calibration of these users, int32 row numbers, in the given order."""
        return type(self)(self.user_factors[users], self.user_limits[users])

    def calibrate(self, scores: np.ndarray) -> np.ndarray:
        """Bring cold scores, float32, shape (n_users, items), to the scale of these users.

        Args:
            scores: changed in place.

        Returns:
            ``scores``.
        """
        scores *= self.user_factors[:, None]
        limits = self.user_limits[:, None]
        above = scores > limits
        if above.any():
            room = np.broadcast_to(_HEADROOM * np.abs(limits) + _MIN_ROOM, scores.shape)[above]
            limit = np.broadcast_to(limits, scores.shape)[above]
            scores[above] = limit + room * -np.expm1((limit - scores[above]) / room)
        return scores

    def as_queries(self, vectors: np.ndarray) -> ProductQueries:
        """Queries whose products, compressed above the caps, are calibrated scores.

        Args:
            vectors: queries whose products are scores before the calibration, float32, shape
                (queries, width).
        """
        return ProductQueries(vectors * self.user_factors[:, None], self.user_limits)

    def averaged(self, weights: sparse.csr_matrix) -> Self:
        """Return the calibration of unknown users: the weighted mean of known users' factors.

        Args:
            weights: weights of known users, CSR, shape (queries, n_users); rows sum to 1, and an
                empty row counts all users alike.
        """
        means = []
        for values in (self.user_factors, self.user_limits):
            mean = np.asarray(weights @ values, np.float32)
            mean[np.diff(weights.indptr) == 0] = values.mean()
            means.append(mean)
        return type(self)(*means)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``restore`` needs."""
        return {"user_factors": self.user_factors, "user_limits": self.user_limits}

    @classmethod
    def restore(cls, state: dict[str, np.ndarray]) -> Self:
        """Rebuild the calibration from ``state``."""
        return cls(state["user_factors"], state["user_limits"])


def fit_calibration(
    config: CalibrationConfig,
    score_warm: UserScoreFunction,
    score_cold: UserScoreFunction,
    reference: np.ndarray | Callable[[np.ndarray], np.ndarray],
    data: Dataset,
    valid: Validation | None,
    *,
    min_variation: float = MIN_VARIATION,
) -> tuple[ColdCalibration, dict[str, Any]]:
    """Compute the factors of all users, with constants chosen on validation if given.

    Args:
        config: the constants to use without validation.
        score_warm: scores warm items.
        score_cold: scores cold items, without calibration.
        reference: uncalibrated scores of some cold items for all users, float32, shape
            (items, n_users), or a function that returns those of some users, int32 row numbers.
        data: defines the warm items and each user's seen items.
        valid: validation slices. The constants are chosen on "overall", or on "all", if there is a
            slice "cold" too; without cold items there is nothing to choose.
        min_variation: standard deviation over root mean square below which a user's cold scores
            are divided by the latter.

    Returns:
        The calibration, and the chosen constants.

    Raises:
        ConfigError: ``valid`` has the slice "cold", but none with warm and cold items.
    """
    warm_std, warm_max = _warm_scale(score_warm, data)
    cold_std, magnitude, cold_max = _cold_scale(reference, data.n_users)
    cold_std = np.where(cold_std > min_variation * magnitude, cold_std, magnitude)
    median_std = float(np.median(warm_std[warm_std > 0])) if (warm_std > 0).any() else 1.0

    def factors(cold_weight: float, exponent: float) -> np.ndarray:
        user_std = np.where(warm_std > 0, warm_std, median_std)
        target = cold_weight * median_std ** (1 - exponent) * user_std**exponent
        return np.divide(target, cold_std, out=target, where=cold_std > 0).astype(np.float32)

    def limited(user_factors: np.ndarray) -> ColdCalibration:
        highest = np.maximum(warm_max, user_factors * cold_max)
        return ColdCalibration(user_factors, highest.astype(np.float32))

    task = _overall_task(valid)
    if task is None:
        user_factors = factors(config.cold_weight, config.user_std_exponent)
        if "cold_weight" not in config.model_fields_set:
            return _below(warm_max, cold_max, user_factors), {}
        return limited(user_factors), {}
    warm_side, cold_side = (
        rank_task(
            by_user(partial(score_warm_and_cold, warm=data.warm, score_warm=warm, score_cold=cold)),
            task,
            _METRIC.k,
        )
        for warm, cold in ((score_warm, cannot_score), (cannot_score, score_cold))
    )
    hits = np.concatenate([warm_side.hits, cold_side.hits], axis=1)
    cold_miss = _items_per_cold_candidate(task, data)
    places = np.concatenate(
        [np.ones(warm_side.hits.shape), np.where(cold_side.hits, 1, cold_miss)], axis=1
    )

    def quality(cold_weight: float, exponent: float) -> float:
        scaled = cold_side.scores * factors(cold_weight, exponent)[task.queries.users][:, None]
        scores = np.concatenate([warm_side.scores, scaled], axis=1)
        order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), axis=1, kind="stable")
        merged = _hits_by_rank(*(np.take_along_axis(of, order, axis=1) for of in (hits, places)))
        return float(_METRIC.per_query(merged, warm_side.n_relevant).mean())

    cold_weight, exponent = max(
        product(COLD_WEIGHTS, USER_STD_EXPONENTS), key=lambda constants: quality(*constants)
    )
    chosen = {"cold_weight": cold_weight, "user_std_exponent": exponent}
    return limited(factors(cold_weight, exponent)), chosen


def _overall_task(valid: Validation | None) -> RankingTask | None:
    if valid is None or "cold" not in valid:
        return None
    task = ranking_task(valid, "overall", "all")
    if task is None:
        raise ConfigError(
            f"calibrating cold scores needs the validation slice 'overall', got {sorted(valid)}"
        )
    return task


def _items_per_cold_candidate(task: RankingTask, data: Dataset) -> float:
    """Return how many cold items in use one cold candidate of the task stands for."""
    n_candidates = int((~data.warm[task.candidates]).sum())
    if task.cold_items is None or n_candidates == 0:
        return 1.0
    return task.cold_items / n_candidates


def _hits_by_rank(hits: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Move each hit to the rank that it has if every item takes up its number of places.

    Args:
        hits: bool, shape (queries, items), best first.
        places: float64, the same shape; 1 for a hit, so no two hits get the same rank.

    Returns:
        bool, shape (queries, k).
    """
    ahead = (np.cumsum(places, axis=1) - places + _ROUNDING).astype(np.int64)
    rows, columns = np.nonzero(hits & (ahead < _METRIC.k))
    by_rank = np.zeros((len(hits), _METRIC.k), bool)
    by_rank[rows, ahead[rows, columns]] = True
    return by_rank


def score_warm_and_cold(
    users: np.ndarray,
    items: np.ndarray,
    warm: np.ndarray,
    score_warm: UserScoreFunction,
    score_cold: UserScoreFunction,
) -> np.ndarray:
    """Score warm items with one model and cold items with another.

    Args:
        users: int32, shape (queries,).
        items: int32, shape (items,).
        warm: mask of the warm items, bool, shape (n_items,).
        score_warm: scores users and warm items, given by row number.
        score_cold: scores users and cold items, given by row number.

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
    """Return NaN for every pair: the score function of items that are left out of a ranking."""
    return np.full((len(users), len(items)), np.nan, np.float32)


def reference_items(data: Dataset) -> np.ndarray:
    """Return the items on which standard deviations of cold scores are estimated.

    These are cold items of the catalogue that have a text. If there are fewer than 20 different
    texts, they are warm items, which the method must score without their interactions: scores of
    memorised items say nothing about new ones.

    Returns:
        Row numbers, int32, ascending.
    """
    catalogue = data.catalogue
    cold = np.flatnonzero(~data.warm & catalogue.has_text)
    if len({catalogue.texts[row] for row in cold}) < _MIN_ITEMS:
        return _evenly(np.flatnonzero(data.warm & catalogue.has_text), data)
    return _evenly(cold, data)


def min_variation(data: Dataset) -> float:
    """The ``min_variation`` of a model of texts: with too few of them no variation is trusted."""
    texts = {text for text in data.catalogue.texts if text}
    return MIN_VARIATION if len(texts) >= _MIN_ITEMS else _NEVER


def _below(warm_max: np.ndarray, cold_max: np.ndarray, user_factors: np.ndarray) -> ColdCalibration:
    """Keep all cold scores below the user's highest warm score, compressed ones too."""
    bound = np.divide(warm_max, cold_max, out=np.full_like(warm_max, np.inf), where=cold_max > 0)
    user_factors = np.minimum(user_factors, np.maximum(bound, 0)).astype(np.float32)
    top = warm_max - _MIN_ROOM
    limits = top / np.where(top > 0, 1 + _HEADROOM, 1 - _HEADROOM)
    return ColdCalibration(user_factors, limits.astype(np.float32))


def _cold_scale(
    reference: np.ndarray | Callable[[np.ndarray], np.ndarray], n_users: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each user's standard deviation, root mean square and highest score of the items."""
    if isinstance(reference, np.ndarray):
        scores_of = lambda users: reference[:, users]  # noqa: E731
    else:
        scores_of = reference
    stds, magnitudes, highest = np.empty(n_users), np.empty(n_users), np.empty(n_users, np.float32)
    step = max(1, _SCORES_AT_ONCE // max(1, len(scores_of(np.zeros(1, np.int32)))))
    for start in range(0, n_users, step):
        users = np.arange(start, min(start + step, n_users), dtype=np.int32)
        scores = scores_of(users)
        stds[users] = np.std(scores, axis=0, dtype=np.float64)
        magnitudes[users] = np.hypot(stds[users], np.mean(scores, axis=0, dtype=np.float64))
        highest[users] = scores.max(axis=0, initial=-np.inf)
    return stds, magnitudes, highest


def _warm_scale(score_warm: UserScoreFunction, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return each user's standard deviation over unseen warm items, and the highest warm score."""
    items = _evenly(np.flatnonzero(data.warm), data)
    stds, highest = np.empty(data.n_users), np.empty(data.n_users)
    for start in range(0, data.n_users, _USERS_AT_ONCE):
        users = np.arange(start, min(start + _USERS_AT_ONCE, data.n_users), dtype=np.int32)
        scores = score_warm(users, items).astype(np.float64)
        unseen = data.matrix[users][:, items].toarray() == 0
        # A user who has seen every one of these items gets the standard deviation over all of them.
        stds[users] = np.std(scores, axis=1, where=unseen | ~unseen.any(axis=1)[:, None])
        highest[users] = scores.max(axis=1)
    return stds, highest


def _evenly(rows: np.ndarray, data: Dataset) -> np.ndarray:
    """Pick at most ``_MAX_ITEMS`` of the rows, evenly spaced; int32."""
    most = _MAX_ITEMS if data.n_users <= _MANY_USERS else _MAX_ITEMS_OF_MANY
    return rows[evenly_spaced(len(rows), most)].astype(np.int32)
