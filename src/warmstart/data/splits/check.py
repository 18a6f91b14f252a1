"""The laws of a split, asserted whenever one is made, saved or loaded."""

from itertools import combinations

import numpy as np

from warmstart.data.interactions import Interactions
from warmstart.data.splits.cold import Split
from warmstart.errors import DataError

_HELD_OUT = ("warm_valid", "warm_test", "cold_valid", "cold_test")


def check_split(split: Split) -> None:
    """Asserts the laws of a split (evaluation.md, section 2.1; checklist points 2, 9 and 11).

    Raises:
        DataError: naming the law and how often it is broken.
    """
    _check_pairs(split)
    train = split.train_interactions
    for name in _HELD_OUT:
        _check_held_out(name, split.parts[name], train, split)
    both = np.intersect1d(split.cold_valid.items, split.cold_test.items)
    _law(len(both), "cold item(s) are both in validation and test")
    for part, candidates in split.cold_candidates.items():
        warm = np.isin(candidates, train.items)
        _law(warm.sum(), f"cold candidate(s) of {part} have a training interaction")
    if split.protocol == "time-cold":
        _check_windows(split)


def _check_pairs(split: Split) -> None:
    """The parts are disjoint, and with what is left out they are the whole data set."""
    everything = split.dataset.interactions
    for name, part in split.parts.items():
        _law(len(part) - len(np.unique(part.keys)), f"pair(s) occur twice in {name}")
        outside = ~np.isin(part.keys, everything.keys)
        _law(outside.sum(), f"pair(s) of {name} are not in the data set")
    for (one, part), (other, more) in combinations(split.parts.items(), 2):
        _law(len(np.intersect1d(part.keys, more.keys)), f"pair(s) are both in {one} and {other}")
    left_out = sum(split.manifest.get("left_out", {}).values())
    total = sum(len(part) for part in split.parts.values()) + left_out
    _law(
        len(everything) - total,
        f"interaction(s) of the data set are in no part, beyond the {left_out} left out",
    )


def _check_held_out(name: str, part: Interactions, train: Interactions, split: Split) -> None:
    """Every user is known; a warm item has training interactions, a cold one has none."""
    unknown = ~np.isin(part.users, train.users)
    _law(unknown.sum(), f"pair(s) of {name} have a user who is not in train")
    in_train = np.isin(part.items, train.items)
    if name.startswith("warm"):
        _law((~in_train).sum(), f"pair(s) of {name} have an item that is not in train")
        return
    _law(in_train.sum(), f"pair(s) of {name} have an item that is in train")
    candidates = split.cold_candidates[name.removeprefix("cold_")]
    outside = ~np.isin(part.items, candidates)
    _law(outside.sum(), f"pair(s) of {name} have an item that is no cold candidate")


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
            raise DataError(f"the split is broken: {name} has no times")
        _law(((part.times < low) | (part.times >= high)).sum(), f"time(s) of {name} are outside")
    both = np.intersect1d(split.cold_candidates["valid"], split.cold_candidates["test"])
    _law(len(both), "cold candidate(s) are both in validation and test")


def _law(broken: int | np.integer, what: str) -> None:
    if broken:
        raise DataError(f"the split is broken: {int(broken)} {what}")
