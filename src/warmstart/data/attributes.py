"""Attributes: item columns that hold several values each, such as genres."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse


@dataclass(frozen=True)
class Attribute:
    """The values of one item column, such as genres.

    Attributes:
        name: the column.
        values: the different values, in alphabetical order.
        matrix: bool CSR, shape (n_items, values): which items have which values.
        first: int32, shape (n_items,): the position in ``values`` of the item's first value; -1
            for an item without any.
    """

    name: str
    values: tuple[str, ...]
    matrix: sparse.csr_matrix
    first: np.ndarray


def read_attribute(column: pl.Series) -> Attribute:
    """Read a column of values separated by ``|``, String with one row per item."""
    lists = column.fill_null("").str.split("|").list.eval(pl.element().str.strip_chars())
    cells = [[value for value in dict.fromkeys(cell) if value] for cell in lists.to_list()]
    values = tuple(sorted({value for cell in cells for value in cell}))
    at = {value: position for position, value in enumerate(values)}
    indptr = np.cumsum([0, *(len(cell) for cell in cells)])
    indices = np.array([at[value] for cell in cells for value in cell], np.int32)
    first = np.array([at[cell[0]] if cell else -1 for cell in cells], np.int32)
    matrix = sparse.csr_matrix(
        (np.ones(len(indices), bool), indices, indptr), shape=(len(cells), len(values))
    )
    matrix.sort_indices()
    return Attribute(column.name, values, matrix, first)
