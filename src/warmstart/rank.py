"""Rank candidates: masking, top-k, ties and the metric formulas, in one place.

Used by ``Recommender.recommend``, by early stopping in training and by the evaluation. Scores are
float32 (float16 is widened first); higher is better, NaN means "cannot score this pair".

Ties are broken by a seeded random order of the candidates, which the evaluation rotates by a random
amount for each user. So a constant scorer performs at chance level, independently of the item ids,
and the order of equal scores never depends on the block size.

Metrics (shared definition of all reports; L = the first k after masking, G = the relevant items,
h_r = 1 where rank r, counted from 1, is in G):

    recall        sum h_r / |G|
    ndcg          sum h_r / log2(r + 1), divided by sum_{r=1..min(|G|, k)} 1 / log2(r + 1)
    precision     sum h_r / k
    hit           1 if any h_r, the hit rate
    mrr           1 / (the first rank with h_r = 1), 0 without a hit
    micro_recall  all hits of all users / all relevant pairs (some code calls this "hit ratio")
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeAlias, cast

import numpy as np
from scipy import sparse

from warmstart.arguments import positive_number, whole_number
from warmstart.data.splits.cold import Slice
from warmstart.errors import ConfigError, DataError
from warmstart.process import check_process

ScoreFunction: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(users int32, items int32) -> float32 scores, shape (users, items)."""

Progress: TypeAlias = Callable[[str, int, int], None]

# Bytes per pair of a block: 4 for the scores, 4 for a float32 copy, 4 for the scorer's arrays.
BYTES_PER_PAIR = 12
_MAX_USERS_AT_ONCE = 2**31
# Pairs that ``top_k`` sorts at a time; its temporaries take about 25 bytes per pair, 26 MB in all.
_PAIRS_AT_ONCE = 2**20
_UNRANKED = np.int32(2**31 - 1)
_MAX_DIGITS = 18  # of the cut-off of a metric, which is an int64


class Scorer(Protocol):
    """The interface that evaluation needs: a name, and scores of items for users."""

    @property
    def name(self) -> str: ...

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Score items for users (row numbers): float32, (users, items); NaN if impossible."""
        ...


@dataclass(frozen=True)
class TableScorer:
    """A scorer that looks scores up in a precomputed table.

    Attributes:
        rows: item rows of the table, int32, ascending, shape (items,).
        scores: scores of all users, float32, shape (items, n_users).
    """

    rows: np.ndarray
    scores: np.ndarray

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Look up scores as ``Scorer.score`` returns them; NaN for items not in ``rows``."""
        if not len(self.rows):
            return np.full((len(users), len(items)), np.nan, np.float32)
        place = np.minimum(np.searchsorted(self.rows, items), len(self.rows) - 1)
        scores = self.scores[place][:, users].T
        missing = self.rows[place] != items
        if missing.any():
            scores[:, missing] = np.nan
        return scores


# -- top-k --


