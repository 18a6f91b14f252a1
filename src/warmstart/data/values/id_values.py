"""Ids of users and items: whole numbers or text, all of one type."""

import warnings
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import polars as pl

from warmstart.data.cells import Cells
from warmstart.data.ids import ExternalId, Ids
from warmstart.data.values.decoding import NULL_WORDS, decoded, is_nan
from warmstart.data.values.number_values import exact_integers, inexact_from
from warmstart.errors import DataWarning

# Control characters, line separators, and characters without width that only change how text is
# shown. The two joiners are allowed: Persian and Hindi words, and some emoji, contain them.
_INVISIBLE = (
    r"[\p{Cc}\u{ad}\u{61c}\u{180e}\u{200b}\u{200e}\u{200f}"
    r"\u{2028}-\u{202e}\u{2060}-\u{206f}\u{feff}]"
)
# A whole number as software writes it: no leading zeros or plus; ".0" from a column of floats.
_WHOLE = r"^(?:0|-?[1-9][0-9]{0,18})(?:\.0+)?$"


def read_ids(columns: Sequence[Cells], kind: str) -> list[pl.Series]:
    """Read the id columns of several tables as one type: all Int64 or all String, none missing.

    White space around an id is removed. Whole floats and decimals become integers, since much
    software turns a column of integers into floats if a value is missing. Text of undecided type
    (csv) becomes integer if every such cell is a whole number without leading zeros; if another
    column is typed, it takes the type of that column.

    Args:
        columns: the id cells of every table.
        kind: "user" or "item"; named in errors.

    Raises:
        DataError: an id is missing, empty, neither a whole number nor a string, or has a line
            break or an invisible character; or the types of the columns differ.
    """
    checked = [_checked_ids(cells, kind) for cells in columns]
    pairs = list(zip(columns, checked, strict=True))
    typed = {ids.dtype for cells, ids in pairs if not cells.untyped and len(ids)}
    if len(typed) > 1:
        found = ", ".join(
            f"{'int' if ids.dtype == pl.Int64 else 'str'} in {cells.source}" for cells, ids in pairs
        )
        raise columns[0].error(f"{kind} ids must be all int or all str, got {found}")
    if typed:
        as_integer = typed == {pl.Int64()}
    else:
        as_integer = all(_as_integers(ids).null_count() == 0 for ids in checked)
    if not as_integer:
        return [ids.cast(pl.String) if not len(ids) else ids for ids in checked]
    return [_to_integers(cells, ids, kind) for cells, ids in pairs]


def read_ids_like(cells: Cells, known: Ids) -> list[ExternalId]:
    """Read ids as the type of the ``known`` ids; the ids themselves may be unknown.

    Raises:
        DataError: see ``read_ids``; or an id has the other type.
    """
    ids = _checked_ids(cells, known.kind)
    if not len(known) or not len(ids):
        return ids.to_list()
    if cells.untyped and known.is_integer:
        return _to_integers(cells, ids, known.kind).to_list()
    if (ids.dtype == pl.Int64) != known.is_integer:
        id_type = "integers" if known.is_integer else "strings"
        raise cells.malformed(
            pl.repeat(True, len(ids), eager=True), f"{id_type}, as all known {known.kind} ids are"
        )
    return ids.to_list()


def is_normal_id(value: Any) -> bool:
    """Whether reading returns this id unchanged: a shortcut for one id, where a column is slow.

    False does not mean that the id is invalid; ``read_ids`` decides that.
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
    """Check ids and convert them to Int64 or String; those of untyped cells become String."""
    column = decoded(cells)
    allowed = f"a whole number of 64 bits or a non-empty string as {kind} id"
    if not len(column):
        return pl.Series(column.name, [], dtype=pl.String)
    missing = column.is_null() | is_nan(column)
    if missing.any():
        raise cells.malformed(missing, allowed)
    if column.dtype.is_numeric():
        whole = exact_integers(column)
        if column.dtype.is_float():
            large = column.is_finite() & (column.abs() >= (exact := inexact_from(column)))
            if large.any():
                raise cells.malformed(
                    large, f"{allowed}; a float of this type may stand for several ids from {exact}"
                )
        if whole.null_count():
            raise cells.malformed(whole.is_null(), allowed)
        return whole
    if column.dtype != pl.String:
        wrong = _of_another_type(column)
        found = column.to_list()[wrong.arg_max() or 0]
        why = ", of one type in all rows"
        if isinstance(found, bool) or not isinstance(found, int | float | Decimal | str):
            why = f", not {type(found).__name__}; convert the ids to text or whole numbers"
        raise cells.malformed(wrong, allowed + why)
    stripped = column.str.strip_chars()
    merged = column.n_unique() - stripped.n_unique() if (stripped != column).any() else 0
    if merged:
        warnings.warn(
            f"{cells.source}: {merged} {kind} id(s) differ from other ids only in surrounding "
            "white space and are merged with them",
            DataWarning,
            stacklevel=3,
        )
    column = stripped
    for wrong, why in (
        (column.str.len_bytes() == 0, ""),
        (column.is_in(NULL_WORDS), "; this word stands for a missing value"),
        (
            column.str.contains(_INVISIBLE),
            ", without line breaks, control characters or invisible characters: is a quote before "
            "it not closed?",
        ),
    ):
        if wrong.any():
            raise cells.malformed(wrong, allowed + why)
    return column


def _of_another_type(column: pl.Series) -> pl.Series:
    """Mark values that are not ids, or whose type differs from that of the first."""
    if column.dtype != pl.Object:
        return pl.repeat(True, len(column), eager=True)
    values = column.to_list()
    first = type(values[0])
    return pl.Series([type(value) is not first or not _is_id(value) for value in values])


def _is_id(value: Any) -> bool:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return -(2**63) <= value < 2**63 and value == int(value)
    return isinstance(value, str)


def _as_integers(ids: pl.Series) -> pl.Series:
    """Convert ids to Int64; null if an id is not a whole number of 64 bits."""
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
