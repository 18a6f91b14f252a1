"""Diagnostics of a mean over users: exposure, cold and warm calibration, degree strata."""

from dataclasses import dataclass

import numpy as np

from warmstart.rank import Metric, Ranking


@dataclass(frozen=True)
class Exposure:
    """Which items the top k of the lists show.

    Attributes:
        k: the cut-off.
        coverage: fraction of the candidates that at least one user is shown.
        gini: Gini coefficient of how often each candidate is shown: 0 if all are shown equally
            often, near 1 if only a few are shown.
        cold_share: fraction of the list places that have a cold item.
        cold_truth_share: fraction of the relevant pairs that have a cold item.
    """

    k: int
    coverage: float
    gini: float
    cold_share: float
    cold_truth_share: float


@dataclass(frozen=True)
class CalibrationBin:
    """Ranked pairs with a score in one bin, counted separately for cold and warm items.

    Attributes:
        low: lower end of the bin.
        high: upper end; included in the last bin only.
        cold: number of ranked pairs with a cold item.
        cold_relevant: number of relevant pairs among them.
        warm: number of ranked pairs with a warm item.
        warm_relevant: number of relevant pairs among them.
    """

    low: float
    high: float
    cold: int
    cold_relevant: int
    warm: int
    warm_relevant: int


@dataclass(frozen=True)
class UserStratum:
    """Users with ``low`` to ``high`` training interactions.

    Attributes:
        low: smallest degree.
        high: largest degree.
        users: number of users.
        values: metric name -> mean over these users.
    """

    low: int
    high: int
    users: int
    values: dict[str, float]


@dataclass(frozen=True)
class ItemStratum:
    """Candidates with an audience of ``low`` to ``high`` users.

    The audience size counts all interactions of the data set, held-out ones included, because a
    cold item has no others. Only this report uses it.

    Attributes:
        low: smallest audience size.
        high: largest audience size.
        candidates: number of items.
        truth: number of relevant pairs with these items.
        shown: number of places in the top k of the lists that have these items.
        hits: number of relevant pairs among them.
    """

    low: int
    high: int
    candidates: int
    truth: int
    shown: int
    hits: int


def exposure(
    ranking: Ranking, candidates: np.ndarray, relevant: np.ndarray, warm: np.ndarray, k: int
) -> Exposure:
    """Measure coverage, inequality and the cold fraction of the top k of the lists.

    Args:
        ranking: the lists.
        candidates: int32 item rows, shape (candidates,).
        relevant: item row of every relevant pair, shape (pairs,).
        warm: bool, shape (n_items,).
        k: the cut-off.
    """
    items = ranking.items[:, :k]
    shown = items[items >= 0]
    counts = np.bincount(shown, minlength=len(warm))[candidates]
    return Exposure(
        k=k,
        coverage=float((counts > 0).mean()),
        gini=_gini(counts),
        cold_share=_fraction(~warm[shown]),
        cold_truth_share=_fraction(~warm[relevant]),
    )


def calibration(ranking: Ranking, warm: np.ndarray, n_bins: int = 10) -> tuple[CalibrationBin, ...]:
    """Count relevant pairs by score bin, separately for cold and warm items.

    The bins cut the scores of the ranked pairs (all places of the lists) at quantiles. If cold and
    warm scores are calibrated alike, the fraction of relevant pairs is equal for both in every bin.
    If a scorer favours cold items, the fraction is lower for cold pairs.

    Args:
        ranking: the lists; longer lists cover a wider range of scores.
        warm: bool, shape (n_items,).
        n_bins: number of bins; fewer if scores repeat.
    """
    ranked = ranking.items >= 0
    if not ranked.any():
        return ()
    scores = ranking.scores[ranked].astype(np.float64)
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, n_bins + 1)))
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(edges) - 2)
    is_warm, hit = warm[ranking.items[ranked]], ranking.hits[ranked]

    def counts(chosen: np.ndarray) -> list[int]:
        return np.bincount(bins[chosen], minlength=len(edges) - 1).tolist()

    rows = zip(
        edges[:-1].tolist(),
        edges[1:].tolist(),
        counts(~is_warm),
        counts(~is_warm & hit),
        counts(is_warm),
        counts(is_warm & hit),
        strict=True,
    )
    return tuple(CalibrationBin(*row) for row in rows)


def user_strata(
    ranking: Ranking,
    degrees: np.ndarray,
    metrics: tuple[str, ...],
    suffix: str = "",
    n_strata: int = 4,
) -> tuple[UserStratum, ...]:
    """Average metrics by training degree of the user, in strata of about equal size.

    Args:
        ranking: the lists.
        degrees: training interactions of the user of each query, shape (queries,).
        metrics: names such as "ndcg@20".
        suffix: ends the names of the means, for metrics over sampled candidates.
        n_strata: number of strata; fewer if degrees repeat.
    """
    values = {metric: ranking.per_query(metric) for metric in metrics}
    weights = {metric: Metric.parse(metric).weights(ranking.n_relevant) for metric in metrics}
    strata = []
    for low, high in _quantile_groups(degrees, n_strata):
        inside = (degrees >= low) & (degrees <= high)
        means = {
            f"{metric}{suffix}": float(
                np.average(values[metric][inside], weights=weights[metric][inside])
            )
            for metric in metrics
        }
        strata.append(UserStratum(low, high, int(inside.sum()), means))
    return tuple(strata)


def item_strata(
    ranking: Ranking,
    candidates: np.ndarray,
    relevant: np.ndarray,
    audience: np.ndarray,
    k: int,
    n_strata: int = 4,
) -> tuple[ItemStratum, ...]:
    """Count relevant pairs, list places and hits by audience size, in strata of about equal size.

    Args:
        ranking: the lists.
        candidates: int32 item rows, shape (candidates,).
        relevant: item row of every relevant pair, shape (pairs,).
        audience: audience size (number of interactions) of every item, shape (n_items,).
        k: the cut-off.
        n_strata: number of strata; fewer if audience sizes repeat.
    """
    items, hits = ranking.items[:, :k], ranking.hits[:, :k]
    shown, hit = audience[items[items >= 0]], audience[items[hits]]
    ranked, truth = audience[candidates], audience[relevant]

    def count(values: np.ndarray, low: int, high: int) -> int:
        return int(((values >= low) & (values <= high)).sum())

    return tuple(
        ItemStratum(low, high, *(count(sizes, low, high) for sizes in (ranked, truth, shown, hit)))
        for low, high in _quantile_groups(ranked, n_strata)
    )


def _quantile_groups(values: np.ndarray, n_groups: int) -> list[tuple[int, int]]:
    """Find inclusive bounds of disjoint groups of about equal size that cover all values."""
    cuts = np.quantile(values, np.linspace(0, 1, n_groups + 1)[1:], method="inverted_cdf")
    groups = []
    low = int(values.min())
    for cut in np.unique(cuts).tolist():
        groups.append((low, int(cut)))
        low = int(cut) + 1
    return groups


def _gini(counts: np.ndarray) -> float:
    """Compute the Gini coefficient of counts: 0 if all are equal or all are 0."""
    total = counts.sum()
    if total == 0:
        return 0.0
    ordered = np.sort(counts)
    ranks = np.arange(1, len(ordered) + 1)
    return float((2 * ranks - len(ordered) - 1) @ ordered / (len(ordered) * total))


def _fraction(flags: np.ndarray) -> float:
    """Compute the mean of bool flags; 0 for an empty array."""
    return float(flags.mean()) if len(flags) else 0.0
