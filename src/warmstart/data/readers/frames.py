"""Read data frames into a Dataset."""

from collections.abc import Sequence
from typing import Any

from warmstart.data.cells import argument_list
from warmstart.data.dataset import Dataset
from warmstart.data.readers.assemble import OnUnknownItem, assemble
from warmstart.data.readers.events import Columns
from warmstart.data.readers.tables import frame_table
from warmstart.errors import ConfigError, shortened


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
    on_unknown_item: OnUnknownItem = "add",
) -> Dataset:
    """Build a data set from pandas, polars or Arrow frames, or mappings of column name to values.

    Args:
        interactions: one row per event.
        items: one row per item; None if only ids are known.
        user: name of the user id column.
        item: name of the item id column, the same in both frames.
        rating: name of the column of ratings, if any.
        time: name of the column of times (unix seconds, ISO 8601 or a datetime), if any.
        position: name of the column with the position in the user's sequence, if any.
        text: the columns of ``items`` that the text is composed of, in order; by default the
            existing ones of title, genres, categories, tags and text.
        positive_rating: lowest rating that is a positive; by default every row is a positive.
        name: name of the data in reports.
        on_unknown_item: "add" items that are not in ``items`` to the catalogue, without text, or
            "raise".

    Raises:
        ConfigError: an argument has the wrong type or value.
        DataError: a frame, column, id, rating or time is wrong; names row, column and value.
    """
    for argument, value in {"user": user, "item": item, "name": name}.items():
        _check_text(argument, value)
    for argument, value in {"rating": rating, "time": time, "position": position}.items():
        if value is not None:
            _check_text(argument, value)
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
            remedy="name it, for example time='timestamp'",
        ),
        name=name,
        text=None if text is None else argument_list(text, "from_frames", "text"),
        positive_rating=positive_rating,
        on_unknown_item=on_unknown_item,
    )


def _check_text(argument: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"from_frames: {argument} must be text, got {shortened(value)}")
