"""The meaning of values: ids, texts, lists, numbers and times, by one rule for every source.

There is one function for each kind of value, and whatever a user brings passes through it: cells of
csv, jsonl and parquet files, columns of frames, fields of requests, arguments, options. So a value
means the same wherever it came from. Every function takes a whole column, and an error names the
first cell that is wrong. The rules stand in one table in ``docs/data.md``.
"""

import json
import re
import warnings
from collections.abc import Mapping, Sequence, Sized
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from warmstart.data.cells import Cells, column_of
from warmstart.data.ids import ExternalId, Ids
from warmstart.errors import DataWarning

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
"""What software writes for a missing value; never an id, a text, a number or a time."""

_CONTROL = r"[\x00-\x1f\x7f\u{2028}\u{2029}]"
# A whole number as software writes it: no leading zeros or plus; ".0" from a column of floats.
_WHOLE = r"^(?:0|-?[1-9][0-9]{0,18})(?:\.0+)?$"
_EXACT_FLOAT = 2**53  # from here on a float no longer holds every whole number
_ISO = (
    r"^(?<month>[0-9]{4}-[0-9]{2})(?:-(?<day>[0-9]{2})(?:[T ](?<minute>[0-9]{2}:[0-9]{2})"
    r"(?::(?<second>[0-9]{2})(?:[.,](?<fraction>[0-9]{1,9}))?)?"
    r"(?: ?(?:Z|UTC|(?<hours>[+-][0-9]{2})(?::?(?<minutes>[0-9]{2}))?))?)?)?$"
)
# The year 5138 in seconds; a larger number is a time in milliseconds or finer.
_LATEST_SECOND = 100_000_000_000
_YEARS, _DAYS = (1800, 2199), (1800_01_01, 2199_12_31)
_TIME_FORMS = (
    "unix seconds, or ISO 8601 such as 2024-05-31 or 2024-05-31T12:30:00Z (no zone = UTC), "
    "or years such as 2024; one form for the whole column"
)


# -- ids --


def read_ids(columns: Sequence[Cells], kind: str) -> list[pl.Series]:
    """Id columns that share one set of ids: all Int64 or all String, without missing ones.

    White space around an id is cut off. Whole floats and decimals are integers, since a column of
    integers becomes one of floats in software where a value was missing. Text whose type is open
    (csv) is integer if every such cell is a whole number without leading zeros; beside a typed
    column it takes that column's type.

    Args:
        columns: the id cells of every table.
        kind: "user" or "item"; named in errors.

    Raises:
        DataError: a missing or empty id, one that is neither a whole number nor a string, one
            with a line break, or columns that disagree.
    """
    checked = [_checked_ids(cells, kind) for cells in columns]
    pairs = list(zip(columns, checked, strict=True))
    typed = {ids.dtype for cells, ids in pairs if not cells.textual}
    if len(typed) > 1:
        found = ", ".join(
            f"{'int' if ids.dtype == pl.Int64 else 'str'} in {cells.place}" for cells, ids in pairs
        )
        raise columns[0].error(f"{kind} ids must be all int or all str, got {found}")
    if typed:
        as_integer = typed == {pl.Int64()}
    else:
        as_integer = all(_as_integers(ids).null_count() == 0 for ids in checked)
    if not as_integer:
        return checked
    return [_to_integers(cells, ids, kind) for cells, ids in pairs]


def ids_like(cells: Cells, known: Ids) -> list[ExternalId]:
    """Ids of the type of ``known`` ones, whether or not they are among them.

    Raises:
        DataError: see ``read_ids``; or an id of the other type.
    """
    ids = _checked_ids(cells, known.kind)
    if not len(known) or not len(ids):
        return ids.to_list()
    if cells.textual and known.is_integer:
        return _to_integers(cells, ids, known.kind).to_list()
    if (ids.dtype == pl.Int64) != known.is_integer:
        wanted = "integers" if known.is_integer else "strings"
        raise cells.malformed(
            pl.repeat(True, len(ids), eager=True), f"{wanted}, as all known {known.kind} ids are"
        )
    return ids.to_list()


def is_normal_id(value: Any) -> bool:
    """Whether reading leaves this id as it is: a shortcut for one id, where a column is slow.

    False does not mean that it is wrong; ``read_ids`` decides.
    """
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return (
        type(value) is str
        and value.isprintable()
        and value == value.strip()
        and value not in ("", *NULL_WORDS)
    )


