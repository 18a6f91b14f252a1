"""Read vectors of users or items that another tool trained.

Either a table (parquet or jsonl) with a column ``user`` or ``item``, and a column ``vector`` of
lists of numbers; or an ``.npy`` file with one row per vector, beside a table of the same stem (such
as ``items.npy`` and ``items.csv``) whose rows have the ids in the same order.
"""

from pathlib import Path

import numpy as np
import polars as pl

from warmstart.data.ids import ExternalId, Ids
from warmstart.data.readers.table_files import SUFFIXES, read_table
from warmstart.data.values import read_ids_like
from warmstart.errors import DataError

_ARRAY = ".npy"


def read_vectors(path: Path, like: Ids) -> tuple[list[ExternalId], np.ndarray]:
    """Read ids and vectors.

    Args:
        path: see the module docstring.
        like: ids of the data; the ones of the file take their type, and their ``kind`` is the name
            of the id column.

    Returns:
        Distinct ids, and float32, shape (ids, width).

    Raises:
        DataError: a file is missing or malformed, an id occurs twice, vectors differ in length, or
            a number is not finite; names file and row.
    """
    if path.suffix == _ARRAY:
        table = read_table(_ids_beside(path))
        vectors = _read_array(path)
    else:
        table = read_table(path)
        vectors = _read_lists(path, table.cells("vector").values)
    ids = read_ids_like(table.cells(like.kind), like)
    if len(ids) != len(vectors):
        raise DataError(f"{path}: {len(vectors)} vectors for {len(ids)} ids of {table.source}")
    Ids(ids, like.kind)  # an id that occurs twice is refused
    wrong = ~np.isfinite(vectors).all(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{path}: row {row + 1}, {like.kind} {ids[row]!r}: the vector has numbers that are not "
            "finite"
        )
    return ids, vectors


def _ids_beside(path: Path) -> Path:
    found = [path.with_suffix(suffix) for suffix in SUFFIXES if path.with_suffix(suffix).is_file()]
    if len(found) != 1:
        raise DataError(
            f"{path}: its ids must be in one table beside it, such as {path.with_suffix('.csv')}; "
            f"found {[file.name for file in found]}"
        )
    return found[0]


def _read_array(path: Path) -> np.ndarray:
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an array of numbers: {error}") from error
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] == 0:
        raise DataError(
            f"{path}: allowed: an array of numbers of shape (rows, width), got "
            f"{vectors.dtype} {vectors.shape}"
        )
    return np.ascontiguousarray(vectors, np.float32)


def _read_lists(path: Path, column: pl.Series) -> np.ndarray:
    try:
        if column.dtype == pl.Object:  # of jsonl
            column = pl.Series(column.to_list())
        lists = column.cast(pl.List(pl.Float32))
    except (pl.exceptions.PolarsError, TypeError):
        raise DataError(
            f"{path}: column 'vector': allowed: lists of numbers, got {column.dtype}"
        ) from None
    lengths = lists.list.len().fill_null(0).to_numpy()
    if len(lengths) == 0 or lengths[0] == 0 or (lengths != lengths[0]).any():
        row = int((lengths != lengths[:1]).argmax()) if len(lengths) else 0
        raise DataError(
            f"{path}: row {row + 1}: allowed: vectors of one length, at least 1, got "
            f"{sorted({int(length) for length in lengths})[:5]}"
        )
    flat = lists.explode().to_numpy()
    return np.ascontiguousarray(flat.reshape(len(lists), -1), np.float32)
