"""Cells: input values before they are interpreted, with the place that error messages name.

All input becomes cells: columns of files and frames, lists passed to a method, fields of a request.
``values`` then interprets them.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl
import pyarrow as pa

from warmstart.data.arrow_columns import from_arrow
from warmstart.errors import DataError, shortened

_COLUMN_TYPES = (bool, int, float, str, bytes, date, datetime, Decimal)
_NULL_TYPES = ("NAType", "NaTType")  # pandas' singletons, recognised without importing pandas
_BYTES = (bytes, bytearray, memoryview)


@dataclass(frozen=True)
class Cells:
    """Values of one column or argument.

    Attributes:
        values: the values; null if missing; of dtype Object if types are mixed or nested.
        source: where the values are from, such as a file; error messages begin with it.
        name: name of the column or argument.
        untyped: whether all cells are text of undecided type (csv, command line, URL).
        argument: whether the values were passed to a method, not read from a table.
        place: describes where the cell with a given position is, for cells within other cells; None
            for a column of a table.
    """

    values: pl.Series
    source: str
    name: str
    untyped: bool = False
    argument: bool = False
    place: Callable[[int], str] | None = None

    def replaced(self, values: pl.Series) -> "Cells":
        """Return cells of the same source with other values, one per cell."""
        return replace(self, values=values)

    def error(self, problem: str) -> DataError:
        """Build the error for a problem of the whole column or argument."""
        named = self.name if self.argument else f"column {self.name!r}"
        return DataError(f"{self.source}: {named}: {problem}")

    def malformed(self, wrong: pl.Series, allowed: str) -> DataError:
        """Build the error for the first cell where ``wrong`` (bool, one value per cell) is true.

        Rows are counted from 1; the header of a csv file does not count.
        """
        row = wrong.arg_max() or 0
        value, others = self.values[row], int(wrong.sum()) - 1
        seen = shortened(value.to_list() if isinstance(value, pl.Series) else value)
        if self.place is not None:
            where = f"{self.place(row)}: got {seen}"
        elif not self.argument:
            where = f"row {row + 1}, column {self.name!r}: got {seen}"
        elif len(self.values) > 1:
            where = f"{self.name}, position {row + 1}: got {seen}"
        else:
            where = f"{self.name} {seen}"
        what = "row(s)" if self.place is None and not self.argument else "value(s)"
        more = f" ({others} more {what} like it)" if others > 0 else ""
        return DataError(f"{self.source}: {where}{more}; allowed: {allowed}")


def column_of(values: Iterable[Any], name: str = "") -> pl.Series:
    """Convert Python values to a column; of dtype Object if their types differ or nest.

    NaN, pandas' NA and NaT, and None become null. Integers, floats and decimals may be mixed. UUIDs
    become text.
    """
    plain = [plain_value(value) for value in values]
    types = {type(value) for value in plain if value is not None}
    mixed = len(types) > 1 and types <= {int, float, Decimal}
    finite = Decimal not in types or all(  # polars panics at infinite decimals
        value.is_finite() for value in plain if isinstance(value, Decimal)
    )
    if finite and (mixed or (len(types) <= 1 and types <= set(_COLUMN_TYPES))):
        number = float if float in types else Decimal
        try:
            if mixed:
                plain = [None if value is None else number(value) for value in plain]
            return pl.Series(name, plain, strict=True)
        except (OverflowError, RuntimeError, TypeError, ValueError, pl.exceptions.PolarsError):
            pass
    return pl.Series(name, plain, dtype=pl.Object)


def any_column(values: Any, name: str = "") -> pl.Series:
    """Convert a pandas, polars or Arrow column, an array or an iterable to a polars column.

    Raises:
        TypeError: ``values`` cannot be iterated.
    """
    if isinstance(values, pl.Series):
        return values.alias(name)
    if _is_pandas(values, "Series"):
        values = _arrow_or_list(values)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        values = from_arrow(values, name)
        if isinstance(values, pl.Series):
            return values
    elif isinstance(values, np.ndarray):
        if values.ndim == 1 and values.dtype.kind == "f":
            return pl.Series(name, values, nan_to_null=True)  # keeps the precision of the type
        # tolist() would turn times in nanoseconds into integers.
        values = list(values) if values.dtype.kind in "mM" else values.tolist()
    return column_of(values, name)


def check_list(values: Any, place: str, name: str) -> None:
    """Check that an argument is a list, a column or another iterable that has an order.

    Raises:
        DataError: it is a single value, a mapping or a frame, or a set, whose order is arbitrary.
    """
    if getattr(values, "ndim", 1) == 0:  # an array without dimensions, or a number of numpy
        values = values.item()
    if isinstance(values, Mapping) or hasattr(type(values), "columns"):
        problem = f"a {type(values).__name__}; pass a list, or one of its columns"
    elif isinstance(values, set | frozenset):
        problem = f"{shortened(values)}; a set has no order, so pass sorted(...) of it"
    elif isinstance(values, (str, *_BYTES)) or not isinstance(values, Iterable):
        problem = f"{shortened(values)}; write [{shortened(values)}]"
    else:
        return
    raise DataError(f"{place}: {name} must be a list, got {problem}")


def argument_list(values: Any, place: str, name: str) -> list[Any]:
    """Convert an argument to a list.

    Raises:
        DataError: it is not one; see ``check_list``.
    """
    check_list(values, place, name)
    return any_column(values).to_list()


def argument_cells(values: Any, place: str, name: str) -> Cells:
    """Convert an argument to cells; the values of a set are sorted.

    Raises:
        DataError: it is neither a list, see ``check_list``, nor a set.
    """
    if isinstance(values, set | frozenset):
        values = sorted(values, key=str)  # their order changes from process to process
    check_list(values, place, name)
    return Cells(any_column(values, name), place, name, argument=True)


def is_pandas_frame(value: Any) -> bool:
    """Whether this is a pandas DataFrame; does not import pandas."""
    return _is_pandas(value, "DataFrame")


def _is_pandas(value: Any, kind: str) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, getattr(pandas, kind))


def _arrow_or_list(values: Any) -> Any:
    """Convert a pandas Series to an Arrow array, or to a list if Arrow would change the values."""
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return values.tolist()
    # Arrow stores periods as integers, the values of a set in any order, and all mappings of a
    # column with the keys of each.
    changed = any(kind in str(array.type) for kind in ("extension<", "list<", "struct<"))
    return values.tolist() if changed else array


def plain_value(value: Any) -> Any:
    """Convert to a plain Python value, without numpy types; every missing value becomes None.

    Dates beyond the years of Python stay numpy's.
    """
    if type(value) in (str, int, list, dict):  # a shortcut for most values
        return value
    if value is None or type(value).__name__ in _NULL_TYPES:
        return None
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, np.datetime64 | np.timedelta64):
        return _plain_time(value)
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, Decimal) and value.is_nan():
        return None
    to_datetime = getattr(value, "to_pydatetime", None)  # of pandas' Timestamp
    return value if to_datetime is None else to_datetime(warn=False)


def _plain_time(value: np.datetime64 | np.timedelta64) -> Any:
    # Python has no nanoseconds: item() gives an integer, as for a date beyond Python's years.
    is_finer = np.datetime_data(value.dtype)[0] in ("ns", "ps", "fs", "as")
    plain = (value.astype(f"{value.dtype.kind}8[us]") if is_finer else value).item()
    return value if isinstance(plain, int) else plain