def _checked_ids(cells: Cells, kind: str) -> pl.Series:
    """Ids as Int64 or String; those of textual cells are String."""
    column = _decoded(cells)
    allowed = f"a whole number of 64 bits or a non-empty string, the {kind} id"
    if not len(column):
        return column.cast(pl.Int64 if column.dtype.is_numeric() else pl.String)
    missing = column.is_null() | _is_nan(column)
    if missing.any():
        raise cells.malformed(missing, allowed)
    if column.dtype.is_numeric():
        whole = column.cast(pl.Int64, strict=False)
        wrong = whole.is_null() | (whole.cast(column.dtype, strict=False) != column)
        if column.dtype.is_float():
            wrong |= column.abs() >= _EXACT_FLOAT
        if wrong.any():
            raise cells.malformed(wrong.fill_null(True), allowed)
        return whole
    if column.dtype != pl.String:
        raise cells.malformed(_of_another_type(column), f"{allowed}, of one type in all rows")
    stripped = column.str.strip_chars()
    merged = column.n_unique() - stripped.n_unique() if (stripped != column).any() else 0
    if merged:
        warnings.warn(
            f"{cells.place}: {merged} {kind} id(s) differ from another one only in white space "
            "around them; they count as one",
            DataWarning,
            stacklevel=3,
        )
    column = stripped
    for wrong, why in (
        (column.str.len_bytes() == 0, ""),
        (column.is_in(NULL_WORDS), "; this word stands for a missing value"),
        (column.str.contains(_CONTROL), ", in one line: is a quote before it not closed?"),
    ):
        if wrong.any():
            raise cells.malformed(wrong, allowed + why)
    return column


def _of_another_type(column: pl.Series) -> pl.Series:
    """Which values are no id, or an id of another type than the first one."""
    if column.dtype != pl.Object:
        return pl.repeat(True, len(column), eager=True)
    values = column.to_list()
    first = type(values[0])
    return pl.Series([first not in (int, str) or type(value) is not first for value in values])


def _as_integers(ids: pl.Series) -> pl.Series:
    """Int64; null where an id is no whole number of 64 bits."""
    if ids.dtype == pl.Int64:
        return ids
    whole = ids.str.contains(_WHOLE)
    digits = ids.str.replace(r"\.0+$", "")
    return digits.set(~whole, None).cast(pl.Int64, strict=False)


def _to_integers(cells: Cells, ids: pl.Series, kind: str) -> pl.Series:
    integers = _as_integers(ids)
    if integers.null_count():
        allowed = f"a whole number, as the other {kind} ids are integers"
        raise cells.malformed(integers.is_null(), allowed)
    return integers


# -- texts and lists --


def read_texts(cells: Cells) -> pl.Series:
    """Texts as String; null where there is none.

    Numbers, dates and booleans are written out, whole floats without ".0"; the values of a list
    are joined by ", "; anything nested deeper is JSON text. An empty text and a null word are
    missing.

    Raises:
        DataError: bytes that are not UTF-8.
    """
    return _texts(cells, ", ")


def read_lists(cells: Cells) -> pl.Series:
    """Lists of values as String, joined by ``|``; null where there is none.

    A list may come as such, as text with ``|`` between the values, or as text that some software
    wrote for a list: ``['a', 'b']``, ``["a", "b"]``, ``['a' 'b']``.

    Raises:
        DataError: bytes that are not UTF-8.
    """
    texts = _texts(cells, "|")
    listed = texts.str.contains(r"^\s*\[.*\]\s*$").fill_null(False)
    if not listed.any():
        return texts
    values = [_parsed_list(text) if text is not None else None for text in texts]
    return pl.Series(texts.name, values, dtype=pl.String)


def _texts(cells: Cells, separator: str) -> pl.Series:
    column = _decoded(cells)
    if column.dtype != pl.String:
        written = [_written(value, separator) for value in column.to_list()]
        column = pl.Series(column.name, written, dtype=pl.String)
    stripped = column.str.strip_chars()
    missing = (stripped.str.len_bytes() == 0) | stripped.is_in(NULL_WORDS)
    if not missing.all() and stripped.filter(~missing).str.contains(r"^-?[0-9]+\.0$").all():
        column = stripped.str.replace(r"\.0$", "")  # a column of integers, kept as floats
    return column.set(missing.fill_null(True), None)


