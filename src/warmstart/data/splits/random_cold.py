"""Random-cold splits: cold items drawn at random, or parts read from published files."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from warmstart.arguments import whole_number
from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
from warmstart.data.readers.coldrec import read_parts
from warmstart.data.readers.tables import Table
from warmstart.data.splits.cold import ColdSplit
from warmstart.data.splits.parts import build_split
from warmstart.data.values import read_ids_like
from warmstart.errors import DataError
from warmstart.storage import file_hash


def random_cold(dataset: Dataset, *, seed: int = 42) -> ColdSplit:
    """Split with cold items drawn at random; seed 42 reproduces the published protocol.

    1. The items with an interaction, in id order, are shuffled by ``random``. The first 80 % are
       warm, the others cold.
    2. The interactions of the warm items are shuffled by numpy's legacy generator and cut
       80/10/10. Validation rows, then test rows, whose user or item is not in train move to train.
    3. The cold items are shuffled by the same generator and halved into validation and test. Their
       interactions with users who are not in train are left out.

    Both generators are local: no global state is read or set. On CiteULike-a, seed 42 gives the
    published split, pair by pair (reference test).

    Args:
        dataset: the data set to split.
        seed: of both generators, a whole number of 32 bits.

    Raises:
        ConfigError: ``seed`` is not a whole number from 0 to 4294967295.
        DataError: too few interactions or items to fill every part.
    """
    seed = whole_number("random-cold", "seed", seed, low=0, high=2**32 - 1)
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


def read_published_split(dataset: Dataset, folder: Path) -> ColdSplit:
    """Read a random-cold split from files in the ColdRec layout (see ``coldrec``) and check it.

    Args:
        dataset: the data set that was split.
        folder: holds ``warm_emb``, ``warm_val``, ``warm_test``, ``cold_item_val`` and
            ``cold_item_test``.

    Raises:
        DataError: an id is not in ``dataset``, a pair is repeated, the parts overlap or do not add
            up to ``dataset``, a cold item is in train, or a user or warm item is not in train.
    """
    events = dataset.interactions
    order = np.argsort(events.keys)
    parts, digests = {}, {}
    for name, table in read_parts(Path(folder)).items():
        keys = _known_pairs(dataset, table)
        if len(np.unique(keys)) != len(keys):
            repeats = len(keys) - len(np.unique(keys))
            raise DataError(f"{table.source}: {repeats} repeated pair(s); allowed: each pair once")
        place = np.searchsorted(events.keys[order], keys).clip(max=len(events) - 1)
        absent = events.keys[order][place] != keys
        if absent.any():
            first = {name: table.frame[name][int(absent.argmax())] for name in ("user", "item")}
            raise DataError(
                f"{table.source}: {int(absent.sum())} pair(s) are not in the data set "
                f"{dataset.name!r}, the first: {first}; allowed: its interactions"
            )
        parts[name] = order[place]
        file = Path(table.source)
        digests[file.name] = file_hash(file)
    return _random_split(dataset, parts, {"published": digests, "left_out": {}})


def _random_split(
    dataset: Dataset, parts: Mapping[str, np.ndarray], manifest: dict[str, Any]
) -> ColdSplit:
    """Build a random-cold ColdSplit: all cold items are candidates on validation and on test."""
    items = dataset.interactions.items
    cold = np.union1d(items[parts["cold_valid"]], items[parts["cold_test"]])
    never = int((~dataset.warm).sum())
    notes: dict[str, float] = {"items_never_interacted_no_candidates": never}
    manifest["notes"] = notes
    times = dataset.interactions.times
    if times is not None and dataset.clock == "unix" and len(parts["train"]):
        # Defect R9 (docs/evaluation.md): a cold item may be older than the training data.
        first = np.full(dataset.n_items, np.iinfo(np.int64).max)
        np.minimum.at(first, items, times)
        older = first[cold] < times[parts["train"]].max()
        notes["share_of_cold_items_older_than_the_end_of_training"] = float(older.mean())
    return build_split(dataset, "random-cold", parts, {"valid": cold, "test": cold}, manifest)


def _id_order(ids: Ids) -> np.ndarray:
    """Compute the rank of each row's id in id order: int64, shape (len(ids),)."""
    values: Sequence[Any] = ids.values
    order = sorted(range(len(values)), key=values.__getitem__)
    places = np.empty(len(values), np.int64)
    places[order] = np.arange(len(values))
    return places


def _move_unknown(
    events: Interactions, train: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move held-out rows whose user or item is not in train to train."""
    known = np.isin(events.users[held], events.users[train])
    known &= np.isin(events.items[held], events.items[train])
    return np.concatenate([train, held[~known]]), held[known]


def _known_pairs(dataset: Dataset, table: Table) -> np.ndarray:
    """Convert the pairs of a part to int64 keys, from the row numbers of ``dataset``."""
    users = _rows(table, "user", dataset.user_ids)
    items = _rows(table, "item", dataset.catalogue.item_ids)
    return Interactions.from_arrays(users, items).keys


def _rows(table: Table, name: str, ids: Ids) -> np.ndarray:
    cells = table.cells(name)
    rows = ids.rows(read_ids_like(cells, ids))
    if (rows < 0).any():
        raise cells.malformed(pl.Series(rows < 0), f"{name} ids of the data set")
    return rows
