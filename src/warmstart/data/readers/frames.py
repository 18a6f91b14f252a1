"""From data frames to a Dataset."""

from collections.abc import Sequence
from typing import Any, Literal

from warmstart.data.cells import argument_list
from warmstart.data.dataset import Dataset
from warmstart.data.readers.assemble import Columns, assemble
from warmstart.data.readers.tables import frame_table


def from_frames(
    interactions: Any,
    items: Any = None,
    *,
    user: str = "user",
    item: str = "item",
    rating: str | None = None,
    time: str | None = None,
    position: str | None = None,
    text: Sequence[str] | None = None,
    positive_rating: float | None = None,
    name: str = "frames",
    on_unknown_item: Literal["add", "raise"] = "add",
) -> Dataset:
    """A data set from pandas, polars or Arrow frames, or from mappings of column to values.

    Args:
        interactions: one row an event.
        items: one row an item; None if only ids are known.
        user: the user id column.
        item: the item id column, called the same in both frames.
        rating: the column of ratings, if there is one.
        time: the column of times (unix seconds, ISO 8601 or a datetime), if there is one.
        position: the column with the order in the user's sequence, if there is one.
        text: the columns of ``items`` that make the text, in order; by default title, genres,
            categories, tags and text, as far as they exist.
        positive_rating: ratings from here on are positives.
        name: how reports call the data.
        on_unknown_item: "add" an item that is missing from ``items`` to the catalogue without
            text, or "raise".

    Raises:
        DataError: a frame, column, id, rating or time is wrong; names row, column and value.
    """
    given = {"rating": rating, "timestamp": time, "position": position}
    return assemble(
        frame_table(interactions, "the interactions frame"),
        None if items is None else frame_table(items, "the items frame"),
        columns=Columns(
            user,
            item,
            rating,
            time,
            position,
            names=tuple(name for name, column in given.items() if column is None),
            remedy="name it, such as time='timestamp'",
        ),
        name=name,
        text=None if text is None else argument_list(text, "from_frames", "text"),
        positive_rating=positive_rating,
        on_unknown_item=on_unknown_item,
    )
