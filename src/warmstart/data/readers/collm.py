"""Read rated events with published parts, as CoLLM (Zhang et al., 2023) has them.

A folder contains

- ``samples.*``: ``split`` (train, valid or test), ``user``, ``item``, ``label`` (1 if the user
  liked the item, else 0), ``timestamp``;
- ``items.*`` and ``dataset.toml``, optional: see ``files``.

The rows of a user stand in order, also those of the same second. So the liked items before a row
are the published history of that row.
"""

from pathlib import Path

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.readers.assemble import assemble
from warmstart.data.readers.dataset_config import read_dataset_config
from warmstart.data.readers.events import Columns
from warmstart.data.readers.published_parts import read_parts
from warmstart.data.readers.table_files import existing_folder, find_table, read_table
from warmstart.data.values import read_ids_like, read_numbers, read_times
from warmstart.errors import DataError
from warmstart.process import check_process


def read_collm(folder: Path | str) -> tuple[Dataset, tuple[str, ...]]:
    """Read samples as a data set with ratings, 1 for liked and 0 for not liked.

    Returns:
        The data set, and the part of each of its ratings: "train", "valid" or "test".

    Raises:
        DataError: there are no samples, or a row is malformed; names file, row, column and value.
    """
    check_process()
    folder = existing_folder(folder)
    path, items = find_table(folder, "samples"), find_table(folder, "items")
    if path is None:
        raise DataError(f"{folder}: no samples.csv[.gz]")
    samples, settings = read_table(path), read_dataset_config(folder)
    dataset = assemble(
        samples,
        None if items is None else read_table(items),
        columns=Columns(rating="label", time="timestamp"),
        name=settings.name or folder.resolve().name,
        text=settings.text,
        positive_rating=1.0,
    )
    read_numbers(samples.cells("label"), required=True)  # else the ratings have fewer rows
    users = dataset.user_ids.rows(read_ids_like(samples.cells("user"), dataset.user_ids))
    order = np.lexsort((read_times(samples.cells("timestamp")).to_numpy(), users))
    return dataset, tuple(read_parts(samples.cells("split")).gather(order))
