"""Metrics of predicted labels: whether a user will like an item.

Labels are bool, shape (pairs,); scores are higher for likelier pairs, probabilities lie in [0, 1].
The area under the ROC curve (AUC) is no mean over pairs or users, so its interval comes from
resampled users (``auc_interval``), and two methods are paired by user through ``user_auc`` and
through ``log_losses``, whose values are means.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from warmstart.arguments import whole_number
from warmstart.errors import DataError
from warmstart.evaluation.significance import Interval, resample_counts

_CLIP = 1e-7  # a certain prediction that is wrong would otherwise have an infinite loss
_CELLS_AT_ONCE = 2**22  # resamples x pairs of one block of the bootstrap: about 100 MB


@dataclass(frozen=True)
class UserAuc:
    """The AUC of every user with both labels.

    Attributes:
        users: the users, ascending, shape (users,).
        values: AUC within the pairs of each user, float64, shape (users,).
        pairs: number of pairs of each user, int64, shape (users,).
    """

    users: np.ndarray
    values: np.ndarray
    pairs: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over users, each with the same weight; NaN if no user has both labels."""
        return float(self.values.mean()) if len(self.values) else float("nan")

    @property
    def mean_by_pairs(self) -> float:
        """Mean over users, weighted by their numbers of pairs; NaN if no user has both labels."""
        if not len(self.values):
            return float("nan")
        return float(np.average(self.values, weights=self.pairs))


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Compute the area under the ROC curve.

    It is the fraction of (liked, other) pairs of rows in which the liked one has the higher score;
    an equal score counts one half (mid-ranks), so a constant scorer has .5.

    Args:
        labels: bool, shape (pairs,).
        scores: shape (pairs,).

    Raises:
        DataError: the shapes differ, a label is not 0 or 1, a score is NaN, or all labels are
            equal.
    """
    labels, scores = _check("auc", labels, scores)
    values, _ = _group_aucs(labels, scores, np.zeros(len(labels), np.int64), 1)
    _check_both_labels("auc", labels)
    return float(values[0])


def user_auc(labels: np.ndarray, scores: np.ndarray, users: np.ndarray) -> UserAuc:
    """Compute the AUC within the pairs of each user (UAUC is its mean).

    Users whose labels are all equal have no AUC and are left out. Two methods measured on the same
    pairs have the same users, so their values are paired.

    It is biased against inputs that count the user's labels of earlier pairs of the same user, such
    as the likes of a history that grows during the test: after a like, fewer of the user's likes
    are left. On labels without signal such inputs are below .5. Histories that end before the
    user's first pair are free of it.

    Args:
        labels: bool, shape (pairs,).
        scores: shape (pairs,).
        users: the user of each pair, integers, shape (pairs,).

    Raises:
        DataError: the shapes differ, a label is not 0 or 1, or a score is NaN.
    """
    labels, scores = _check("user_auc", labels, scores)
    known, rows = _users("user_auc", users, len(labels))
    values, pairs = _group_aucs(labels, scores, rows, len(known))
    both = np.isfinite(values)
    return UserAuc(known[both], values[both], pairs[both])


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute minus the log of the probability given to each label: float64, shape (pairs,).

    Probabilities are clipped to [1e-7, 1 - 1e-7].

    Raises:
        DataError: the shapes differ, a label is not 0 or 1, or a probability is not in [0, 1].
    """
    labels, probabilities = _check_probabilities("log_losses", labels, probabilities)
    clipped = np.clip(probabilities, _CLIP, 1 - _CLIP)
    return -np.log(np.where(labels, clipped, 1 - clipped))


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the mean of ``log_losses``; NaN without pairs."""
    losses = log_losses(labels, probabilities)
    return float(losses.mean()) if len(losses) else float("nan")


def expected_calibration_error(
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    n_bins: int = 10,
    bins: Literal["mass", "width"] = "mass",
) -> float:
    """Average the gap between predicted probability and observed frequency over bins.

    Args:
        labels: bool, shape (pairs,).
        probabilities: in [0, 1], shape (pairs,).
        n_bins: number of bins; a bin is weighted by its number of pairs.
        bins: "mass" puts nearly equal numbers of pairs into each bin (equal probabilities into the
            same one), so no bin is nearly empty; "width" divides [0, 1] into equal ranges.

    Returns:
        The error; NaN without pairs.

    Raises:
        ConfigError: ``n_bins`` is not a whole number from 1.
        DataError: the shapes differ, a label is not 0 or 1, or a probability is not in [0, 1].
    """
    who = "expected_calibration_error"
    labels, probabilities = _check_probabilities(who, labels, probabilities)
    n_bins = whole_number(who, "n_bins", n_bins, low=1)
    if not len(labels):
        return float("nan")
    place = probabilities if bins == "width" else (_mid_ranks(probabilities) - 0.5) / len(labels)
    bin_of = np.minimum((place * n_bins).astype(int), n_bins - 1)
    predicted = np.bincount(bin_of, weights=probabilities, minlength=n_bins)
    observed = np.bincount(bin_of, weights=labels, minlength=n_bins)
    return float(np.abs(predicted - observed).sum() / len(labels))


def bootstrap_auc(
    labels: np.ndarray,
    scores: np.ndarray,
    users: np.ndarray,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Compute the AUC over resampled users.

    A resample draws n users from the n given users with replacement and takes all pairs of a drawn
    user as often as the user was drawn. The draws depend on the users and the seed only, so the
    values of two methods on the same pairs are paired.

    Args:
        labels: bool, shape (pairs,).
        scores: shape (pairs,).
        users: the user of each pair, integers, shape (pairs,).
        n_resamples: number of resamples.
        seed: random seed of the resamples.

    Returns:
        float64, shape (n_resamples,); NaN for a resample whose labels are all equal.

    Raises:
        DataError: the shapes differ, a label is not 0 or 1, a score is NaN, or all labels are
            equal.
    """
    labels, scores = _check("bootstrap_auc", labels, scores)
    _check_both_labels("bootstrap_auc", labels)
    known, rows = _users("bootstrap_auc", users, len(labels))
    order = np.argsort(scores, kind="stable")
    rows, liked = rows[order], labels[order]
    ties = np.flatnonzero(_starts(scores[order]))  # first pair of each different score
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS_AT_ONCE // max(len(labels), len(known)))
    values = np.empty(n_resamples)
    for start in range(0, n_resamples, step):
        block = slice(start, min(start + step, n_resamples))
        weights = resample_counts(rng, block.stop - start, len(known))[:, rows]
        positive = np.add.reduceat(weights * liked, ties, axis=1)
        negative = np.add.reduceat(weights * ~liked, ties, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        with np.errstate(invalid="ignore"):
            values[block] = (positive * below).sum(1) / (positive.sum(1) * negative.sum(1))
    return values


def auc_interval(
    labels: np.ndarray,
    scores: np.ndarray,
    users: np.ndarray,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Compute the AUC with its percentile bootstrap interval over users.

    ``level`` is the confidence level; the other arguments and errors are those of
    ``bootstrap_auc``. Resamples whose labels are all equal are left out.
    """
    values = bootstrap_auc(labels, scores, users, n_resamples=n_resamples, seed=seed)
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(auc(labels, scores), float(low), float(high))


def _group_aucs(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, n_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute AUC (NaN without both labels) and number of pairs of each group 0..n_groups-1."""
    order = np.lexsort((scores, groups))
    labels, scores, groups = labels[order], scores[order], groups[order]
    pairs = np.bincount(groups, minlength=n_groups)
    ranks = _sorted_mid_ranks(_starts(scores) | _starts(groups))
    ranks -= (np.cumsum(pairs) - pairs)[groups]
    positive = np.bincount(groups, weights=labels, minlength=n_groups)
    rank_sum = np.bincount(groups, weights=ranks * labels, minlength=n_groups)
    with np.errstate(invalid="ignore"):
        won = rank_sum - positive * (positive + 1) / 2
        return won / (positive * (pairs - positive)), pairs


def _starts(values: np.ndarray) -> np.ndarray:
    """Whether each of the sorted values differs from the one before it: bool, same shape."""
    starts = np.ones(len(values), bool)
    starts[1:] = values[1:] != values[:-1]
    return starts


def _sorted_mid_ranks(starts: np.ndarray) -> np.ndarray:
    """Ranks from 1, the middle one for ties, of sorted values that differ at ``starts``."""
    first = np.flatnonzero(starts)
    size = np.diff(np.append(first, len(starts)))
    return np.repeat(first + (size + 1) / 2, size)


def _mid_ranks(values: np.ndarray) -> np.ndarray:
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = _sorted_mid_ranks(_starts(values[order]))
    return ranks


def _check(who: str, labels: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise DataError(
            f"{who}: labels have shape {labels.shape}, predictions {scores.shape}; both need one "
            "value per pair"
        )
    if not np.isin(labels, (0, 1)).all():
        raise DataError(f"{who}: labels must be 0 or 1, got {np.setdiff1d(labels, (0, 1))[:5]}")
    missing = int(np.isnan(scores).sum())
    if missing:
        raise DataError(f"{who}: {missing} of {len(scores)} predictions are NaN")
    return labels.astype(bool), scores


def _check_probabilities(
    who: str, labels: Any, probabilities: Any
) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = _check(who, labels, probabilities)
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise DataError(
            f"{who}: probabilities must be between 0 and 1, got {probabilities.min()} to "
            f"{probabilities.max()}"
        )
    return labels, probabilities


def _check_both_labels(who: str, labels: np.ndarray) -> None:
    if labels.all() or not labels.any():
        raise DataError(f"{who}: {len(labels)} pairs whose labels are all equal have no AUC")


def _users(who: str, users: Any, n_pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the different users and the position of each pair's user among them."""
    users = np.asarray(users)
    if users.shape != (n_pairs,):
        raise DataError(f"{who}: users have shape {users.shape}; allowed: ({n_pairs},)")
    return np.unique(users, return_inverse=True)
