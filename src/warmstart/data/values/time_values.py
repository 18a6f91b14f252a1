"""Read times: unix seconds, ISO 8601, years, dates."""

import polars as pl

from warmstart.data.cells import Cells
from warmstart.data.values.decoding import is_nan, one_value_each

_ISO = (
    r"^(?<month>[0-9]{4}-[0-9]{2})(?:-(?<day>[0-9]{2})(?:[T ](?<minute>[0-9]{2}:[0-9]{2})"
    r"(?::(?<second>[0-9]{2})(?:[.,](?<fraction>[0-9]{1,9}))?)?"
    r"(?: ?(?:Z|UTC|(?<hours>[+-][0-9]{2})(?::?(?<minutes>[0-9]{2}))?))?)?)?$"
)
# The year 5138 in seconds; a larger number is a time in milliseconds or finer.
_LATEST_SECOND = 100_000_000_000
_FINER_UNITS = {"milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
_YEARS, _DAYS = (1800, 2199), (1800_01_01, 2199_12_31)
_TIME_FORMS = (
    "unix seconds, or ISO 8601 such as 2024-05-31 or 2024-05-31T12:30:00Z (no zone = UTC), "
    "or years such as 2024; one form for the whole column"
)


def read_times(cells: Cells, *, required: bool = True) -> pl.Series:
    """Read times as Int64 unix seconds; fractions of a second are rounded down.

    Text without a zone is UTC. Numbers are years if all of the column are within 1800 to 2199,
    dates if all are within 18000101 to 21991231, and unix seconds otherwise.

    Args:
        cells: unix seconds, ISO 8601 text, years, dates of eight digits, or a date or datetime
            type.
        required: whether a missing time is an error; otherwise it becomes null.

    Raises:
        DataError: a cell is not a time, or is too large for seconds; names the first such cell.
    """
    column = one_value_each(cells, _TIME_FORMS)
    if column.dtype in (pl.Boolean, pl.Time, pl.Duration):
        raise cells.malformed(column.is_not_null(), _TIME_FORMS)
    missing = column.is_null() | is_nan(column)
    if required and missing.any():
        raise cells.malformed(missing, _TIME_FORMS)
    if column.dtype.is_temporal():
        zone = getattr(column.dtype, "time_zone", None)
        return _utc_seconds(column.cast(pl.Datetime("us", zone)))
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Null)):
        raise cells.malformed(column.is_not_null(), _TIME_FORMS)
    numbers = column.cast(pl.Float64, strict=False)
    if column.dtype == pl.String and not numbers.is_not_null().any():
        return _iso_seconds(cells, column)
    wrong = ~missing & ~(numbers.is_finite() & (numbers.abs() < _LATEST_SECOND)).fill_null(False)
    if wrong.any():
        raise cells.malformed(wrong, _TIME_FORMS + _finer_unit(numbers.filter(wrong)[0]))
    exact = numbers.set(missing, None)
    numbers = exact.floor().cast(pl.Int64)
    if (numbers != exact).any():
        return numbers  # seconds with fractions are neither years nor days
    if _all_within(numbers, _YEARS):
        return _iso_seconds(cells, numbers.cast(pl.String) + "-01")
    if _all_within(numbers, _DAYS):
        days = numbers.cast(pl.String).str.replace("^(....)(..)(..)$", "$1-$2-$3")
        return _iso_seconds(cells, days)
    return numbers


def _finer_unit(number: float | None) -> str:
    """Advice for a number that is a time in a finer unit than seconds; "" for anything else."""
    if number is not None:
        for unit, per_second in _FINER_UNITS.items():
            if _LATEST_SECOND <= abs(number) < _LATEST_SECOND * per_second:
                return f", and not {unit}: divide the values by {per_second}"
    return ""


def _all_within(numbers: pl.Series, bounds: tuple[int, int]) -> bool:
    present = numbers.drop_nulls()
    return len(present) > 0 and present.is_between(*bounds).all()


def _iso_seconds(cells: Cells, text: pl.Series) -> pl.Series:
    fields = text.str.extract_groups(_ISO).struct.unnest()
    full = fields.select(
        pl.when(pl.col("month").is_not_null()).then(
            pl.format(
                "{}-{}T{}:{}.{}{}:{}",
                *(
                    pl.col(name).fill_null(default)
                    for name, default in {
                        "month": "",
                        "day": "01",
                        "minute": "00:00",
                        "second": "00",
                        "fraction": "0",
                        "hours": "+00",
                        "minutes": "00",
                    }.items()
                ),
            )
        )
    ).to_series()
    times = full.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", strict=False)
    wrong = times.is_null() & text.is_not_null()
    if wrong.any():
        raise cells.malformed(wrong, _TIME_FORMS)
    return _utc_seconds(times)


def _utc_seconds(times: pl.Series) -> pl.Series:
    return times.dt.epoch("us") // 1_000_000  # rounds down, before 1970 too
