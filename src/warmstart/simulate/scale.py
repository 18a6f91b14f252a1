"""Cold scores beside warm scores, and the one constant between the two scales.

Warm and cold items are scored by different models, so the constant decides what share of a list is
cold. It is chosen on the overall slice of the validation part. A positive constant never changes
the order within the cold items, so the best k of each side are ranked once and merged for every
constant.
"""

from functools import partial

import numpy as np

from warmstart.data.split import Validation
from warmstart.errors import ConfigError
from warmstart.rank import Metric, Score, rank_slice

GRID = tuple(float(2**exponent) for exponent in np.arange(-8, 8.01, 0.25))
_METRIC = Metric.parse("ndcg@20")


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


def choose_scale(
    score_warm: Score, score_cold: Score, warm: np.ndarray, valid: Validation
) -> float:
    """The constant of ``GRID`` that is best by ndcg@20 on the overall validation slice.

    Args:
        score_warm: scores of warm items.
        score_cold: scores of cold items, with the constant at 1.
        warm: which items are warm, bool, shape (n_items,).
        valid: validation slices.

    Raises:
        ConfigError: ``valid`` has no overall slice.
    """
    if "overall" not in valid:
        raise ConfigError(f"choosing the cold scale needs the overall slice, got {sorted(valid)}")
    task = valid["overall"]
    sides = [
        rank_slice(partial(score_beside, warm=warm, score_warm=w, score_cold=c), task, _METRIC.k)
        for w, c in ((score_warm, cannot_score), (cannot_score, score_cold))
    ]
    hits = np.concatenate([side.hits for side in sides], axis=1)
    values = []
    for scale in GRID:
        scores = np.concatenate([sides[0].scores, sides[1].scores * np.float32(scale)], axis=1)
        order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), axis=1, kind="stable")
        merged = np.take_along_axis(hits, order[:, : _METRIC.k], axis=1)
        values.append(_METRIC.per_user(merged, sides[0].n_relevant).mean())
    return GRID[int(np.argmax(values))]