def top_k(
    scores: np.ndarray,
    k: int,
    *,
    masked: sparse.csr_matrix | None = None,
    tie_order: np.ndarray | None = None,
    tie_shift: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Select the k best candidates of each query, best first.

    Each pair has a 64-bit key, (descending score, position in the tie order). The keys of a query
    are all different, so one partial sort also resolves ties at the cut-off k.

    Args:
        scores: float32, shape (queries, candidates).
        k: length of the lists.
        masked: CSR, shape (queries, candidates); pairs with a non-zero value are never returned.
        tie_order: a permutation of 0..candidates-1: the position of each candidate among equal
            scores. None takes a fixed random permutation.
        tie_shift: int, shape (queries,): positions by which each query rotates the tie order;
            None rotates none.

    Returns:
        positions (int32) and scores (float32) of shape (queries, k), padded with -1 and NaN if
        fewer than k candidates can be ranked.

    Raises:
        ConfigError: k is not positive.
        DataError: scores or mask have the wrong shape or dtype.
    """
    if k < 1:
        raise ConfigError(f"top_k: k must be at least 1, got {k}")
    scores = _as_float32(scores, "top_k")
    n_queries, n_candidates = scores.shape
    if masked is not None and masked.shape != scores.shape:
        raise DataError(f"top_k: scores have shape {scores.shape}, the mask {masked.shape}")
    order = random_order(n_candidates) if tie_order is None else tie_order
    shift = np.zeros(n_queries, np.int64) if tie_shift is None else tie_shift
    positions = np.full((n_queries, k), -1, np.int32)
    best = np.full((n_queries, k), np.nan, np.float32)
    if n_candidates == 0:
        return positions, best
    candidate_at = np.argsort(order).astype(np.int32)
    step = max(1, _PAIRS_AT_ONCE // n_candidates)
    for start in range(0, n_queries, step):
        rows = slice(start, min(start + step, n_queries))
        block = scores[rows]
        found = _best_keys(block, None if masked is None else masked[rows], k, order, shift[rows])
        place = (found & 0xFFFFFFFF) - shift[rows, None]
        chosen = candidate_at[place % n_candidates]
        ranked = (found >> 32) != _UNRANKED
        width = found.shape[1]
        positions[rows, :width] = np.where(ranked, chosen, -1)
        values = np.take_along_axis(block, chosen, axis=1)
        best[rows, :width] = np.where(ranked, values, np.nan)
    return positions, best


@lru_cache(maxsize=16)
def random_order(size: int, seed: int = 0) -> np.ndarray:
    """Draw a permutation of 0..size-1: int64, read-only, the same for the same arguments."""
    order = np.random.default_rng(seed).permutation(size)
    order.flags.writeable = False
    return order


def _best_keys(
    scores: np.ndarray,
    masked: sparse.csr_matrix | None,
    k: int,
    order: np.ndarray,
    shift: np.ndarray,
) -> np.ndarray:
    """Compute the min(k, candidates) smallest keys of each row: int64, ascending."""
    # The bits of float32 numbers sort like integers once those of negative numbers are flipped;
    # adding 0 turns -0.0 into 0.0.
    bits = (scores + np.float32(0)).view(np.int32)
    descending = np.invert(bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF)))
    descending[np.isnan(scores)] = _UNRANKED
    if masked is not None:
        descending[masked.nonzero()] = _UNRANKED
    n_candidates = scores.shape[1]
    place = (order - n_candidates)[None, :] + shift[:, None]
    place += (place >> 63) & n_candidates  # modulo, without the division
    keys = descending.astype(np.int64)
    keys <<= 32
    keys |= place
    if k < n_candidates:
        keys.partition(k - 1, axis=1)
    best = keys[:, :k]
    best.sort(axis=1)
    return best


def _as_float32(scores: np.ndarray, caller: str) -> np.ndarray:
    if scores.ndim != 2:
        raise DataError(
            f"{caller}: scores must have two axes (queries, candidates), got {scores.ndim}"
        )
    if scores.dtype not in (np.float32, np.float16):
        # Narrowing float64 could make unequal scores equal.
        raise DataError(f"{caller}: scores must be float32, got {scores.dtype}")
    return scores.astype(np.float32, copy=False)


# -- ranking a slice --


@dataclass(frozen=True)
class Ranking:
    """The ranked lists of a slice's users.

    Attributes:
        users: int32, shape (queries,).
        items: int32 row numbers, shape (queries, places), best first; -1 after the end of a list.
            There are k places, but not more than items.
        scores: float32, shape (queries, places); NaN after the end.
        hits: bool, shape (queries, places): the item is relevant.
        n_relevant: int64, shape (queries,): relevant items of the user, ranked or not.
        n_ranked: int64, shape (queries,): candidates that are neither masked nor NaN.
        tied: bool, shape (queries,): equal scores occur up to rank k + 1, so the tie order
            affected the list.
        k: requested length of the lists.
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    hits: np.ndarray
    n_relevant: np.ndarray
    n_ranked: np.ndarray
    tied: np.ndarray
    k: int

    def per_user(self, metric: str) -> np.ndarray:
        """Compute a metric such as "ndcg@20" per user: float64, shape (queries,)."""
        return self._parsed(metric).per_user(self.hits, self.n_relevant)

    def mean(self, metric: str) -> float:
        """Average a metric over users, or over relevant pairs for ``micro_recall``."""
        parsed = self._parsed(metric)
        values = parsed.per_user(self.hits, self.n_relevant)
        return float(np.average(values, weights=parsed.weights(self.n_relevant)))

    def take(self, rows: np.ndarray) -> "Ranking":
        """Select the lists of some users by position or boolean mask."""
        return Ranking(
            self.users[rows],
            self.items[rows],
            self.scores[rows],
            self.hits[rows],
            self.n_relevant[rows],
            self.n_ranked[rows],
            self.tied[rows],
            self.k,
        )

    def _parsed(self, metric: str) -> "Metric":
        parsed = Metric.parse(metric)
        if parsed.k > self.k:
            raise ConfigError(f"metric {metric!r} needs lists of length {parsed.k}, got {self.k}")
        return parsed


def rank_slice(
    score: ScoreFunction,
    task: Slice,
    k: int,
    *,
    memory_mb: float = 256,
    seed: int = 0,
    progress: Progress | None = None,
) -> Ranking:
    """Rank all candidates of a slice for each of its users, in blocks of users.

    The result does not depend on the block size, the order of the users or the order of the
    candidates, unless ``score`` itself does: a matrix product may round the score of a pair in the
    last bits differently in blocks of other sizes.

    Args:
        score: a function like ``Scorer.score``.
        task: users, candidates, relevant and masked pairs.
        k: length of the lists; they end earlier where there are fewer items.
        memory_mb: memory of a block in MiB at ``BYTES_PER_PAIR`` bytes per pair; a block has at
            least one user. Sorting takes up to 26 MB more, and the lists themselves add to it.
        seed: seed of the tie order.
        progress: called with the slice name, the users done and the users in total.

    Raises:
        ConfigError: ``k``, ``memory_mb`` or ``seed`` is not a number within its limits.
        DataError: the slice contradicts itself, or ``score`` returns a wrong shape or dtype.
    """
    check_process()
    whole_number("rank_slice", "k", k, low=1)
    whole_number("rank_slice", "seed", seed, low=0)
    _check(task)
    n_queries, n_candidates = len(task.users), len(task.candidates)
    masked = task.masked[:, task.candidates].tocsr()
    order, shift = _ties(task, seed)
    step = users_at_once("rank_slice", memory_mb, n_candidates)
    places = min(k, _shape(task.relevance)[1])
    # One rank more than requested shows whether ranks k and k + 1 have equal scores.
    positions = np.full((n_queries, places + 1), -1, np.int32)
    best = np.full((n_queries, places + 1), np.nan, np.float32)
    n_ranked = np.zeros(n_queries, np.int64)
    for start in range(0, n_queries, step):
        rows = slice(start, min(start + step, n_queries))
        scores = _scores(score, task.users[rows], task.candidates)
        positions[rows], best[rows] = top_k(
            scores, places + 1, masked=masked[rows], tie_order=order, tie_shift=shift[rows]
        )
        n_ranked[rows] = _count_ranked(scores, masked[rows])
        if progress is not None:
            progress(task.name, rows.stop, n_queries)
    items = np.where(positions >= 0, task.candidates[positions], -1).astype(np.int32)
    return Ranking(
        task.users,
        items[:, :places],
        best[:, :places],
        _hits(items[:, :places], task.relevance),
        np.diff(task.relevance.indptr).astype(np.int64),
        n_ranked,
        (best[:, 1:] == best[:, :-1]).any(axis=1),
        int(k),
    )


def users_at_once(who: str, memory_mb: float, n_candidates: int) -> int:
    """Return how many users are scored together: at least one.

    Args:
        who: the function that got ``memory_mb``; the message of an error begins with it.
        memory_mb: memory of a block in MiB at ``BYTES_PER_PAIR`` bytes per pair.
        n_candidates: number of candidates of each user.

    Raises:
        ConfigError: ``memory_mb`` is not a finite number above 0.
    """
    memory = positive_number(who, "memory_mb", memory_mb) * 2**20
    return max(1, int(min(memory / (BYTES_PER_PAIR * max(n_candidates, 1)), _MAX_USERS_AT_ONCE)))


def mean_metric(
    score: ScoreFunction, task: Slice, metric: str = "ndcg@20", *, memory_mb: float = 256
) -> float:
    """Rank a slice and average one metric: the criterion of early stopping."""
    ranking = rank_slice(score, task, Metric.parse(metric).k, memory_mb=memory_mb)
    return ranking.mean(metric)


def _ties(task: Slice, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the tie order and each user's rotation; both depend on row numbers and seed only."""
    n_items = _shape(task.relevance)[1]
    drawn = random_order(n_items, seed)[task.candidates]
    order = np.argsort(np.argsort(drawn))
    n_users = int(task.users.max(initial=-1)) + 1
    shifts = np.random.default_rng([seed, 1]).random(n_users)[task.users]
    return order, (shifts * len(task.candidates)).astype(np.int64)


def _scores(score: ScoreFunction, users: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    scores = score(users, candidates)
    expected = (len(users), len(candidates))
    if scores.shape != expected:
        raise DataError(
            f"score: expected shape (users, items) = {expected}, got {tuple(scores.shape)}"
        )
    return _as_float32(scores, "score")


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


def _check(task: Slice) -> None:
    who = f"slice {task.name!r}"
    n_queries, n_items = _shape(task.relevance)
    if len(task.users) != n_queries or task.masked.shape != task.relevance.shape:
        raise DataError(
            f"{who}: {len(task.users)} users, relevance of shape {task.relevance.shape} "
            f"and mask of shape {task.masked.shape} do not match"
        )
    if n_queries == 0:
        raise DataError(f"{who}: no user has a relevant item, so there is nothing to rank")
    if np.diff(task.relevance.indptr).min() == 0:
        row = int(np.diff(task.relevance.indptr).argmin())
        raise DataError(f"{who}: user row {task.users[row]} has no relevant item")
    candidate = np.zeros(n_items, bool)
    candidate[task.candidates] = True
    outside = int((~candidate[task.relevance.indices]).sum())
    if outside:
        raise DataError(f"{who}: {outside} relevant pair(s) lie outside the candidates")
    lost = task.relevance.multiply(task.masked).nnz
    if lost:
        raise DataError(f"{who}: {lost} relevant pair(s) are masked")


def _shape(matrix: sparse.csr_matrix) -> tuple[int, int]:
    return cast(tuple[int, int], matrix.shape)


# -- metrics --


@dataclass(frozen=True)
class Metric:
    """A metric with its cut-off, such as recall@20.

    Attributes:
        kind: a key of ``METRICS``.
        k: the cut-off.
    """

    kind: str
    k: int

    @classmethod
    def parse(cls, name: str) -> "Metric":
        """Parse a name such as "recall@20".

        Raises:
            ConfigError: the name is not of the form kind@k, or the kind is unknown.
        """
        kind, _, cut = str(name).partition("@")
        valid = kind in METRICS and cut.isdecimal() and len(cut) <= _MAX_DIGITS
        if not valid or int(cut) < 1:
            raise ConfigError(
                f"metric {name!r} is unknown; write kind@k with k from 1, at most "
                f"{_MAX_DIGITS} digits, and kind one of "
                f"{', '.join(METRICS)}"
            )
        return cls(kind, int(cut))

    def per_user(self, hits: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
        """Compute the metric of each user: float64, shape (queries,).

        Args:
            hits: bool, shape (queries, places), by rank; the lists end after fewer than k places
                if there are no more items.
            n_relevant: shape (queries,), each at least 1.
        """
        return METRICS[self.kind](hits[:, : self.k], n_relevant, self.k)

    def weights(self, n_relevant: np.ndarray) -> np.ndarray:
        """Weight of each user in the mean: float64, shape (queries,)."""
        if self.kind == "micro_recall":
            return n_relevant.astype(np.float64)
        return np.ones(len(n_relevant))


def _recall(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    return hits.sum(axis=1) / n_relevant


def _ndcg(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    ranks = min(k, max(hits.shape[1], int(n_relevant.max(initial=1))))
    discounts = 1 / np.log2(np.arange(2, ranks + 2))
    ideal = np.cumsum(discounts)[np.minimum(n_relevant, ranks) - 1]
    return (hits * discounts[: hits.shape[1]]).sum(axis=1) / ideal


def _precision(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    return hits.sum(axis=1) / k


def _hit(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    return np.asarray(hits.any(axis=1), np.float64)


def _mrr(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)


# micro_recall is recall per user; its mean weights users by their number of relevant items.
METRICS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "recall": _recall,
    "ndcg": _ndcg,
    "precision": _precision,
    "hit": _hit,
    "mrr": _mrr,
    "micro_recall": _recall,
}
