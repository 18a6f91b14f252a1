"""Read numbers: ratings and positions."""

import numpy as np
import polars as pl

from warmstart.data.cells import Cells
from warmstart.data.values.decoding import is_nan, one_value_each


def read_numbers(cells: Cells, *, required: bool = False) -> pl.Series:
    """Read finite numbers as Float64; null if missing. True becomes 1 and false 0.

    Args:
        cells: numbers, or numbers as text with a decimal point.
        required: whether a missing number is an error.

    Raises:
        DataError: a cell is not a finite number; names the first such cell.
    """
    return _cells_and_numbers(cells, required=required)[1]


def _cells_and_numbers(cells: Cells, *, required: bool) -> tuple[pl.Series, pl.Series]:
    """Return the cells as ``one_value_each`` does, and as ``read_numbers`` does."""
    allowed = "a finite number"
    column = given = one_value_each(cells, allowed)
    if column.dtype == pl.String:
        column = column.str.replace("(?i)^true$", "1").str.replace("(?i)^false$", "0")
    elif not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise cells.malformed(column.is_not_null(), allowed)
    numbers = column.cast(pl.Float64, strict=False)
    numbers = numbers.set(is_nan(numbers), None)
    wrong = column.is_not_null() & ~is_nan(column) & ~numbers.is_finite().fill_null(False)
    if required:
        wrong |= numbers.is_null()
    if wrong.any():
        raise cells.malformed(wrong, allowed)
    return given, numbers


def read_whole_numbers(cells: Cells) -> pl.Series:
    """Read whole numbers as Int64, none missing.

    Raises:
        DataError: a cell is not a whole number of 64 bits, or a float that may stand for several;
            names the first such cell.
    """
    allowed = "a whole number of 64 bits"
    column, numbers = _cells_and_numbers(cells, required=True)
    if column.dtype == pl.String:  # large integers directly, since floats are not exact
        whole = column.str.replace(r"^(\+?)(.+?)(\.0*)?$", "$2").cast(pl.Int64, strict=False)
        whole = whole.fill_null(exact_integers(numbers))
    else:
        whole = exact_integers(column)
    if whole.null_count():
        raise cells.malformed(whole.is_null(), allowed)
    return whole


def exact_integers(numbers: pl.Series) -> pl.Series:
    """Convert numbers to Int64; null if not whole, beyond 64 bits, or a float that is not exact."""
    whole = numbers.cast(pl.Int64, strict=False)
    exact = whole.cast(numbers.dtype, strict=False) == numbers
    if numbers.dtype.is_float():
        exact &= numbers.abs() < inexact_from(numbers)
    return whole.set(~exact.fill_null(False), None)


def inexact_from(floats: pl.Series) -> int:
    """The number from which a float of this type may stand for several whole numbers."""
    return 2 ** (np.finfo(floats.to_numpy().dtype).nmant + 1)
