from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.splits.made import asked, by_user, letters, ordered, words
from warmstart.data.interactions import Interactions
from warmstart.data.readers.frames import from_frames
from warmstart.data.splits.user_random import user_random
from warmstart.errors import DataError


def test_each_user_gives_one_item_to_validation_and_one_to_test():
    histories = {"u": "abcd", "v": "dbc", "w": "ab"}
    data = ordered(histories, items="z")
    split = user_random(data, seed=3)
    train = by_user(data, split.train.interactions)
    valid, test = (asked(data, split.tasks(part)["all"]) for part in ("valid", "test"))
    assert [query[0] for query in valid] == [query[0] for query in test] == ["u", "v"]
    assert train["w"] == "ab"
    for (user, history, held, masked), (_, known, truth, hidden) in zip(valid, test, strict=True):
        assert len(held) == len(truth) == 1
        assert set(history + held + truth) == set(histories[user])
        assert history == known == train[user]  # in the order of the history, without the others
        assert list(history) == [item for item in histories[user] if item in history]
        assert masked == "".join(sorted(history))
        assert hidden == "".join(sorted(history + held))  # validation items too
    task = split.tasks("test", "train")["all"]
    assert letters(data, task.masked) == ["".join(sorted(train[user])) for user in "uv"]
    assert letters(data, split.tasks("test", "none")["all"].masked) == ["", ""]
    assert words(data, task.candidates) == "abcdz"
    assert split.manifest["notes"]["users_with_fewer_than_3_items"] == 1
    assert user_random(data, seed=3).hash == split.hash


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_law_the_shares_are_80_10_10_and_the_parts_complete(seed, sizes):
    data = from_frames(
        {
            "user": np.repeat(np.arange(len(sizes)), sizes),
            "item": np.concatenate([np.arange(size) for size in sizes]),
        }
    )
    if max(sizes) < 3:
        with pytest.raises(DataError, match="user-random leaves valid, test empty"):
            user_random(data, seed=seed)
        return
    split = user_random(data, seed=seed)
    for user, size in enumerate(sizes):
        codes = split.parts[data.interactions.users == user]
        held = 0 if size < 3 else max(1, size // 10)
        assert np.bincount(codes, minlength=3).tolist() == [size - 2 * held, held, held]


def test_every_item_of_a_user_is_as_likely_to_be_held_out():
    data = from_frames(
        {"user": np.repeat(np.arange(3_000), 5), "item": np.tile(np.arange(5), 3000)}
    )
    split = user_random(data)
    shares = np.bincount(data.interactions.items[split.parts == 2], minlength=5) / 3_000
    assert shares == pytest.approx(np.full(5, 0.2), abs=0.03)


def test_disliked_pairs_of_trained_items_stay():
    data = ordered({"u": "abcd", "v": "dbca"})
    data = replace(data, below_threshold=Interactions.from_arrays([0], [0], times=np.array([9])))
    data = data.with_interactions(data.interactions.where(np.arange(1, 8)))
    assert len(user_random(data, seed=1).train.below_threshold) == 1
