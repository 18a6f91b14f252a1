"""Build a Dataset from tables by rules for duplicates, ratings, times, texts and unknown ids.

1. A rating below ``positive_rating`` is not a positive, but the pair counts as seen
   (``Dataset.below_threshold``). Without a threshold every row is a positive. With a threshold, a
   row without a rating is also a positive: it is still an interaction.
2. Rows of one (user, item) pair are merged into one positive with the earliest time. The threshold
   is applied first: an item disliked in May and liked in June is a positive of June.
   ``Dataset.ratings`` has all rows with a rating, as they were before both.
3. The events of a user stand in the order of time, then position, then row of the table. Rows of a
   log mostly stand in order, and published histories break ties of time by it. Ties in the order of
   item numbers would give a sequence model a pattern to learn that no user made.
4. Every user with a row is kept, with or without a positive.
5. The catalogue keeps every item of the items table, in its order, with or without interactions.
   Items that occur only in interactions or dialogues are appended in id order, without text, or are
   an error.
6. A missing text is "". A missing or empty id, a second row for an item, and a rating or a time
   that cannot be read are errors that name row, column and value.
7. Without interactions, every dialogue counts as a user, who had the items that it mentions, in
   their order.
8. Data that can be read but are probably wrong cause errors or warnings: see ``data_checks``.

``Dataset.counts`` has the number of rows to which each rule applied, and
``rows = interactions + ratings_below_positive + duplicates_merged``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from math import isfinite
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import polars as pl

from warmstart.data.catalogue import LIST_COLUMNS, Catalogue, compose_texts
from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids
from warmstart.data.readers.data_checks import (
    check_overlap,
    check_positives,
    check_users,
    unread_columns,
    warn_texts,
)
from warmstart.data.readers.dialogues import DialogueTable
from warmstart.data.readers.events import (
    Columns,
    below_threshold,
    ordered_events,
    positives,
    ratings,
    read_events,
)
from warmstart.data.readers.tables import Table
from warmstart.data.values import read_ids, read_lists, read_texts_or_lists, read_times
from warmstart.errors import ConfigError, DataError

OnUnknownItem: TypeAlias = Literal["add", "raise"]
# Long text last, since encoders truncate texts at the end.
DEFAULT_TEXT = ("title", "genres", "categories", "tags", "text")


def assemble(
    interactions: Table | None,
    items: Table | None,
    *,
    columns: Columns,
    name: str,
    users: Table | None = None,
    dialogues: DialogueTable | None = None,
    text: Sequence[str] | None = None,
    positive_rating: float | None = None,
    on_unknown_item: OnUnknownItem = "add",
    hint_at_text: bool | None = None,
) -> Dataset:
    """Build a Dataset by the rules of this module.

    Args:
        interactions: one row per event; None takes every dialogue as a user.
        items: one row per item; None if only ids are known.
        columns: names of the columns.
        name: name of the data in reports.
        users: users to keep even if they have no row; or None. Not used without interactions.
        dialogues: dialogues about the items; or None.
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
    if interactions is None:
        assert dialogues is not None
        interactions, users, columns = dialogues.as_users(columns.item)
    user_column, *more_users = read_ids(
        [table.cells(columns.user) for table in (interactions, users) if table is not None], "user"
    )
    clicked, listed, mentioned = _read_item_ids(interactions, items, dialogues, columns.item)
    events = read_events(interactions, columns, user_column, clicked, positive_rating)
    user_ids = pl.concat([user_column, *more_users]).unique().sort()
    with_positive = events.filter("positive")["user"].n_unique()
    check_positives(with_positive, len(user_ids), len(events), interactions.source)

    used = {interactions.source: clicked.unique().sort()}
    if dialogues is not None:
        used[dialogues.source] = mentioned.unique().sort()
    unknown = _unknown_items(used, listed, on_unknown_item)
    catalogue = build_catalogue(items, columns.item, listed, unknown, text)
    unread = unread_columns(interactions, columns.read, columns.names, columns.remedy)
    if users is not None:
        check_users(user_column.unique().sort(), more_users[0], interactions, users)
        unread += unread_columns(users, [columns.user], [])
    if items is not None:
        for source, ids in used.items():
            check_overlap(ids, listed, source, items.source)
        hint = text is None if hint_at_text is None else hint_at_text
        warn_texts(items, catalogue, columns.item, DEFAULT_TEXT if hint else ())

    item_ids = pl.concat([listed, unknown])
    ordered = ordered_events(events, user_ids, item_ids)
    data = Dataset(
        name=name,
        user_ids=Ids(user_ids.to_list(), "user"),
        catalogue=catalogue,
        interactions=positives(ordered),
        below_threshold=below_threshold(ordered),
        clock="position" if columns.time is None and columns.position is not None else "unix",
        unread_columns=unread + (() if dialogues is None else dialogues.unread_columns),
        ratings=ratings(ordered),
        positive_rating=positive_rating,
        dialogues=None if dialogues is None else dialogues.numbered(mentioned, item_ids),
    )
    return replace(data, counts=_counts(events, data, 0 if items is None else len(unknown)))


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
    """Read all columns of an items table except the ids; see ``Catalogue.columns``."""
    columns = []
    for name in items.frame.columns:
        if name != id_name:
            read = read_lists if name in LIST_COLUMNS else read_texts_or_lists
            columns.append(read(items.cells(name)).alias(name))
    return pl.DataFrame(columns)


def _read_item_ids(
    interactions: Table, items: Table | None, dialogues: DialogueTable | None, name: str
) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Read the item ids of interactions, items and mentions as one type; empty if absent."""
    given = [
        None if dialogues is None else dialogues.mentions,
        interactions.cells(name),
        None if items is None else items.cells(name),
    ]
    read = iter(read_ids([cells for cells in given if cells is not None], "item"))
    mentioned, clicked, listed = (None if cells is None else next(read) for cells in given)
    assert clicked is not None
    none = clicked.clear()
    return clicked, none if listed is None else listed, none if mentioned is None else mentioned


def _unknown_items(
    used: Mapping[str, pl.Series], listed: pl.Series, on_unknown_item: OnUnknownItem
) -> pl.Series:
    """Find the items that a source (name -> different ids) uses and that are not listed, sorted.

    Raises:
        DataError: there are some, and ``on_unknown_item`` is "raise".
    """
    unknown = {source: ids.filter(~ids.is_in(listed.implode())) for source, ids in used.items()}
    for source, ids in unknown.items():
        if len(ids) and on_unknown_item == "raise":
            raise DataError(
                f"{source}: {len(ids)} item(s) are not in the catalogue, the first: "
                f"{ids.head(5).to_list()!r}; add them to the items, or pass on_unknown_item='add'"
            )
    return pl.concat(unknown.values()).unique().sort()


def _counts(events: pl.DataFrame, data: Dataset, unknown: int) -> dict[str, int]:
    """Count the rows to which each rule applied, and what came out."""
    n_positive, n_rows = int(events["positive"].sum()), len(events)
    active = len(np.unique(data.interactions.users))
    counts = {
        "rows": n_rows,
        "ratings_below_positive": n_rows - n_positive,
        "duplicates_merged": n_positive - len(data.interactions),
        "unknown_items_added": unknown,
        "interactions": len(data.interactions),
        "users": data.n_users,
        "users_without_positives": data.n_users - active,
        "items": data.n_items,
        "items_without_interactions": int((~data.warm).sum()),
        "items_without_text": int((~data.catalogue.has_text).sum()),
    }
    if data.dialogues is not None:
        counts |= {"dialogues": len(data.dialogues), "turns": len(data.dialogues.texts)}
    return counts
