"""A table whose rows are short lists of items, searched exactly: a user is a history.

A list stands for the sum of its items' vectors, times a scale. So each item has one product with a
query, and the score of a row is the sum of the products of its items: a row of 31 items takes 64
bytes, however wide the vectors are. The products of all items with some queries are computed first,
and stay in the processor's cache during a pass over the rows.

Scores are sums in float32 whose terms are added in the order of the list. Results do not depend on
the number of threads, queries at once, or parts of the table.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
from scipy import sparse

from warmstart.arguments import whole_number
from warmstart.errors import DataError
from warmstart.retrieval.best import (
    LOWEST,
    Best,
    Pass,
    add,
    best_of,
    candidates_of,
    found_of,
    in_threads,
    left_out,
    log_normaliser_of,
    new_pass,
)
from warmstart.retrieval.checks import checked_bias, checked_search, described
from warmstart.retrieval.found import Found
from warmstart.retrieval.group_scores import any_above, any_sampled
from warmstart.retrieval.rounding import GROUP, kernel
from warmstart.retrieval.row_sums import (
    ITEMS_AT_ONCE,
    QUERIES_AT_ONCE,
    add_lists,
    multiply_items,
)
from warmstart.retrieval.softmax import ROW_LANES, noise, sum_up

_MIN_ROWS = 8192  # of a thread

# without fastmath: a score is the same in every loop
_exact = numba.njit(nogil=True, cache=True)


def number_type(n_items: int) -> type[np.uint16] | type[np.uint32]:
    """Type of the numbers of items in a list; the number after the last item fills short lists."""
    return np.uint16 if n_items < 2**16 else np.uint32


class HistoryTable:
    """Rows of lists of items.

    Args:
        items: numbers of items, of ``number_type``, shape (rows, most items); short lists end with
            the number of items. May be mapped from a file.
        scales: float16, shape (rows,).
        item_vectors: float32, shape (items, width).
        bias: added to the scores of each row, float32, shape (rows,); -inf leaves a row out.
        start: number of the first row.

    Raises:
        DataError: the arrays have other shapes or types, or there is an item without a vector.
    """

    def __init__(
        self,
        items: np.ndarray,
        scales: np.ndarray,
        item_vectors: np.ndarray,
        bias: np.ndarray | None = None,
        start: int = 0,
    ) -> None:
        for name, array in (("items", items), ("item_vectors", item_vectors)):
            if not isinstance(array, np.ndarray) or array.ndim != 2:
                raise DataError(
                    f"HistoryTable: {name} must be an array of 2 axes, got {described(array)}"
                )
        no_bias = np.zeros(0, np.float32)
        bias = no_bias if bias is None else checked_bias("HistoryTable", bias, len(items))
        n_items, wanted = len(item_vectors), number_type(len(item_vectors))
        if items.dtype != wanted or items.max(initial=0) > n_items:
            raise DataError(
                f"HistoryTable: items must be {wanted.__name__} within 0..{n_items}, got "
                f"{items.dtype} of shape {items.shape}, at most {items.max(initial=0)}"
            )
        if getattr(scales, "dtype", None) != np.float16 or scales.shape != (len(items),):
            raise DataError(
                f"HistoryTable: scales must be float16 of shape ({len(items)},), got "
                f"{described(scales)}"
            )
        self.items, self.scales = np.ascontiguousarray(items), scales
        self.item_vectors = np.ascontiguousarray(item_vectors, np.float32)
        self.bias, self.start, self.width = bias, start, item_vectors.shape[1]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.items, self.scales, self.item_vectors, self.bias)
        return sum(array.nbytes for array in arrays)

    def part(self, start: int, end: int) -> "HistoryTable":
        """The rows with the numbers from ``start`` to ``end`` - 1, which they keep.

        Raises:
            DataError: there are no such rows.
        """
        high = self.start + len(self)
        whole_number("part", "start", start, low=self.start, high=high, error=DataError)
        whole_number("part", "end", end, low=start, high=high, error=DataError)
        own = slice(start - self.start, end - self.start)
        bias = self.bias[own] if len(self.bias) else None
        return HistoryTable(self.items[own], self.scales[own], self.item_vectors, bias, start)

    def matrix(self, rows: np.ndarray | slice = slice(None)) -> sparse.csr_matrix:
        """The lists of some rows, with their scales as values: CSR, shape (rows, items).

        Its product with ``item_vectors`` is the vectors that the rows stand for.

        Args:
            rows: counted from the first row of this table.
        """
        items, scales = self.items[rows], self.scales[rows].astype(np.float32)
        is_there = items < len(self.item_vectors)
        lengths = is_there.sum(axis=1)
        return sparse.csr_matrix(
            (np.repeat(scales, lengths), items[is_there], np.cumsum([0, *lengths])),
            shape=(len(items), len(self.item_vectors)),
        )

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        log_normalisers: bool = False,
        keys: np.ndarray | None = None,
        excluded: Sequence[np.ndarray] | None = None,
        threads: int | None = None,
    ) -> Found:
        """Find the k best rows of each query, or sample k rows, without storing scores.

        Args:
            queries: float32, shape (queries, width).
            k: number of rows, at least 1.
            log_normalisers: whether to compute log sum exp(score) over all rows, excluded or not.
            keys: uint32, shape (queries, 2), see ``sampling_keys``: draws k different rows from
                softmax(scores), one after the other, instead of the best ones.
            excluded: row numbers that each query leaves out.
            threads: None takes all cores of this process.

        Returns:
            Rows ordered by score (by the order of the draw with ``keys``), equal ones by number.

        Raises:
            DataError: see ``checked_search``.
        """
        queries, k, keys, excluded, threads = checked_search(
            queries, self.width, k, keys=keys, excluded=excluded, threads=threads
        )
        threads = max(1, min(threads, len(self) // _MIN_ROWS))
        best: list[Best] = []
        normalisers: list[float] = []
        done = 0
        while done < len(queries):
            at_once = _at_once(len(queries) - done)
            some = slice(done, done + at_once)
            own_keys = np.zeros((0, 2), np.uint32) if keys is None else keys[some]
            products = self._products(queries[some], at_once, threads)
            asked = _Asked(products, *left_out(excluded[some]), own_keys, log_normalisers)
            n_now = len(queries[some])
            passes = [new_pass(n_now, k) for _ in range(threads)]
            in_threads(partial(self._scan_share, asked, at_once, passes), threads)
            for query in range(n_now):
                rows = candidates_of(passes, query, k)
                assert rows is not None, "exact scores leave at most 2 k candidates"
                scores = _scores(self._lists, rows - self.start, products, query)
                own = None if keys is None else own_keys[query]
                best.append(best_of(rows, scores, k, own))
                normalisers.append(log_normaliser_of(passes, query))
            done += at_once
        return found_of(best, k, normalisers if log_normalisers else None, sampled=keys is not None)

    @property
    def _lists(self) -> "_Lists":
        return _Lists(self.items, self.scales.view(np.uint16), self.bias, self.start)

    def _products(self, queries: np.ndarray, at_once: int, threads: int) -> np.ndarray:
        """Products of all items, and zeros for what fills short lists: float32, (items + 8, n)."""
        columns = np.zeros((self.width, at_once), np.float32)
        columns[:, : len(queries)] = queries.T
        products = np.empty((len(self.item_vectors) + ITEMS_AT_ONCE, at_once), np.float32)

        def multiply_share(thread: int) -> None:
            first, last = _share(len(self.item_vectors), ITEMS_AT_ONCE, threads, thread)
            _multiply(self.item_vectors, first, last, columns, products, (0,) * at_once)

        in_threads(multiply_share, threads)
        products[len(self.item_vectors) :] = 0
        return products

    def _scan_share(
        self, asked: "_Asked", at_once: int, passes: Sequence[Pass], thread: int
    ) -> None:
        first, last = _share(len(self), GROUP, len(passes), thread)
        _scan(self._lists, first, last, asked, (0,) * at_once, passes[thread])


def _at_once(n_queries: int) -> int:
    """How many of some queries share a pass, which takes two to three times that of one query."""
    fewest, most = QUERIES_AT_ONCE
    return most if n_queries > 2 else fewest


def _share(n: int, step: int, threads: int, thread: int) -> tuple[int, int]:
    """A thread's share of n things that are taken ``step`` at once: the first, and the end."""
    shares = (np.linspace(0, -(-n // step), threads + 1).astype(int) * step).tolist()
    first, end = list(pairwise(shares))[thread]
    return first, min(end, n)


class _Lists(NamedTuple):
    """The rows, with the bits of their scales."""

    items: np.ndarray
    scales: np.ndarray
    bias: np.ndarray
    start: int


class _Asked(NamedTuple):
    """Products of items with the queries, and what else is asked; see ``scan.Asked``."""

    products: np.ndarray
    excluded: np.ndarray
    excluded_ends: np.ndarray
    keys: np.ndarray
    sums_up: bool


@_exact
def _multiply(
    vectors: np.ndarray,
    first: int,
    last: int,
    queries: np.ndarray,
    products: np.ndarray,
    at_once: tuple,
) -> None:
    for item in range(first, last, ITEMS_AT_ONCE):
        multiply_items(vectors, item, queries, products, at_once)


@kernel
def _scan(lists: _Lists, first: int, last: int, asked: _Asked, at_once: tuple, found: Pass) -> None:
    """Go through rows ``first`` to ``last - 1``; ``found`` is changed."""
    block = np.empty((GROUP, len(at_once)), np.float32)
    scores, scales = np.empty(GROUP, np.float32), np.empty(GROUP, np.float32)
    lowest, n_queries = np.full(len(at_once), np.inf, np.float32), len(found.tops)
    lowest[:n_queries] = LOWEST
    looks_at_all = asked.sums_up or len(asked.keys) > 0
    for row in range(first, last, GROUP):
        count = min(GROUP, last - row)
        add_lists(asked.products, lists.items, row, block, at_once)
        _write_scales(lists.scales, row, count, scales)
        _finish_scores(block, scales, lists.bias, row, count, at_once)
        if not (looks_at_all or _any_reaches(block, lowest, at_once)):
            continue
        for query in range(n_queries):
            for lane in range(GROUP):
                scores[lane] = block[lane, query]
            if asked.sums_up:
                sum_up(scores, query, found.tops, found.sums)
            if len(asked.keys):
                key, other_key = asked.keys[query, 0], asked.keys[query, 1]
                # In float32 the lowest key may have been rounded up.
                enough = np.nextafter(lowest[query], np.float32(-np.inf))
                if any_sampled(scores, lists.start + row, key, other_key, enough):
                    _sample(lists.start + row, count, scores, asked, query, found)
            elif any_above(scores, lowest[query]):
                _consider(lists.start + row, count, scores, asked, query, found)
            lowest[query] = found.heaps[query, 0]


@_exact
def _scale(bits: np.ndarray, row: int) -> np.float32:
    """The scale of a row, a float16, which numba does not know."""
    wide = np.uint32(bits[row])
    sign = np.uint32((wide & np.uint32(0x8000)) << np.uint32(16))
    rest = np.uint32((wide & np.uint32(0x7FFF)) << np.uint32(13))
    return np.uint32(sign | rest).view(np.float32) * np.float32(2.0**112)


@_exact
def _write_scales(bits: np.ndarray, row: int, count: int, scales: np.ndarray) -> None:
    for lane in range(count):
        scales[lane] = _scale(bits, row + lane)


@_exact
def _finish_scores(
    block: np.ndarray, scales: np.ndarray, bias: np.ndarray, row: int, count: int, at_once: tuple
) -> None:
    """Turn the sums of up to 16 rows into scores; -inf after the last one."""
    first, n_queries = np.uint64(row), np.uint64(len(at_once))
    for lane in range(ROW_LANES):
        for query in range(n_queries):
            block[lane, query] *= scales[lane]
    if len(bias):
        for lane in range(np.uint64(count)):
            for query in range(n_queries):
                block[lane, query] += bias[first + lane]
    if count < GROUP:
        block[count:] = -np.inf


@kernel
def _any_reaches(block: np.ndarray, lowest: np.ndarray, at_once: tuple) -> bool:
    """Whether any score reaches the lowest that its query keeps."""
    found = False
    for lane in range(ROW_LANES):
        for query in range(np.uint64(len(at_once))):
            found |= block[lane, query] >= lowest[query]
    return bool(found)


@_exact
def _scores(lists: _Lists, rows: np.ndarray, products: np.ndarray, query: int) -> np.ndarray:
    """The scores of some rows for a query, as a pass computes them: float32, shape (rows,)."""
    scores = np.empty(len(rows), np.float32)
    for at in range(len(rows)):
        row, total = rows[at], np.float32(0)
        for place in range(lists.items.shape[1]):
            total += products[lists.items[row, place], query]
        scores[at] = total * _scale(lists.scales, row)
        if len(lists.bias):
            scores[at] += lists.bias[row]
    return scores


@kernel
def _consider(
    row: int, count: int, scores: np.ndarray, asked: _Asked, query: int, found: Pass
) -> None:
    """Add those of some rows that are better than the k best so far: of equal ones, the first."""
    for lane in range(count):
        if scores[lane] > found.heaps[query, 0]:
            add(row + lane, scores[lane], scores[lane], asked, query, found)


@kernel
def _sample(
    row: int, count: int, scores: np.ndarray, asked: _Asked, query: int, found: Pass
) -> None:
    """As ``_consider``, by score plus noise."""
    for lane in range(count):
        if scores[lane] > LOWEST:
            noisy = scores[lane] + noise(row + lane, asked.keys[query, 0], asked.keys[query, 1])
            if noisy > found.heaps[query, 0]:
                add(row + lane, noisy, noisy, asked, query, found)
