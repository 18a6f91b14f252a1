"""The two ways to split, and a published split read from files.

``split``
    One of the following, by name.
``time_cold``
    Three windows in time, train < t1 <= validation < t2 <= test. A cold item appears after t1.
``random_cold``
    Items drawn at random: the procedure of ColdRec, ColdLLM and FilterLLM, number for number.
``published``
    The parts as somebody else has drawn them, from files in that layout.

Definitions: evaluation.md, sections 1 and 2; coldllm-filterllm.md, section 6.1.
"""

import hashlib
import platform
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl

import warmstart
from warmstart.data.coldrec import read_parts
from warmstart.data.columns import read_ids
from warmstart.data.dataset import Dataset
from warmstart.data.ids import ExternalId, Ids
from warmstart.data.interactions import Interactions
from warmstart.data.split import Protocol, Split
from warmstart.data.split_check import check_split
from warmstart.data.tables import Table, frame_table
from warmstart.errors import ConfigError, DataError


def split(
    dataset: Dataset,
    protocol: Protocol | None = None,
    *,
    cutoff: int | str | Sequence[int | str] | None = None,
    fractions: tuple[float, float] = (0.8, 0.9),
    seed: int = 42,
    parts: Path | str | None = None,
) -> Split:
    """A split by the name of its protocol.

    Args:
        dataset: what to split.
        protocol: "time-cold" where the interactions have times of a common clock, else
            "random-cold", where None.
        cutoff: time-cold: the end of training and the end of validation, as unix seconds or ISO
            dates. Of one only, validation ends where half of the rest has passed.
        fractions: time-cold without ``cutoff``; see ``time_cold``.
        seed: random-cold; see ``random_cold``.
        parts: random-cold: a folder with the parts as published; see ``published``.

    Raises:
        ConfigError: an argument does not fit the protocol.
        DataError: see the three functions.
    """
    if protocol is None:
        timed = dataset.interactions.times is not None and dataset.clock == "unix"
        protocol = "time-cold" if timed and parts is None else "random-cold"
    if protocol not in get_args(Protocol):
        raise ConfigError(f"protocol {protocol!r}; allowed: {', '.join(get_args(Protocol))}")
    wrong = parts if protocol == "time-cold" else cutoff
    if wrong is not None:
        name = "parts" if protocol == "time-cold" else "cutoff"
        raise ConfigError(f"{name} = {wrong!r} does not go with the protocol {protocol}")
    if protocol == "time-cold":
        cutoffs = None if cutoff is None else _two_cutoffs(dataset, cutoff)
        return time_cold(dataset, cutoffs=cutoffs, fractions=fractions)
    return random_cold(dataset, seed=seed) if parts is None else published(dataset, Path(parts))


