"""What the cells of a column mean: ids, ratings, times, positions; and an error where they do not.

Every function takes a whole column and names the first row that is wrong.
"""

import numpy as np
import polars as pl

from warmstart.data.readers.tables import Table
from warmstart.errors import DataError

# A whole number as written by a machine: no leading zeros or plus, within int64.
_INTEGER = r"^(?:0|-?[1-9][0-9]{0,17})$"
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?$"
)
# The year 5138 in seconds; a larger number is a time in milliseconds or finer.
_LATEST_SECOND = 100_000_000_000
_TIME_FORMS = "unix seconds, or ISO 8601 such as 2024-05-31 or 2024-05-31T12:30:00Z (no zone = UTC)"


def read_ids(tables: list[Table], name: str, kind: str) -> list[pl.Series]:
    """The id columns of tables that share one set of ids: all Int64 or all String.

    A csv column is integer where all its cells, and those of the other csv columns, are whole
    numbers without leading zeros; beside a typed column (parquet, jsonl, frame) it takes its type.

    Args:
        tables: where the ids are.
        name: the id column, called the same in every table.
        kind: "user" or "item"; named in errors.

    Raises:
        DataError: a missing or empty id, an id that is neither a whole number nor a string, or
            columns that disagree.
    """
    columns = [_checked_ids(table, name, kind) for table in tables]
    typed = {
        column.dtype for column, table in zip(columns, tables, strict=True) if not table.textual
    }
    if len(typed) > 1:
        found = ", ".join(
            f"{'int' if c.dtype == pl.Int64 else 'str'} in {t.source}"
            for c, t in zip(columns, tables, strict=True)
        )
        raise DataError(f"{kind} ids must be all int or all str, got {found}")
    if typed:
        as_integer = typed == {pl.Int64()}
    else:
        as_integer = all(column.str.contains(_INTEGER).all() for column in columns)
    if not as_integer:
        return columns
    return [
        _to_integer(table, name, column, kind) if table.textual else column
        for table, column in zip(tables, columns, strict=True)
    ]


def _checked_ids(table: Table, name: str, kind: str) -> pl.Series:
    column = table.column(name)
    allowed = f"a whole number or a non-empty string, the {kind} id"
    if isinstance(column.dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)
    if column.null_count():
        raise table.malformed(name, column.is_null(), allowed)
    if column.dtype.is_integer():
        try:
            return column.cast(pl.Int64)
        except pl.exceptions.InvalidOperationError:
            too_big = column > np.iinfo(np.int64).max
            raise table.malformed(name, too_big, f"{allowed}, within int64") from None
    if column.dtype != pl.String:
        if not len(column):
            return column.cast(pl.String)
        raise DataError(f"{table.source}: column {name!r} is {column.dtype}; allowed: {allowed}")
    empty = column.str.len_bytes() == 0
    if empty.any():
        raise table.malformed(name, empty, allowed)
    return column


def _to_integer(table: Table, name: str, column: pl.Series, kind: str) -> pl.Series:
    wrong = ~column.str.contains(_INTEGER)
    if wrong.any():
        raise table.malformed(name, wrong, f"a whole number, as the other {kind} ids are integers")
    return column.cast(pl.Int64)


def read_numbers(table: Table, name: str) -> pl.Series:
    """A column of finite numbers as Float64, none missing.

    Raises:
        DataError: naming the first cell that is not one.
    """
    column = table.column(name)
    numbers = column.cast(pl.Float64, strict=False) if _castable(column) else None
    if numbers is None:
        raise DataError(f"{table.source}: column {name!r} is {column.dtype}; allowed: numbers")
    wrong = numbers.is_null() | ~numbers.is_finite().fill_null(False)
    if wrong.any():
        raise table.malformed(name, wrong, "a finite number")
    return numbers


def _castable(column: pl.Series) -> bool:
    return column.dtype.is_numeric() or column.dtype in (pl.String, pl.Null)


def read_whole_numbers(table: Table, name: str) -> pl.Series:
    """A column of whole numbers as Int64, none missing.

    Raises:
        DataError: naming the first cell that is not one.
    """
    numbers = read_numbers(table, name)
    wrong = numbers != numbers.floor()
    if wrong.any():
        raise table.malformed(name, wrong, "a whole number")
    return numbers.cast(pl.Int64)


def read_times(table: Table, name: str, *, required: bool = True) -> pl.Series:
    """Times as Int64 unix seconds; fractions of a second are cut off.

    Args:
        table: where the column is.
        name: unix seconds, ISO 8601 text, or a date or datetime type.
        required: whether every row needs a time; else a missing one stays null.

    Raises:
        DataError: naming the first cell that is not a time, or that looks like milliseconds.
    """
    column = table.column(name)
    if required and column.null_count():
        raise table.malformed(name, column.is_null(), _TIME_FORMS)
    if column.dtype.is_temporal() and column.dtype not in (pl.Time, pl.Duration):
        return _utc_seconds(
            column.cast(pl.Datetime("us", getattr(column.dtype, "time_zone", None)))
        )
    if not _castable(column):
        raise DataError(
            f"{table.source}: column {name!r} is {column.dtype}; allowed: {_TIME_FORMS}"
        )
    numbers = column.cast(pl.Float64, strict=False)
    present = column.is_not_null()
    if column.dtype == pl.String and not numbers.is_not_null().any():
        return _read_iso(table, name, column)
    wrong = present & ~(numbers.is_finite() & (numbers.abs() < _LATEST_SECOND)).fill_null(False)
    if wrong.any():
        raise table.malformed(
            name, wrong, f"{_TIME_FORMS}; one form a column, and not milliseconds"
        )
    return numbers.floor().cast(pl.Int64)


def _read_iso(table: Table, name: str, column: pl.Series) -> pl.Series:
    shaped = column.str.contains(_ISO).fill_null(True)
    if not shaped.all():
        raise table.malformed(name, ~shaped, _TIME_FORMS)
    # One form for the parser: a "T", seconds, and a zone with a colon.
    text = column.str.replace(" ", "T", literal=True).str.replace("Z", "+00:00", literal=True)
    text = text.str.replace(r"([+-][0-9]{2})([0-9]{2})$", "$1:$2")
    text = text.str.replace(r"^([0-9-]{10})$", "${1}T00:00")
    text = text.str.replace(r"T([0-9]{2}:[0-9]{2})(\+|-|$)", "T${1}:00$2")
    text = text.str.replace(r"^([^+]*T[0-9:.]+)$", "$1+00:00")
    times = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", strict=False)
    wrong = times.is_null() & column.is_not_null()
    if wrong.any():
        raise table.malformed(name, wrong, _TIME_FORMS)
    return _utc_seconds(times)


def _utc_seconds(times: pl.Series) -> pl.Series:
    return times.dt.epoch("us") // 1_000_000  # rounds down, before 1970 too
