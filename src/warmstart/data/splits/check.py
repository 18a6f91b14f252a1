"""Consistency rules of a split, checked whenever a split is made, saved or loaded."""

from itertools import combinations

import numpy as np

from warmstart.data.interactions import Interactions
from warmstart.data.splits.cold import Split
from warmstart.errors import DataError

_HELD_OUT = ("warm_valid", "warm_test", "cold_valid", "cold_test")


def check_split(split: Split) -> None:
    """Check that the parts are disjoint and complete, and that cold items are new to training.

    Raises:
        DataError: the split breaks a rule; names the rule and the number of violations.
    """
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


def _check_pairs(split: Split) -> None:
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


def _check_held_out(name: str, part: Interactions, train: Interactions, split: Split) -> None:
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


def _check_windows(split: Split) -> None:
    first_cut, second_cut = split.manifest["cutoffs"]
    last = np.iinfo(np.int64).max
    windows = {
        "train": (-last, first_cut),
        "valid": (first_cut, second_cut),
        "test": (second_cut, last),
    }
    for name, part in split.parts.items():
        low, high = windows[name.rpartition("_")[2]]
        if part.times is None:
            raise DataError(f"the split is broken: {name} has no times; time-cold needs them")
        outside = (part.times < low) | (part.times >= high)
        _forbid(outside.sum(), f"time(s) of {name} are outside its window")
    both = np.intersect1d(split.cold_candidates["valid"], split.cold_candidates["test"])
    _forbid(len(both), "cold candidate(s) are in both validation and test")


def _forbid(violations: int | np.integer, what: str) -> None:
    if violations:
        raise DataError(f"the split is broken: {int(violations)} {what}")
