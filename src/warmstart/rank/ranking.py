"""Rank the candidates of a task: masking, ties and the hits of each list, in one place.

Used by early stopping in training and by the evaluation. Scores are float32 (float16 is widened
first); higher is better, NaN means "cannot score this pair".

Ties are broken by a seeded random order of the items, which is rotated by a random amount for each
query. So a constant scorer performs at chance level, independently of the item ids, and the order
of equal scores never depends on the block size. Where a protocol's published figures do so
(``RankingTask.ties``), a relevant item stands in the middle of the items with its score instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
from scipy import sparse

from warmstart.arguments import positive_number, whole_number
from warmstart.data.queries import Queries
from warmstart.data.tasks import RankingTask
from warmstart.errors import ConfigError, DataError
from warmstart.process import check_process
from warmstart.rank.metrics import Metric
from warmstart.rank.scorers import ScoreFunction, of_own_candidates
from warmstart.rank.selection import as_float32, random_order, top_k

Progress: TypeAlias = Callable[[str, int, int], None]
ListFunction: TypeAlias = Callable[..., tuple[np.ndarray, np.ndarray]]
"""``Recommender.top_items``: makes the lists of queries whose controls change the ranking."""
ListSearch: TypeAlias = Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]
"""``ItemSearch.top_items``: finds the best of some candidates, and how many could be ranked."""

# Bytes per pair of a block: 4 for the scores, 4 for a float32 copy, 4 for the scorer's arrays.
BYTES_PER_PAIR = 12
_MAX_QUERIES_AT_ONCE = 2**31


@dataclass(frozen=True)
class Ranking:
    """The ranked lists of a task's queries.

    Attributes:
        queries: who asked.
        items: int32 row numbers, shape (queries, places), best first; -1 after the end of a list.
            There are k places, but not more than items.
        scores: float32, shape (queries, places); NaN after the end.
        hits: bool, shape (queries, places): the item at this rank is relevant. With ties "middle"
            the rank is that in the middle of equal scores, not the place in ``items``.
        n_relevant: int64, shape (queries,): relevant items of the query, ranked or not.
        n_ranked: int64, shape (queries,): candidates that are neither masked nor NaN.
        tied: bool, shape (queries,): equal scores occur up to rank k + 1, so the tie order
            affected the list.
        k: requested length of the lists.
    """

    queries: Queries
    items: np.ndarray
    scores: np.ndarray
    hits: np.ndarray
    n_relevant: np.ndarray
    n_ranked: np.ndarray
    tied: np.ndarray
    k: int

    @property
    def users(self) -> np.ndarray:
        """Row numbers of the users, int32, shape (queries,); -1 for an unknown user."""
        return self.queries.users

    def per_query(self, metric: str) -> np.ndarray:
        """Compute a metric such as "ndcg@20" per query: float64, shape (queries,)."""
        return self._parsed(metric).per_query(self.hits, self.n_relevant)

    def mean(self, metric: str) -> float:
        """Average a metric over queries, or over relevant pairs for ``micro_recall``."""
        parsed = self._parsed(metric)
        values = parsed.per_query(self.hits, self.n_relevant)
        return float(np.average(values, weights=parsed.weights(self.n_relevant)))

    def take(self, rows: np.ndarray) -> "Ranking":
        """Select the lists of some queries by position or boolean mask."""
        return Ranking(
            self.queries.take(rows),
            self.items[rows],
            self.scores[rows],
            self.hits[rows],
            self.n_relevant[rows],
            self.n_ranked[rows],
            self.tied[rows],
            self.k,
        )

    def _parsed(self, metric: str) -> Metric:
        parsed = Metric.parse(metric)
        if parsed.k > self.k:
            raise ConfigError(f"metric {metric!r} needs lists of length {parsed.k}, got {self.k}")
        return parsed


def rank_task(
    score: ScoreFunction,
    task: RankingTask,
    k: int,
    *,
    top_items: ListFunction | None = None,
    search: ListSearch | None = None,
    memory_mb: float = 256,
    seed: int = 0,
    progress: Progress | None = None,
) -> Ranking:
    """Rank all candidates of a task for each of its queries, in blocks of queries.

    The result does not depend on the block size, the order of the queries or the order of the
    candidates, unless ``score`` itself does: a matrix product may round the score of a pair in the
    last bits differently in blocks of other sizes.

    Args:
        score: a function like ``Scorer.score``.
        task: queries, candidates, relevant and masked pairs.
        k: length of the lists; they end earlier where there are fewer items.
        top_items: makes the lists instead of ``score``, for queries with controls; a function like
            ``Recommender.top_items``.
        search: finds the lists of ``score`` without all scores; a function like
            ``ItemSearch.top_items``, for the candidates of the task. Not used with ties "middle".
        memory_mb: memory of a block in MiB at ``BYTES_PER_PAIR`` bytes per pair; a block has at
            least one query. Sorting takes up to 26 MB more, and the lists themselves add to it.
        seed: seed of the tie order.
        progress: called with the task's name, the queries done and the queries in total.

    Raises:
        ConfigError: ``k``, ``memory_mb`` or ``seed`` is not a number within its limits.
        DataError: the task contradicts itself, or ``score`` returns a wrong shape or dtype.
    """
    check_process()
    whole_number("rank_task", "k", k, low=1)
    whole_number("rank_task", "seed", seed, low=0)
    _check(task)
    n_queries, n_candidates = len(task.queries), task.candidates.shape[-1]
    order, shift = _ties(task, seed)
    step = queries_at_once("rank_task", memory_mb, n_candidates)
    places = min(k, _shape(task.relevance)[1])
    blocks = []
    for start in range(0, n_queries, step):
        rows = np.arange(start, min(start + step, n_queries))
        part = task.take(rows)
        ties = {"tie_order": order if order.ndim == 1 else order[rows], "tie_shift": shift[rows]}
        blocks.append(_rank_block(score, part, places, top_items, search, ties))
        if progress is not None:
            progress(task.name, int(rows[-1]) + 1, n_queries)
    items, best, hits, n_ranked = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    return Ranking(
        task.queries,
        items[:, :places],
        best[:, :places],
        hits,
        np.diff(task.relevance.indptr).astype(np.int64),
        n_ranked,
        (best[:, 1:] == best[:, :-1]).any(axis=1),
        int(k),
    )


def queries_at_once(who: str, memory_mb: float, n_candidates: int) -> int:
    """Return how many queries are scored together: at least one.

    Args:
        who: the function that got ``memory_mb``; the message of an error begins with it.
        memory_mb: memory of a block in MiB at ``BYTES_PER_PAIR`` bytes per pair.
        n_candidates: number of candidates of each query.

    Raises:
        ConfigError: ``memory_mb`` is not a finite number above 0.
    """
    memory = positive_number(who, "memory_mb", memory_mb) * 2**20
    return max(1, int(min(memory / (BYTES_PER_PAIR * max(n_candidates, 1)), _MAX_QUERIES_AT_ONCE)))


def mean_metric(
    score: ScoreFunction, task: RankingTask, metric: str = "ndcg@20", *, memory_mb: float = 256
) -> float:
    """Rank a task and average one metric: the criterion of early stopping.

    ``score`` may take the same items for all queries only, even if each has its own candidates.
    """
    if task.candidates.ndim == 2:
        score = of_own_candidates(score)
    ranking = rank_task(score, task, Metric.parse(metric).k, memory_mb=memory_mb)
    return ranking.mean(metric)


def masked_candidates(masked: sparse.csr_matrix, candidates: np.ndarray) -> sparse.csr_matrix:
    """Restrict masked pairs to the candidates: CSR, shape (queries, candidates).

    Args:
        masked: CSR, shape (queries, n_items).
        candidates: item rows, shape (candidates,) or (queries, candidates).
    """
    if candidates.ndim == 1:
        return masked[:, candidates].tocsr()
    rows = np.arange(len(candidates))[:, None]
    return sparse.csr_matrix(np.asarray(masked[rows, candidates].todense(), bool))


def _rank_block(
    score: ScoreFunction,
    task: RankingTask,
    places: int,
    top_items: ListFunction | None,
    search: ListSearch | None,
    ties: dict[str, np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rank one block: items and scores of the ranks, hits, and numbers of ranked items.

    Lists by score have places + 1 ranks, to show whether the last two have equal scores.
    """
    masked = masked_candidates(task.masked, task.candidates)
    if top_items is not None:
        # Exactly as long as asked for: the first places of a longer list may break the control.
        found = top_items(task.queries, task.candidates, places, masked=masked, **ties)
        positions, best = found
        n_ranked = (positions >= 0).sum(axis=1)
        scores = None
    elif search is not None and task.ties != "middle":
        positions, best, n_ranked = search(task.queries, places + 1, masked=masked, **ties)
        scores = None
    else:
        scores = _scores(score, task)
        positions, best = top_k(scores, places + 1, masked=masked, **ties)
        n_ranked = _count_ranked(scores, masked)
    if task.candidates.ndim == 1:
        items = task.candidates[positions]
    else:
        items = np.take_along_axis(task.candidates, np.maximum(positions, 0), axis=1)
    items = np.where(positions >= 0, items, -1).astype(np.int32)
    if task.ties == "middle" and scores is not None:
        hits = _hits_in_the_middle(scores, masked, task, places)
    else:
        hits = _hits(items[:, :places], task.relevance)
    return items, best, hits, n_ranked


