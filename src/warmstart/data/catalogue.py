"""The catalogue: all items with their texts, with or without interactions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from warmstart.data.attributes import Attribute, has_several_values, read_attribute
from warmstart.data.ids import ExternalId, Ids
from warmstart.data.values import split_values
from warmstart.errors import DataError
from warmstart.process import check_process

LIST_COLUMNS = ("genres", "categories", "tags")
"""Names of item columns that hold several values, whatever they hold."""


@dataclass(frozen=True)
class Catalogue:
    """Items in row order. In a forked process, see ``process``, its methods raise an error.

    Attributes:
        item_ids: external ids.
        texts: the composed text of each item; "" for an item without text.
        released: int64 unix seconds, shape (n_items,), -1 if unknown; None without release times.
        columns: the item columns without the id column, one row per item. All are String, the
            values of ``LIST_COLUMNS`` joined by ``|``, except for columns that are read from lists:
            these are List(String), among ``LIST_COLUMNS`` only if a value contains ``|``.
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
        """Read a column of several values per item, such as genres; a text is split at ``|``.

        Raises:
            DataError: there is no such column.
        """
        check_process()
        if name not in self.columns.columns:
            raise DataError(
                f"the items have no column {name!r}; their columns are {self.columns.columns}"
            )
        if name not in self._attributes:
            self._attributes[name] = read_attribute(self.columns.get_column(name))
        return self._attributes[name]

    @property
    def genre_column(self) -> str | None:
        """The column that tells the genres of items: the first of ``LIST_COLUMNS``, or None."""
        return next((name for name in LIST_COLUMNS if name in self.columns.columns), None)

    @property
    def title_column(self) -> str | None:
        """The column that names an item for people: "title", else the first text column."""
        return next((name for name in ("title", *self.text_columns) if name in self.columns), None)

    def titles(self, ids: Sequence[ExternalId]) -> list[str]:
        """What the title column has of some items; "" for an item without, or not in here."""
        check_process()
        if self.title_column is None:
            return [""] * len(ids)
        rows = self.item_ids.rows(list(ids))
        values = self.columns.get_column(self.title_column)
        return [as_title(values[int(row)]) if row >= 0 else "" for row in rows]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What names each item in words: its title, or the item text where it has none."""
        titles = self.titles(self.item_ids.values)
        return tuple(
            title if title.strip() else text for title, text in zip(titles, self.texts, strict=True)
        )

    @cached_property
    def attribute_names(self) -> tuple[str, ...]:
        """The columns that hold several values per item; see ``attributes.has_several_values``."""
        check_process()
        return tuple(
            column.name
            for column in self.columns.get_columns()
            if column.name in LIST_COLUMNS or has_several_values(column)
        )

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

        Columns that only ``new`` has are left out: one of them may be a text column under a wrong
        name, and the next new items that have it are to cause the same warning.

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
            _extended_columns(self.columns, new.columns),
            self.text_columns,
        )


def as_title(value: Any) -> str:
    """What a cell of the title column has, as text; the values of a list are joined."""
    if isinstance(value, pl.Series | list):
        return ", ".join(str(part) for part in value if part is not None)
    return str(value or "")


def compose_texts(columns: pl.DataFrame, text_columns: tuple[str, ...]) -> tuple[str, ...]:
    """Compose the text of each item: its text columns, without empty ones, joined by ". ".

    The values of lists and of ``LIST_COLUMNS`` are joined by ", ". White space is collapsed.
    """
    if not text_columns:
        return ("",) * columns.height
    composed = []
    for row in columns.select(text_columns).iter_rows(named=True):
        parts = []
        for name, value in row.items():
            part = ", ".join(value) if isinstance(value, list) else value or ""
            if name in LIST_COLUMNS:
                part = part.replace("|", ", ")
            part = " ".join(part.split())
            if any(letter.isprintable() and letter != " " for letter in part):  # not zero-width
                parts.append(part)
        composed.append(". ".join(parts))
    return tuple(composed)


def _released(catalogue: Catalogue) -> np.ndarray:
    if catalogue.released is not None:
        return catalogue.released
    return np.full(len(catalogue), -1, np.int64)


def _extended_columns(columns: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Append the rows of ``new``; a column that is List(String) in one of them is so in both."""
    new = new.select(name for name in columns.columns if name in new.columns)
    for name in new.columns:
        if {columns.schema[name], new.schema[name]} == {pl.String(), pl.List(pl.String)}:
            columns, new = _with_lists(columns, name), _with_lists(new, name)
    return pl.concat([columns, new], how="diagonal")


def _with_lists(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Split the texts of a column into their values, as ``read_attribute`` does."""
    cells = frame.get_column(name).to_list()
    split = [split_values(cell) if isinstance(cell, str) else cell for cell in cells]
    return frame.with_columns(pl.Series(name, split, dtype=pl.List(pl.String)))
