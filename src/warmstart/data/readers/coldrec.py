"""Read the file layout of ColdRec, ColdLLM and FilterLLM: one csv file per part.

Each file has the header ``user,item`` and ends in ``.csv`` or ``.csv.gz``. ``warm_emb`` (or
``warm_train``) is the training part; ``warm_val``, ``warm_test``, ``cold_item_val`` and
``cold_item_test`` are held out.
"""

from pathlib import Path

import polars as pl

from warmstart.data.dataset import Dataset
from warmstart.data.readers.assemble import OnUnknownItem, assemble
from warmstart.data.readers.csv_files import read_csv
from warmstart.data.readers.dataset_config import read_dataset_config
from warmstart.data.readers.events import Columns
from warmstart.data.readers.table_files import existing_folder, find_table, read_table
from warmstart.data.readers.tables import Table
from warmstart.errors import DataError

FILES = {
    "train": ("warm_emb", "warm_train"),
    "warm_valid": ("warm_val",),
    "warm_test": ("warm_test",),
    "cold_valid": ("cold_item_val",),
    "cold_test": ("cold_item_test",),
}


def is_coldrec(folder: Path) -> bool:
    """Whether the folder contains a training part of this layout."""
    return _paths(folder, "train") != []


def read_parts(folder: Path | str) -> dict[str, Table]:
    """Read the five parts under our names, with string columns ``user`` and ``item``.

    Raises:
        DataError: a part is missing or has several files, or a row is malformed.
    """
    folder = existing_folder(folder)
    parts = {}
    for part, stems in FILES.items():
        paths = _paths(folder, part)
        if len(paths) != 1:
            found = [path.name for path in paths] or "nothing"
            allowed = " or ".join(f"{stem}.csv[.gz]" for stem in stems)
            raise DataError(
                f"{folder}: found {found} for the part {part!r}; allowed: one {allowed}"
            )
        parts[part] = read_csv(paths[0])
        for column in ("user", "item"):
            parts[part].cells(column)  # raises if the column is missing
    return parts


def read_coldrec(folder: Path, *, on_unknown_item: OnUnknownItem = "add") -> Dataset:
    """Read the union of the five parts as a data set, with the texts of ``items.*`` if it exists.

    Raises:
        DataError: see ``read_parts``.
    """
    parts = read_parts(folder)
    frames = [table.frame.select("user", "item") for table in parts.values()]
    items = find_table(folder, "items")
    settings = read_dataset_config(folder)
    return assemble(
        Table(pl.concat(frames), f"{folder} (all parts)", untyped=True),
        None if items is None else read_table(items),
        columns=Columns(),
        name=settings.name or folder.resolve().name,
        text=settings.text,
        on_unknown_item=on_unknown_item,
    )


def _paths(folder: Path, part: str) -> list[Path]:
    names = [f"{stem}{end}" for stem in FILES[part] for end in (".csv", ".csv.gz")]
    return [folder / name for name in names if (folder / name).exists()]
