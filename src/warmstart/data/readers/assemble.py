"""Build a Dataset from tables by rules for duplicates, ratings, times, texts and unknown ids.

1. A rating below ``positive_rating`` is not a positive, but the pair counts as seen
   (``Dataset.below_threshold``). Without a threshold every row is a positive. With a threshold, a
   row without a rating is also a positive: it is still an interaction.
2. Rows of one (user, item) pair are merged into one positive with the earliest time. The threshold
   is applied first: an item disliked in May and liked in June is a positive of June.
3. Every user with a row is kept, with or without a positive.
4. The catalogue keeps every item of the items table, in its order, with or without interactions.
   Items that occur only in interactions are appended in id order, without text, or are an error.
5. A missing text is "". A missing or empty id, a second row for an item, and a rating or a time
   that cannot be read are errors that name row, column and value.
6. Data that can be read but are probably wrong cause errors or warnings: see ``data_checks``.

``Dataset.counts`` has the number of rows to which each rule applied, and
``rows = interactions + ratings_below_positive + duplicates_merged``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from warmstart.data.catalogue import LIST_COLUMNS, Catalogue, compose_texts
from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
from warmstart.data.readers.data_checks import (
    check_overlap,
    check_positives,
    check_ratings,
    check_users,
    unread_columns,
    warn_texts,
)
from warmstart.data.readers.tables import Table
from warmstart.data.values import (
    read_ids,
    read_lists,
    read_numbers,
    read_texts,
    read_times,
    read_whole_numbers,
)
from warmstart.errors import ConfigError, DataError

OnUnknownItem: TypeAlias = Literal["add", "raise"]
# Long text last, since encoders truncate texts at the end.
DEFAULT_TEXT = ("title", "genres", "categories", "tags", "text")


@dataclass(frozen=True)
class Columns:
    """Names of the columns of an interactions table; None for a column that it does not have.

    Attributes:
        names: the names that this source reads, for the warning about columns that are not read.
        remedy: advice in that warning for a column of another name.
    """

    user: str = "user"
    item: str = "item"
    rating: str | None = None
    time: str | None = None
    position: str | None = None
    names: tuple[str, ...] = ("user", "item", "rating", "timestamp", "position")
    remedy: str = "rename it"


def assemble(
    interactions: Table,
    items: Table | None,
    *,
    columns: Columns,
    name: str,
    users: Table | None = None,
    text: Sequence[str] | None = None,
    positive_rating: float | None = None,
    on_unknown_item: OnUnknownItem = "add",
    hint_at_text: bool | None = None,
) -> Dataset:
    """Build a Dataset by the rules of this module.

    Args:
        interactions: one row per event.
        items: one row per item; None if only ids are known.
        columns: names of the columns.
        name: name of the data in reports.
        users: users to keep even if they have no row; or None.
        text: the item columns that the text is composed of; None takes the existing ones of
            ``DEFAULT_TEXT``.
        positive_rating: lowest rating that is a positive; None makes every row a positive.
        on_unknown_item: "add" items that are not in ``items`` to the catalogue, or "raise".
        hint_at_text: whether to warn about columns that look like text but are not part of it;
            None warns if ``text`` is None.

    Raises:
        ConfigError: ``positive_rating`` is no finite number or is given without a rating column,
            or ``on_unknown_item`` is not one of its values.
        DataError: a cell is wrong; names source, row, column and value.
    """
    positive_rating = _checked_options(positive_rating, on_unknown_item)
    user_column, *more_users = read_ids(
        [table.cells(columns.user) for table in (interactions, users) if table is not None], "user"
    )
    item_column, *catalogue_column = read_ids(
        [table.cells(columns.item) for table in (interactions, items) if table is not None], "item"
    )
    events = _events(interactions, columns, user_column, item_column, positive_rating)
    positive, below = _by_threshold(events, positive_rating)
    positives, below = _merge(positive), _merge(below)
    below = below.join(positives, on=["user", "item"], how="anti", maintain_order="left")

    user_ids = pl.concat([user_column, *more_users]).unique().sort()
    check_positives(positives["user"].n_unique(), len(user_ids), len(events), interactions.source)
    clicked = item_column.unique().sort()
    listed = catalogue_column[0] if catalogue_column else item_column.clear()
    unknown = clicked.filter(~clicked.is_in(listed.implode()))
    if len(unknown) and on_unknown_item == "raise":
        raise _unknown_items(unknown, interactions.source)
    catalogue = build_catalogue(items, columns.item, listed, unknown, text)
    sizes = _sizes(positives, user_ids, catalogue)
    names = (columns.user, columns.item, columns.rating, columns.time, columns.position)
    unread = unread_columns(interactions, names, columns.names, columns.remedy)
    if users is not None:
        check_users(user_column.unique().sort(), more_users[0], interactions, users)
        unread += unread_columns(users, [columns.user], [])
    if items is not None:
        check_overlap(clicked, listed, interactions, items)
        hint = text is None if hint_at_text is None else hint_at_text
        warn_texts(items, catalogue, columns.item, DEFAULT_TEXT if hint else ())
    item_ids = pl.concat([listed, unknown])
    return Dataset(
        name=name,
        user_ids=Ids(user_ids.to_list(), "user"),
        catalogue=catalogue,
        interactions=_numbered(positives, user_ids, item_ids),
        below_threshold=_numbered(below, user_ids, item_ids),
        clock="position" if columns.time is None and columns.position is not None else "unix",
        counts={
            "rows": len(events),
            "ratings_below_positive": len(events) - len(positive),
            "duplicates_merged": len(positive) - len(positives),
            "unknown_items_added": len(unknown) if items is not None else 0,
            **sizes,
        },
        unread_columns=unread,
    )


def _checked_options(positive_rating: Any, on_unknown_item: Any) -> float | None:
    """Check the options of ``assemble``; return the threshold."""
    is_number = isinstance(positive_rating, int | float | Decimal | np.integer | np.floating)
    if positive_rating is not None and (
        not is_number or isinstance(positive_rating, bool) or not isfinite(positive_rating)
    ):
        raise ConfigError(f"positive_rating must be a finite number, got {positive_rating!r}")
    if on_unknown_item not in get_args(OnUnknownItem):
        raise ConfigError(
            f"on_unknown_item {on_unknown_item!r}; allowed: {', '.join(get_args(OnUnknownItem))}"
        )
    return None if positive_rating is None else float(positive_rating)


def _unknown_items(unknown: pl.Series, source: str) -> DataError:
    return DataError(
        f"{source}: {len(unknown)} item(s) are not in the catalogue, the first: "
        f"{unknown.head(5).to_list()!r}; add them to the items, or pass on_unknown_item='add'"
    )


def build_catalogue(
    items: Table | None,
    id_name: str,
    listed: pl.Series,
    unknown: pl.Series,
    text: Sequence[str] | None,
) -> Catalogue:
    """Build the catalogue: ``listed`` ids with their texts, then ``unknown`` ids without text.

    Raises:
        DataError: an id occurs twice, a text column is missing or named twice, or a release time
            is not a time.
    """
    ids = Ids([*listed, *unknown], "item") if not listed.is_duplicated().any() else None
    if ids is None:
        assert items is not None
        raise items.cells(id_name).malformed(~listed.is_first_distinct(), "each item id once")
    if items is None:
        frame, times = pl.DataFrame(), None
    else:
        frame = item_texts(items, id_name)
        times = None
        if "released" in frame.columns:
            times = read_times(items.cells("released"), required=False)
    if text is None:
        text = [name for name in DEFAULT_TEXT if name in frame.columns]
    source = "no items were given, and" if items is None else f"{items.source}:"
    missing = [name for name in text if name not in frame.columns]
    if missing:
        raise DataError(
            f"{source} text column(s) {missing} are missing; the columns are {frame.columns}"
        )
    if len(set(text)) < len(text):
        raise DataError(f"{source} text names a column twice: {list(text)}; name each once")
    frame = pl.concat([frame, frame.clear(len(unknown))]) if frame.width else frame
    texts = compose_texts(frame, tuple(text)) if frame.width else ("",) * len(ids)
    released = None
    if times is not None:
        # -1 means unknown, so a true time of -1 (one second before 1970) becomes 0.
        known = times.replace(-1, 0).fill_null(-1).to_numpy()
        released = np.concatenate([known, np.full(len(unknown), -1)]).astype(np.int64)
    return Catalogue(ids, texts, released, frame, tuple(text))


def item_texts(items: Table, id_name: str = "") -> pl.DataFrame:
    """Convert all columns of an items table except the ids to text; see ``Catalogue.columns``."""
    return pl.DataFrame(
        [
            (read_lists if name in LIST_COLUMNS else read_texts)(items.cells(name)).alias(name)
            for name in items.frame.columns
            if name != id_name
        ]
    )


def _events(
    table: Table,
    columns: Columns,
    user_column: pl.Series,
    item_column: pl.Series,
    threshold: float | None,
) -> pl.DataFrame:
    """Check and collect the columns: user, item and, if they exist, rating, time, position."""
    checked = {"user": user_column, "item": item_column}
    if columns.rating is not None:
        checked["rating"] = read_numbers(table.cells(columns.rating))
        check_ratings(checked["rating"], threshold, table, columns.rating)
    elif threshold is not None:
        raise ConfigError(
            f"positive_rating = {threshold} needs a rating column; "
            f"{table.source} has {table.frame.columns}"
        )
    if columns.time is not None:
        checked["time"] = read_times(table.cells(columns.time))
    if columns.position is not None:
        checked["position"] = read_whole_numbers(table.cells(columns.position))
    return pl.DataFrame(checked)


def _by_threshold(
    events: pl.DataFrame, threshold: float | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split events into positive rows and rows rated below the threshold."""
    if threshold is None:
        return events, events.clear()
    is_positive = (events["rating"] >= threshold).fill_null(True)
    return events.filter(is_positive), events.filter(~is_positive)


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


def _merge(events: pl.DataFrame) -> pl.DataFrame:
    """Keep the earliest row of each pair."""
    ordered = events.sort(["user", "item", *_order(events)])
    return ordered.unique(["user", "item"], keep="first", maintain_order=True)


def _numbered(events: pl.DataFrame, user_ids: pl.Series, item_ids: pl.Series) -> Interactions:
    """Convert ids to row numbers; sort by user, then time, then position, then item."""
    users = pl.DataFrame({"user": user_ids}).with_row_index("user_row")
    items = pl.DataFrame({"item": item_ids}).with_row_index("item_row")
    rows = events.join(users, on="user").join(items, on="item")
    rows = rows.sort(["user_row", *_order(events), "item_row"])
    clock = _order(events)
    return Interactions.from_arrays(
        rows["user_row"].to_numpy(),
        rows["item_row"].to_numpy(),
        times=rows[clock[0]].to_numpy() if clock else None,
    )
