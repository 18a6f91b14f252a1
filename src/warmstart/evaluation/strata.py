"""What a mean over users hides: exposure, calibration of cold against warm, degree strata."""

from dataclasses import dataclass

import numpy as np

from warmstart.rank import Metric, Ranking


@dataclass(frozen=True)
class Exposure:
    """Who is shown, within the first k of the lists.

    Attributes:
        k: the cut-off.
        coverage: share of the candidates that are shown to anybody.
        gini: inequality of how often candidates are shown: 0 all alike, near 1 a few only.
        cold_share: share of the places that go to cold items.
        cold_truth_share: share of the relevant pairs whose item is cold.
    """

    k: int
    coverage: float
    gini: float
    cold_share: float
    cold_truth_share: float


@dataclass(frozen=True)
class CalibrationBin:
    """Ranked pairs whose score lies in a bin, counted apart for cold and warm items.

    Attributes:
        low: lower end of the bin.
        high: upper end; included in the last bin only.
        cold: ranked pairs with a cold item.
        cold_relevant: how many of them are relevant.
        warm: ranked pairs with a warm item.
        warm_relevant: how many of them are relevant.
    """

    low: float
    high: float
    cold: int
    cold_relevant: int
    warm: int
    warm_relevant: int


@dataclass(frozen=True)
class UserStratum:
    """Users with a training degree from ``low`` to ``high``.

    Attributes:
        low: smallest degree.
        high: largest degree.
        users: number of users.
        values: mean of each metric over them.
    """

    low: int
    high: int
    users: int
    values: dict[str, float]


@dataclass(frozen=True)
class ItemStratum:
    """Candidates with an audience from ``low`` to ``high``.

    The audience counts all interactions of the data set, held-out ones too: a cold item has no
    others. It serves this report only.

    Attributes:
        low: smallest audience.
        high: largest audience.
        candidates: number of items.
        truth: relevant pairs with these items.
        shown: places in the first k of the lists.
        hits: relevant ones among them.
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
    """Coverage, inequality and cold share of the first k places.

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
        cold_share=_share(~warm[shown]),
        cold_truth_share=_share(~warm[relevant]),
    )


def calibration(ranking: Ranking, warm: np.ndarray, n_bins: int = 10) -> tuple[CalibrationBin, ...]:
    """Share of relevant pairs by score, cold beside warm.

    Takes the ranked pairs (all places of the lists), cuts their scores at quantiles and counts.
    Where cold and warm scores mean the same, both shares are equal in every bin; a scorer that
    favours cold items has fewer relevant ones among them.

    Args:
        ranking: the lists, long ones for a wide range of scores.
        warm: bool, shape (n_items,).
        n_bins: number of bins; fewer where scores repeat.
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
    ranking: Ranking, degrees: np.ndarray, metrics: tuple[str, ...], n_strata: int = 4
) -> tuple[UserStratum, ...]:
    """Metrics by training degree of the user, strata of about equal numbers of users.

    Args:
        ranking: the lists.
        degrees: training interactions of every user of the data set, shape (n_users,).
        metrics: names such as "ndcg@20".
        n_strata: number of strata; fewer where degrees repeat.
    """
    own = degrees[ranking.users]
    values = {metric: ranking.per_user(metric) for metric in metrics}
    weights = {metric: Metric.parse(metric).weights(ranking.n_relevant) for metric in metrics}
    strata = []
    for low, high in _quantile_groups(own, n_strata):
        inside = (own >= low) & (own <= high)
        means = {
            metric: float(np.average(values[metric][inside], weights=weights[metric][inside]))
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
    """Truth, places and hits by audience of the item, strata of about equal numbers of candidates.

    Args:
        ranking: the lists.
        candidates: int32 item rows, shape (candidates,).
        relevant: item row of every relevant pair, shape (pairs,).
        audience: interactions of every item, shape (n_items,).
        k: the cut-off.
        n_strata: number of strata; fewer where audiences repeat.
    """
    items, hits = ranking.items[:, :k], ranking.hits[:, :k]
    shown, hit = audience[items[items >= 0]], audience[items[hits]]
    own, truth = audience[candidates], audience[relevant]

    def count(values: np.ndarray, low: int, high: int) -> int:
        return int(((values >= low) & (values <= high)).sum())

    return tuple(
        ItemStratum(low, high, *(count(values, low, high) for values in (own, truth, shown, hit)))
        for low, high in _quantile_groups(own, n_strata)
    )


def _quantile_groups(values: np.ndarray, n_groups: int) -> list[tuple[int, int]]:
    """Bounds (both included) of disjoint groups that cover all values, of about equal size."""
    cuts = np.quantile(values, np.linspace(0, 1, n_groups + 1)[1:], method="inverted_cdf")
    groups = []
    low = int(values.min())
    for cut in np.unique(cuts).tolist():
        groups.append((low, int(cut)))
        low = int(cut) + 1
    return groups


def _gini(counts: np.ndarray) -> float:
    """Gini coefficient of counts: 0 where all are equal or nothing was counted."""
    total = counts.sum()
    if total == 0:
        return 0.0
    ordered = np.sort(counts)
    places = np.arange(1, len(ordered) + 1)
    return float((2 * places - len(ordered) - 1) @ ordered / (len(ordered) * total))


def _share(flags: np.ndarray) -> float:
    """Mean of flags; 0 where there are none."""
    return float(flags.mean()) if len(flags) else 0.0