def time_cold(
    dataset: Dataset,
    *,
    cutoffs: tuple[int, int] | None = None,
    fractions: tuple[float, float] = (0.8, 0.9),
) -> Split:
    """Splits by time: train < t1 <= validation < t2 <= test.

    A warm item has a training interaction. Any other item appears with its first interaction, or,
    if it never has one, on its release where that is known; it is cold in the window in which it
    appears. An item that appears in the validation window is no candidate at test, neither warm
    nor cold. A held-out interaction of a user without training interactions is left out. Both
    are counted in ``manifest["left_out"]``.

    Args:
        dataset: with unix times.
        cutoffs: t1 and t2 in unix seconds.
        fractions: where ``cutoffs`` is None, the shares of the interactions, in order of time,
            before which t1 and t2 fall. Interactions of one second stay together.

    Raises:
        ConfigError: cutoffs or fractions out of order.
        DataError: there are no times of a common clock, or a part would be empty.
    """
    events = dataset.interactions
    times = _common_times(dataset)
    first_cut, second_cut = cutoffs or _cutoffs_at(times, fractions)
    if not first_cut < second_cut:
        raise ConfigError(
            f"cutoffs {first_cut}, {second_cut}; allowed: two times, the first before the second"
        )
    train, test = times < first_cut, times >= second_cut
    valid = ~train & ~test
    warm_item = np.isin(np.arange(dataset.n_items), events.items[train])
    appears = _appearance(dataset, times)
    cold_in_valid = ~warm_item & (appears >= first_cut) & (appears < second_cut)
    cold_in_test = ~warm_item & (appears >= second_cut) & (appears <= times.max())
    cold = cold_in_valid | cold_in_test
    known = np.isin(events.users, events.users[train])
    stale = test & known & cold_in_valid[events.items]
    parts = {
        "train": train,
        "warm_valid": valid & known & warm_item[events.items],
        "warm_test": test & known & warm_item[events.items],
        "cold_valid": valid & known & cold_in_valid[events.items],
        "cold_test": test & known & cold_in_test[events.items],
    }
    manifest = {
        "cutoffs": [int(first_cut), int(second_cut)],
        "left_out": {
            "of_users_without_training": int((~known).sum()),
            "at_test_of_items_new_in_validation": int(stale.sum()),
        },
        "notes": {
            "users_without_training_left_out": len(np.unique(events.users[~known])),
            "items_new_in_validation_no_candidates_at_test": int(cold_in_valid.sum()),
            "items_never_interacted_no_candidates": int((~dataset.warm & ~cold).sum()),
            "share_of_interactions_at_a_second_the_user_has_already": _tied_share(events, times),
        },
    }
    candidates = {"valid": np.flatnonzero(cold_in_valid), "test": np.flatnonzero(cold_in_test)}
    return _split(dataset, "time-cold", parts, candidates, manifest)


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
        digests[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return _random_split(dataset, parts, {"published": digests, "left_out": {}})


def _split(
    dataset: Dataset,
    protocol: Any,
    parts: Mapping[str, np.ndarray],
    candidates: dict[str, np.ndarray],
    manifest: dict[str, Any],
) -> Split:
    """The Split of events selected by mask or by row, checked; no part may be empty."""
    rows = {
        name: np.flatnonzero(chosen) if chosen.dtype == bool else np.sort(chosen)
        for name, chosen in parts.items()
    }
    empty = [name for name, chosen in rows.items() if not len(chosen)]
    if empty:
        hint = (
            f"cutoffs are {manifest['cutoffs']}; choose others"
            if protocol == "time-cold"
            else f"{len(dataset.interactions)} interactions are too few"
        )
        raise DataError(f"{dataset.name}: {protocol} leaves {', '.join(empty)} empty; {hint}")
    chosen = {name: dataset.interactions.where(part) for name, part in rows.items()}
    manifest["versions"] = {
        "warmstart": warmstart.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    split = Split(
        dataset,
        protocol,
        chosen["train"],
        chosen["warm_valid"],
        chosen["warm_test"],
        chosen["cold_valid"],
        chosen["cold_test"],
        {part: rows.astype(np.int32) for part, rows in candidates.items()},
        overall_users="any" if protocol == "time-cold" else "both",
        manifest=manifest,
    )
    check_split(split)
    return split


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
    return _split(dataset, "random-cold", parts, {"valid": cold, "test": cold}, manifest)


def _common_times(dataset: Dataset) -> np.ndarray:
    times = dataset.interactions.times
    if times is None or dataset.clock != "unix":
        have = "no times" if times is None else "positions in each user's own sequence only"
        raise DataError(
            f"{dataset.name} has {have}; time-cold needs a timestamp that orders the interactions "
            "of all users; use random-cold"
        )
    if not len(times):
        raise DataError(f"{dataset.name} has no interactions to split")
    return times


def _two_cutoffs(dataset: Dataset, cutoff: int | str | Sequence[int | str]) -> tuple[int, int]:
    given = [cutoff] if isinstance(cutoff, int | str) else list(cutoff)
    cuts = [_unix_seconds(value) for value in given]
    if len(cuts) == 1:
        later = np.sort(_common_times(dataset))
        later = later[later >= cuts[0]]
        if not len(later):
            raise ConfigError(f"cutoff {cutoff!r}: there is no interaction from there on")
        cuts.append(int(later[len(later) // 2]))
    if len(cuts) != 2:
        raise ConfigError(f"cutoff {cutoff!r}; allowed: one time, or two")
    return cuts[0], cuts[1]


def _unix_seconds(value: int | str) -> int:
    try:
        return int(value)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise ConfigError(
            f"cutoff {value!r}; allowed: unix seconds, or a date such as 2024-06-01"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _cutoffs_at(times: np.ndarray, fractions: tuple[float, float]) -> tuple[int, int]:
    first, second = fractions
    if not 0 < first < second < 1:
        raise ConfigError(f"fractions {first}, {second}; allowed: 0 < first < second < 1")
    ordered = np.sort(times)
    return int(ordered[int(first * len(times))]), int(ordered[int(second * len(times))])


def _appearance(dataset: Dataset, times: np.ndarray) -> np.ndarray:
    """When each item appears: int64 unix seconds, shape (n_items,); the least where unknown."""
    first = np.full(dataset.n_items, np.iinfo(np.int64).max)
    np.minimum.at(first, dataset.interactions.items, times)
    otherwise = np.full(dataset.n_items, np.iinfo(np.int64).min)
    released = dataset.catalogue.released
    if released is not None:
        otherwise = np.where(released == -1, otherwise, released)
    return np.where(dataset.warm, first, otherwise)


def _tied_share(events: Interactions, times: np.ndarray) -> float:
    """The share of the interactions at a second that the same user has already (checklist 6)."""
    moments = np.unique(np.stack([events.users, times]), axis=1)
    return 1 - moments.shape[1] / len(events)


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
