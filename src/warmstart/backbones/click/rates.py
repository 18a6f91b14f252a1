"""Rate statistics: how often an item is liked, and how a user's history departs from that.

With s the shrinkage, a number of events, and p_i what is expected of item i without ratings:

    item rate       r_i = (likes_i + s p_i) / (ratings_i + s)
    user departure  d = sum over the history of (liked_j - r_j) / (events + s)

The departure says whether a user likes more than others do of the same items. It serves users that
training has not seen, and its history ends before the predicted event. Over the newest events it
follows changes of mood; over the items with one attribute, a user's taste (``affinity``).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from warmstart.backbones.click.data import ClickData, HistoryRanges

_RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_PRIOR_RANGE = (0.02, 0.98)  # of a regression that knows no bounds


@dataclass(frozen=True)
class ItemRates:
    """How often the users of the training pairs like each item.

    Attributes:
        counts: number of ratings of each item, float64, shape (n_items,).
        likes: number of its likes, float64, shape (n_items,).
        prior: rate expected without ratings, float64, shape (n_items,).
        content: the prior of an item without ratings, as a linear function of its features:
            float64, the intercept first, then one weight per feature.
        shrinkage: weight of the prior, as a number of ratings.
    """

    counts: np.ndarray
    likes: np.ndarray
    prior: np.ndarray
    content: np.ndarray
    shrinkage: float

    @classmethod
    def of_pairs(cls, pairs: ClickData, shrinkage: float) -> "ItemRates":
        """Count the training pairs; the prior follows the items' features, if they have any."""
        counts = np.bincount(pairs.items, minlength=pairs.n_items).astype(np.float64)
        likes = np.bincount(pairs.items, weights=pairs.labels, minlength=pairs.n_items)
        mean = float(pairs.labels.mean())
        prior, content = np.full(pairs.n_items, mean), np.array([mean])
        if pairs.n_features:
            features = pairs.item_features(np.arange(pairs.n_items))
            prior, content = content_prior(features, counts, likes, mean, shrinkage)
        return cls(counts, likes, prior, content, shrinkage)

    def extended(self, features: np.ndarray) -> "ItemRates":
        """Append items without ratings, by their features, shape (new_items, features)."""
        prior = np.full(len(features), self.content[0])
        if features.shape[1]:
            prior = np.clip(prior + features @ self.content[1:], *_PRIOR_RANGE)
        none = np.zeros(len(features))
        return replace(
            self,
            counts=np.concatenate([self.counts, none]),
            likes=np.concatenate([self.likes, none]),
            prior=np.concatenate([self.prior, prior]),
        )

    @cached_property
    def rates(self) -> np.ndarray:
        """The rate of each item: float64, shape (n_items,)."""
        return (self.likes + self.shrinkage * self.prior) / (self.counts + self.shrinkage)

    def without(self, items: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The rates of items, each without one own label: float64, shape (pairs,).

        Args:
            items: the items of training pairs, shape (pairs,).
            labels: the labels of these pairs, shape (pairs,).
        """
        likes = self.likes[items] - labels + self.shrinkage * self.prior[items]
        return likes / (self.counts[items] - 1 + self.shrinkage)


def content_prior(
    features: np.ndarray, counts: np.ndarray, likes: np.ndarray, mean: float, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the rate of items from their features, by ridge regression.

    Items with ratings are regressed on their features, with weights n / (n + shrinkage) for n
    ratings. The regulariser has the smallest leave-one-out error; if none predicts better than
    ``mean``, the prior is ``mean``. An item with ratings gets its leave-one-out prediction
    (fit - h y) / (1 - h), h the leverage: shrinking its rate towards a prediction that knows the
    item's labels would count them twice.

    Args:
        features: float32, shape (n_items, features).
        counts: number of ratings, shape (n_items,).
        likes: number of likes, shape (n_items,).
        mean: mean label of all pairs.
        shrinkage: the s of the module docstring.

    Returns:
        The prior, float64, shape (n_items,), in [.02, .98]; and ``ItemRates.content``.
    """
    rated = counts > 0
    weights = np.sqrt(counts / (counts + shrinkage))
    targets = weights * np.divide(likes - counts * mean, counts, out=np.zeros_like(counts),
                                  where=rated)  # fmt: skip
    weighted = features * weights[:, None].astype(np.float32)
    values, axes = np.linalg.eigh((weighted.T @ weighted).astype(np.float64))
    rotated = weighted @ axes
    moments = rotated.T @ targets
    best, prior = float((targets**2).sum()), np.full(len(counts), mean)
    slopes = np.zeros(features.shape[1])
    for ridge in _RIDGES:
        inverse = 1 / (np.maximum(values, 0) + ridge)
        leverage = rotated**2 @ inverse
        errors = (targets - rotated @ (inverse * moments)) / (1 - leverage)
        if (errors**2).sum() < best:
            best = float((errors**2).sum())
            slopes = axes @ (inverse * moments)
            fit = features @ slopes
            own = np.divide(targets - errors, weights, out=fit.copy(), where=rated)
            prior = mean + own
    return np.clip(prior, *_PRIOR_RANGE), np.array([mean, *slopes])


def departure(histories: HistoryRanges, residuals: np.ndarray, shrinkage: float) -> np.ndarray:
    """Mean of ``liked - rate`` over each history, shrunk towards 0: float64, shape (pairs,).

    Args:
        histories: the histories.
        residuals: liked - rate of every event, shape (events,).
        shrinkage: number of events with residual 0 that are added.
    """
    return histories.sums(residuals) / (histories.lengths + shrinkage)


def affinity(
    items: np.ndarray,
    histories: HistoryRanges,
    residuals: np.ndarray,
    attributes: sparse.csr_matrix,
    shrinkage: float,
) -> np.ndarray:
    """How much the users like the attributes of the items, beyond what they like in general.

    For one attribute this is the departure over the items of the history that have it, minus the
    departure over the whole history. The result is the mean over the attributes of the item, 0 for
    an item without any.

    Args:
        items: int32 rows, shape (pairs,).
        histories: the users' histories, one per pair.
        residuals: liked - rate of every event, shape (events,).
        attributes: CSR, shape (n_items, values).
        shrinkage: number of events with residual 0 that are added, per attribute.

    Returns:
        float64, shape (pairs,).
    """
    general = departure(histories, residuals, shrinkage)
    of_pairs = attributes[items].tocsc()
    of_events = attributes[histories.events.items].tocsc()
    total, number = np.zeros(len(items)), np.zeros(len(items))
    for column in range(len(of_pairs.indptr) - 1):
        pairs, events = _rows_of(of_pairs, column), _rows_of(of_events, column)
        first = np.searchsorted(events, histories.starts[pairs])
        stop = np.searchsorted(events, histories.ends[pairs])
        sums = np.concatenate([[0.0], np.cumsum(residuals[events])])
        beyond = sums[stop] - sums[first] - (stop - first) * general[pairs]
        total[pairs] += beyond / (stop - first + shrinkage)
        number[pairs] += 1
    return total / np.maximum(number, 1)


def _rows_of(matrix: sparse.csc_matrix, column: int) -> np.ndarray:
    return matrix.indices[matrix.indptr[column] : matrix.indptr[column + 1]]