def _ties(task: RankingTask, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the tie order and each query's rotation; both depend on row numbers and seed only."""
    n_items = _shape(task.relevance)[1]
    drawn = random_order(n_items, seed)[task.candidates]
    order = np.argsort(np.argsort(drawn, axis=-1), axis=-1)
    users = task.queries.users
    if (users < 0).any():  # unknown users: queries of one group share their rotation
        users = np.arange(len(users)) if task.groups is None else task.groups
    n_users = int(users.max(initial=-1)) + 1
    shifts = np.random.default_rng([seed, 1]).random(n_users)[users]
    return order, (shifts * task.candidates.shape[-1]).astype(np.int64)


def _scores(score: ScoreFunction, task: RankingTask) -> np.ndarray:
    scores = score(task.queries, task.candidates)
    expected = (len(task.queries), task.candidates.shape[-1])
    if scores.shape != expected:
        raise DataError(
            f"score: expected shape (queries, items) = {expected}, got {tuple(scores.shape)}"
        )
    return as_float32(scores, "score")


def _count_ranked(scores: np.ndarray, masked: sparse.csr_matrix) -> np.ndarray:
    """Count the candidates of each row that are neither NaN nor masked."""
    scored = scores.shape[1] - np.isnan(scores).sum(axis=1)
    rows, columns = masked.nonzero()
    lost = ~np.isnan(scores[rows, columns])
    return scored - np.bincount(rows[lost], minlength=len(scores))


def _hits(items: np.ndarray, relevance: sparse.csr_matrix) -> np.ndarray:
    """Mark the relevant items: bool, shape of ``items``; False for -1."""
    n_items = _shape(relevance)[1]
    rows = np.repeat(np.arange(len(items)), np.diff(relevance.indptr))
    relevant = rows * n_items + relevance.indices
    ranked = np.arange(len(items))[:, None] * n_items + items
    return np.isin(ranked, relevant) & (items >= 0)


def _hits_in_the_middle(
    scores: np.ndarray, masked: sparse.csr_matrix, task: RankingTask, places: int
) -> np.ndarray:
    """Mark the rank of each query's relevant item: the middle of its best and its worst place."""
    scores = scores.copy()
    scores[masked.nonzero()] = np.nan
    relevant = task.relevance.indices
    if task.candidates.ndim == 1:
        at = np.searchsorted(task.candidates, relevant)
    else:
        at = (task.candidates == relevant[:, None]).argmax(axis=1)
    own = scores[np.arange(len(scores)), at][:, None]
    above = (scores > own).sum(axis=1)
    tied = (scores == own).sum(axis=1) - 1
    rank = above + tied // 2
    return (np.arange(places) == rank[:, None]) & ~np.isnan(own)


def _check(task: RankingTask) -> None:
    who = f"slice {task.name!r}"
    n_queries, n_items = _shape(task.relevance)
    if len(task.queries) != n_queries or task.masked.shape != task.relevance.shape:
        raise DataError(
            f"{who}: {len(task.queries)} queries, relevance of shape {task.relevance.shape} "
            f"and mask of shape {task.masked.shape} do not match"
        )
    if n_queries == 0:
        raise DataError(f"{who}: no user has a relevant item, so there is nothing to rank")
    n_relevant = np.diff(task.relevance.indptr)
    if n_relevant.min() == 0:
        row = int(n_relevant.argmin())
        raise DataError(
            f"{who}: query {row} (user row {task.queries.users[row]}) has no relevant item"
        )
    if task.ties == "middle" and n_relevant.max() > 1:
        raise DataError(f"{who}: ties in the middle need one relevant item per query")
    if task.candidates.ndim == 1:
        candidate = np.zeros(n_items, bool)
        candidate[task.candidates] = True
        outside = int((~candidate[task.relevance.indices]).sum())
    else:
        rows = np.repeat(np.arange(n_queries), n_relevant)
        own = task.candidates[rows] == task.relevance.indices[:, None]
        outside = int((~own.any(axis=1)).sum())
    if outside:
        raise DataError(f"{who}: {outside} relevant pair(s) lie outside the candidates")
    lost = task.relevance.multiply(task.masked).nnz
    if lost:
        raise DataError(f"{who}: {lost} relevant pair(s) are masked")


def _shape(matrix: sparse.csr_matrix) -> tuple[int, int]:
    return cast(tuple[int, int], matrix.shape)
