"""Cold scores beside warm scores: a factor for each user.

Warm and cold items are scored by different models, so the factor decides what share of a list is
cold. What a text says of a user grows with the user's history: the cold scores of a busy user are
all large, those of a quiet one all small, and with one factor for both the busy user's list is all
cold and the quiet one's all warm. So each user's cold scores are brought to one spread first:

    factor_u = scale x warm^(1 - own) x warm_u^own / cold_u

with warm_u and cold_u the spreads of user u's scores of (unseen) warm and of cold items, and warm
the typical warm_u. How a backbone's warm_u depends on the history is its own affair, hence ``own``.
Both constants are chosen on the overall slice of the validation part. A positive factor never
changes the order within a user's cold items, so the best k of each side are ranked once and merged
for every choice.
"""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Self

import numpy as np
from pydantic import Field

from warmstart.config import Config
from warmstart.data.dataset import Dataset
from warmstart.data.split import Validation
from warmstart.errors import ConfigError
from warmstart.rank import Metric, Score, rank_slice

SCALES = tuple(float(2**exponent) for exponent in np.arange(-4, 4.01, 0.25))
OWNS = (0.0, 0.5, 1.0)
_METRIC = Metric.parse("ndcg@20")
_ITEMS = 5000  # the most whose scores measure a spread
_BLOCK = 512  # users whose warm scores are held at once


class ScaledConfig(Config):
    """The constants of cold scores beside warm ones, see ``simulate.scale``.

    Attributes:
        scale: the factor on spreads that are alike; chosen on validation where there is one.
        own: how much of a user's own spread of warm scores is followed; chosen likewise.
    """

    scale: float = Field(default=1.0, gt=0)
    own: float = Field(default=0.5, ge=0, le=1)


@dataclass(frozen=True)
class ColdScale:
    """The factor on each user's cold scores: float32, shape (n_users,)."""

    factors: np.ndarray

    @classmethod
    def plain(cls, n_users: int) -> Self:
        """Leaves scores as they are."""
        return cls(np.ones(n_users, np.float32))

    def apply(self, users: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Cold scores, shape (users, items), on the scale of warm ones; float32."""
        return scores * self.factors[users][:, None]


def fit_scale(
    config: ScaledConfig,
    score_warm: Score,
    score_cold: Score,
    reference: np.ndarray,
    data: Dataset,
    valid: Validation | None,
) -> tuple[ColdScale, dict[str, Any]]:
    """The factors; their constants are chosen on validation where there is one.

    Args:
        config: the constants to use without validation.
        score_warm: scores of warm items.
        score_cold: scores of cold items, not scaled.
        reference: not scaled scores of some cold items for all users, float32, shape
            (items, n_users).
        data: tells which items are warm, and what users have seen.
        valid: validation slices.

    Returns:
        The factors, and the constants that were chosen.

    Raises:
        ConfigError: ``valid`` has no overall slice.
    """
    warm = _warm_spreads(score_warm, data)
    cold = np.std(reference, axis=0, dtype=np.float64)
    typical = float(np.median(warm[warm > 0])) if (warm > 0).any() else 1.0

    def factors(scale: float, own: float) -> np.ndarray:
        lines = scale * typical ** (1 - own) * np.where(warm > 0, warm, typical) ** own
        return np.divide(lines, cold, out=lines, where=cold > 0).astype(np.float32)

    if valid is None:
        return ColdScale(factors(config.scale, config.own)), {}
    if "overall" not in valid:
        raise ConfigError(f"choosing the cold scale needs the overall slice, got {sorted(valid)}")
    task = valid["overall"]
    sides = [
        rank_slice(
            partial(score_beside, warm=data.warm, score_warm=w, score_cold=c), task, _METRIC.k
        )
        for w, c in ((score_warm, cannot_score), (cannot_score, score_cold))
    ]
    hits = np.concatenate([side.hits for side in sides], axis=1)

    def value(scale: float, own: float) -> float:
        scaled = sides[1].scores * factors(scale, own)[task.users][:, None]
        scores = np.concatenate([sides[0].scores, scaled], axis=1)
        order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), axis=1, kind="stable")
        merged = np.take_along_axis(hits, order[:, : _METRIC.k], axis=1)
        return float(_METRIC.per_user(merged, sides[0].n_relevant).mean())

    scale, own = max(product(SCALES, OWNS), key=lambda constants: value(*constants))
    return ColdScale(factors(scale, own)), {"scale": scale, "own": own}


def score_beside(
    users: np.ndarray, items: np.ndarray, warm: np.ndarray, score_warm: Score, score_cold: Score
) -> np.ndarray:
    """Scores of items for users, each side from its own model.

    Args:
        users: int32, shape (queries,).
        items: int32, shape (items,).
        warm: which items are warm, bool, shape (n_items,).
        score_warm: scores of warm items; gets their row numbers.
        score_cold: scores of cold items; gets their row numbers.

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
    """NaN for every pair: the score of a model that knows nothing of these items."""
    return np.full((len(users), len(items)), np.nan, np.float32)


def reference_items(data: Dataset) -> np.ndarray:
    """Rows of the items that spreads of cold scores are measured on, int32, ascending.

    Cold items of the catalogue; where there are none warm ones, which the method must then score
    as if it had not seen them.
    """
    return _spaced(np.arange(data.n_items) if data.warm.all() else np.flatnonzero(~data.warm))


def _warm_spreads(score_warm: Score, data: Dataset) -> np.ndarray:
    """The spread of every user's scores of unseen warm items, float64, shape (n_users,)."""
    items = _spaced(np.flatnonzero(data.warm))
    spreads = np.empty(data.n_users)
    for start in range(0, data.n_users, _BLOCK):
        users = np.arange(start, min(start + _BLOCK, data.n_users), dtype=np.int32)
        scores = score_warm(users, items).astype(np.float64)
        unseen = data.matrix[users][:, items].toarray() == 0
        spreads[users] = np.std(scores, axis=1, where=unseen | ~unseen.any(axis=1)[:, None])
    return spreads


def _spaced(rows: np.ndarray) -> np.ndarray:
    """At most ``_ITEMS`` of the rows, evenly spaced, int32."""
    return rows[np.linspace(0, len(rows) - 1, min(_ITEMS, len(rows))).astype(np.int64)].astype(
        np.int32
    )
