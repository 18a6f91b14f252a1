"""Read and write folders of data.

A folder contains

- ``interactions.*``: ``user``, ``item`` and, if known, ``rating``, ``timestamp`` (unix seconds or
  ISO 8601) or ``position`` (order in the user's sequence);
- ``items.*``, optional: ``item``, any of ``title``, ``text``, ``genres``, ``categories``, ``tags``
  (the last three ``|``-separated), ``released`` (a time), other columns;
- ``users.*``, optional: ``user``, to keep users without interactions; other columns are not read;
- ``dialogues.jsonl`` or ``.jsonl.gz``, optional: see ``dialogues``. Without interactions, every
  dialogue counts as a user, who had the items that it mentions;
- ``dataset.toml``, optional: ``name``, ``text``, ``positive_rating``.

Tables are csv, csv.gz, parquet, jsonl or jsonl.gz. A folder with RecBole's atomic files, with the
files of a ColdRec/ColdLLM split, with windows of DLCRec, or with iEvaLM's requests and no dialogues
is read as well. ``assemble`` defines the rules for the rows.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from warmstart.data.catalogue import Catalogue, compose_texts
from warmstart.data.cells import Cells
from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids, id_column
from warmstart.data.interactions import Interactions
from warmstart.data.ratings import Ratings
from warmstart.data.readers.assemble import OnUnknownItem, assemble, build_catalogue
from warmstart.data.readers.coldrec import is_coldrec, read_coldrec
from warmstart.data.readers.data_checks import check_new_items
from warmstart.data.readers.dataset_config import (
    FILE,
    DatasetConfig,
    dataset_toml,
    read_dataset_config,
)
from warmstart.data.readers.dialogues import dialogue_records, read_dialogues
from warmstart.data.readers.dlcrec import is_windows, read_windows
from warmstart.data.readers.events import Columns
from warmstart.data.readers.recbole import is_atomic, read_atomic
from warmstart.data.readers.redial_requests import has_requests, read_redial_requests
from warmstart.data.readers.table_files import (
    JSON_LINES,
    SUFFIXES,
    existing_folder,
    find_table,
    read_table,
)
from warmstart.data.readers.tables import Table, frame_table
from warmstart.data.values import read_ids
from warmstart.errors import DataError
from warmstart.process import check_process
from warmstart.storage import atomic_folder

SOURCE_FILE = "source.json"
"""File in the folder of a downloaded data set; states its origin and terms."""
_DIALOGUES = "dialogues.jsonl"


def read_dataset(folder: Path | str, *, on_unknown_item: OnUnknownItem = "add") -> Dataset:
    """Read the data set in a folder.

    Args:
        folder: see the module docstring.
        on_unknown_item: "add" items that occur only in interactions to the catalogue, without
            text, or "raise".

    Raises:
        ConfigError: ``dataset.toml`` has a wrong value or an unknown key.
        DataError: a file is missing or a row is malformed; names file, row, column and value.
    """
    folder = existing_folder(folder)
    path, talk = find_table(folder, "interactions"), find_table(folder, "dialogues", JSON_LINES)
    if path is None and is_atomic(folder):
        return read_atomic(folder, on_unknown_item=on_unknown_item)
    if path is None and is_coldrec(folder):
        return read_coldrec(folder, on_unknown_item=on_unknown_item)
    if path is None and is_windows(folder):
        return read_windows(folder)[0]
    if path is None and talk is None and has_requests(folder):
        return read_redial_requests(folder)
    if path is None and talk is None:
        names = ", ".join(f"interactions{suffix}" for suffix in SUFFIXES)
        raise DataError(
            f"{folder}: no interactions; allowed: one of {names}, dialogues.jsonl, RecBole's "
            "*.inter, or warm_emb.csv and its companions"
        )
    settings = read_dataset_config(folder)
    interactions = None if path is None else read_table(path)
    items, users = find_table(folder, "items"), find_table(folder, "users")
    return assemble(
        interactions,
        None if items is None else read_table(items),
        users=None if users is None else read_table(users),
        columns=Columns() if interactions is None else _standard_columns(interactions),
        dialogues=None if talk is None else read_dialogues(read_table(talk)),
        name=settings.name or folder.resolve().name,
        text=settings.text,
        positive_rating=settings.positive_rating,
        on_unknown_item=on_unknown_item,
    )


def read_items(
    source: Path | Any,
    text_columns: Sequence[str],
    like: Ids | None = None,
    columns: Sequence[str] | None = None,
) -> Catalogue:
    """Read new items with their texts from a csv, jsonl or parquet file or from a frame.

    Args:
        source: a path or a frame with the column ``item``.
        text_columns: the columns that the text is composed of, as in the training catalogue. A
            missing column counts as empty, but at least one must exist.
        like: the ids of that catalogue; the new ids take their type.
        columns: the columns of that catalogue. If a text column is missing, other columns cause a
            warning, since one of them may have the wrong name.

    Returns:
        The items with all their columns, and the text columns.

    Raises:
        DataError: no text column exists, a row is malformed, or an id has another type.
    """
    if isinstance(source, str | Path):
        table = read_table(Path(source))
    else:
        table = frame_table(source, "the new items")
    # Before columns are added to the table, so that an error lists those of the source.
    cells = [table.cells("item")]
    check_new_items(table, "item", text_columns, columns)
    given = table.frame.columns
    absent = [pl.lit(None, pl.String).alias(name) for name in text_columns if name not in given]
    table = Table(table.frame.with_columns(absent), table.source, table.untyped)
    if like is not None and len(like):
        cells.append(Cells(pl.Series(like.values[:1]), "the catalogue", "item"))
    listed = read_ids(cells, "item")[0]
    return build_catalogue(table, "item", listed, listed.clear(), text_columns)


def write_dataset(dataset: Dataset, folder: Path | str) -> None:
    """Write a folder that ``read_dataset`` reads back with the same hash.

    Texts that are not composed of the text columns (in a catalogue made by hand) are written to a
    separate column ``composed_text``; reading collapses their white space. Ratings of pairs that
    are neither positives nor below the threshold are left out.

    Raises:
        DataError: the folder has other content.
        UnsupportedError: this process was forked from one that had used warmstart.
    """
    check_process()
    catalogue = dataset.catalogue
    items, text_columns = item_frame(catalogue), catalogue.text_columns
    if compose_texts(items, text_columns) != catalogue.texts:
        items = items.with_columns(pl.Series("composed_text", catalogue.texts))
        text_columns = ("composed_text",)
    interactions, threshold = _interaction_rows(dataset)
    talk = dataset.dialogues
    write_folder(
        Path(folder),
        interactions,
        items,
        DatasetConfig(name=dataset.name, text=text_columns, positive_rating=threshold),
        users=pl.DataFrame({"user": dataset.user_ids.values}),
        dialogues=None if talk is None else dialogue_records(talk, catalogue.item_ids),
    )


def item_frame(catalogue: Catalogue) -> pl.DataFrame:
    """Build the items table of a catalogue: ``item``, columns, and ``released`` in unix seconds."""
    frame = catalogue.columns
    if "item" in frame.columns:
        raise DataError("the catalogue has a column named 'item' besides its ids; rename it")
    ids = pl.Series("item", catalogue.item_ids.values, strict=True)
    frame = pl.DataFrame([ids, *frame.get_columns()])
    if catalogue.released is not None:
        released = pl.Series("released", catalogue.released)
        frame = frame.with_columns(released.set(released == -1, None))
    return frame


def write_folder(
    folder: Path,
    interactions: pl.DataFrame | None,
    items: pl.DataFrame | None,
    settings: DatasetConfig,
    *,
    users: pl.DataFrame | None = None,
    dialogues: Iterable[Mapping[str, Any]] | None = None,
    source: str | None = None,
) -> None:
    """Write tables as parquet, which keeps the type of the ids, and settings as TOML.

    Args:
        folder: created, or replaced if it contains a data set written by this function.
        interactions: see the module docstring; None for dialogues.
        items: see the module docstring; or None.
        settings: content of ``dataset.toml``.
        users: see the module docstring; or None.
        dialogues: the lines of ``dialogues.jsonl``; or None.
        source: content of ``source.json``, which records where the data are from; or None.

    Raises:
        DataError: the folder has other content.
    """
    tables = {"interactions": interactions, "items": items, "users": users}
    files = {FILE, SOURCE_FILE, _DIALOGUES, *(f"{name}.parquet" for name in tables)}
    with atomic_folder(folder, is_ours=_is_written_folder, files=files, error=DataError) as fresh:
        for name, table in tables.items():
            if table is not None:
                table.write_parquet(fresh / f"{name}.parquet")
        (fresh / FILE).write_text(dataset_toml(settings), encoding="utf-8")
        if dialogues is not None:
            lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in dialogues)
            (fresh / _DIALOGUES).write_text("".join(lines), encoding="utf-8")
        if source is not None:
            (fresh / SOURCE_FILE).write_text(source, encoding="utf-8")


def _standard_columns(table: Table) -> Columns:
    def known(name: str) -> str | None:
        return name if name in table.frame.columns else None

    return Columns(rating=known("rating"), time=known("timestamp"), position=known("position"))


def _interaction_rows(dataset: Dataset) -> tuple[pl.DataFrame, float | None]:
    """Build the interactions table of a data set, and the threshold that goes with it."""

    def rows(events: Interactions | Ratings, rating: Any = None) -> pl.DataFrame:
        columns: dict[str, Any] = {
            "user": id_column(dataset.user_ids, events.users),
            "item": id_column(dataset.catalogue.item_ids, events.items),
        }
        if events.times is not None:
            columns["timestamp" if dataset.clock == "unix" else "position"] = events.times
        return pl.DataFrame(columns if rating is None else {**columns, "rating": rating})

    ratings, threshold, below = dataset.ratings, dataset.positive_rating, dataset.below_threshold
    if ratings is None and not len(below):
        return rows(dataset.interactions), None
    if ratings is None:
        return pl.concat([rows(dataset.interactions, 1.0), rows(below, 0.0)]), 1.0
    keys = ratings.users.astype(np.int64) << 32 | ratings.items
    ratings = ratings.where(np.isin(keys, [*dataset.interactions.keys, *below.keys]))
    # By way of text, a float32 near 3.3 becomes the float64 3.3, on the same side of a threshold.
    rated = rows(ratings, pl.Series(ratings.values).cast(pl.String).cast(pl.Float64))
    positive = rated if threshold is None else rated.filter(pl.col("rating") >= threshold)
    others = rows(dataset.interactions)
    others = others.join(positive, others.columns, how="anti", maintain_order="left")
    return pl.concat([rated, others], how="diagonal"), threshold


def _is_written_folder(folder: Path) -> bool:
    events = (folder / "interactions.parquet", folder / _DIALOGUES)
    return (folder / FILE).is_file() and any(path.is_file() for path in events)
