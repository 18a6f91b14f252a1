"""Checks of what tables and searches are given."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from warmstart.arguments import whole_number
from warmstart.errors import DataError
from warmstart.machine import available_cores
from warmstart.retrieval.best import NOBODY
from warmstart.retrieval.rounding import BLOCK_ROWS


class Search(NamedTuple):
    """Checked arguments of a search.

    ``queries`` are float32, in the order of C; ``keys`` uint32, or None; ``excluded`` has row
    numbers, int64, for each query; ``threads`` is at least 1.
    """

    queries: np.ndarray
    k: int
    keys: np.ndarray | None
    excluded: list[np.ndarray]
    threads: int


def checked_search(
    queries: Any,
    width: int,
    k: Any,
    *,
    keys: Any = None,
    excluded: Any = None,
    threads: Any = None,
) -> Search:
    """Check the arguments of a search; see ``VectorTable.search`` for what they mean.

    Raises:
        DataError: ``queries`` are no numbers of shape (queries, width), or not finite; ``k`` or
            ``threads`` is no whole number from 1; ``keys`` are not uint32 of shape (queries, 2);
            ``excluded`` has no list of row numbers for each query.
    """
    queries = _checked_queries(queries, width)
    k = whole_number("search", "k", k, low=1, error=DataError)
    if threads is None:
        threads = available_cores()
    threads = whole_number("search", "threads", threads, low=1, error=DataError)
    if keys is not None:
        keys = np.asarray(keys)
        if keys.dtype != np.uint32 or keys.shape != (len(queries), 2):
            raise DataError(
                f"search: keys must be uint32 of shape ({len(queries)}, 2), see sampling_keys, "
                f"got {keys.dtype} of shape {keys.shape}"
            )
    return Search(queries, k, keys, _checked_rows(excluded, len(queries)), threads)


def _checked_queries(queries: Any, width: int) -> np.ndarray:
    try:
        found: np.ndarray = np.asarray(queries)
    except ValueError:  # rows of different lengths
        found = np.zeros(0, object)
    if found.dtype.kind not in "fiu" or found.ndim != 2 or found.shape[1] != width:
        raise DataError(
            f"search: queries must be numbers of shape (queries, {width}), got {found.dtype} of "
            f"shape {found.shape}"
        )
    found = np.ascontiguousarray(found, np.float32)
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        raise DataError(f"search: queries must be finite, row {int(np.argmin(finite))} is not")
    return found


def _checked_rows(excluded: Sequence[Any] | None, n_queries: int) -> list[np.ndarray]:
    if excluded is None:
        return [NOBODY] * n_queries
    found = [np.asarray(rows) for rows in excluded]
    if len(found) != n_queries:
        raise DataError(f"search: excluded has {len(found)} lists for {n_queries} queries")
    for query, rows in enumerate(found):
        if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
            raise DataError(
                f"search: excluded must have row numbers for each query, got {rows.dtype} of shape "
                f"{rows.shape} for query {query}"
            )
    return [rows.astype(np.int64) for rows in found]


def checked_bias(who: str, bias: Any, n_rows: int) -> np.ndarray:
    """A bias as float32 in the order of C.

    Raises:
        DataError: it is no number for each row, or NaN or infinite other than -inf.
    """
    if not isinstance(bias, np.ndarray) or bias.dtype.kind not in "fiu" or bias.shape != (n_rows,):
        raise DataError(
            f"{who}: bias must be an array of numbers of shape ({n_rows},), got {described(bias)}"
        )
    bias = np.ascontiguousarray(bias, np.float32)
    wrong = ~(bias < np.inf)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{who}: bias must be finite or -inf, got {bias[row]} for row {row}")
    return bias


def described(value: Any) -> str:
    """Type and shape of an argument, for a message."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__


def check_norms(
    who: str, vectors: np.ndarray, norms: np.ndarray, start: int = 0, bias: np.ndarray | None = None
) -> None:
    """Refuse rows that ``rounded_vectors`` took for zeros, unless they are left out.

    Args:
        who: the function that got the vectors.
        vectors: shape (rows, width).
        norms: those that ``rounded_vectors`` returns for them.
        start: number of the first row.
        bias: of the rows; -inf leaves a row out.

    Raises:
        DataError: a row is not finite, or its norm is above 3.4e38.
    """
    rows = np.flatnonzero(norms == 0)
    if bias is not None:
        rows = rows[bias[rows] > -np.inf]
    for begin in range(0, len(rows), BLOCK_ROWS):
        some = rows[begin : begin + BLOCK_ROWS]
        wrong = (vectors[some] != 0).any(axis=1)  # NaN is not equal to 0 either
        if wrong.any():
            row = int(some[np.argmax(wrong)])
            raise DataError(
                f"{who}: vectors must be finite, with norms below 3.4e38, row {start + row} is not"
            )
