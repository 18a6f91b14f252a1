"""Cells: input values before they are interpreted, with the place that error messages name.

All input becomes cells: columns of files and frames, lists passed to a method, fields of a request.
``values`` then interprets them.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

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
        values: the values; null if missing; of dtype Object if types are mixed or nested.
        source: where the values are from, such as a file; error messages begin with it.
        name: name of the column or argument.
        untyped: whether all cells are text of undecided type (csv, command line, URL).
        argument: whether the values were passed to a method, not read from a table.
    """

    values: pl.Series
    source: str
    name: str
    untyped: bool = False
    argument: bool = False

    def replaced(self, values: pl.Series) -> "Cells":
        """Return cells of the same source with other values, one per cell."""
        return Cells(values, self.source, self.name, self.untyped, self.argument)

    def error(self, problem: str) -> DataError:
        """Build the error for a problem of the whole column or argument."""
        named = self.name if self.argument else f"column {self.name!r}"
        return DataError(f"{self.source}: {named}: {problem}")

    def malformed(self, wrong: pl.Series, allowed: str) -> DataError:
        """Build the error for the first cell where ``wrong`` (bool, one value per cell) is true.

        Rows are counted from 1; the header of a csv file does not count.
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
        return DataError(f"{self.source}: {where}{more}; allowed: {allowed}")


def column_of(values: Iterable[Any], name: str = "") -> pl.Series:
    """Convert Python values to a column; of dtype Object if their types differ or nest.

    NaN, pandas' NA and NaT, and None become null. Integers, floats and decimals may be mixed. UUIDs
    become text.
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
    """Convert a pandas, polars or Arrow column, an array or an iterable to a polars column.

    Raises:
        TypeError: ``values`` cannot be iterated.
    """
    if isinstance(values, pl.Series):
        return values.alias(name)
    if _is_pandas(values, "Series"):
        try:
            values = pa.array(values, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError):
            values = values.tolist()
    if isinstance(values, pa.Array | pa.ChunkedArray):
        # polars reads Arrow's UUIDs, also those in lists and categories, as 16 bytes each.
        if "extension<arrow.uuid>" not in str(values.type):
            try:
                return pl.Series(name, values)
            except (pl.exceptions.PolarsError, TypeError, ValueError):
                pass
        values = values.to_pylist()
    elif isinstance(values, np.ndarray):
        if values.ndim == 1 and values.dtype.kind == "f":
            return pl.Series(name, values, nan_to_null=True)  # keeps the precision of the type
        values = values.tolist()
    return column_of(values, name)


def argument_list(values: Any, place: str, name: str) -> list[Any]:
    """Convert an argument to a list; any iterable is allowed except strings, bytes and mappings.

    Raises:
        DataError: ``values`` is a single value.
    """
    single = isinstance(values, str | bytes | Mapping)
    if single or not (isinstance(values, Iterable) or hasattr(values, "__array__")):
        raise DataError(f"{place}: {name} must be a list, got {values!r}; write [{values!r}]")
    if isinstance(values, pl.Series | np.ndarray):
        return values.tolist() if isinstance(values, np.ndarray) else values.to_list()
    return list(values)


def argument_cells(values: Any, place: str, name: str) -> Cells:
    """Convert an argument, which must be a list, an array or a column, to cells.

    Raises:
        DataError: ``values`` is a single value.
    """
    if not (isinstance(values, pl.Series | np.ndarray) or _is_pandas(values, "Series")):
        values = argument_list(values, place, name)
    return Cells(any_column(values, name), place, name, argument=True)


def is_pandas_frame(value: Any) -> bool:
    """Whether this is a pandas DataFrame; does not import pandas."""
    return _is_pandas(value, "DataFrame")


def _is_pandas(value: Any, kind: str) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, getattr(pandas, kind))


def _plain(value: Any) -> Any:
    """Convert to a plain Python value, without numpy types; every missing value becomes None."""
    if value is None or type(value).__name__ in _NULL_TYPES:
        return None
    if isinstance(value, UUID):
        return str(value)
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
