"""Read and write folders of data.

A folder contains

- ``interactions.(csv|csv.gz|parquet|jsonl)``: ``user``, ``item`` and, if known, ``rating``,
  ``timestamp`` (unix seconds or ISO 8601) or ``position`` (order in the user's sequence);
- ``items.(csv|csv.gz|jsonl|parquet)``, optional: ``item``, any of ``title``, ``text``, ``genres``,
  ``categories``, ``tags`` (the last three ``|``-separated), ``released`` (a time), other columns;
- ``users.*``, optional: ``user``, to keep users without interactions; other columns are not read;
- ``dataset.toml``, optional: ``name``, ``text``, ``positive_rating``.

A folder with RecBole's atomic files or with the files of a ColdRec/ColdLLM split is read as well.
``assemble`` defines the rules for the rows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from warmstart.data.catalogue import Catalogue, compose_texts
from warmstart.data.cells import Cells
from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids
from warmstart.data.interactions import concatenate
from warmstart.data.readers.assemble import OnUnknownItem, assemble, build_catalogue
from warmstart.data.readers.coldrec import is_coldrec, read_coldrec
from warmstart.data.readers.data_checks import check_new_items
from warmstart.data.readers.dataset_config import (
    FILE,
    DatasetConfig,
    dataset_toml,
    read_dataset_config,
)
from warmstart.data.readers.events import Columns
from warmstart.data.readers.recbole import is_atomic, read_atomic
from warmstart.data.readers.table_files import SUFFIXES, find_table, read_table
from warmstart.data.readers.tables import Table, frame_table
from warmstart.data.values import read_ids
from warmstart.errors import DataError
from warmstart.storage import atomic_folder

SOURCE_FILE = "source.json"
"""File in the folder of a downloaded data set; states its origin and terms."""


def read_dataset(folder: Path, *, on_unknown_item: OnUnknownItem = "add") -> Dataset:
    """Read the data set in a folder.

    Args:
        folder: see the module docstring.
        on_unknown_item: "add" items that occur only in interactions to the catalogue, without
            text, or "raise".

    Raises:
        ConfigError: ``dataset.toml`` has a wrong value or an unknown key.
        DataError: a file is missing or a row is malformed; names file, row, column and value.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    path = find_table(folder, "interactions")
    if path is None and is_atomic(folder):
        return read_atomic(folder, on_unknown_item=on_unknown_item)
    if path is None and is_coldrec(folder):
        return read_coldrec(folder, on_unknown_item=on_unknown_item)
    if path is None:
        names = ", ".join(f"interactions{suffix}" for suffix in SUFFIXES)
        raise DataError(
            f"{folder}: no interactions; allowed: one of {names}, RecBole's *.inter, "
            "or warm_emb.csv and its companions"
        )
    settings = read_dataset_config(folder)
    interactions = read_table(path)
    items, users = find_table(folder, "items"), find_table(folder, "users")
    return assemble(
        interactions,
        None if items is None else read_table(items),
        users=None if users is None else read_table(users),
        columns=_standard_columns(interactions),
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


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write a folder that ``read_dataset`` reads back with the same hash.

    Texts that are not composed of the text columns (in a catalogue made by hand) are written to a
    separate column ``composed_text``; reading collapses their white space.

    Raises:
        DataError: the folder has other content.
    """
    catalogue, events = dataset.catalogue, dataset.interactions
    items, text_columns = item_frame(catalogue), catalogue.text_columns
    if compose_texts(items, text_columns) != catalogue.texts:
        items = items.with_columns(pl.Series("composed_text", catalogue.texts))
        text_columns = ("composed_text",)
    below = dataset.below_threshold
    if len(below):
        events = concatenate([events, below])
    interactions: dict[str, Sequence[Any]] = {
        "user": dataset.user_ids.take(events.users),
        "item": catalogue.item_ids.take(events.items),
    }
    if events.times is not None:
        interactions["timestamp" if dataset.clock == "unix" else "position"] = events.times.tolist()
    if len(below):
        interactions["rating"] = [1.0] * len(dataset.interactions) + [0.0] * len(below)
    threshold = 1.0 if len(below) else None
    write_folder(
        folder,
        pl.DataFrame(interactions),
        items,
        DatasetConfig(name=dataset.name, text=text_columns, positive_rating=threshold),
        users=pl.DataFrame({"user": dataset.user_ids.values}),
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
    interactions: pl.DataFrame,
    items: pl.DataFrame | None,
    settings: DatasetConfig,
    *,
    users: pl.DataFrame | None = None,
    source: str | None = None,
) -> None:
    """Write tables as parquet, which keeps the type of the ids, and settings as TOML.

    Args:
        folder: created, or replaced if it contains a data set written by this function.
        interactions: see the module docstring.
        items: see the module docstring; or None.
        settings: content of ``dataset.toml``.
        users: see the module docstring; or None.
        source: content of ``source.json``, which records where the data are from; or None.

    Raises:
        DataError: the folder has other content.
    """
    tables = {"interactions": interactions, "items": items, "users": users}
    files = {FILE, SOURCE_FILE, *(f"{name}.parquet" for name in tables)}
    with atomic_folder(
        Path(folder), is_ours=_is_written_folder, files=files, error=DataError
    ) as fresh:
        for name, table in tables.items():
            if table is not None:
                table.write_parquet(fresh / f"{name}.parquet")
        (fresh / FILE).write_text(dataset_toml(settings), encoding="utf-8")
        if source is not None:
            (fresh / SOURCE_FILE).write_text(source, encoding="utf-8")


def _standard_columns(table: Table) -> Columns:
    def known(name: str) -> str | None:
        return name if name in table.frame.columns else None

    return Columns(rating=known("rating"), time=known("timestamp"), position=known("position"))


def _is_written_folder(folder: Path) -> bool:
    return (folder / FILE).is_file() and (folder / "interactions.parquet").is_file()
