"""Steps shared by all kinds of values: categories, bytes, missing values, text of one value."""

import json
from collections.abc import Iterable, Mapping, Sized
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from warmstart.data.cells import Cells, any_column, column_of, plain_value

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


_UTF8 = "text in UTF-8, without unpaired surrogates"
_CALENDAR = "dates and times of the years 1 to 9999"
_DEEPEST = 20  # levels of lists and mappings
_NOT_DEEPER = f"lists and mappings in at most {_DEEPEST} levels, none within itself"
# Without the first and the last day, since a zone may move a time beyond the years of Python.
_FIRST_DAY, _LAST_DAY = (
    (day - date(1970, 1, 1)).days for day in (date(1, 1, 2), date(9999, 12, 30))
)
_PER_DAY = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def decoded(cells: Cells) -> pl.Series:
    """Replace categories by their values, and bytes by text, including those in nested values.

    Nested values become lists and mappings of plain values. The values of a set are sorted, since
    their order changes from process to process. An all-missing column gets dtype Null.

    Raises:
        DataError: bytes are not UTF-8, text has unpaired surrogates, values are nested too deeply,
            or a date is beyond the years of Python.
    """
    column = cells.values
    if isinstance(column.dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)
    if column.null_count() == len(column) > 0:
        return pl.Series(column.name, [None] * len(column), dtype=pl.Null)
    if isinstance(column.dtype, (pl.Date, pl.Datetime, pl.Duration)):
        _check_calendar(cells)
    if not (column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object)):
        return column
    try:
        given = column.to_list()
    except (pl.exceptions.PanicException, OverflowError, ValueError):
        raise cells.error(f"a value cannot be read; allowed: {_CALENDAR}") from None
    values, problems = [], []
    for value in given:
        try:
            values.append(_decoded(value))
            problems.append("")
        except ValueError as error:
            problems.append(_UTF8 if isinstance(error, UnicodeError) else str(error))
    if any(problems):
        first = next(filter(None, problems))
        raise cells.malformed(pl.Series([problem == first for problem in problems]), first)
    return column_of(values, column.name)


def _check_calendar(cells: Cells) -> None:
    column = cells.values
    units, dtype = column.to_physical().cast(pl.Int64), column.dtype
    per_day = _PER_DAY[dtype.time_unit] if isinstance(dtype, pl.Datetime | pl.Duration) else 1
    beyond = ~(units // per_day).is_between(_FIRST_DAY, _LAST_DAY).fill_null(True)
    if beyond.any():
        raise cells.replaced(units).malformed(beyond, _CALENDAR)  # polars panics at the dates


def _decoded(value: Any, depth: int = 0) -> Any:
    """Decode one value and all within it.

    Raises:
        ValueError: the value is not allowed; the message says what is, or it is a UnicodeError.
    """
    value = plain_value(value)
    if isinstance(value, str):
        value.encode()  # raises for an unpaired surrogate
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode()
    if isinstance(value, np.datetime64 | np.timedelta64):
        raise ValueError(_CALENDAR)
    if not (isinstance(value, Sized) and isinstance(value, Iterable)):
        return value
    if depth == _DEEPEST:
        raise ValueError(_NOT_DEEPER)
    if isinstance(value, Mapping):
        return {
            _decoded(key if isinstance(key, str | bytes) else str(key)): _decoded(part, depth + 1)
            for key, part in value.items()
        }
    is_plain = isinstance(value, list | tuple | set | frozenset)
    parts = [_decoded(part, depth + 1) for part in (value if is_plain else any_column(value))]
    if isinstance(value, set | frozenset):
        parts.sort(key=lambda part: text_of(part) or "")
    return parts


def one_value_each(cells: Cells, allowed: str) -> pl.Series:
    """Return numbers or times unchanged, or as stripped text; a missing value becomes null.

    Raises:
        DataError: a cell is a list or a mapping.
    """
    column = decoded(cells)
    if column.dtype == pl.Object:
        nested = pl.Series([isinstance(value, list | dict) for value in column.to_list()])
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


def text_of(value: Any) -> str | None:
    """Convert one decoded value to text; None if it is missing."""
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
        case list():
            parts = (text_of(part) for part in value)
            return ", ".join(part for part in parts if part and part not in NULL_WORDS)
        case dict():
            return json.dumps(value, ensure_ascii=False, default=text_of)
    return str(value)
