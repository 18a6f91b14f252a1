"""Ids of requests: what they mean to the model, and the text by which store and index know them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from warmstart.data.cells import Cells, argument_cells, column_of
from warmstart.data.ids import Ids
from warmstart.data.values import is_normal_id, read_ids, read_ids_like
from warmstart.errors import ArtefactError, DataError

IdKind = Literal["item", "user"]
KINDS: tuple[IdKind, IdKind] = ("item", "user")
MAX_ID = 256  # characters
_EXACT = 2**53  # a float of this size or more may stand for several integers


class WrongIdError(DataError):
    """A value is no id, or has another type than the model's ids.

    Args:
        position: of the value among those given, from 0.
        message: the value, and what is allowed.
    """

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position


def id_names(given: Sequence[Any], ids: Ids) -> list[str]:
    """Convert values of a request to ids of the model, as text; the ids may be unknown.

    Integers may be given as text too: JavaScript has no exact numbers above 2**53. Text may not be
    given as a number, as the number may be a text that has lost its leading zeros.

    Args:
        given: values of a JSON body, or text of a path.
        ids: ids of the training data, which decide the type of all others.

    Raises:
        WrongIdError: for the first value that is no id of this type.
    """
    names = [_name(value, ids.is_integer) for value in given]
    others = [position for position, name in enumerate(names) if name is None]
    if not others:
        return [name for name in names if name is not None]
    values = [given[position] for position in others]
    try:
        read = _read(values, ids)
    except DataError:
        wrong = _first_wrong(values, ids)
        raise WrongIdError(others[wrong], str(_error([values[wrong]], ids))) from None
    for position, name in zip(others, read, strict=True):
        names[position] = name
    return [name for name in names if name is not None]


def row_of(name: str, ids: Ids) -> int:
    """Return the row number of an id, given as text; -1 for an unknown one."""
    if not ids.is_integer:
        return ids.row(name)
    return ids.row(int(name)) if _is_plain_integer(name) else -1


def first_foreign(names: Iterable[str], ids: Ids) -> str | None:
    """Return the first name that cannot be an id of a model with these ids; None if all can."""
    if not ids.is_integer:
        return None
    return next((name for name in names if not _is_plain_integer(name)), None)


def integer_kinds(folder: Path) -> set[IdKind]:
    """Return the kinds of ids that are integers in a saved model, without loading it.

    Raises:
        ArtefactError: the model is damaged.
    """
    try:
        return {
            kind
            for kind in KINDS
            if pl.read_parquet_schema(folder / f"{kind}s.parquet")[kind] == pl.Int64
        }
    except (OSError, KeyError, pl.exceptions.PolarsError) as error:
        raise ArtefactError(f"{folder} is damaged: its ids cannot be read: {error}") from None


def _name(value: Any, is_integer: bool) -> str | None:
    """Convert one value; None if this needs ``_read``, which is slow for one value."""
    if type(value) is str:
        normal = _is_plain_integer(value) if is_integer else is_normal_id(value)
        return value if normal and len(value) <= MAX_ID else None
    if not is_integer:
        return None
    if type(value) is float and abs(value) < _EXACT and value.is_integer():
        return str(int(value))
    return str(value) if is_normal_id(value) else None


def _is_plain_integer(text: str) -> bool:
    """Whether text is an integer of 64 bits as Python writes it."""
    digits = text.removeprefix("-")
    if not (len(digits) <= 19 and digits.isascii() and digits.isdecimal()):
        return False
    return str(int(text)) == text and -(2**63) <= int(text) < 2**63


def _read(values: Sequence[Any], ids: Ids) -> list[str]:
    """Read all values at once: text that is not in normal form; anything else is an error."""
    for value in values:
        if not isinstance(value, str):
            ((number,),) = read_ids([argument_cells([value], ids.kind, "id")], ids.kind)
            raise DataError(
                f"{ids.kind} id: got the number {number}; allowed: text in quotes, as the "
                f"{ids.kind} ids of this model are text"
            )
    column = column_of(values)
    if column.dtype == pl.String:
        column = column.str.strip_chars()  # here, as reading warns if this makes ids equal
    read = read_ids_like(Cells(column, ids.kind, "id", untyped=True, argument=True), ids)
    names = [str(name) for name in read]
    if too_long := next((name for name in names if len(name) > MAX_ID), None):
        raise DataError(
            f"{ids.kind} id: got {too_long[:MAX_ID]!r}...; allowed: an id of at most {MAX_ID} "
            "characters"
        )
    return names


def _first_wrong(values: Sequence[Any], ids: Ids) -> int:
    """Halve the values until one is left: reading them one by one would be slow."""
    first, end = 0, len(values)
    while end - first > 1:
        middle = (first + end) // 2
        if _error(values[first:middle], ids) is None:
            first = middle
        else:
            end = middle
    return first


def _error(values: Sequence[Any], ids: Ids) -> DataError | None:
    try:
        _read(values, ids)
    except DataError as error:
        return error
    return None
