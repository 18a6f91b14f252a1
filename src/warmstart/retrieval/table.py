"""A table of vectors, searched exactly for the highest inner products, on the CPU.

A table is 8-bit codes, which every search reads, and, if given, the vectors themselves in 32 or 16
bits, of which a search reads only those of candidates. Without them the rounded vectors are the
table. Which rows are found, and their scores, does not depend on the number of threads, queries at
once, or shards; log-normalisers do, a little, see ``VectorTable.search``.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from warmstart.arguments import whole_number
from warmstart.errors import DataError
from warmstart.machine import available_cores
from warmstart.retrieval.best import (
    NOBODY,
    Best,
    Pass,
    best_of,
    candidates_of,
    found_of,
    in_threads,
    left_out,
    log_normaliser_of,
    log_sum_exp,
    new_pass,
)
from warmstart.retrieval.checks import check_norms, checked_bias, checked_search, described
from warmstart.retrieval.found import Found
from warmstart.retrieval.multiply import QUERIES_AT_ONCE
from warmstart.retrieval.queries import ProductQueries
from warmstart.retrieval.rounding import (
    BLOCK_ROWS,
    GROUP,
    block_maxima,
    kernel,
    restored_vectors,
    rounded_queries,
    rounded_vectors,
)
from warmstart.retrieval.scan import Asked, Part, scan

_QUERIES_AT_ONCE = 64  # that share a pass over the codes
_MIN_BLOCKS = 2  # of a thread
_LEAST_EXACT = 128  # of the scores in a log-normaliser
_OF_BLOCKS = ("block_errors", "block_norms")  # of whole shards; computed again for a part


class VectorTable:
    """Rows of vectors in one or more shards.

    Args:
        vectors: float32 or float16, shape (rows, width); may be mapped from a file.
        rounded: what ``rounded_vectors`` returns for them; computed if missing.
        bias: added to the scores of each row, float32, shape (rows,); -inf leaves a row out, whose
            vector may then be anything.

    Raises:
        DataError: an array has another shape or no numbers, or a row that is not left out has
            numbers that are not finite, or a norm above 3.4e38.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        rounded: dict[str, np.ndarray] | None = None,
        bias: np.ndarray | None = None,
    ) -> None:
        if not isinstance(vectors, np.ndarray) or vectors.dtype.kind != "f" or vectors.ndim != 2:
            raise DataError(
                "VectorTable: vectors must be an array of numbers of shape (rows, width), got "
                f"{described(vectors)}"
            )
        if not vectors.shape[1]:
            raise DataError("VectorTable: vectors must have a width of at least 1, got 0")
        arrays = {**(rounded_vectors(vectors) if rounded is None else rounded), "vectors": vectors}
        if bias is not None:
            arrays["bias"] = checked_bias("VectorTable", bias, len(vectors))
        check_norms("VectorTable", vectors, arrays["norms"], bias=arrays.get("bias"))
        self.width = vectors.shape[1]
        self.shards = (Shard(arrays, self.width, 0),)

    @classmethod
    def of_shards(cls, shards: Sequence["Shard"]) -> "VectorTable":
        """A table of some shards, at least one, whose row numbers are kept as they are."""
        table = cls.__new__(cls)
        table.shards, table.width = tuple(shards), shards[0].width
        return table

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for shard in self.shards for array in shard.arrays.values())

    def part(self, start: int, end: int) -> "VectorTable":
        """The rows with the numbers from ``start`` to ``end`` - 1, which they keep.

        Raises:
            DataError: there are no such rows.
        """
        first_row, end_row = self.shards[0].start, self.shards[-1].end
        whole_number("part", "start", start, low=first_row, high=end_row, error=DataError)
        low = start if first_row == end_row else start + 1
        whole_number("part", "end", end, low=low, high=end_row, error=DataError)
        shards = []
        for shard in self.shards:
            first, last = max(start, shard.start), min(end, shard.end)
            if first < last or not len(self):
                own = slice(first - shard.start, last - shard.start)
                arrays = {n: a[own] for n, a in shard.arrays.items() if n not in _OF_BLOCKS}
                shards.append(Shard(arrays, self.width, first))
        return VectorTable.of_shards(shards)

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
            log_normalisers: whether to compute log sum exp(score) over all rows, excluded or not:
                from exact scores for at least 128 of the largest (with ``keys``, of those that are
                drawn first), and for all others from those of the rounded vectors, whose errors
                mostly cancel out. So the last digits depend on ``k`` and on how rows are divided.
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
        asked = ProductQueries.of(queries)
        best, normalisers = [], []
        # Rows that are left out count for log-normalisers, so they are candidates like all others.
        scanned, wanted = excluded, k
        if log_normalisers:
            scanned = [NOBODY] * len(queries)
            wanted = max(k + max(map(len, excluded), default=0), _LEAST_EXACT)
        passes = self._passes(asked, wanted, scanned, threads, keys, log_normalisers)
        for query, one in enumerate(passes):
            own_keys, at = None if keys is None else keys[query], one.candidates
            if at is None:
                found, normaliser = self._best_of_all(queries[query], k, excluded[query], own_keys)
                best.append(found)
                normalisers.append(normaliser)
                continue
            scores = self.scores(queries[query], at)
            if log_normalisers:
                normalisers.append(self._corrected(one.log_normaliser, queries[query], at, scores))
            is_left = np.isin(at, excluded[query], invert=True)
            best.append(best_of(at[is_left], scores[is_left], k, own_keys))
        return found_of(best, k, normalisers if log_normalisers else None, sampled=keys is not None)

    def candidates(
        self,
        queries: ProductQueries,
        k: int,
        excluded: Sequence[np.ndarray],
        threads: int | None = None,
        bias: np.ndarray | None = None,
    ) -> list[np.ndarray | None]:
        """Find the rows that may be among the k best of each query.

        Args:
            queries: the queries.
            k: number of rows, at least 1.
            excluded: row numbers that each query leaves out.
            threads: None takes all cores of this process.
            bias: replaces that of the table, float32, shape (rows,).

        Returns:
            For each query row numbers, ascending, among them the k best and all that are equal to
            the last of these; None if so many rows are alike that every score must be looked at.
        """
        found = self._passes(queries, k, excluded, threads, None, False, bias)
        return [one.candidates for one in found]

    def scores(self, query: np.ndarray, rows: np.ndarray, *, rounded: bool = False) -> np.ndarray:
        """Scores of some rows, each as it is in any search: float32, shape (rows,).

        Args:
            query: float32, shape (width,).
            rows: row numbers, ascending.
            rounded: whether to score by the rounded vectors.
        """
        parts = [np.zeros(0, np.float32)]
        for shard in self.shards:
            own = rows[np.searchsorted(rows, shard.start) : np.searchsorted(rows, shard.end)]
            parts.append(shard.scores(query, own - shard.start, rounded))
        return np.concatenate(parts)

    def _passes(
        self,
        queries: ProductQueries,
        k: int,
        excluded: Sequence[np.ndarray],
        threads: int | None,
        keys: np.ndarray | None,
        sums_up: bool,
        bias: np.ndarray | None = None,
    ) -> Iterator["_Result"]:
        """Go through the table once for every ``_QUERIES_AT_ONCE`` queries."""
        parts = [part for shard in self.shards for part in shard.parts(bias)]
        threads = available_cores() if threads is None else threads
        threads = max(1, min(threads, -(-len(self) // BLOCK_ROWS) // _MIN_BLOCKS))
        for start in range(0, len(queries.vectors), _QUERIES_AT_ONCE):
            some = slice(start, start + _QUERIES_AT_ONCE)
            part = ProductQueries(queries.vectors[some], queries.caps[some])
            own_keys = np.zeros((0, 2), np.uint32) if keys is None else keys[some]
            at_once = max(n for n in QUERIES_AT_ONCE if n <= len(part.vectors))
            asked = _asked(part, excluded[some], own_keys, sums_up, at_once)
            passes = [new_pass(len(part.vectors), k) for _ in range(threads)]
            in_threads(partial(_scan_share, parts, asked, at_once, passes), threads)
            yield from (_Result(passes, query, k) for query in range(len(part.vectors)))

    def _corrected(
        self, log_normaliser: float, query: np.ndarray, rows: np.ndarray, exact: np.ndarray
    ) -> float:
        """A log-normaliser with the exact scores of some rows instead of the rounded ones."""
        rounded = rounded_queries(query[None])
        restored = (rounded["codes"][0, : self.width] * rounded["scales"][0]).astype(np.float32)
        counted = log_sum_exp(self.scores(restored, rows, rounded=True)) - log_normaliser
        others = log_normaliser + np.log(-np.expm1(counted)) if counted < 0 else -np.inf
        return float(np.logaddexp(log_sum_exp(exact), others))

    def _best_of_all(
        self, query: np.ndarray, k: int, excluded: np.ndarray, keys: np.ndarray | None
    ) -> tuple[Best, float]:
        """As ``best_of``, and the log-normaliser, from all scores, in blocks.

        For a query whose candidates had no room.
        """
        best, normaliser = Best(NOBODY, np.zeros(0, np.float32), np.zeros(0)), -np.inf
        for shard in self.shards:
            for start in range(shard.start, shard.end, 16 * BLOCK_ROWS):
                rows = np.arange(start, min(start + 16 * BLOCK_ROWS, shard.end))
                scores = self.scores(query, rows)
                normaliser = np.logaddexp(normaliser, log_sum_exp(scores))
                is_left = np.isin(rows, excluded, invert=True)
                rows = np.concatenate([best.rows, rows[is_left]])
                scores = np.concatenate([best.scores, scores[is_left]])
                order = np.argsort(rows)
                best = best_of(rows[order], scores[order], k, keys)
        return best, float(normaliser)


class Shard:
    """Consecutive rows of a table.

    Args:
        arrays: what ``rounded_vectors`` returns, and, each if there is one, the "vectors", the
            "bias", and the "block_errors" and "block_norms", which are otherwise computed.
        width: width of the vectors.
        start: number of the first row.
    """

    def __init__(self, arrays: dict[str, np.ndarray], width: int, start: int) -> None:
        self.arrays, self.width, self.start = arrays, width, start
        self._parts = _parts_of(arrays, start)

    def __reduce__(self) -> tuple:
        return Shard, (self.arrays, self.width, self.start)

    def __len__(self) -> int:
        return len(self.arrays["scales"])

    @property
    def end(self) -> int:
        """The number after that of the last row."""
        return self.start + len(self)

    def parts(self, bias: np.ndarray | None = None) -> list[Part]:
        """Parts for ``scan``: groups of 16 rows, and the rest, filled up with rows of score -inf.

        Args:
            bias: of all rows of the table, instead of that of the shard.
        """
        if bias is None:
            return self._parts
        bias = np.ascontiguousarray(bias, np.float32)
        own = (bias[part.start : min(part.start + len(part.scales), self.end)]
               for part in self._parts)  # fmt: skip
        biases = (_filled_up(one, -np.inf) for one in own)
        return [_fixed(part._replace(bias=one))
                for part, one in zip(self._parts, biases, strict=True)]  # fmt: skip

    def vectors(self, rows: np.ndarray, rounded: bool = False) -> np.ndarray:
        """The vectors of rows, counted from the first of the shard: float32, shape (rows, width).

        Those of a table without vectors are the rounded ones.
        """
        if "vectors" in self.arrays and not rounded:
            return np.asarray(self.arrays["vectors"][rows], np.float32)
        codes, scales = self.arrays["codes"][rows], self.arrays["scales"][rows]
        return restored_vectors(np.asarray(codes), np.asarray(scales), self.width)

    def scores(self, query: np.ndarray, rows: np.ndarray, rounded: bool) -> np.ndarray:
        """Scores of rows, counted from the first of the shard: float32, shape (rows,)."""
        scores = _products(self.vectors(rows, rounded), query)
        if "bias" not in self.arrays:
            return scores
        bias = np.asarray(self.arrays["bias"][rows])
        return np.where(bias > -np.inf, scores + bias, bias)


def _parts_of(arrays: dict[str, np.ndarray], start: int) -> list[Part]:
    names = ("codes", "scales", "errors", "norms")
    codes, scales, errors, norms = (arrays[name] for name in names)
    bias = arrays.get("bias", np.zeros(0, np.float32))
    whole = len(scales) - len(scales) % GROUP
    blocks = -(-whole // BLOCK_ROWS)
    groups = Part(
        codes[:whole], scales[:whole], errors[:whole], norms[:whole],
        _block_maxima(arrays, "errors")[:blocks], _block_maxima(arrays, "norms")[:blocks],
        bias[:whole], start,
    )  # fmt: skip
    if whole == len(scales):
        return [_fixed(groups)]
    lost, lengths = _filled_up(errors[whole:], 0), _filled_up(norms[whole:], 0)
    added = bias[whole:] if len(bias) else np.zeros(len(scales) - whole, np.float32)
    rest = Part(
        _filled_up(codes[whole:], 0), _filled_up(scales[whole:], 0), lost, lengths,
        block_maxima(lost), block_maxima(lengths), _filled_up(added, -np.inf), start + whole,
    )  # fmt: skip
    return [_fixed(groups), _fixed(rest)]


def _fixed(part: Part) -> Part:
    """With read-only views, so that the scan is compiled once for arrays and for mapped files."""
    views = {name: np.asarray(array).view() for name, array in part._asdict().items()
             if name != "start"}  # fmt: skip
    for view in views.values():
        view.flags.writeable = False
    return part._replace(**views)


def _filled_up(array: np.ndarray, value: float) -> np.ndarray:
    """With as many more rows as make groups of 16."""
    missing = [(0, -len(array) % GROUP), *[(0, 0)] * (array.ndim - 1)]
    return np.pad(array, missing, constant_values=value) if missing[0][1] else array


def _block_maxima(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    stored = arrays.get(f"block_{name}")
    return block_maxima(arrays[name]) if stored is None else np.asarray(stored)


class _Result:
    """What all threads together have found for one query."""

    def __init__(self, passes: Sequence[Pass], query: int, k: int) -> None:
        self.candidates = candidates_of(passes, query, k)
        self.log_normaliser = log_normaliser_of(passes, query)


def _asked(
    queries: ProductQueries,
    excluded: Sequence[np.ndarray],
    keys: np.ndarray,
    sums_up: bool,
    at_once: int,
) -> Asked:
    rounded = rounded_queries(queries.vectors)
    codes = rounded["codes"]
    codes = np.pad(codes, ((0, -len(codes) % at_once), (0, 0)))  # as many as a call multiplies
    return Asked(
        codes, rounded["scales"], rounded["errors"], rounded["norms"], queries.caps,
        *left_out(excluded), keys, sums_up,
    )  # fmt: skip


def _scan_share(
    parts: Sequence[Part], asked: Asked, at_once: int, passes: Sequence[Pass], thread: int
) -> None:
    """Go through one thread's share of every shard."""
    for part in parts:
        shares = np.linspace(0, len(part.block_errors), len(passes) + 1).astype(int).tolist()
        first, last = list(pairwise(shares))[thread]
        scan(part, first, last, asked, (0,) * at_once, passes[thread])


@kernel
def _products(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Products of a query and each row, summed in float64 in an order that is always the same."""
    products = np.empty(len(vectors), np.float32)
    for row in range(len(vectors)):
        product = 0.0
        for at in range(len(query)):
            product += np.float64(vectors[row, at]) * np.float64(query[at])
        products[row] = product
    return products


def sampling_keys(seed: int, numbers: np.ndarray) -> np.ndarray:
    """Keys that draw the same rows for the same seed and query number, in any batch.

    Args:
        seed: at least 0.
        numbers: a number for each query, such as its position; int, shape (queries,).

    Returns:
        uint32, shape (queries, 2).

    Raises:
        DataError: the seed, or a number, is no whole number from 0.
    """
    seed = whole_number("sampling_keys", "seed", seed, low=0, error=DataError)
    numbers = np.asarray(numbers)
    if numbers.ndim != 1 or (len(numbers) and numbers.dtype.kind not in "iu"):
        raise DataError(f"sampling_keys: numbers must be whole numbers, got {described(numbers)}")
    if (numbers < 0).any():
        raise DataError(f"sampling_keys: numbers must be at least 0, got {numbers.min()}")
    pairs = [np.random.SeedSequence([seed, int(number)]).generate_state(2) for number in numbers]
    return np.array(pairs, np.uint32).reshape(-1, 2)
