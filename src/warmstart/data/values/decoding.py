"""Steps shared by all kinds of values: categories, bytes, missing values, text of one value."""

import json
from collections.abc import Mapping, Sized
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from warmstart.data.cells import Cells, column_of

NULL_WORDS = (
    "nan",
    "NaN",
    "NAN",
    "null",
    "NULL",
    "None",
    "NaT",
    "<NA>",
    r"\N",
    "#N/A",
    "N/A",
    "NA",
)
"""Words that software writes for a missing value; never an id, a text, a number or a time."""


def decoded(cells: Cells) -> pl.Series:
    """Replace categories by their values and bytes by text; an all-missing column gets dtype Null.

    Raises:
        DataError: bytes are not UTF-8, or text has unpaired surrogates.
    """
    column = cells.values
    if isinstance(column.dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)
    if column.null_count() == len(column) > 0:
        return pl.Series(column.name, [None] * len(column), dtype=pl.Null)
    if column.dtype not in (pl.Binary, pl.Object):
        return column
    values, wrong = [], []
    for value in column.to_list():
        try:
            value = value.decode() if isinstance(value, bytes) else value
            if isinstance(value, str):
                value.encode()  # raises for an unpaired surrogate
            wrong.append(False)
        except UnicodeError:
            wrong.append(True)
        values.append(value)
    if any(wrong):
        raise cells.malformed(pl.Series(wrong), "text in UTF-8, without unpaired surrogates")
    return column_of(values, column.name)


def one_value_each(cells: Cells, allowed: str) -> pl.Series:
    """Return numbers or times unchanged, or as stripped text; a missing value becomes null.

    Raises:
        DataError: a cell is a list or a mapping.
    """
    column = decoded(cells)
    if column.dtype == pl.Object:
        nested = pl.Series(
            [
                isinstance(value, Sized) and not isinstance(value, str | bytes)
                for value in column.to_list()
            ]
        )
        if nested.any():
            raise cells.malformed(nested, allowed)
        column = pl.Series([text_of(value) for value in column.to_list()], dtype=pl.String)
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        column = column.set(column.is_in(["", *NULL_WORDS]).fill_null(False), None)
    return column


def is_nan(column: pl.Series) -> pl.Series:
    """Whether each value is NaN: bool, one value per cell; False for null."""
    if column.dtype.is_float():
        return column.is_nan().fill_null(False)
    return pl.repeat(False, len(column), eager=True, dtype=pl.Boolean)


def text_of(value: Any, separator: str = ", ") -> str | None:
    """Convert one value to text; None if it is missing."""
    if isinstance(value, np.ndarray | pl.Series):
        value = value.tolist() if isinstance(value, np.ndarray) else value.to_list()
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:
        return None
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.isoformat(sep=" ")
        case date() | time():
            return value.isoformat()
        case list() | tuple() | set() | frozenset():
            parts = (text_of(part) for part in value)
            return separator.join(part for part in parts if part and part not in NULL_WORDS)
        case Mapping():
            return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
