"""Cells: values as a user brought them, with the place that an error message names.

Every value passes here, whatever it came in: a cell of a file, a column of a frame, a list given to
a method, a field of a request. ``values`` then decides what the cells mean.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from warmstart.errors import DataError

_COLUMN_TYPES = (bool, int, float, str, bytes, date, datetime, Decimal)
_NULL_TYPES = ("NAType", "NaTType")  # pandas' singletons, recognised without importing pandas


@dataclass(frozen=True)
class Cells:
    """Values of one column or argument.

    Attributes:
        values: the values; null where there is none; of dtype Object where types mix or nest.
        place: what the values belong to, such as a file; opens every error message.
        name: the column or argument.
        textual: every cell is text whose type is still open (csv, command line, URL).
        argument: the values were given to a method, not read from a table.
    """

    values: pl.Series
    place: str
    name: str
    textual: bool = False
    argument: bool = False

    def replaced(self, values: pl.Series) -> "Cells":
        """The same place with other values, one for each cell."""
        return Cells(values, self.place, self.name, self.textual, self.argument)

    def error(self, problem: str) -> DataError:
        """The error for a problem of the whole column or argument."""
        named = self.name if self.argument else f"column {self.name!r}"
        return DataError(f"{self.place}: {named}: {problem}")

    def malformed(self, wrong: pl.Series, allowed: str) -> DataError:
        """The error for the first cell where ``wrong`` (bool, one value a cell) is true.

        Rows are counted from 1; the header of a csv file is not a row.
        """
        row = wrong.arg_max() or 0
        seen, others = _shortened(self.values[row]), int(wrong.sum()) - 1
        if not self.argument:
            where = f"row {row + 1}, column {self.name!r}: got {seen}"
        elif len(self.values) > 1:
            where = f"{self.name}, position {row + 1}: got {seen}"
        else:
            where = f"{self.name} {seen}"
        what = "value(s)" if self.argument else "row(s)"
        more = f" ({others} more {what} like it)" if others else ""
        return DataError(f"{self.place}: {where}{more}; allowed: {allowed}")


def column_of(values: Iterable[Any], name: str = "") -> pl.Series:
    """A column of Python values; of dtype Object where their types differ or nest.

    NaN, pandas' NA and NaT, and None are null. Integers, floats and decimals mix.
    """
    plain = [_plain(value) for value in values]
    types = {type(value) for value in plain if value is not None}
    if len(types) > 1 and types <= {int, float, Decimal}:
        number = float if float in types else Decimal
        plain = [None if value is None else number(value) for value in plain]
    elif len(types) > 1 or not types <= set(_COLUMN_TYPES):
        return pl.Series(name, plain, dtype=pl.Object)
    try:
        return pl.Series(name, plain, strict=True)
    except (OverflowError, TypeError, ValueError, pl.exceptions.PolarsError):
        return pl.Series(name, plain, dtype=pl.Object)


def any_column(values: Any, name: str = "") -> pl.Series:
    """A column of values in whatever holds them: a pandas, polars or Arrow column, or a sequence.

    Raises:
        TypeError: ``values`` cannot be iterated.
    """
    if isinstance(values, pl.Series):
        return values.alias(name)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        try:
            return pl.Series(name, values)
        except (pl.exceptions.PolarsError, TypeError, ValueError):
            values = values.to_pylist()
    elif _is_pandas(values, "Series"):
        try:
            return pl.Series(name, pa.array(values, from_pandas=True))
        except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError):
            values = values.tolist()
    elif isinstance(values, np.ndarray):
        values = values.tolist()
    return column_of(values, name)


def argument_list(values: Any, place: str, name: str) -> list[Any]:
    """The values of an argument that must be a list: any iterable but a string, bytes or mapping.

    Raises:
        DataError: one value where a list belongs.
    """
    single = isinstance(values, str | bytes | Mapping)
    if single or not (isinstance(values, Iterable) or hasattr(values, "__array__")):
        raise DataError(f"{place}: {name} must be a list, got {values!r}; write [{values!r}]")
    if isinstance(values, pl.Series | np.ndarray):
        return values.tolist() if isinstance(values, np.ndarray) else values.to_list()
    return list(values)


def argument_cells(values: Any, place: str, name: str) -> Cells:
    """The cells of an argument that must be a list, an array or a column.

    Raises:
        DataError: one value where a list belongs.
    """
    if not (isinstance(values, pl.Series | np.ndarray) or _is_pandas(values, "Series")):
        values = argument_list(values, place, name)
    return Cells(any_column(values, name), place, name, argument=True)


def is_pandas_frame(value: Any) -> bool:
    """Whether this is a pandas DataFrame; pandas is not imported for it."""
    return _is_pandas(value, "DataFrame")


def _is_pandas(value: Any, kind: str) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, getattr(pandas, kind))


def _plain(value: Any) -> Any:
    """A Python value without numpy types; None for every form of a missing one."""
    if value is None or type(value).__name__ in _NULL_TYPES:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, Decimal) and value.is_nan():
        return None
    to_datetime = getattr(value, "to_pydatetime", None)  # of pandas' Timestamp
    return value if to_datetime is None else to_datetime(warn=False)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
