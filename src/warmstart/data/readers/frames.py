"""Read data frames into a Dataset."""

from collections.abc import Sequence
from typing import Any

from warmstart.data.cells import argument_list
from warmstart.data.dataset import Dataset
from warmstart.data.readers.assemble import OnUnknownItem, assemble
from warmstart.data.readers.dialogues import read_dialogues
from warmstart.data.readers.events import Columns
from warmstart.data.readers.tables import Table, frame_table, records_table
from warmstart.errors import ConfigError, shortened


def from_frames(
    interactions: Any,
    items: Any = None,
    *,
    dialogues: Any = None,
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
        interactions: one row per event; None if there are only dialogues, and then every dialogue
            counts as a user, who had the items that it mentions.
        items: one row per item; None if only ids are known.
        dialogues: one row per dialogue, as a frame or as a list of mappings, with ``dialogue``,
            ``turns`` and, optionally, ``part``; see ``readers.dialogues``.
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
        None
        if interactions is None and dialogues is not None
        else frame_table(interactions, "the interactions frame"),
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
        dialogues=None if dialogues is None else read_dialogues(_dialogue_table(dialogues)),
        name=name,
        text=None if text is None else argument_list(text, "from_frames", "text"),
        positive_rating=positive_rating,
        on_unknown_item=on_unknown_item,
    )


def _dialogue_table(dialogues: Any) -> Table:
    if isinstance(dialogues, list | tuple):
        return records_table(dialogues, "the dialogues")
    return frame_table(dialogues, "the dialogues")


def _check_text(argument: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"from_frames: {argument} must be text, got {shortened(value)}")
