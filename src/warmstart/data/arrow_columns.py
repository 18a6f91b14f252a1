"""Convert Arrow columns to polars, including those of types that polars does not have."""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa


def from_arrow(values: pa.Array | pa.ChunkedArray, name: str) -> pl.Series | list[Any]:
    """Convert to a polars column, or to a list of Python values if polars would change them.

    Text that is not UTF-8 becomes bytes.

    Raises:
        ArrowInvalid: nested values are not valid.
    """
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        try:
            values.validate(full=True)  # polars does not check, and panics later
        except pa.ArrowInvalid:
            values = values.cast(pa.large_binary())
    else:
        values.validate(full=True)
    kind = str(values.type)
    if "extension<pandas." in kind:  # periods and intervals, which Arrow stores as integers
        return values.to_pandas().tolist()
    if pa.types.is_timestamp(values.type):
        return _from_timestamps(values, name)
    # Also within lists and categories: polars reads UUIDs as 16 bytes each, and panics at decimals
    # of 256 bits.
    if "extension<" not in kind and "decimal256" not in kind:
        try:
            return pl.Series(name, values)
        except (pl.exceptions.PolarsError, TypeError, ValueError):
            pass
    return values.to_pylist()


def _from_timestamps(values: pa.Array | pa.ChunkedArray, name: str) -> pl.Series | list[Any]:
    if values.type.unit == "s":
        try:  # polars has no seconds, and would convert those that overflow to wrong milliseconds
            values = values.cast(pa.timestamp("ms", values.type.tz))
        except pa.ArrowInvalid:
            return list(np.asarray(values))
    try:
        return pl.Series(name, values)
    except pl.exceptions.PolarsError:
        # polars knows no zone such as +05:30. Arrow stores the times in UTC, whatever the zone is.
        return pl.Series(name, values.cast(pa.timestamp(values.type.unit, "UTC")))
