"""Every rule of ``check_split`` for splits of queries, broken once; the others: test_split.py."""

from dataclasses import replace

import numpy as np
import pytest

from tests.data.splits.made import clocked, ordered, rated, spoken
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions, concatenate
from warmstart.data.splits.base import Split
from warmstart.data.splits.candidates import Candidates
from warmstart.data.splits.check import check_split
from warmstart.data.splits.dialogues import dialogues
from warmstart.data.splits.event_split import EventSplit
from warmstart.data.splits.labels import labels
from warmstart.data.splits.next_item import next_item
from warmstart.data.splits.part_codes import HISTORY, LEFT_OUT, TEST, TRAIN, VALID
from warmstart.errors import DataError

ORDERED = ordered({"u": "abcd", "v": "dbc", "w": "bda"}, items="xyz")
TIMED = clocked(
    "u a 1,u b 2,v b 3,v c 4,u d 11,u c 12,v n 15,u e 21,v a 26,w a 3,w n 14,w c 23", items="z"
)
RATED = rated(
    "u a 5 1,u b 2 2,u c 4 3,u d 3 4,u e 5 5,u f 1 6,u g 5 7,u h 4 8,u i 2 9,u j 5 10,v a 5 1"
)
SPOKEN = spoken({"a": ("train", ["s a"]), "b": ("valid", ["s a"]), "c": ("test", ["s b", "s c"])})


def moved(split: Split, **parts: int) -> Split:
    """A split with other parts of events, given as ``_NUMBER=part``."""
    codes = split.parts.copy()
    for number, code in parts.items():
        codes[int(number[1:])] = code
    return replace(split, parts=codes)


def frozen(split: EventSplit, change) -> EventSplit:
    """A split whose test candidates are changed in place."""
    items = {part: rows.copy() for part, rows in split.candidates.items.items()}
    items["test"] = change(items["test"])
    return replace(split, candidates=Candidates(split.candidates.name, items))


def at(place: tuple[int, int], value: int):
    def change(rows: np.ndarray) -> np.ndarray:
        rows[place] = value
        return rows

    return change


def with_pair_twice(split: EventSplit) -> EventSplit:
    """The first user has had the test item before, in training."""
    events = split.dataset.interactions
    again = events.where(np.array([3]))
    first = replace(again, times=np.array([0]))
    data = split.dataset.with_interactions(concatenate([first, events]))
    return replace(split, dataset=data, parts=np.concatenate([[TRAIN], split.parts]))


def cold(split: EventSplit, part: str, *items: int) -> EventSplit:
    return replace(split, cold_candidates={**split.cold_candidates, part: np.array(items)})


def other_cutoffs(split: EventSplit, *cutoffs: int) -> EventSplit:
    return replace(split, manifest={**split.manifest, "cutoffs": list(cutoffs)})


# Rows of ORDERED: u a b c d, v d b c, w b d a. The last of each is the test.
LAST = {
    "a part too few": (lambda s: replace(s, parts=s.parts[:-1]), "1 event.* have no part"),
    "an unknown part": (lambda s: moved(s, _0=9), "1 event.* have an unknown part"),
    "a part less": (lambda s: moved(s, _0=LEFT_OUT), "1 event.* in no part, besides the 0 left"),
    "a pair twice": (with_pair_twice, "1 target.* are in their own history"),
    "a cold user trains": (
        lambda s: replace(s, cold_users=np.array([1], np.int32)),
        "1 cold user.* have a training interaction",
    ),
    "a stranger asks": (
        lambda s: moved(s, _4=HISTORY),
        "1 user.* with queries are neither cold nor in training",
    ),
    "train after valid": (lambda s: moved(s, _1=VALID, _2=TRAIN), "train after one of valid"),
    "train after test": (lambda s: moved(s, _2=TEST, _3=TRAIN), "train after one of test"),
    "valid after test": (lambda s: moved(s, _2=TEST, _3=VALID), "valid after one of test"),
    "no order": (
        lambda s: replace(
            s, dataset=ORDERED.with_interactions(replace(ORDERED.interactions, times=None))
        ),
        "interactions have no order",
    ),
}


@pytest.mark.parametrize("rule", LAST)
def test_leave_one_out(rule):
    breaking, message = LAST[rule]
    split = next_item(ORDERED)
    check_split(split)
    with pytest.raises(DataError, match=f"the split is broken: .*{message}"):
        check_split(breaking(split))


