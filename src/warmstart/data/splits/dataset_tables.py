"""Ratings and dialogues of a data set as tables, as a saved split contains them.

- ``ratings``: ``user``, ``item``, ``rating`` and ``time`` of each rated event, in their order;
- ``dialogues``: ``dialogue`` and ``part``;
- ``turns``: ``dialogue`` (its row in ``dialogues``), ``speaker``, ``text`` and ``items``, in order.

Ids are external ids. A table is absent if the data set has nothing for it.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from warmstart.data.dataset import Dataset
from warmstart.data.dialogues import SPEAKERS, Dialogues
from warmstart.data.histories import Histories
from warmstart.data.ids import id_column
from warmstart.data.ratings import Ratings

TABLES = ("ratings", "dialogues", "turns")


def dataset_tables(dataset: Dataset) -> dict[str, pl.DataFrame]:
    """Convert ratings and dialogues to the tables of this module."""
    tables, item_ids = {}, dataset.catalogue.item_ids
    if (ratings := dataset.ratings) is not None:
        tables["ratings"] = pl.DataFrame(
            {
                "user": id_column(dataset.user_ids, ratings.users),
                "item": id_column(item_ids, ratings.items),
                "rating": ratings.values,
                "time": ratings.times,
            }
        )
    if (dialogues := dataset.dialogues) is not None:
        ids = pl.Series(dialogues.ids, dtype=pl.String)
        parts = pl.Series(dialogues.parts, dtype=pl.String)
        tables["dialogues"] = pl.DataFrame({"dialogue": ids, "part": parts})
        item_type = pl.Int64 if item_ids.is_integer else pl.String
        items = [item_ids.take(dialogues.items[turn]) for turn in range(len(dialogues.items))]
        speakers = [SPEAKERS[speaker] for speaker in dialogues.speakers]
        tables["turns"] = pl.DataFrame(
            {
                "dialogue": np.repeat(np.arange(len(ids)), np.diff(dialogues.offsets)),
                "speaker": pl.Series(speakers, dtype=pl.String),
                "text": pl.Series(dialogues.texts, dtype=pl.String),
                "items": pl.Series(items, dtype=pl.List(item_type)),
            }
        )
    return tables


def with_tables(dataset: Dataset, tables: Mapping[str, pl.DataFrame]) -> Dataset:
    """Return ``dataset`` with the ratings and dialogues of ``dataset_tables``.

    Raises:
        DataError: an id is not that of a user or an item of ``dataset``.
    """
    item_ids = dataset.catalogue.item_ids
    if "ratings" in tables:
        rows = tables["ratings"]
        ratings = Ratings(
            dataset.user_ids.known_rows(rows["user"].to_list()),
            item_ids.known_rows(rows["item"].to_list()),
            rows["rating"].to_numpy(),
            None if rows["time"].dtype == pl.Null else rows["time"].to_numpy(),
        )
        dataset = replace(dataset, ratings=ratings)
    if "dialogues" in tables:
        spoken, turns = tables["dialogues"], tables["turns"]
        dialogues = Dialogues(
            tuple(spoken["dialogue"]),
            np.searchsorted(turns["dialogue"].to_numpy(), np.arange(len(spoken) + 1)),
            (turns["speaker"] == SPEAKERS[1]).cast(pl.Int8).to_numpy(),
            tuple(turns["text"]),
            Histories.from_lists(item_ids.known_rows(items.to_list()) for items in turns["items"]),
            tuple(spoken["part"]),
        )
        dataset = replace(dataset, dialogues=dialogues)
    return dataset
