"""The items with the highest inner products, exactly, without storing a score for every item.

Vectors are kept as given and rounded to 8 bits. The rounded ones are multiplied with a few queries
at once, block by block, which reads a quarter of the memory. By Cauchy-Schwarz, with v = s c + d
and q = t b + e, where c and b have 8 bits,

    | q v  -  s t b c |  <=  |t b| |d| + |e| |v|

so every product has a lower and an upper bound. A pass over the blocks keeps the k-th highest lower
bound of each query; items whose upper bound reaches it are candidates, and their exact products
decide. Of a million random vectors of width 64, about 2 k are candidates.

Where integer products are slow (a processor without instructions for them), the blocks are
multiplied in float32. The candidates then are fewer; the best items are the same.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch

from warmstart.rank.product_queries import ProductQueries

_BLOCK_ROWS = 32_768  # so that the products of a block stay in the cache of a core
_QUERIES_AT_ONCE = 16
_CHUNK_ROWS = 256  # that are looked at one by one if any of them may be a candidate
_MIN_ROOM = 4096  # for candidates of a query in one pass
_ROUNDING = np.float32(1 + 1e-5)  # on bounds, which are themselves computed in float32
_PRODUCT_ROUNDING = np.float32(4e-6)  # relative error of a product in float32
_LOWEST = np.float32(-3e38)  # lower than every score
_ONES, _ZEROS = np.ones(_BLOCK_ROWS, np.float32), np.zeros(_BLOCK_ROWS, np.float32)

_int_mm: Any = torch._int_mm  # pyright: ignore[reportPrivateImportUsage]; the only such product

# fastmath without "ninf" and "nnan": biases may be infinite.
_kernel = numba.njit(fastmath={"contract", "reassoc"}, nogil=True, cache=True)


class ProductTable:
    """Vectors of items, searched for the highest inner products with queries.

    Args:
        vectors: float32, shape (items, width); may be mapped from a file.
        rounded: what ``rounded_vectors`` returns for them; computed if missing.
    """

    def __init__(self, vectors: np.ndarray, rounded: dict[str, np.ndarray] | None = None) -> None:
        self.vectors = vectors
        self.rounded = rounded_vectors(vectors) if rounded is None else rounded
        n = len(vectors)
        bounds = [*range(0, n, _BLOCK_ROWS), n]
        self._blocks = [_Block(self.rounded, *ends) for ends in pairwise(bounds)]

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def nbytes(self) -> int:
        """Memory of the vectors, in bytes, as given and rounded."""
        return self.vectors.nbytes + sum(array.nbytes for array in self.rounded.values())

    def candidates(
        self,
        queries: ProductQueries,
        k: int,
        bias: np.ndarray,
        excluded: Sequence[np.ndarray],
        threads: int = 1,
    ) -> list[np.ndarray | None]:
        """Find the items that may be among the k best of each query by product plus bias.

        Args:
            queries: the queries.
            k: number of items, at least 1.
            bias: added to the products, float32, shape (items,); -inf leaves an item out.
            excluded: row numbers that each query leaves out.
            threads: number of threads among which the items are divided.

        Returns:
            For each query row numbers, ascending, among them the k best and all that are equal to
            the last of these; None if so many items are alike that every score must be looked at.
        """
        found: list[np.ndarray | None] = []
        for start in range(0, len(queries.vectors), _QUERIES_AT_ONCE):
            some = slice(start, start + _QUERIES_AT_ONCE)
            part = ProductQueries(queries.vectors[some], queries.caps[some])
            found += self._candidates(part, k, bias, excluded[some], threads)
        return found

    def _candidates(
        self,
        queries: ProductQueries,
        k: int,
        bias: np.ndarray,
        excluded: Sequence[np.ndarray],
        threads: int,
    ) -> list[np.ndarray | None]:
        asked, blocks = _Asked(queries, excluded), self._blocks
        threads = max(1, min(threads, len(blocks) // 2))
        passes = [_Pass(len(queries.vectors), k) for _ in range(threads)]
        calls = [
            _threads(threads - 1).submit(self._scan, blocks[at::threads], asked, bias, passes[at])
            for at in range(1, threads)
        ]
        self._scan(blocks[::threads], asked, bias, passes[0])
        for call in calls:
            call.result()
        return [_merged(passes, query, k) for query in range(len(queries.vectors))]

    def _scan(
        self, blocks: Sequence["_Block"], asked: "_Asked", bias: np.ndarray, one: "_Pass"
    ) -> None:
        for block in blocks:
            if asked.codes is None:
                products = asked.vectors @ self.vectors[block.rows].T
                scales, errors, largest_error = _ONES, _ZEROS, np.float32(0)
            else:
                products = _integer_products(asked.codes, block.codes)
                scales, errors, largest_error = block.scales, block.errors, block.largest_error
            _scan_block(
                products, scales, errors, block.norms, largest_error, block.largest_norm,
                bias[block.rows], block.rows.start,
                asked.scales, asked.norms, asked.errors, asked.caps,
                asked.excluded, asked.excluded_ends,
                one.heaps, one.rows, one.upper, one.counts,
            )  # fmt: skip


class _Block:
    """Consecutive rows of a table."""

    def __init__(self, rounded: dict[str, np.ndarray], start: int, end: int) -> None:
        self.rows = rows = slice(start, end)
        self.codes = torch.from_numpy(rounded["codes"][rows])
        self.scales, self.errors = rounded["scales"][rows], rounded["errors"][rows]
        self.norms = rounded["norms"][rows]
        self.largest_error, self.largest_norm = self.errors.max(), self.norms.max()


def _integer_products(queries: torch.Tensor, items: torch.Tensor) -> np.ndarray:
    """Int32, shape (queries, items)."""
    if len(queries) == 1:  # the same bytes in either order, and this one is faster
        return _int_mm(items, queries.T).numpy().reshape(1, -1)
    return _int_mm(queries, items.T).numpy()


@cache
def _threads(number: int) -> ThreadPoolExecutor:
    """Threads that are kept: starting some takes longer than a pass over a small table."""
    return ThreadPoolExecutor(number, "products")


class _Asked:
    """Queries as the kernel takes them; ``codes`` is None if products in float32 are faster."""

    def __init__(self, queries: ProductQueries, excluded: Sequence[np.ndarray]) -> None:
        self.vectors, self.caps = np.ascontiguousarray(queries.vectors), queries.caps
        n, width = self.vectors.shape
        self.codes, self.scales = None, np.ones(n, np.float32)
        rounded = rounded_vectors(self.vectors)
        self.norms, self.errors = rounded["norms"], rounded["norms"] * _PRODUCT_ROUNDING
        if integers_are_fast(width):
            self.codes, self.scales = torch.from_numpy(rounded["codes"]), rounded["scales"]
            self.errors = self.errors + rounded["errors"]
            self.norms = self.norms + rounded["errors"]  # of the rounded queries, at most
        self.excluded_ends = np.cumsum([0, *(len(rows) for rows in excluded)])
        self.excluded = np.concatenate([np.zeros(0, np.int64), *map(np.sort, excluded)])


class _Pass:
    """What one thread finds: the k highest lower bounds, as a heap, and candidates."""

    def __init__(self, n_queries: int, k: int) -> None:
        room = max(_MIN_ROOM, 16 * k)
        self.heaps = np.full((n_queries, k), _LOWEST, np.float32)
        self.rows = np.empty((n_queries, room), np.int64)
        self.upper = np.empty((n_queries, room), np.float32)
        self.counts = np.zeros(n_queries, np.int64)  # -1: there was no room


def _merged(passes: Sequence[_Pass], query: int, k: int) -> np.ndarray | None:
    """The candidates of all threads, ascending; None if there was no room."""
    if any(one.counts[query] < 0 for one in passes):
        return None
    lowest = passes[0].heaps[query, 0]
    if len(passes) > 1:
        lowest = np.sort(np.concatenate([one.heaps[query] for one in passes]))[-k]
    kept = [
        one.rows[query, : one.counts[query]][one.upper[query, : one.counts[query]] >= lowest]
        for one in passes
    ]
    return np.sort(np.concatenate(kept))


@_kernel
def _scan_block(
    products: np.ndarray,
    scales: np.ndarray,
    errors: np.ndarray,
    norms: np.ndarray,
    largest_error: np.float32,
    largest_norm: np.float32,
    bias: np.ndarray,
    start: int,
    query_scales: np.ndarray,
    query_norms: np.ndarray,
    query_errors: np.ndarray,
    caps: np.ndarray,
    excluded: np.ndarray,
    excluded_ends: np.ndarray,
    heaps: np.ndarray,
    rows: np.ndarray,
    upper: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Add candidates of one block; the last four arguments are changed."""
    n_queries, n = products.shape
    k, room = heaps.shape[1], rows.shape[1]
    for query in range(n_queries):
        scale, norm, error = query_scales[query], query_norms[query], query_errors[query]
        widest = norm * largest_error + error * largest_norm
        for begin in range(0, n, _CHUNK_ROWS):
            end = min(begin + _CHUNK_ROWS, n)
            some = products[query, begin:end], scales[begin:end], bias[begin:end]
            if not _any_reaches(*some, scale, heaps[query, 0] - widest):
                continue
            for row in range(begin, end):
                slack = norm * errors[row] + error * norms[row]
                product = np.float32(products[query, row]) * (scales[row] * scale)
                highest, count = product + slack + bias[row], counts[query]
                if highest < heaps[query, 0] or count < 0 or bias[row] < _LOWEST:
                    continue
                if _is_among(excluded, excluded_ends[query], excluded_ends[query + 1], start + row):
                    continue
                if count == room:
                    count = _drop(rows[query], upper[query], heaps[query, 0])
                    if 2 * count > room:
                        counts[query] = -1
                        continue
                rows[query, count], upper[query, count] = start + row, highest
                counts[query] = count + 1
                lowest = min(product - slack, caps[query]) + bias[row]
                if lowest > heaps[query, 0]:
                    _replace_lowest(heaps[query], lowest, k)