# Items of TIMED: a b c d e n z; d and n are new in validation, e is new on test.
TIME = {
    "training after the cut": (lambda s: other_cutoffs(s, 4, 20), r"time\(s\) of train are outsi"),
    "validation after the cut": (lambda s: other_cutoffs(s, 10, 12), r"time\(s\) of valid are ou"),
    "test before the cut": (lambda s: other_cutoffs(s, 10, 22), r"time\(s\) of test are outside"),
    "a warm cold candidate": (
        lambda s: cold(s, "test", 0, 4),
        "1 cold candidate.* of test have a training interaction",
    ),
    "a target that is not ranked": (
        lambda s: cold(s, "test"),
        r"1 target\(s\) of test are no candidates",
    ),
    "cold twice": (lambda s: cold(s, "test", 3, 4), "1 cold candidate.* in both validation and te"),
}


@pytest.mark.parametrize("rule", TIME)
def test_by_time(rule):
    breaking, message = TIME[rule]
    split = next_item(TIMED, by="time", cutoffs=(10, 20))
    check_split(split)
    with pytest.raises(DataError, match=f"the split is broken: .*{message}"):
        check_split(breaking(split))


TARGET, OTHER = 3, 0  # d is the test item of u, who had a
FROZEN = {
    "a query without candidates": (lambda s: frozen(s, lambda rows: rows[:2]), "queries of test"),
    "a query without its target": (
        lambda s: frozen(s, lambda rows: np.where(rows == TARGET, 6, rows)),
        r"target\(s\) of test are not once a candidate",
    ),
    "a negative that is a positive": (
        lambda s: frozen(s, lambda rows: _replaced(rows, OTHER)),
        r"1 negative\(s\) of test are positives of the user",
    ),
    "a negative twice": (
        lambda s: frozen(s, lambda rows: _replaced(rows, None)),
        r"1 candidate\(s\) of test occur twice in a query",
    ),
}


def _replaced(rows: np.ndarray, item: int | None) -> np.ndarray:
    """Replace the first negative of the first query by an item, or by its second negative."""
    places = np.flatnonzero(rows[0] != TARGET)
    rows[0, places[0]] = rows[0, places[1]] if item is None else item
    return rows


@pytest.mark.parametrize("rule", FROZEN)
def test_frozen_candidates(rule):
    breaking, message = FROZEN[rule]
    split = next_item(ORDERED, candidates="uni3")
    check_split(split)
    with pytest.raises(DataError, match=f"the split is broken: .*{message}"):
        check_split(breaking(split))


LABELS = {
    "an unknown part": (lambda s: moved(s, _0=9), "1 event.* have an unknown part"),
    "train after test": (lambda s: moved(s, _9=TRAIN), "rating of train after one of valid"),
    "a pair twice": (
        lambda s: _rated_again(s),
        r"1 target\(s\) are in their own history",
    ),
    "no ratings": (
        lambda s: replace(s, dataset=replace(s.dataset, ratings=None)),
        "labels need ratings and a threshold",
    ),
    "no threshold": (
        lambda s: replace(s, dataset=replace(s.dataset, positive_rating=None)),
        "labels need ratings and a threshold",
    ),
}


def _rated_again(split):
    items = split.ratings.items.copy()
    items[9] = items[0]
    return replace(
        split, dataset=replace(split.dataset, ratings=replace(split.ratings, items=items))
    )


@pytest.mark.parametrize("rule", LABELS)
def test_labels(rule):
    breaking, message = LABELS[rule]
    split = labels(RATED)
    check_split(split)
    with pytest.raises(DataError, match=f"the split is broken: .*{message}"):
        check_split(breaking(split))


DIALOGUES = {
    "a dialogue in no part": (lambda s: moved(s, _0=LEFT_OUT), "1 event.* are in no part"),
    "a dialogue only known": (lambda s: moved(s, _0=HISTORY), "1 dialogue.* known and in no part"),
    "no query": (lambda s: moved(s, _1=TRAIN), r"part \(valid\) has no system turn"),
    "users of others": (
        lambda s: replace(s, dataset=replace(s.dataset, user_ids=Ids(["a", "c", "b"], "user"))),
        "list of users is not that of the dialogues",
    ),
    "interactions of others": (
        lambda s: replace(
            s, dataset=s.dataset.with_interactions(Interactions.from_arrays([0], [2]))
        ),
        "1 interaction.* no mention of their dialogue",
    ),
    "no dialogues": (
        lambda s: replace(s, dataset=replace(s.dataset, dialogues=None)),
        "it has no dialogues",
    ),
}


@pytest.mark.parametrize("rule", DIALOGUES)
def test_dialogues(rule):
    breaking, message = DIALOGUES[rule]
    split = dialogues(SPOKEN)
    check_split(split)
    with pytest.raises(DataError, match=f"the split is broken: .*{message}"):
        check_split(breaking(split))
