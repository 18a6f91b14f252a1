"""Random-cold splits: items drawn at random are cold; or the parts as somebody else drew them."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from warmstart.data.dataset import Dataset
from warmstart.data.ids import ExternalId, Ids
from warmstart.data.interactions import Interactions
from warmstart.data.readers.coldrec import read_parts
from warmstart.data.readers.columns import read_ids
from warmstart.data.readers.tables import Table, frame_table
from warmstart.data.splits.cold import Split
from warmstart.data.splits.parts import split_of_parts
from warmstart.errors import DataError
from warmstart.storage import file_hash


def random_cold(dataset: Dataset, *, seed: int = 42) -> Split:
    """Splits by items drawn at random: the published legacy protocol, with seed 42.

    80 % of the items with an interaction are warm, in groups by item in id order, shuffled by
    ``random``; their interactions are shuffled by numpy's legacy generator into 80/10/10; a
    validation, then a test row whose user or item is not in train moves to train. The cold items,
    shuffled by the same generator, are halved into validation and test. Rows of cold items whose
    user is not in train are left out. Both generators are local: no global state is read or set.

    On CiteULike-a and seed 42 this is the published split, pair by pair [reference test].

    Raises:
        DataError: too few interactions or items for every part to have some.
    """
    events = dataset.interactions
    by_item = np.lexsort(
        (
            _id_order(dataset.user_ids)[events.users],
            _id_order(dataset.catalogue.item_ids)[events.items],
        )
    )
    bounds = np.flatnonzero(np.diff(events.items[by_item])) + 1
    groups = np.split(by_item, bounds) if len(by_item) else []

    shuffled = list(range(len(groups)))
    random.Random(seed).shuffle(shuffled)
    n_warm = int(0.8 * len(groups))
    legacy = np.random.RandomState(seed)
    warm = np.concatenate([by_item[:0], *(groups[g] for g in shuffled[:n_warm])])
    legacy.shuffle(warm)
    n_held = int(0.1 * len(warm))
    n_train = len(warm) - 2 * n_held
    train, valid, test = np.split(warm, [n_train, n_train + n_held])
    train, valid = _move_unknown(events, train, valid)
    train, test = _move_unknown(events, train, test)

    cold = np.array(sorted(shuffled[n_warm:]), np.int64)
    legacy.shuffle(cold)
    cold_valid = np.concatenate([by_item[:0], *(groups[g] for g in cold[: len(cold) // 2])])
    cold_test = np.concatenate([by_item[:0], *(groups[g] for g in cold[len(cold) // 2 :])])
    known = np.isin(events.users, events.users[train])
    parts = {
        "train": train,
        "warm_valid": valid,
        "warm_test": test,
        "cold_valid": cold_valid[known[cold_valid]],
        "cold_test": cold_test[known[cold_test]],
    }
    left_out = len(events) - sum(len(rows) for rows in parts.values())
    manifest = {"seed": seed, "left_out": {"of_cold_items_of_users_without_training": left_out}}
    return _random_split(dataset, parts, manifest)


def published(dataset: Dataset, folder: Path) -> Split:
    """A random-cold split from files in the ColdRec layout (see ``coldrec``), checked.

    Args:
        dataset: the data that was split.
        folder: with ``warm_emb``, ``warm_val``, ``warm_test``, ``cold_item_val``,
            ``cold_item_test``.

    Raises:
        DataError: an id that ``dataset`` does not have, a pair twice, parts that overlap or do
            not add up to ``dataset``, a cold item in train, or a user or warm item that is not.
    """
    events = dataset.interactions
    order = np.argsort(events.keys)
    parts, digests = {}, {}
    for name, table in read_parts(Path(folder)).items():
        keys = _known_pairs(dataset, table)
        if len(np.unique(keys)) != len(keys):
            raise DataError(f"{table.source}: {len(keys) - len(np.unique(keys))} pair(s) twice")
        place = np.searchsorted(events.keys[order], keys).clip(max=len(events) - 1)
        absent = events.keys[order][place] != keys
        if absent.any():
            first = {name: table.column(name)[int(absent.argmax())] for name in ("user", "item")}
            raise DataError(
                f"{table.source}: {int(absent.sum())} pair(s) are not in the data set "
                f"{dataset.name!r}, the first: {first}; allowed: its positives"
            )
        parts[name] = order[place]
        file = Path(table.source)
        digests[file.name] = file_hash(file)
    return _random_split(dataset, parts, {"published": digests, "left_out": {}})


def _random_split(
    dataset: Dataset, parts: Mapping[str, np.ndarray], manifest: dict[str, Any]
) -> Split:
    """A random-cold Split: both halves of the cold items are candidates in validation and test."""
    items = dataset.interactions.items
    cold = np.union1d(items[parts["cold_valid"]], items[parts["cold_test"]])
    never = int((~dataset.warm).sum())
    notes: dict[str, float] = {"items_never_interacted_no_candidates": never}
    manifest["notes"] = notes
    times = dataset.interactions.times
    if times is not None and dataset.clock == "unix" and len(parts["train"]):
        # The defect of this protocol (R9): a cold item may be older than what is trained on.
        first = np.full(dataset.n_items, np.iinfo(np.int64).max)
        np.minimum.at(first, items, times)
        older = first[cold] < times[parts["train"]].max()
        notes["share_of_cold_items_older_than_the_end_of_training"] = float(older.mean())
    return split_of_parts(dataset, "random-cold", parts, {"valid": cold, "test": cold}, manifest)


def _id_order(ids: Ids) -> np.ndarray:
    """The place of each row in the order of the ids: int64, shape (len(ids),)."""
    values: Sequence[Any] = ids.values
    order = sorted(range(len(values)), key=values.__getitem__)
    places = np.empty(len(values), np.int64)
    places[order] = np.arange(len(values))
    return places


def _move_unknown(
    events: Interactions, train: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Moves held-out rows whose user or item is not in train to train."""
    known = np.isin(events.users[held], events.users[train])
    known &= np.isin(events.items[held], events.items[train])
    return np.concatenate([train, held[~known]]), held[known]


def _known_pairs(dataset: Dataset, table: Table) -> np.ndarray:
    """The pairs of a part as keys by the row numbers of ``dataset``, int64."""
    users = _rows(table, "user", dataset.user_ids)
    items = _rows(table, "item", dataset.catalogue.item_ids)
    return Interactions.of(users, items).keys


def _rows(table: Table, name: str, ids: Ids) -> np.ndarray:
    like = frame_table({name: ids.values[:1]}, "the data set")
    values: list[ExternalId] = read_ids([table, like], name, name)[0].to_list()
    rows = ids.rows(values)
    if (rows < 0).any():
        raise table.malformed(name, pl.Series(rows < 0), f"a {name} of the data set")
    return rows