@_kernel
def _any_reaches(
    products: np.ndarray,
    scales: np.ndarray,
    bias: np.ndarray,
    scale: np.float32,
    enough: np.float32,
) -> bool:
    """Whether any score does; compiled to instructions for many rows at once."""
    found = False
    for row in range(len(products)):
        found |= np.float32(products[row]) * (scales[row] * scale) + bias[row] >= enough
    return found


@_kernel
def _is_among(values: np.ndarray, first: int, end: int, wanted: int) -> bool:
    """Whether a value is in a sorted part of an array."""
    place = first + np.searchsorted(values[first:end], wanted)
    return bool(place < end and values[place] == wanted)


@_kernel
def _drop(rows: np.ndarray, upper: np.ndarray, enough: np.float32) -> int:
    """Drop the rows that are no candidates any more; return the number of those kept."""
    count = 0
    for at in range(len(rows)):
        if upper[at] >= enough:
            rows[count], upper[count] = rows[at], upper[at]
            count += 1
    return count


@_kernel
def _replace_lowest(heap: np.ndarray, value: np.float32, k: int) -> None:
    place = 0
    while True:
        child = 2 * place + 1
        if child >= k:
            break
        if child + 1 < k and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value


def rounded_vectors(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Round vectors to 8 bits.

    Args:
        vectors: float32, shape (items, width).

    Returns:
        "codes", int8, shape (items, width), the "scales" that multiply them, the norms of the
        "errors" of rounding, and the "norms" of the vectors, float32, shape (items,).
    """
    codes = np.empty(vectors.shape, np.int8)
    scales, errors, norms = (np.empty(len(vectors), np.float32) for _ in range(3))
    _round_rows(np.ascontiguousarray(vectors, np.float32), codes, scales, errors, norms)
    return {"codes": codes, "scales": scales, "errors": errors, "norms": norms}


@_kernel
def _round_rows(
    vectors: np.ndarray,
    codes: np.ndarray,
    scales: np.ndarray,
    errors: np.ndarray,
    norms: np.ndarray,
) -> None:
    for row in range(len(vectors)):
        largest, square, error = np.float32(0), np.float32(0), np.float32(0)
        for value in vectors[row]:
            largest = max(largest, abs(value))
            square += value * value
        scale = largest / np.float32(127)
        for at, value in enumerate(vectors[row]):
            code = np.rint(value / scale) if scale > 0 else np.float32(0)
            codes[row, at] = np.int8(code)
            error += (value - code * scale) ** 2
        scales[row] = scale
        errors[row], norms[row] = np.sqrt(error) * _ROUNDING, np.sqrt(square) * _ROUNDING


@lru_cache(maxsize=8)
def integers_are_fast(width: int) -> bool:
    """Whether this machine multiplies matrices of 8 bits correctly, and faster than float32.

    Both are tried: torch 2.13 multiplies vectors of width 1 wrongly.
    """
    rng = np.random.default_rng(0)
    codes = torch.from_numpy(rng.integers(-127, 128, (_BLOCK_ROWS, width), np.int8))
    vectors, some, few = codes.numpy().astype(np.float32), codes[:8], codes[:256]
    try:
        for queries in (some, some[:1]):
            right = queries.numpy().astype(int) @ few.numpy().astype(int).T
            if not np.array_equal(_integer_products(queries, few), right):
                return False
        integer = _seconds(lambda: _integer_products(some, codes))
    except RuntimeError:  # this build of torch has no such product
        return False
    return integer < _seconds(lambda: vectors[:8] @ vectors.T)


def _seconds(multiply: Callable[[], object]) -> float:
    times = []
    for _ in range(4):
        started = time.perf_counter()
        multiply()
        times.append(time.perf_counter() - started)
    return min(times)