def _written(value: Any, separator: str = ", ") -> str | None:
    """The text of one value; None if it is missing or empty."""
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
            parts = (_written(part) for part in value)
            return separator.join(part for part in parts if part and part not in NULL_WORDS)
        case Mapping():
            return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _parsed_list(text: str) -> str | None:
    """The values of a list in brackets, joined by ``|``; other text as it is."""
    inner = text.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        return text
    inner = inner[1:-1]
    quoted = re.findall(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", inner)
    if quoted:
        parts = [re.sub(r"\\(.)", r"\1", single or double) for single, double in quoted]
    else:
        parts = [re.sub(r"^(-?[0-9]+)\.0$", r"\1", part.strip()) for part in inner.split(",")]
    return "|".join(part for part in parts if part and part not in NULL_WORDS) or None


# -- numbers --


def read_numbers(cells: Cells, *, required: bool = False) -> pl.Series:
    """Finite numbers as Float64; null where one is missing. True is 1 and false is 0.

    Args:
        cells: numbers, or text of numbers with a decimal point.
        required: whether a missing number is an error.

    Raises:
        DataError: naming the first cell that is not a number.
    """
    allowed = "a finite number"
    column = _open(cells, allowed)
    if column.dtype == pl.String:
        column = column.str.replace("(?i)^true$", "1").str.replace("(?i)^false$", "0")
    elif not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise cells.malformed(column.is_not_null(), allowed)
    numbers = column.cast(pl.Float64, strict=False)
    numbers = numbers.set(_is_nan(numbers), None)
    wrong = column.is_not_null() & ~_is_nan(column) & ~numbers.is_finite().fill_null(False)
    if required:
        wrong |= numbers.is_null()
    if wrong.any():
        raise cells.malformed(wrong, allowed)
    return numbers


def read_whole_numbers(cells: Cells) -> pl.Series:
    """Whole numbers as Int64, none missing.

    Raises:
        DataError: naming the first cell that is not one.
    """
    numbers = read_numbers(cells, required=True)
    wrong = numbers != numbers.floor()
    if wrong.any():
        raise cells.malformed(wrong, "a whole number")
    return numbers.cast(pl.Int64)


# -- times --


def read_times(cells: Cells, *, required: bool = True) -> pl.Series:
    """Times as Int64 unix seconds; fractions of a second are cut off.

    Text without a zone is UTC. A column of whole numbers that could all be years (1800 to 2199) or
    all dates (18000101 to 21991231) is read so; any other number is unix seconds.

    Args:
        cells: unix seconds, ISO 8601 text, years, dates of eight digits, or a date or datetime
            type.
        required: whether every row needs a time; else a missing one stays null.

    Raises:
        DataError: naming the first cell that is not a time, or that looks like milliseconds.
    """
    column = _open(cells, _TIME_FORMS)
    if column.dtype in (pl.Boolean, pl.Time, pl.Duration):
        raise cells.malformed(column.is_not_null(), _TIME_FORMS)
    missing = column.is_null() | _is_nan(column)
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
        raise cells.malformed(wrong, f"{_TIME_FORMS}, and not milliseconds")
    numbers = numbers.set(missing, None).floor().cast(pl.Int64)
    if _all_within(numbers, _YEARS):
        return _iso_seconds(cells, numbers.cast(pl.String) + "-01")
    if _all_within(numbers, _DAYS):
        days = numbers.cast(pl.String).str.replace("^(....)(..)(..)$", "$1-$2-$3")
        return _iso_seconds(cells, days)
    return numbers


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


# -- shared --


def _decoded(cells: Cells) -> pl.Series:
    """Categories as their values, bytes as UTF-8 text; a column of missing values has no type.

    Raises:
        DataError: bytes that are not UTF-8, or text that is not Unicode.
    """
    column = cells.values
    if isinstance(column.dtype, (pl.Categorical, pl.Enum)):
        column = column.cast(pl.String)
    if column.null_count() == len(column):
        return pl.Series(column.name, [None] * len(column), dtype=pl.Null)
    if column.dtype not in (pl.Binary, pl.Object):
        return column
    values, wrong = [], []
    for value in column.to_list():
        try:
            value = value.decode() if isinstance(value, bytes) else value
            if isinstance(value, str):
                value.encode()  # half a surrogate pair is no text
            wrong.append(False)
        except UnicodeError:
            wrong.append(True)
        values.append(value)
    if any(wrong):
        raise cells.malformed(pl.Series(wrong), "text in UTF-8, without unpaired surrogates")
    return column_of(values, column.name)


def _open(cells: Cells, allowed: str) -> pl.Series:
    """Numbers or times as they are, or as text without blanks around it; a missing one is null.

    Raises:
        DataError: a list or a mapping where one value belongs.
    """
    column = _decoded(cells)
    if column.dtype == pl.Object:
        nested = pl.Series(
            [
                isinstance(value, Sized) and not isinstance(value, str | bytes)
                for value in column.to_list()
            ]
        )
        if nested.any():
            raise cells.malformed(nested, allowed)
        column = pl.Series([_written(value) for value in column.to_list()], dtype=pl.String)
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        column = column.set(column.is_in(["", *NULL_WORDS]).fill_null(False), None)
    return column


def _is_nan(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        return column.is_nan().fill_null(False)
    return pl.repeat(False, len(column), eager=True, dtype=pl.Boolean)
