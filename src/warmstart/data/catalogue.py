"""The catalogue: all items with their texts, with or without interactions."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from warmstart.data.attributes import Attribute, read_attribute
from warmstart.data.ids import Ids
from warmstart.errors import DataError
from warmstart.process import check_process

LIST_COLUMNS = ("genres", "categories", "tags")
"""Item columns that hold several values, separated by ``|``."""


@dataclass(frozen=True)
class Catalogue:
    """Items in row order. In a forked process, see ``process``, its methods raise an error.

    Attributes:
        item_ids: external ids.
        texts: the composed text of each item; "" for an item without text.
        released: int64 unix seconds, shape (n_items,), -1 if unknown; None without release times.
        columns: the item columns without the id column, one row per item, all String: texts as
            ``values.read_texts`` returns them, lists of values joined by ``|``.
        text_columns: the columns that the texts are composed of, in order.
    """

    item_ids: Ids
    texts: tuple[str, ...]
    released: np.ndarray | None
    columns: pl.DataFrame
    text_columns: tuple[str, ...]

    def __post_init__(self) -> None:
        check_process()

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def has_text(self) -> np.ndarray:
        """Whether each item has a text: bool, shape (n_items,)."""
        return np.array([bool(text) for text in self.texts], bool)

    def attribute(self, name: str) -> Attribute:
        """Read a column of several values per item, such as genres.

        Raises:
            DataError: there is no such column.
        """
        if name not in self.columns.columns:
            raise DataError(
                f"the items have no column {name!r}; their columns are {self.columns.columns}"
            )
        if name not in self._attributes:
            self._attributes[name] = read_attribute(self.columns.get_column(name))
        return self._attributes[name]

    @cached_property
    def _attributes(self) -> dict[str, Attribute]:
        return {}

    def take(self, rows: np.ndarray) -> "Catalogue":
        """Select items by row number, in the given order."""
        check_process()
        return Catalogue(
            Ids(self.item_ids.take(rows), self.item_ids.kind),
            tuple(self.texts[row] for row in rows),
            None if self.released is None else self.released[rows],
            self.columns[rows],
            self.text_columns,
        )

    def extended(self, new: "Catalogue") -> "Catalogue":
        """Return this catalogue followed by the items of ``new``.

        Raises:
            DataError: an id of ``new`` is already in this catalogue.
        """
        check_process()
        known = [value for value in new.item_ids.values if value in self.item_ids]
        if known:
            raise DataError(f"{len(known)} item id(s) are already in the catalogue: {known[:5]!r}")
        released = None
        if self.released is not None or new.released is not None:
            released = np.concatenate([_released(self), _released(new)])
        return Catalogue(
            self.item_ids.extended(new.item_ids.values),
            self.texts + new.texts,
            released,
            pl.concat([self.columns, new.columns], how="diagonal"),
            self.text_columns,
        )


def compose_texts(columns: pl.DataFrame, text_columns: tuple[str, ...]) -> tuple[str, ...]:
    """Compose the text of each item: its text columns, without empty ones, joined by ". ".

    The values of ``LIST_COLUMNS`` are joined by ", ". White space is collapsed.
    """
    if not text_columns:
        return ("",) * columns.height
    composed = []
    for row in columns.select(text_columns).iter_rows(named=True):
        parts = []
        for name, value in row.items():
            part = value or ""
            if name in LIST_COLUMNS:
                part = part.replace("|", ", ")
            part = " ".join(part.split())
            if part:
                parts.append(part)
        composed.append(". ".join(parts))
    return tuple(composed)


def _released(catalogue: Catalogue) -> np.ndarray:
    if catalogue.released is not None:
        return catalogue.released
    return np.full(len(catalogue), -1, np.int64)
