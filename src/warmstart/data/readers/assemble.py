"""From tables to a Dataset: the rules for duplicates, ratings, times, missing texts, unknown ids.

1. A rating below ``positive_rating`` is not a positive; without a threshold every row is one.
2. Rows of one (user, item) pair merge into one positive with the earliest time. The threshold is
   applied first: an item disliked in May and liked in June becomes a positive in June.
3. Every user with a row is kept, with or without a positive.
4. The catalogue keeps every item of the items table, in its order, clicked or not. An item that
   only interactions name is added behind, in id order, without text; or it is an error.
5. A missing text is "". A missing or empty id, a second row for an item, a rating or a time that
   cannot be read are errors that name row, column and value.

``Dataset.counts`` says how often each rule applied, and
``rows = interactions + ratings_below_positive + duplicates_merged``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from warmstart.data.catalogue import Catalogue, compose_texts
from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
from warmstart.data.readers.columns import read_ids, read_numbers, read_times, read_whole_numbers
from warmstart.data.readers.tables import Table
from warmstart.errors import ConfigError, DataError

# Long text last: an encoder that cuts a text keeps its beginning.
DEFAULT_TEXT = ("title", "genres", "categories", "tags", "text")


@dataclass(frozen=True)
class Columns:
    """How the columns of an interactions table are called; None where there is none."""

    user: str = "user"
    item: str = "item"
    rating: str | None = None
    time: str | None = None
    position: str | None = None


def assemble(
    interactions: Table,
    items: Table | None,
    *,
    columns: Columns,
    name: str,
    users: Table | None = None,
    text: Sequence[str] | None = None,
    positive_rating: float | None = None,
    on_unknown_item: Literal["add", "raise"] = "add",
) -> Dataset:
    """A Dataset by the rules of this module.

    Args:
        interactions: one row an event.
        items: one row an item; or None, where only ids are known.
        columns: how the columns are called.
        name: how reports call the data.
        users: users to keep even where they have no row; or None.
        text: the item columns that make the text; None takes those of DEFAULT_TEXT that exist.
        positive_rating: ratings from here on are positives.
        on_unknown_item: what to do with an item that ``items`` does not have.

    Raises:
        ConfigError: ``positive_rating`` without a rating column.
        DataError: a cell is wrong; names source, row, column and value.
    """
    user_column, *more_users = read_ids(
        [interactions] if users is None else [interactions, users], columns.user, "user"
    )
    item_column, *catalogue_column = read_ids(
        [interactions] if items is None else [interactions, items], columns.item, "item"
    )
    events = _events(interactions, columns, user_column, item_column)
    positives = _positives(events, positive_rating, interactions)
    merged = _merge(positives)

    user_ids = pl.concat([user_column, *more_users]).unique().sort()
    listed = catalogue_column[0] if catalogue_column else item_column.clear()
    unknown = item_column.to_frame("item").join(listed.to_frame("item"), on="item", how="anti")
    unknown = unknown["item"].unique().sort()
    if len(unknown) and on_unknown_item == "raise":
        raise DataError(
            f"{interactions.source}: {len(unknown)} item(s) are not in the catalogue, the first: "
            f"{unknown.head(5).to_list()!r}; add them to the items, or pass on_unknown_item='add'"
        )
    catalogue = build_catalogue(items, columns.item, listed, unknown, text)
    observed = _numbered(merged, user_ids, pl.concat([listed, unknown]))
    return Dataset(
        name=name,
        user_ids=Ids(user_ids.to_list(), "user"),
        catalogue=catalogue,
        interactions=observed,
        clock="position" if columns.time is None and columns.position is not None else "unix",
        counts={
            "rows": len(events),
            "ratings_below_positive": len(events) - len(positives),
            "duplicates_merged": len(positives) - len(merged),
            "unknown_items_added": len(unknown) if items is not None else 0,
            **_sizes(merged, user_ids, catalogue),
        },
    )


def build_catalogue(
    items: Table | None,
    id_name: str,
    listed: pl.Series,
    unknown: pl.Series,
    text: Sequence[str] | None,
) -> Catalogue:
    """The catalogue of the ``listed`` ids with their texts, then the ``unknown`` ones without.

    Raises:
        DataError: an id twice, a text column that is missing, or a release date that is no date.
    """
    ids = Ids([*listed, *unknown], "item") if not listed.is_duplicated().any() else None
    if ids is None:
        assert items is not None
        raise items.malformed(id_name, ~listed.is_first_distinct(), "each item id once")
    if items is None:
        frame, times = pl.DataFrame(), None
    else:
        frame = items.frame.drop(id_name)
        times = read_times(items, "released", required=False) if "released" in frame else None
    if text is None:
        text = [name for name in DEFAULT_TEXT if name in frame.columns]
    missing = [name for name in text if name not in frame.columns]
    if missing:
        source = "no items were given, and" if items is None else f"{items.source}:"
        raise DataError(
            f"{source} text column(s) {missing} are missing; the columns are {frame.columns}"
        )
    if frame.width:
        frame = pl.concat([frame, frame.clear(len(unknown))])
        texts = compose_texts(frame, tuple(text))
    else:
        texts = ("",) * len(ids)
    released = None
    if times is not None:
        # -1 stands for unknown, so the one second before 1970 moves into 1970.
        known = times.replace(-1, 0).fill_null(-1).to_numpy()
        released = np.concatenate([known, np.full(len(unknown), -1)]).astype(np.int64)
    return Catalogue(ids, texts, released, frame, tuple(text))


def _events(
    table: Table, columns: Columns, user_column: pl.Series, item_column: pl.Series
) -> pl.DataFrame:
    """Checked columns: user, item and, where they exist, rating, time, position."""
    checked = {"user": user_column, "item": item_column}
    if columns.rating is not None:
        checked["rating"] = read_numbers(table, columns.rating)
    if columns.time is not None:
        checked["time"] = read_times(table, columns.time)
    if columns.position is not None:
        checked["position"] = read_whole_numbers(table, columns.position)
    return pl.DataFrame(checked)


def _positives(events: pl.DataFrame, threshold: float | None, source: Table) -> pl.DataFrame:
    if threshold is None:
        return events
    if "rating" not in events.columns:
        raise ConfigError(
            f"positive_rating = {threshold} needs a rating column; "
            f"{source.source} has {source.frame.columns}"
        )
    return events.filter(pl.col("rating") >= threshold)


def _sizes(positives: pl.DataFrame, user_ids: pl.Series, catalogue: Catalogue) -> dict[str, int]:
    return {
        "interactions": len(positives),
        "users": len(user_ids),
        "users_without_positives": len(user_ids) - positives["user"].n_unique(),
        "items": len(catalogue),
        "items_without_interactions": len(catalogue) - positives["item"].n_unique(),
        "items_without_text": sum(not text for text in catalogue.texts),
    }


def _order(events: pl.DataFrame) -> list[str]:
    return [name for name in ("time", "position") if name in events.columns]


def _merge(positives: pl.DataFrame) -> pl.DataFrame:
    """One row a pair, the earliest one."""
    ordered = positives.sort(["user", "item", *_order(positives)])
    return ordered.unique(["user", "item"], keep="first", maintain_order=True)


def _numbered(events: pl.DataFrame, user_ids: pl.Series, item_ids: pl.Series) -> Interactions:
    """Events by row number, each user's in the order of time, then position, then item."""
    users = pl.DataFrame({"user": user_ids}).with_row_index("user_row")
    items = pl.DataFrame({"item": item_ids}).with_row_index("item_row")
    rows = events.join(users, on="user").join(items, on="item")
    rows = rows.sort(["user_row", *_order(events), "item_row"])
    clock = _order(events)
    return Interactions.of(
        rows["user_row"].to_numpy(),
        rows["item_row"].to_numpy(),
        times=rows[clock[0]].to_numpy() if clock else None,
    )
