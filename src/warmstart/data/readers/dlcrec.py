"""Read the windows of DLCRec (arXiv 2408.12470): ten titles that a user liked, and the next ten.

A folder contains

- ``windows.jsonl`` or ``.jsonl.gz``: ``split`` (train, valid or test), ``history`` and ``future``,
  each ten mappings with ``title``;
- ``catalogue.*``: ``item``, ``title``, and other columns, such as ``genres``;
- ``dataset.toml``, optional: ``name``, ``text``.

A window is a user without a past, of the data set's own: nothing says which windows are of the same
person. Its ids are ``train-0001`` and so on, by part, in the order of the file. Titles that were
written as UTF-8 and read as Latin-1 (``Ã©`` for ``é``) are repaired where the catalogue has the
repaired one. Of several items with one title, the first is taken.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from warmstart.data.dataset import Dataset
from warmstart.data.readers.assemble import assemble
from warmstart.data.readers.dataset_config import read_dataset_config
from warmstart.data.readers.events import Columns
from warmstart.data.readers.published_parts import PARTS, read_parts
from warmstart.data.readers.table_files import JSON_LINES, existing_folder, find_table, read_table
from warmstart.data.readers.tables import Table
from warmstart.data.values import read_texts
from warmstart.data.values.decoding import decoded
from warmstart.errors import DataError
from warmstart.process import check_process

HISTORY, FUTURE = 10, 10
"""Number of titles in the history and in the future of a window."""


def is_windows(folder: Path) -> bool:
    """Whether the folder contains windows."""
    return find_table(folder, "windows", JSON_LINES) is not None


def read_windows(folder: Path | str) -> tuple[Dataset, dict[str, np.ndarray]]:
    """Read windows as a data set, one user each.

    Returns:
        The data set, and the users of each part: part -> int32 row numbers, in the order of the
        file. The events of a user have the positions 0 to 19; those from ``HISTORY`` on are the
        future.

    Raises:
        DataError: there are no windows or no catalogue, or a window is wrong; names file, row,
            column and value.
    """
    check_process()
    folder = existing_folder(folder)
    paths = find_table(folder, "windows", JSON_LINES), find_table(folder, "catalogue")
    if paths[0] is None or paths[1] is None:
        raise DataError(f"{folder}: windows of DLCRec are windows.jsonl[.gz] and catalogue.*")
    windows, catalogue = read_table(paths[0]), read_table(paths[1])
    parts = read_parts(windows.cells("split"))
    users = _numbered(parts)
    rows = _item_rows(windows, catalogue)
    interactions = pl.DataFrame(
        {
            "user": users.gather(np.repeat(np.arange(len(users)), rows.shape[1])),
            "item": catalogue.frame.get_column("item").gather(rows.ravel()),
            "position": np.tile(np.arange(rows.shape[1]), len(users)),
        }
    )
    settings = read_dataset_config(folder)
    dataset = assemble(
        Table(interactions, windows.source, untyped=catalogue.untyped),
        catalogue,
        columns=Columns(position="position"),
        name=settings.name or folder.resolve().name,
        text=settings.text,
    )
    numbers = dataset.user_ids.rows(users.to_list())
    return dataset, {part: numbers[(parts == part).to_numpy()] for part in PARTS}


def _numbered(parts: pl.Series) -> pl.Series:
    """Number the windows of each part from 1: ``train-0001``."""
    numbers = pl.DataFrame({"part": parts}).select(pl.int_range(1, pl.len() + 1).over("part"))
    return parts + "-" + numbers.to_series().cast(pl.String).str.zfill(4)


def _item_rows(windows: Table, catalogue: Table) -> np.ndarray:
    """Find the catalogue row of each title: int64, shape (windows, HISTORY + FUTURE)."""
    row_of: dict[str, int] = {}
    for row, title in enumerate(read_texts(catalogue.cells("title"))):
        row_of.setdefault(title, row)
    found = []
    for name, length in (("history", HISTORY), ("future", FUTURE)):
        cells = windows.cells(name)
        titles = [_titles(value, length) for value in decoded(cells).to_list()]
        wrong = pl.Series([value is None for value in titles])
        if wrong.any():
            raise cells.malformed(wrong, f"{length} mappings with a title")
        rows = [[_row(title, row_of) for title in value or ()] for value in titles]
        wrong = pl.Series([-1 in value for value in rows])
        if wrong.any():
            raise cells.malformed(wrong, f"titles that {catalogue.source} has")
        found.append(rows)
    rows = np.concatenate([np.array(half, np.int64) for half in found], axis=1)
    repeated = pl.Series([len(set(window)) < len(window) for window in rows.tolist()])
    if repeated.any():
        raise windows.cells("future").malformed(repeated, "titles that the window has not had")
    return rows


def _titles(value: Any, length: int) -> list[str] | None:
    """The titles of one half of a window; None if it is malformed."""
    given = value if isinstance(value, list) else []
    titles = [event.get("title") for event in given if isinstance(event, dict)]
    texts = [title for title in titles if isinstance(title, str)]
    return texts if len(given) == len(texts) == length else None


def _row(title: str, row_of: dict[str, int]) -> int:
    """The row of a title, or of the title as it was before it was read as Latin-1; -1 if none."""
    if title in row_of:
        return row_of[title]
    try:
        return row_of.get(title.encode("latin-1").decode("utf-8"), -1)
    except UnicodeError:
        return -1
