"""Read the part (train, valid or test) that published data give to a row."""

import polars as pl

from warmstart.data.cells import Cells
from warmstart.data.values import read_texts

PARTS = ("train", "valid", "test")


def read_parts(cells: Cells, *, required: bool = True) -> pl.Series:
    """Read parts as String; null if missing.

    Args:
        cells: one of ``PARTS`` each.
        required: whether a missing part is an error.

    Raises:
        DataError: a cell is something else; names the first such cell.
    """
    parts = read_texts(cells).str.strip_chars()
    wrong = ~parts.is_in(PARTS) & parts.is_not_null()
    if required:
        wrong |= parts.is_null()
    if wrong.any():
        allowed = ", ".join(PARTS)
        raise cells.malformed(wrong, allowed if required else f"{allowed}, or no value")
    return parts
