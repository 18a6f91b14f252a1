"""Write vectors as parquet files, in the form that the backbone ``imported`` reads."""

from pathlib import Path

import numpy as np
import polars as pl

from warmstart.data.ids import Ids
from warmstart.errors import DataError
from warmstart.export.vectors import Vectors
from warmstart.storage import atomic_file


def write_files(vectors: Vectors, folder: Path) -> None:
    """Write ``items.parquet`` (item, vector, is_cold) and ``users.parquet`` (user, vector).

    Without users there are cold items alone, and their file is ``cold_items.parquet``. Files of
    these names are replaced.

    Raises:
        DataError: there is a file where the folder should be.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: not a folder")
    items = _table(vectors.item_ids, vectors.items).with_columns(is_cold=pl.Series(vectors.cold))
    tables = {"cold_items": items}
    if len(vectors.user_ids):
        tables = {"items": items, "users": _table(vectors.user_ids, vectors.users)}
    for name, table in tables.items():
        with atomic_file(folder / f"{name}.parquet") as path:
            table.write_parquet(path)


def _table(ids: Ids, vectors: np.ndarray) -> pl.DataFrame:
    column = pl.Series("vector", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))
    return pl.DataFrame({ids.kind: ids.values, "vector": column.cast(pl.List(pl.Float32))})
