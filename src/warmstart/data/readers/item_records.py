"""A catalogue of new items from records: the columns of each as a service or a store has them."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from warmstart.data.catalogue import LIST_COLUMNS, Catalogue
from warmstart.data.ids import Ids
from warmstart.data.readers.assemble import item_texts
from warmstart.data.readers.tables import columns_table
from warmstart.data.values import split_values


def catalogue_of_records(
    records: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    like: Catalogue,
    ids: Sequence[str] | None = None,
) -> Catalogue:
    """Read records as items with the columns of a catalogue; each is read as if it were alone.

    Columns that the catalogue lacks are left out, as ``Catalogue.extended`` does. Release times
    are not read.

    Args:
        records: the columns of each item; an absent column is a missing value.
        texts: the composed text of each item.
        like: the catalogue of the fit.
        ids: distinct ids as text, of any type in ``like``; None takes positions.

    Raises:
        DataError: a value cannot be read, or an id occurs twice.
    """
    names = [str(at) for at in range(len(records))] if ids is None else ids
    columns = like.columns.clear()
    if records and columns.width:
        lists = {name for name, dtype in columns.schema.items() if dtype == pl.List(pl.String)}
        cells = {
            name: [_cell(record.get(name), name in lists) for record in records]
            for name in columns.columns
        }
        columns = item_texts(columns_table(list(cells.items()), "the items"))
        columns = columns.with_columns(_as_in(columns[name], name in lists) for name in cells)
    return Catalogue(Ids(names, "item"), tuple(texts), None, columns, like.text_columns)


def _cell(value: Any, of_list: bool) -> Any:
    return split_values(value) if of_list and isinstance(value, str) else value


def _as_in(column: pl.Series, of_list: bool) -> pl.Series:
    """A column as lists, or as text with ``|`` between the values."""
    if of_list and column.dtype == pl.String:
        cells = column.to_list()
        split = [None if cell is None else split_values(cell) for cell in cells]
        return pl.Series(column.name, split, dtype=pl.List(pl.String))
    if not of_list and column.dtype != pl.String and column.name not in LIST_COLUMNS:
        return column.list.join("|")
    return column
