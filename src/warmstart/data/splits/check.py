"""Consistency rules of a split, checked whenever a split is made, saved or loaded."""

from itertools import combinations
from typing import get_args

import numpy as np

from warmstart.data.interactions import Interactions
from warmstart.data.splits.base import Part, Split
from warmstart.data.splits.cold import ColdSplit
from warmstart.data.splits.dialogue_split import DialogueSplit, mentions
from warmstart.data.splits.event_split import EventSplit
from warmstart.data.splits.label_split import LabelSplit
from warmstart.data.splits.part_codes import (
    CODE_OF,
    HISTORY,
    LEFT_OUT,
    PART_NAMES,
    TEST,
    TRAIN,
    VALID,
)
from warmstart.data.splits.sequences import repeated
from warmstart.data.tasks import RankingTask
from warmstart.errors import DataError

_HELD_OUT = ("warm_valid", "warm_test", "cold_valid", "cold_test")


def check_split(split: Split) -> None:
    """Check that the parts are disjoint and complete, and that nothing held out is known before.

    Raises:
        DataError: the split breaks a rule; names the rule and the number of violations.
    """
    if isinstance(split, ColdSplit):
        _check_cold(split)
    elif isinstance(split, EventSplit):
        _check_events(split)
    elif isinstance(split, LabelSplit):
        _check_codes(split.parts, len(split.ratings), split)
        _check_order(split.ratings.users, split.parts, "rating", split.ratings.times)
        _check_repeats(split.ratings.users, split.ratings.items, split.parts)
    elif isinstance(split, DialogueSplit):
        _check_codes(split.parts, len(split.dialogues), split)
        _check_dialogues(split)
    else:
        raise DataError(f"{type(split).__name__} is no split with rules")


# -- splits of cold items --


def _check_cold(split: ColdSplit) -> None:
    _check_pairs(split)
    train = split.train_interactions
    for name in _HELD_OUT:
        _check_held_out(name, split.parts[name], train, split)
    both = np.intersect1d(split.cold_valid.items, split.cold_test.items)
    _forbid(len(both), "cold item(s) are in both validation and test")
    for part, candidates in split.cold_candidates.items():
        warm = np.isin(candidates, train.items)
        _forbid(warm.sum(), f"cold candidate(s) of {part} have a training interaction")
    if split.protocol == "time-cold":
        _check_windows(split)


def _check_pairs(split: ColdSplit) -> None:
    """Check that the parts are disjoint and, with the left-out interactions, cover the data."""
    everything = split.dataset.interactions
    for name, part in split.parts.items():
        _forbid(len(part) - len(np.unique(part.keys)), f"pair(s) occur twice in {name}")
        outside = ~np.isin(part.keys, everything.keys)
        _forbid(outside.sum(), f"pair(s) of {name} are not in the data set")
    for (one, part), (other, more) in combinations(split.parts.items(), 2):
        _forbid(len(np.intersect1d(part.keys, more.keys)), f"pair(s) are in both {one} and {other}")
    left_out = sum(split.manifest.get("left_out", {}).values())
    total = sum(len(part) for part in split.parts.values()) + left_out
    _forbid(
        len(everything) - total,
        f"interaction(s) of the data set are in no part, besides the {left_out} left out",
    )


def _check_held_out(name: str, part: Interactions, train: Interactions, split: ColdSplit) -> None:
    """Check that every user and warm item is in train, and that no cold item is."""
    unknown = ~np.isin(part.users, train.users)
    _forbid(unknown.sum(), f"pair(s) of {name} have a user who is not in train")
    in_train = np.isin(part.items, train.items)
    if name.startswith("warm"):
        _forbid((~in_train).sum(), f"pair(s) of {name} have an item that is not in train")
        return
    _forbid(in_train.sum(), f"pair(s) of {name} have an item that is in train")
    candidates = split.cold_candidates[name.removeprefix("cold_")]
    outside = ~np.isin(part.items, candidates)
    _forbid(outside.sum(), f"pair(s) of {name} have an item that is not a cold candidate")


def _check_windows(split: ColdSplit) -> None:
    for name, part in split.parts.items():
        _check_window(name, part.times, split.manifest["cutoffs"])
    both = np.intersect1d(split.cold_candidates["valid"], split.cold_candidates["test"])
    _forbid(len(both), "cold candidate(s) are in both validation and test")


# -- splits of interactions --


def _check_events(split: EventSplit) -> None:
    events, parts = split.dataset.interactions, split.parts
    _check_codes(parts, len(events), split)
    _check_repeats(events.users, events.items, parts)
    train = events.where(parts == TRAIN)
    learned = np.intersect1d(split.cold_users, train.users)
    _forbid(len(learned), "cold user(s) have a training interaction")
    asking = events.users[np.isin(parts, (VALID, TEST))]
    strangers = np.setdiff1d(asking, np.union1d(train.users, split.cold_users))
    _forbid(len(strangers), "user(s) with queries are neither cold nor in training")
    if split.protocol != "user-random":
        _check_order(events.users, parts, "interaction", events.times)
    if "cutoffs" in split.manifest:
        for code, name in enumerate(PART_NAMES[: TEST + 1]):
            times = events.where(parts == code).times
            _check_window(name, times, split.manifest["cutoffs"])
    if split.cold_candidates is not None:
        _check_cold_candidates(split, train)
    if split.candidates is not None:
        for part in get_args(Part):
            _check_frozen(split, part)


