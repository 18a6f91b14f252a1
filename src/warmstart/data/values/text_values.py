"""Read texts, and lists of values as text."""

import re

import polars as pl

from warmstart.data.cells import Cells
from warmstart.data.values.decoding import NULL_WORDS, decoded, text_of


def read_texts(cells: Cells) -> pl.Series:
    """Read texts as String; null if missing.

    Numbers, dates and booleans are converted to text, whole floats without ".0", as are whole
    numbers with ".0" in cells of undecided type (csv), whatever the other cells are. The values of
    a list are joined by ", "; mappings become JSON. Empty texts and null words count as missing.

    Raises:
        DataError: a value cannot be decoded; see ``decoding.decoded``.
    """
    return _texts(cells, ", ")


def read_lists(cells: Cells) -> pl.Series:
    """Read lists of values as String, joined by ``|``; null if missing.

    A cell is a list, text with ``|`` between the values, or the text form of a list:
    ``['a', 'b']``, ``["a", "b"]`` or ``['a' 'b']``.

    Raises:
        DataError: a value cannot be decoded; see ``decoding.decoded``.
    """
    texts = _texts(cells, "|")
    listed = texts.str.contains(r"^\s*\[.*\]\s*$").fill_null(False)
    if not listed.any():
        return texts
    values = [_parsed_list(text) if text is not None else None for text in texts]
    return pl.Series(texts.name, values, dtype=pl.String)


def _texts(cells: Cells, separator: str) -> pl.Series:
    column = decoded(cells)
    if column.dtype != pl.String:
        texts = [text_of(value, separator) for value in column.to_list()]
        column = pl.Series(column.name, texts, dtype=pl.String)
    elif cells.untyped:  # software writes ".0" if a value of a column of integers is missing
        column = column.str.replace(r"^\s*(-?[0-9]+)\.0\s*$", "$1")
    stripped = column.str.strip_chars()
    missing = (stripped.str.len_bytes() == 0) | stripped.is_in(NULL_WORDS)
    return column.set(missing.fill_null(True), None)


def _parsed_list(text: str) -> str | None:
    """Join the values of a list in brackets by ``|``; other text stays unchanged."""
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
