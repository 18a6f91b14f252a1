"""The k best rows of each query, as passes over a table find them, and what threads share of it.

A pass keeps the k highest lower bounds of a query as a heap, and all rows whose upper bound reaches
the lowest of them. Where scores are exact, both bounds are the score.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from warmstart.retrieval.found import Found, best_first
from warmstart.retrieval.rounding import kernel
from warmstart.retrieval.softmax import noises

LOWEST = np.float32(-3e38)  # lower than every score
NOBODY = np.zeros(0, np.int64)
_MIN_ROOM = 4096  # for candidates of a query in one pass


class Pass(NamedTuple):
    """What one thread finds; ``counts`` is -1 for a query whose candidates had no room.

    The sum of exp(score) of a query is sums x exp(tops).
    """

    heaps: np.ndarray
    rows: np.ndarray
    upper: np.ndarray
    counts: np.ndarray
    tops: np.ndarray
    sums: np.ndarray


def new_pass(n_queries: int, k: int) -> Pass:
    """A pass that has found nothing yet."""
    room = max(_MIN_ROOM, 16 * k)
    return Pass(
        heaps=np.full((n_queries, k), LOWEST, np.float64),
        rows=np.empty((n_queries, room), np.int64),
        upper=np.empty((n_queries, room), np.float64),
        counts=np.zeros(n_queries, np.int64),
        tops=np.full(n_queries, LOWEST, np.float32),
        sums=np.zeros(n_queries, np.float64),
    )


def left_out(excluded: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The rows that queries leave out, sorted for each and joined, and where those of each end."""
    ends = np.cumsum([0, *(len(rows) for rows in excluded)])
    return np.concatenate([NOBODY, *map(np.sort, excluded)]), ends


@kernel
def add(row: int, lowest: float, highest: float, asked: Any, query: int, found: Pass) -> None:
    """Add a row that may be among the best, unless the query leaves it out.

    Args:
        row: number of the row in the whole table.
        lowest: a lower bound of what orders it.
        highest: an upper bound.
        asked: a named tuple with the ``excluded`` rows and ``excluded_ends``, see ``left_out``.
        query: number of the query.
        found: what was found before; it is changed.
    """
    heap, count = found.heaps[query], found.counts[query]
    if count < 0:
        return
    ends = asked.excluded_ends[query : query + 2]
    if ends[1] > ends[0] and _is_among(asked.excluded[ends[0] : ends[1]], row):
        return
    if count == found.rows.shape[1]:
        count = _drop(found.rows[query], found.upper[query], heap[0])
        if 2 * count > found.rows.shape[1]:
            found.counts[query] = -1
            return
    found.rows[query, count], found.upper[query, count] = row, highest
    found.counts[query] = count + 1
    if lowest > heap[0]:
        _replace_lowest(heap, lowest)


@kernel
def _is_among(values: np.ndarray, wanted: int) -> bool:
    place = np.searchsorted(values, wanted)
    return bool(place < len(values) and values[place] == wanted)


@kernel
def _drop(rows: np.ndarray, upper: np.ndarray, enough: float) -> int:
    """Drop the rows that are no candidates any more; return the number of those kept."""
    count = 0
    for at in range(len(rows)):
        if upper[at] >= enough:
            rows[count], upper[count] = rows[at], upper[at]
            count += 1
    return count


@kernel
def _replace_lowest(heap: np.ndarray, value: float) -> None:
    place = 0
    while True:
        child = 2 * place + 1
        if child >= len(heap):
            break
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value


def candidates_of(passes: Sequence[Pass], query: int, k: int) -> np.ndarray | None:
    """The candidates of all threads, ascending; None if there was no room."""
    if any(one.counts[query] < 0 for one in passes):
        return None
    lowest = passes[0].heaps[query, 0]
    if len(passes) > 1:
        lowest = np.sort(np.concatenate([one.heaps[query] for one in passes]))[-k]
    counts = [(one, one.counts[query]) for one in passes]
    return np.sort(
        np.concatenate([one.rows[query, :n][one.upper[query, :n] >= lowest] for one, n in counts])
    )


def log_normaliser_of(passes: Sequence[Pass], query: int) -> float:
    """Log of the sum of exp(score) over the rows of all threads."""
    with np.errstate(divide="ignore"):
        logs = [np.float64(one.tops[query]) + np.log(one.sums[query]) for one in passes]
    return log_sum_exp(np.array(logs))


def log_sum_exp(scores: np.ndarray) -> float:
    """Log of the sum of exp(score); -inf without scores."""
    return float(np.logaddexp.reduce(scores, dtype=np.float64, initial=-np.inf))


class Best(NamedTuple):
    """The best rows of a query: row numbers, scores, and what orders them."""

    rows: np.ndarray
    scores: np.ndarray
    ordered_by: np.ndarray


def best_of(rows: np.ndarray, scores: np.ndarray, k: int, keys: np.ndarray | None) -> Best:
    """The k best of some rows.

    Args:
        rows: row numbers.
        scores: float32, shape (rows,).
        k: number of rows.
        keys: of the query, uint32, shape (2,), to sample.
    """
    ordered_by = scores.astype(np.float64)
    if keys is not None:
        ordered_by += noises(keys, rows)
    rows = np.where(scores > LOWEST, rows, -1)
    best = best_first(rows, ordered_by)[:k]
    best = best[rows[best] >= 0]
    return Best(rows[best], scores[best], ordered_by[best])


def found_of(
    best: Sequence[Best], k: int, normalisers: Sequence[float] | None, *, sampled: bool
) -> Found:
    """What all queries have found.

    Args:
        best: of each query.
        k: number of rows.
        normalisers: of each query, if they were asked for.
        sampled: whether the rows were sampled.
    """
    rows = np.full((len(best), k), -1, np.int64)
    scores = np.full((len(best), k), np.nan, np.float32)
    ordered_by = np.full((len(best), k), np.nan)
    for query, own in enumerate(best):
        n = len(own.rows)
        rows[query, :n], scores[query, :n], ordered_by[query, :n] = own
    return Found(
        rows,
        scores,
        None if normalisers is None else np.array(normalisers, np.float64),
        ordered_by if sampled else None,
    )


# -- threads --


def in_threads(call: Callable[[int], None], threads: int) -> None:
    """Call a function with 0 to threads - 1, in as many threads, of which this is one."""
    calls = [_pool(threads - 1).submit(call, thread) for thread in range(1, threads)]
    call(0)
    for one in calls:
        one.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that are kept: starting some takes longer than a pass over a small table."""
    return ThreadPoolExecutor(threads, "retrieval")