def _check_cold_candidates(split: EventSplit, train: Interactions) -> None:
    """Check that cold items are new to training, and that all targets are candidates."""
    assert split.cold_candidates is not None
    for part in get_args(Part):
        cold = split.cold_candidates[part]
        warm = np.isin(cold, train.items)
        _forbid(warm.sum(), f"cold candidate(s) of {part} have a training interaction")
        targets = split.dataset.interactions.items[split.parts == CODE_OF[part]]
        outside = ~np.isin(targets, np.union1d(train.items, cold))
        _forbid(outside.sum(), f"target(s) of {part} are no candidates")
    both = np.intersect1d(split.cold_candidates["valid"], split.cold_candidates["test"])
    _forbid(len(both), "cold candidate(s) are in both validation and test")


def _check_frozen(split: EventSplit, part: Part) -> None:
    """Check that each query has its target once, and beside it nothing that its user ever had."""
    assert split.candidates is not None
    items, events = split.candidates.items[part], split.dataset.interactions
    n_queries = int((split.parts == CODE_OF[part]).sum())
    _forbid(abs(len(items) - n_queries), f"queries of {part} lack candidates")
    task = split.tasks(part, "none")["all"]
    assert isinstance(task, RankingTask)
    assert task.groups is not None
    is_target = items == task.relevance.indices[:, None]
    _forbid((is_target.sum(axis=1) != 1).sum(), f"target(s) of {part} are not once a candidate")
    known = np.isin(task.groups.astype(np.int64)[:, None] << 32 | items, events.keys)
    _forbid((known & ~is_target).sum(), f"negative(s) of {part} are positives of the user")
    ordered = np.sort(items, axis=1)
    repeats = (ordered[:, 1:] == ordered[:, :-1]).sum()
    _forbid(repeats, f"candidate(s) of {part} occur twice in a query")


# -- splits of dialogues --


def _check_dialogues(split: DialogueSplit) -> None:
    """Check that the interactions are the mentions of their dialogue, and that all parts ask."""
    _forbid((split.parts == HISTORY).sum(), "dialogue(s) are known and in no part")
    _forbid(
        int(split.dataset.user_ids.values != list(split.dialogues.ids)),
        "list of users is not that of the dialogues",
    )
    mentioned, _ = mentions(split.dialogues)
    made = Interactions.from_arrays(mentioned.queries, mentioned.items)
    outside = ~np.isin(split.dataset.interactions.keys, made.keys)
    _forbid(outside.sum(), "interaction(s) are no mention of their dialogue")
    for part in get_args(Part):
        queries = split.tasks(part)["all"].queries
        _forbid(int(not len(queries)), f"part ({part}) has no system turn with a new item")


# -- rules that protocols share --


def _check_codes(parts: np.ndarray, n_events: int, split: Split) -> None:
    """Check that every event has one part, besides those left out."""
    _forbid(abs(len(parts) - n_events), "event(s) have no part, or parts no event")
    _forbid(((parts < LEFT_OUT) | (parts > HISTORY)).sum(), "event(s) have an unknown part")
    left_out = sum(split.manifest.get("left_out", {}).values())
    _forbid(
        abs(int((parts == LEFT_OUT).sum()) - left_out),
        f"event(s) are in no part, besides the {left_out} left out",
    )


def _check_order(users: np.ndarray, parts: np.ndarray, what: str, times: np.ndarray | None) -> None:
    """Check that no user trains, or is validated, on what follows a held-out event of theirs."""
    if times is None:
        raise DataError(f"the split is broken: its {what}s have no order")
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    n_users = int(users.max(initial=-1)) + 1
    for earlier, later in ((TRAIN, VALID), (TRAIN, TEST), (VALID, TEST)):
        last, first = np.full(n_users, low), np.full(n_users, high)
        of_earlier, of_later = parts == earlier, parts == later
        np.maximum.at(last, users[of_earlier], times[of_earlier])
        np.minimum.at(first, users[of_later], times[of_later])
        _forbid(
            (last > first).sum(),
            f"user(s) have a {what} of {PART_NAMES[earlier]} after one of {PART_NAMES[later]}",
        )


def _check_repeats(users: np.ndarray, items: np.ndarray, parts: np.ndarray) -> None:
    """Check that no held-out item is in the history of its query."""
    again = np.zeros(len(parts), bool)
    kept = parts != LEFT_OUT
    again[kept] = repeated(users[kept], items[kept])
    _forbid((again & np.isin(parts, (VALID, TEST))).sum(), "target(s) are in their own history")


def _check_window(name: str, times: np.ndarray | None, cutoffs: list[int]) -> None:
    first_cut, second_cut = cutoffs
    last = np.iinfo(np.int64).max
    windows = {
        "train": (-last, first_cut),
        "valid": (first_cut, second_cut),
        "test": (second_cut, last),
    }
    low, high = windows[name.rpartition("_")[2]]
    if times is None:
        raise DataError(f"the split is broken: {name} has no times; windows of time need them")
    outside = (times < low) | (times >= high)
    _forbid(outside.sum(), f"time(s) of {name} are outside its window")


def _forbid(violations: int | np.integer, what: str) -> None:
    if violations:
        raise DataError(f"the split is broken: {int(violations)} {what}")
