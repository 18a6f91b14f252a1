"""Turn the rows of an interactions table into positives, pairs below the threshold, and ratings.

``assemble`` states the rules.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from warmstart.data.interactions import Interactions
from warmstart.data.ratings import Ratings
from warmstart.data.readers.data_checks import check_ratings
from warmstart.data.readers.tables import Table
from warmstart.data.values import read_numbers, read_times, read_whole_numbers
from warmstart.errors import ConfigError

_LARGEST = float(np.finfo(np.float32).max)


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

    @property
    def read(self) -> tuple[str | None, ...]:
        """The columns that the table has."""
        return self.user, self.item, self.rating, self.time, self.position


def read_events(
    table: Table, columns: Columns, users: pl.Series, items: pl.Series, threshold: float | None
) -> pl.DataFrame:
    """Read the values of the rows, in the order of the table.

    Args:
        table: one row per event.
        columns: names of its columns.
        users: the user id of each row.
        items: the item id of each row.
        threshold: lowest rating of a positive; None if every row is a positive.

    Returns:
        Columns user, item, positive (bool) and, if the table has them, rating (Float64, null if
        missing), time and position (Int64).

    Raises:
        ConfigError: there is a threshold, but no column of ratings.
        DataError: a cell is wrong; names source, row, column and value.
    """
    read = {"user": users, "item": items}
    positive = pl.repeat(True, len(users), eager=True, dtype=pl.Boolean)
    if columns.rating is not None:
        read["rating"] = read_numbers(table.cells(columns.rating))
        check_ratings(read["rating"], threshold, table, columns.rating)
        if threshold is not None:
            positive = (read["rating"] >= threshold).fill_null(True)
    elif threshold is not None:
        raise ConfigError(
            f"positive_rating = {threshold} needs a rating column; "
            f"{table.source} has {table.frame.columns}"
        )
    if columns.time is not None:
        read["time"] = read_times(table.cells(columns.time))
    if columns.position is not None:
        read["position"] = read_whole_numbers(table.cells(columns.position))
    return pl.DataFrame({**read, "positive": positive})


def ordered_events(events: pl.DataFrame, user_ids: pl.Series, item_ids: pl.Series) -> pl.DataFrame:
    """Replace ids by row numbers; sort by user, then time, then position, then row of the table.

    Args:
        events: from ``read_events``.
        user_ids: all users, in row order.
        item_ids: all items, in row order.

    Returns:
        The columns of ``events``, with the row numbers in user and item.
    """
    events = events.with_columns(
        row_numbers(events["user"], user_ids), row_numbers(events["item"], item_ids)
    )
    return events.sort(["user", *_clocks(events)], maintain_order=True)


def row_numbers(ids: pl.Series, known: pl.Series) -> pl.Series:
    """Find the row number of each id, Int32, under the name of ``ids``.

    Args:
        ids: ids that all occur in ``known``.
        known: distinct ids, in row order.
    """
    numbers = pl.DataFrame({"id": known}).with_row_index("number")
    joined = pl.DataFrame({"id": ids}).join(numbers, on="id", how="left", maintain_order="left")
    return joined["number"].cast(pl.Int32).alias(ids.name)


def positives(events: pl.DataFrame) -> Interactions:
    """Take the positive rows of ordered events, the first of each pair."""
    return _interactions(_merged(events.filter("positive")))


def below_threshold(events: pl.DataFrame) -> Interactions:
    """Take the first row of each pair that has no positive row in ordered events."""
    below = _merged(events.filter(~pl.col("positive")))
    return _interactions(
        below.join(events.filter("positive"), ["user", "item"], how="anti", maintain_order="left")
    )


def ratings(events: pl.DataFrame) -> Ratings | None:
    """Take the rows with a rating of ordered events; None if no row has one.

    A rating beyond the range of float32 becomes its largest number.
    """
    if "rating" not in events.columns or events["rating"].null_count() == len(events):
        return None
    rated = events.filter(pl.col("rating").is_not_null())
    return Ratings(
        rated["user"].to_numpy(),
        rated["item"].to_numpy(),
        rated["rating"].clip(-_LARGEST, _LARGEST).cast(pl.Float32).to_numpy(),
        _times(rated),
    )


def _merged(events: pl.DataFrame) -> pl.DataFrame:
    return events.unique(["user", "item"], keep="first", maintain_order=True)


def _interactions(events: pl.DataFrame) -> Interactions:
    return Interactions.from_arrays(
        events["user"].to_numpy(), events["item"].to_numpy(), times=_times(events)
    )


def _times(events: pl.DataFrame) -> np.ndarray | None:
    clocks = _clocks(events)
    return events[clocks[0]].to_numpy() if clocks else None


def _clocks(events: pl.DataFrame) -> list[str]:
    return [name for name in ("time", "position") if name in events.columns]
