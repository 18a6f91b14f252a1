"""Read vectors of users or items that another tool trained.

Either a table (parquet or jsonl) with a column ``user`` or ``item``, and a column ``vector`` of
lists of numbers; or an ``.npy`` file with one row per vector, beside a table of the same stem (such
as ``items.npy`` and ``items.csv``) whose rows have the ids in the same order.
"""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl

from warmstart.data.ids import ExternalId, Ids
from warmstart.data.readers.table_files import SUFFIXES, check_file, read_table
from warmstart.data.values import read_ids_like
from warmstart.errors import DataError, shortened
from warmstart.storage import file_hash

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
        vectors = _read_array(path)
        table = read_table(_ids_beside(path))
    elif path.name.endswith(SUFFIXES):
        table = read_table(path)
        vectors = _read_lists(path, table.cells("vector").values)
    else:
        allowed = ", ".join((_ARRAY, ".parquet", ".jsonl"))
        raise DataError(f"{path}: unknown kind of file; allowed: {allowed}")
    ids = read_ids_like(table.cells(like.kind), like)
    if len(ids) != len(vectors):
        raise DataError(f"{path}: {len(vectors)} vectors for {len(ids)} ids of {table.source}")
    first: dict[ExternalId, int] = {}
    for row, value in enumerate(ids):
        if (before := first.setdefault(value, row)) != row:
            raise DataError(
                f"{table.source}: row {row + 1}: {like.kind} {value!r} already stands in row "
                f"{before + 1}; allowed: one vector for each"
            )
    with np.errstate(over="ignore"):
        single = vectors.astype(np.float32)
    wrong = ~np.isfinite(single)
    if wrong.any():
        row, place = (int(at[0]) for at in np.nonzero(wrong))
        raise DataError(
            f"{path}: row {row + 1}, {like.kind} {ids[row]!r}: got {vectors[row, place]} at place "
            f"{place + 1}; allowed: finite numbers of 32 bits"
        )
    return ids, single


def vectors_hash(path: Path) -> str | None:
    """Return the sha256 of a file of vectors, with that of the ids beside an array; None if absent.

    Raises:
        DataError: the ids of an array are not in one table beside it.
    """
    if not path.is_file():
        return None
    if path.suffix != _ARRAY:
        return file_hash(path)
    both = file_hash(path) + file_hash(_ids_beside(path))
    return hashlib.sha256(both.encode()).hexdigest()


def _ids_beside(path: Path) -> Path:
    found = [path.with_suffix(suffix) for suffix in SUFFIXES if path.with_suffix(suffix).is_file()]
    if len(found) != 1:
        raise DataError(
            f"{path}: its ids must be in one table beside it, such as {path.with_suffix('.csv')}; "
            f"found {[file.name for file in found]}"
        )
    return found[0]


def _read_array(path: Path) -> np.ndarray:
    check_file(path)
    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as an array of numbers: {error}") from error
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or vectors.shape[1] == 0:
        raise DataError(
            f"{path}: allowed: an array of numbers of shape (rows, width), got "
            f"{vectors.dtype} {vectors.shape}"
        )
    return vectors


def _read_lists(path: Path, column: pl.Series) -> np.ndarray:
    if len(column) == 0:
        raise DataError(f"{path}: the file has no rows")
    if column.dtype == pl.Object:  # of jsonl
        values = column.to_list()
        for row, value in enumerate(values):
            if not isinstance(value, list) or not all(type(x) in (int, float) for x in value):
                raise DataError(
                    f"{path}: row {row + 1}: got vector {shortened(value)}; allowed: a list of "
                    "numbers"
                )
        column = pl.Series([[float(x) for x in value] for value in values])
    inner = getattr(column.dtype, "inner", None)
    if inner is None or not inner.is_numeric():
        raise DataError(f"{path}: column 'vector': got {column.dtype}; allowed: lists of numbers")
    lists = column if inner == pl.Float32 else column.cast(pl.List(pl.Float64))
    lengths = lists.list.len().fill_null(0).to_numpy()
    if lengths[0] == 0 or (lengths != lengths[0]).any():
        row = int((lengths != lengths[0]).argmax())
        raise DataError(
            f"{path}: row {row + 1}: got a vector of length {lengths[row]}; allowed: vectors of "
            f"one length, at least 1, and the first row has {lengths[0]}"
        )
    return lists.explode().to_numpy().reshape(len(lists), -1)
