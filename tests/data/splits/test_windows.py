import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.splits.made import asked, by_user, letters, ordered
from warmstart.data.readers.frames import from_frames
from warmstart.data.splits.windows import cut_windows, windows
from warmstart.errors import ConfigError, DataError


def test_published_windows_ask_by_their_first_items():
    data = ordered({"a1": "abcd", "b1": "badc", "b2": "dcba", "c1": "cabd"}, items="z")
    parts = {"train": np.array([0]), "valid": np.array([2]), "test": np.array([3, 1])}
    split = windows(data, parts, n_history=2)
    assert by_user(data, split.train.interactions) == {"a1": "abcd"}
    valid, test = split.tasks("valid"), split.tasks("test")
    assert set(test) == {"all"}
    assert asked(data, valid["all"]) == [("?b2", "dc", "ab", "cd")]
    assert asked(data, test["all"]) == [("?b1", "ba", "cd", "ab"), ("?c1", "ca", "bd", "ac")]
    assert len(test["all"].candidates) == 5
    assert split.masks == ("all", "none")
    assert letters(data, split.tasks("test", "none")["all"].masked) == ["", ""]
    assert split.manifest["published"]


def test_windows_without_a_history_or_a_future_are_named():
    data = ordered({"a": "abcd", "b": "ba", "c": "cabd"})
    parts = {"train": np.array([0]), "valid": np.array([1]), "test": np.array([2])}
    with pytest.raises(DataError, match="window 'b' of valid has no future"):
        windows(data, parts, n_history=2)
    with pytest.raises(ConfigError, match="n_future and stride do not apply to given parts"):
        windows(data, parts, stride=2)


def test_windows_are_cut_so_that_none_trains_on_a_future():
    data = ordered({"u": "abcdefghij", "v": "jihgfed", "w": "abcd", "x": "ab"})
    made, parts = cut_windows(data, n_history=2, n_future=2)
    names = {part: made.user_ids.take(rows) for part, rows in parts.items()}
    assert names == {
        "train": ["u#1", "u#2", "v#1", "v#2", "w#1"],
        "valid": ["u#3"],
        "test": ["u#4"],
    }
    assert by_user(made, made.interactions) == {
        "u#1": "abcd",
        "u#2": "cdef",
        "u#3": "efgh",
        "u#4": "ghij",
        "v#1": "jihg",
        "v#2": "hgfe",
        "w#1": "abcd",
    }
    assert made.interactions.times.tolist() == [0, 1, 2, 3] * 7
    assert made.clock == "position"
    split = windows(data, n_history=2, n_future=2)
    assert asked(made, split.tasks("test")["all"]) == [("?u#4", "gh", "ij", "gh")]
    assert split.manifest["notes"]["windows_of_train"] == 5


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    n_history=st.integers(1, 5),
    n_future=st.integers(1, 5),
    stride=st.integers(1, 6),
)
def test_law_windows_are_runs_of_the_history_in_time_order(lengths, n_history, n_future, stride):
    if not sum(lengths):
        return
    data = from_frames(
        {
            "user": np.repeat(np.arange(len(lengths)), lengths),
            "item": np.concatenate([100 * u + np.arange(n) for u, n in enumerate(lengths)]),
            "time": np.concatenate([np.arange(n) for n in lengths]),
        },
        time="time",
    )
    made, parts = cut_windows(data, n_history=n_history, n_future=n_future, stride=stride)
    width = n_history + n_future
    runs = made.catalogue.item_ids.take(made.interactions.items)
    runs = np.array(runs, np.int64).reshape(-1, width)
    assert (np.diff(runs, axis=1) == 1).all()
    rows = np.sort(np.concatenate(list(parts.values())))
    assert rows.tolist() == list(range(len(runs)))
    for user, length in enumerate(lengths):
        of_user = {
            part: runs[chosen][runs[chosen][:, 0] // 100 == user] - 100 * user
            for part, chosen in parts.items()
        }
        enough = length >= width + 2 * n_future
        assert len(of_user["valid"]) == len(of_user["test"]) == enough
        end = length
        if enough:
            assert of_user["test"][0, -1] == length - 1
            assert of_user["valid"][0, -1] == length - 1 - n_future
            end = length - 2 * n_future
        assert of_user["train"][:, 0].tolist() == list(range(0, end - width + 1, stride))


def test_order_is_needed():
    with pytest.raises(DataError, match="neither times nor positions; windows need the order"):
        windows(from_frames({"user": [1, 1], "item": [1, 2]}))
    with pytest.raises(ConfigError, match="n_history must be a whole number from 1, got 0"):
        windows(ordered({"u": "abcd"}), n_history=0)


@pytest.mark.reference
def test_the_windows_of_dlcrec(data_root):
    folder = data_root / "dlcrec-movie"
    with gzip.open(folder / "windows.jsonl.gz", "rt") as file:
        lines = [json.loads(line) for line in file]
    titles = [[event["title"] for event in line["history"] + line["future"]] for line in lines]
    data = from_frames(
        {
            "user": np.repeat(np.arange(len(lines)), 20),
            "item": np.unique(np.array(titles), return_inverse=True)[1].ravel(),
            "position": np.tile(np.arange(20), len(lines)),
        },
        position="position",
    )
    kinds = np.array([line["split"] for line in lines])
    split = windows(
        data, {part: np.flatnonzero(kinds == part) for part in ("train", "valid", "test")}
    )
    slices = split.summary()["slices"]
    assert slices["valid all"]["queries"] == slices["test all"]["queries"] == 1_000
    assert slices["valid all"]["pairs"] == slices["test all"]["pairs"] == 10_000
    assert len(split.train.interactions) == 20_000
    assert split.tasks("test")["all"].queries.histories.lengths.tolist() == [10] * 1_000
