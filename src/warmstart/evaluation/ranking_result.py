"""Measure the lists of a ranking task: metrics per unit, facts, exposure and strata."""

from typing import Any

import numpy as np
from scipy import sparse

from warmstart.data.catalogue import Catalogue
from warmstart.data.control import Control
from warmstart.data.dataset import Dataset
from warmstart.data.queries import Queries
from warmstart.data.tasks import RankingTask
from warmstart.errors import ConfigError, DataError
from warmstart.evaluation import lists
from warmstart.evaluation.slice_result import SliceFacts, SliceResult
from warmstart.evaluation.strata import exposure, item_strata, user_strata
from warmstart.rank import METRICS, Metric, Ranking

LIST_METRICS = ("coverage", "coverage_error", "oracle_share", "repetition", "diversity")
"""Kinds of metric of a list as a list; all but repetition need item genres."""


class RankingMeasure:
    """Computes the ``SliceResult`` of a ranking.

    Args:
        data: the whole data set.
        train: its training part.
        metrics: names such as "ndcg@20" or "coverage@10".
        suffix: ends the names of metrics over sampled candidates, such as "~uni19".
    """

    def __init__(
        self, data: Dataset, train: Dataset, metrics: tuple[str, ...], suffix: str = ""
    ) -> None:
        self.metrics, self.suffix = metrics, suffix
        self.k = max(cut_off(metric) for metric in metrics)
        self.n_users, self.catalogue = data.n_users, data.catalogue
        self.warm = train.warm
        self.degrees = np.bincount(train.interactions.users, minlength=self.n_users)
        self.audience = np.bincount(data.interactions.items, minlength=data.n_items)

    def __call__(self, name: str, ranking: Ranking, task: RankingTask) -> SliceResult:
        """Measure the lists of one slice."""
        values, weights = {}, {}
        for metric in self.metrics:
            name_of = f"{metric}{self.suffix}"
            values[name_of], weights[name_of] = self._per_query(metric, ranking, task)
        units, n_relevant = ranking.users, ranking.n_relevant
        if task.groups is not None:
            units, n_relevant, values, weights = _by_group(task.groups, n_relevant, values, weights)
        relevant, candidates = task.relevance.indices, np.unique(task.candidates)
        ranked = tuple(metric for metric in self.metrics if metric.partition("@")[0] in METRICS)
        return SliceResult(
            name=name,
            users=units,
            n_relevant=n_relevant,
            values=values,
            unit_weights={m: w for m, w in weights.items() if (w != 1).any()},
            facts=self._facts(ranking, task, len(units)),
            exposure=exposure(ranking, candidates, relevant, self.warm, self.k),
            user_strata=user_strata(ranking, self._degrees(ranking.queries), ranked, self.suffix),
            item_strata=item_strata(ranking, candidates, relevant, self.audience, self.k),
        )

    def _per_query(
        self, metric: str, ranking: Ranking, task: RankingTask
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values of the queries, and their weights in the mean: float64, shape (queries,)."""
        kind, k = metric.partition("@")[0], cut_off(metric)
        if kind not in LIST_METRICS:
            return ranking.per_query(metric), Metric.parse(metric).weights(ranking.n_relevant)
        items, ones = ranking.items[:, :k], np.ones(len(ranking.queries))
        if kind == "repetition":
            return lists.repetition(items), ones
        genres = item_genres(self.catalogue, task.queries)
        if kind == "oracle_share":
            possible = _oracle_hits(task, genres, k).astype(np.float64)
            hits = ranking.hits[:, :k].sum(axis=1)
            return np.divide(hits, possible, out=np.zeros(len(hits)), where=possible > 0), possible
        if kind == "coverage_error":
            found = lists.coverage_error(items, genres, _wanted(task.queries))
        elif kind == "coverage":
            found = lists.coverage(items, genres)
        else:
            found = lists.intra_list_diversity(items, genres)
        return found.astype(np.float64), ones

    def _degrees(self, queries: Queries) -> np.ndarray:
        """Training interactions of known users; for others, the length of the history."""
        known = queries.users >= 0
        degrees = np.zeros(len(queries), np.int64)
        degrees[known] = self.degrees[queries.users[known]]
        if queries.histories is not None:
            degrees[~known] = queries.histories.lengths[~known]
        return degrees

    def _facts(self, ranking: Ranking, task: RankingTask, n_units: int) -> SliceFacts:
        n_queries, n_candidates = len(task.queries), task.candidates.shape[-1]
        if task.candidates.ndim == 1:
            masked_pairs = int(task.masked[:, task.candidates].count_nonzero())
        else:
            masked_pairs = 0  # sampled candidates are drawn outside the user's history
        # ``ranking.tied`` covers the whole list, which calibration may make longer than k.
        scores = ranking.scores[:, : self.k + 1]
        tied = (scores[:, 1:] == scores[:, :-1]).any(axis=1)
        if ranking.k == self.k:
            tied = ranking.tied
        return SliceFacts(
            users=n_units,
            user_share=n_units / self.n_users,
            answered=float((ranking.n_ranked > 0).mean()),
            candidates=n_candidates,
            pairs=int(ranking.n_relevant.sum()),
            masked_pairs=masked_pairs,
            scored=float(ranking.n_ranked.sum() / max(n_queries * n_candidates - masked_pairs, 1)),
            short_lists=int((ranking.n_ranked < self.k).sum()),
            tie_share=float(tied.mean()),
            k=self.k,
            queries=n_queries,
        )


def cut_off(metric: str) -> int:
    """Return the k of a metric of lists.

    Raises:
        ConfigError: the name is not of the form kind@k, or the kind is unknown.
    """
    kind, _, k = str(metric).partition("@")
    if kind in LIST_METRICS:
        return Metric.parse(f"recall@{k}").k
    try:
        return Metric.parse(metric).k
    except ConfigError as error:
        raise ConfigError(f"{error}, {', '.join(LIST_METRICS)}") from None


def item_genres(catalogue: Catalogue, queries: Queries) -> sparse.csr_matrix:
    """Return the genres of all items that count: bool CSR, shape (n_items, genres).

    Only the first of each item counts if the controls of the queries say so.

    Raises:
        DataError: no column tells them.
    """
    name = catalogue.genre_column
    if name is None:
        raise DataError(
            "metrics of genres need an item column genres, categories or tags; the columns are "
            f"{catalogue.columns.columns}"
        )
    genres = catalogue.attribute(name)
    first = queries.controls is not None and all(c.first_genre_only for c in queries.controls)
    return genres.first_matrix if first else genres.matrix


def _wanted(queries: Queries) -> np.ndarray:
    """The number of genres that each query asks for, int64, shape (queries,)."""
    if queries.controls is None:
        raise ConfigError("coverage_error needs a control: n_genres or genres")
    wanted = [control.n_genres or len(control.genres or ()) for control in queries.controls]
    if not all(wanted):
        raise ConfigError("coverage_error needs a control: n_genres or genres")
    return np.array(wanted, np.int64)


def _oracle_hits(task: RankingTask, genres: sparse.csr_matrix, k: int) -> np.ndarray:
    """The most hits that a list with the wanted number of genres can have: int64, (queries,)."""
    controls, found = task.queries.controls or (), np.zeros(len(task.queries), np.int64)
    wanted = [control.n_genres for control in controls]
    if not wanted or None in wanted:
        raise ConfigError("oracle_share needs a control: n_genres")
    for number in dict.fromkeys(wanted):
        rows = np.flatnonzero([other == number for other in wanted])
        found[rows] = lists.oracle_hits(task.relevance[rows], genres, k, number or 0)
    return found


def control_metrics(control: Control) -> tuple[str, ...]:
    """The kinds of metric that tell how well lists keep to a control, and what it costs."""
    numbers = ("coverage_error",) if control.n_genres or control.genres else ()
    oracle = ("oracle_share",) if control.n_genres else ()
    return ("coverage", *numbers, *oracle, "diversity")


def _by_group(
    groups: np.ndarray, n_relevant: np.ndarray, values: dict[str, Any], weights: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Average the queries of each group; a group weighs as much as its queries together."""
    units, rows = np.unique(groups, return_inverse=True)
    means, totals = {}, {}
    for metric, weight in weights.items():
        totals[metric] = np.bincount(rows, weights=weight)
        summed = np.bincount(rows, weights=weight * values[metric])
        weighed = totals[metric] > 0
        means[metric] = np.divide(summed, totals[metric], out=np.zeros(len(units)), where=weighed)
    relevant = np.bincount(rows, weights=n_relevant).astype(np.int64)
    return units.astype(np.int32), relevant, means, totals
