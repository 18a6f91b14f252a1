"""A cold item's score from two sources: its folded-in vector, and the distribution itself.

Fold-in passes the simulated users through the backbone, which knows who behaves alike, but it can
keep no more than the backbone's width holds. The distribution keeps everything that the text says,
and nothing else. With F and D the two scores of item i over users,

    raw_i   = (1 - share) F_i / sd(F) + share D_i / sd(D)
    score_i = raw_i / (|raw_i| / mean |raw|)^(1 - magnitude)

``magnitude`` says how far to believe that an item with large scores will be popular: 1 as
predicted, 0 all cold items alike. Both constants are chosen on the cold validation slice.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from warmstart.data.split import Slice
from warmstart.rank import mean_metric

SHARES = {"folded": (0.0,), "distribution": (1.0,), "both": (0.2, 0.35, 0.5, 0.65, 0.8, 0.9)}
MAGNITUDES = (1.0, 0.75, 0.5, 0.25)
METRIC = "ndcg@20"
_SAMPLE = 1000  # items that the spreads are measured on

ColdScore = Literal["folded", "distribution", "both"]


@dataclass(frozen=True)
class Blend:
    """The constants of the blend.

    Attributes:
        share: of the distribution, in [0, 1].
        magnitude: exponent on the size of an item's scores, in [0, 1].
        folded_spread: sd(F).
        direct_spread: sd(D).
        size: mean |raw|.
    """

    share: float
    magnitude: float
    folded_spread: float = 1.0
    direct_spread: float = 1.0
    size: float = 1.0

    @classmethod
    def of(cls, share: float, magnitude: float, folded: np.ndarray, direct: np.ndarray) -> "Blend":
        """The blend whose spreads and size are those of these scores, each (items, users)."""
        sample = slice(None, None, max(1, len(folded) // _SAMPLE))
        spread_f, spread_d = (float(scores[sample].std()) or 1.0 for scores in (folded, direct))
        plain = cls(share, 1.0, spread_f, spread_d)
        size = float(np.linalg.norm(plain.raw(folded, direct), axis=1).mean()) or 1.0
        return cls(share, magnitude, spread_f, spread_d, size)

    def raw(self, folded: np.ndarray, direct: np.ndarray) -> np.ndarray:
        """The weighted sum, float32, of the shape of both; a source of share 0 is not read."""
        if self.share == 0:
            return folded / np.float32(self.folded_spread)
        if self.share == 1:
            return direct / np.float32(self.direct_spread)
        left = folded * np.float32((1 - self.share) / self.folded_spread)
        return left + direct * np.float32(self.share / self.direct_spread)

    def gains(self, folded: np.ndarray, direct: np.ndarray) -> np.ndarray:
        """The factor of each item, float32, shape (items,), from its scores over all users."""
        sizes = np.linalg.norm(self.raw(folded, direct), axis=1) / self.size
        gains = np.ones(len(sizes), np.float32)
        np.power(sizes, self.magnitude - 1, out=gains, where=sizes > 0)
        return gains


def choose_blend(
    pairs: Iterable[tuple[float, float]],
    task: Slice,
    rows: np.ndarray,
    folded: np.ndarray,
    direct: np.ndarray,
) -> tuple[float, float]:
    """The share and magnitude that are best by ndcg@20.

    Args:
        pairs: of share and magnitude, to choose from.
        task: the cold validation slice.
        rows: of the items that are scored, the candidates among them, int32, ascending.
        folded: their F over all users, float32, shape (rows, n_users).
        direct: D likewise.
    """

    def value(share: float, magnitude: float) -> float:
        blend = Blend.of(share, magnitude, folded, direct)
        scores = blend.raw(folded, direct) * blend.gains(folded, direct)[:, None]
        place = lambda items: np.searchsorted(rows, items)  # noqa: E731
        return mean_metric(lambda u, i: scores[place(i)][:, u].T, task, METRIC)

    return max(pairs, key=lambda pair: value(*pair))
