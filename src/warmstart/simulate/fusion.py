"""Score fusion: one score of a cold item from two scorers.

A folded-in vector uses what the backbone has learned about users who behave alike, but is limited
to the backbone's width. The text model's user scores have no such limit, but use the text alone.
With F and T the two scorers' scores of item i over users, and |.| the Euclidean norm over users,

    raw_i   = (1 - weight) F_i / sd(F) + weight T_i / sd(T)
    score_i = raw_i / (|raw_i| / mean |raw|)^(1 - norm_exponent)

An item with large scores is predicted to become popular. ``norm_exponent`` is how much of that
prediction is kept: 1 keeps it, 0 gives all cold items the same norm. Both constants are chosen on
the cold validation slice.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from warmstart.data.tasks import RankingTask
from warmstart.rank import TableScorer, mean_metric

ColdScore = Literal["fold_in", "text", "both"]

# Both grids were extended after validation had chosen their ends (docs/log.md).
TEXT_WEIGHTS: dict[ColdScore, tuple[float, ...]] = {
    "fold_in": (0.0,),
    "text": (1.0,),
    "both": (0.2, 0.35, 0.5, 0.65, 0.8, 0.9),
}
NORM_EXPONENTS = (1.0, 0.75, 0.5, 0.25)
METRIC = "ndcg@20"
MIN_VARIATION = 0.02
"""Standard deviation over root mean square below which scores count as one value."""
_MAX_SAMPLE = 1000  # standard deviations are estimated on about this many items


@dataclass(frozen=True)
class ScoreFusion:
    """Weighted sum of two scorers' standardised scores, with a factor per item.

    Attributes:
        weight: weight of the second scorer, in [0, 1]; the first has 1 - weight.
        norm_exponent: exponent on the norm of an item's scores, in [0, 1].
        std_first: standard deviation of the first scorer's scores.
        std_second: standard deviation of the second scorer's scores.
        mean_norm: mean over items of the norm of the weighted sum.
    """

    weight: float
    norm_exponent: float
    std_first: float = 1.0
    std_second: float = 1.0
    mean_norm: float = 1.0

    @classmethod
    def fit(
        cls, weight: float, norm_exponent: float, first: np.ndarray, second: np.ndarray
    ) -> "ScoreFusion":
        """Estimate standard deviations and mean norm from both scorers' scores, (items, users)."""
        sample = slice(None, None, max(1, len(first) // _MAX_SAMPLE))
        std_first, std_second = (_std(scores[sample]) for scores in (first, second))
        unscaled = cls(weight, 1.0, std_first, std_second)
        norms = np.linalg.norm(unscaled.weighted_sum(first, second), axis=1)
        return cls(weight, norm_exponent, std_first, std_second, float(norms.mean()) or 1.0)

    @property
    def factor_first(self) -> float:
        """What the first scorer's scores are multiplied by in the weighted sum."""
        return (1 - self.weight) / self.std_first

    @property
    def factor_second(self) -> float:
        """What the second scorer's scores are multiplied by in the weighted sum."""
        return self.weight / self.std_second

    def weighted_sum(
        self, first: np.ndarray, second: np.ndarray, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the weighted sum, float32, of the same shape; scores of weight 0 are not used.

        Args:
            first: scores of the first scorer, float32.
            second: scores of the second scorer, of the same shape.
            out: array for the result; it may be one of the two.
        """
        if self.weight == 0:
            return np.divide(first, np.float32(self.std_first), out=out)
        if self.weight == 1:
            return np.divide(second, np.float32(self.std_second), out=out)
        second = second * np.float32(self.factor_second)
        total = np.multiply(first, np.float32(self.factor_first), out=out)
        total += second
        return total

    def item_scales(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return each item's factor, float32, shape (items,), from its scores over all users."""
        norms = np.linalg.norm(self.weighted_sum(first, second), axis=1) / self.mean_norm
        scales = np.ones(len(norms), np.float32)
        np.power(norms, self.norm_exponent - 1, out=scales, where=norms > 0)
        return scales


def _std(scores: np.ndarray) -> float:
    """The standard deviation; where it is mere rounding, the magnitude of the scores."""
    if not scores.size:
        return 1.0
    std, mean = float(scores.std()), float(scores.mean())
    magnitude = math.hypot(std, mean)
    return (std if std > MIN_VARIATION * magnitude else magnitude) or 1.0


def choose_fusion(
    constants: Iterable[tuple[float, float]],
    task: RankingTask,
    rows: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    users: np.ndarray | None = None,
) -> tuple[float, float]:
    """Return the pair of weight and norm exponent with the best ndcg@20; ties go to the first pair.

    Args:
        constants: pairs of weight and norm exponent to choose from.
        task: the cold validation slice.
        rows: the scored items, which include the candidates; int32, ascending.
        first: the first scorer's scores over all users, float32, shape (rows, n_users).
        second: the second scorer's scores, of the same shape.
        users: row numbers of the scored users, ascending, among them those of the task, if not all
            are scored.
    """

    def quality(weight: float, norm_exponent: float) -> float:
        fusion = ScoreFusion.fit(weight, norm_exponent, first, second)
        scales = fusion.item_scales(first, second)[:, None]
        table = TableScorer(rows, fusion.weighted_sum(first, second) * scales, users)
        return mean_metric(table.score, task, METRIC)

    return max(constants, key=lambda pair: quality(*pair))
