"""Read texts, and lists of values as text."""

import re
from typing import Any

import polars as pl

from warmstart.data.cells import Cells
from warmstart.data.values.decoding import NULL_WORDS, decoded, text_of

_BRACKETS = r"^\s*\[.*\]\s*$"


def read_texts(cells: Cells) -> pl.Series:
    """Read texts as String; null if missing.

    Numbers, dates and booleans are converted to text, whole floats without ".0", as are whole
    numbers with ".0" in cells of undecided type (csv), whatever the other cells are. The values of
    a list are joined by ", "; mappings become JSON. Empty texts and null words count as missing.

    Raises:
        DataError: a value cannot be decoded; see ``decoding.decoded``.
    """
    return _texts(decoded(cells), untyped=cells.untyped)


def read_texts_or_lists(cells: Cells) -> pl.Series:
    """Read a column as ``read_texts`` does, but as List(String) if a cell is a list.

    In such a column, a text is a list of one value.

    Raises:
        DataError: a value cannot be decoded; see ``decoding.decoded``.
    """
    column = decoded(cells)
    texts = _texts(column, untyped=cells.untyped)
    if column.dtype != pl.Object or not any(isinstance(value, list) for value in column):
        return texts
    values = [
        None if text is None else _parts(value) if isinstance(value, list) else [text]
        for value, text in zip(column, texts, strict=True)
    ]
    return pl.Series(column.name, values, dtype=pl.List(pl.String))


def read_lists(cells: Cells) -> pl.Series:
    """Read lists of values as String, joined by ``|``; null if missing.

    A cell is a list, text with ``|`` between the values, or the text form of a list:
    ``['a', 'b']``, ``["a", "b"]`` or ``['a' 'b']``. If a value of a list contains ``|`` itself, the
    column is List(String) instead, so that it stays one value.

    Raises:
        DataError: a value cannot be decoded; see ``decoding.decoded``.
    """
    column = decoded(cells)
    texts = _texts(column, untyped=cells.untyped)
    if column.dtype == pl.String and not texts.str.contains(_BRACKETS).any():
        return texts
    values = [
        None if text is None else _parts(value) if isinstance(value, list) else split_values(text)
        for value, text in zip(column, texts, strict=True)
    ]
    if any("|" in part for parts in values for part in parts or ()):
        return pl.Series(column.name, [parts or None for parts in values], pl.List(pl.String))
    joined = ["|".join(parts or ()) or None for parts in values]
    return pl.Series(column.name, joined, dtype=pl.String)


def split_values(text: str) -> list[str]:
    """Split the text of several values: at ``|``, or the text form of a list."""
    if not re.match(_BRACKETS, text):
        return text.split("|")
    inner = text.strip()[1:-1]
    quoted = re.findall(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", inner)
    if quoted:
        parts = [re.sub(r"\\(.)", r"\1", single or double) for single, double in quoted]
    else:
        parts = [re.sub(r"^(-?[0-9]+)\.0$", r"\1", part.strip()) for part in inner.split(",")]
    return [part for part in parts if part and part not in NULL_WORDS]


def _texts(column: pl.Series, *, untyped: bool) -> pl.Series:
    if column.dtype != pl.String:
        texts = [text_of(value) for value in column.to_list()]
        column = pl.Series(column.name, texts, dtype=pl.String)
    elif untyped:  # software writes ".0" if a value of a column of integers is missing
        column = column.str.replace(r"^\s*(-?[0-9]+)\.0\s*$", "$1")
    stripped = column.str.strip_chars()
    missing = (stripped.str.len_bytes() == 0) | stripped.is_in(NULL_WORDS)
    return column.set(missing.fill_null(True), None)


def _parts(values: list[Any]) -> list[str]:
    """Convert the values of a list to text, without those that are missing."""
    texts = (text_of(value) for value in values)
    return [text for text in texts if text and text not in NULL_WORDS]
