from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.splits.made import by_user, rated, words
from warmstart.data.ratings import Ratings
from warmstart.data.readers.frames import from_frames
from warmstart.data.splits.label_split import by_threshold
from warmstart.data.splits.labels import labels
from warmstart.data.tasks import LabelTask
from warmstart.errors import ConfigError, DataError

U = "u a 5 1,u b 2 2,u c 4 3,u d 3 4,u e 5 5,u f 1 6,u g 5 7,u h 4 8,u i 2 9,u j 5 10"
V = "v a 1 1,v b 5 2,v c 2 3"
W = "w b 5 1"


def rows(data, task: LabelTask) -> list[tuple[str, str, str, bool]]:
    histories = task.queries.histories
    return [
        (
            str(data.user_ids.values[task.groups[row]]),
            words(data, histories[row]),
            words(data, task.items[[row]]),
            bool(task.labels[row]),
        )
        for row in range(len(task.items))
    ]


def test_each_user_trains_on_the_first_ratings_and_is_asked_for_the_last():
    data = rated(f"{U},{V},{W}")
    split = labels(data)
    valid, test = split.tasks("valid")["all"], split.tasks("test")["all"]
    assert rows(data, valid) == [("u", "abcdefgh", "i", False)]
    assert rows(data, test) == [("u", "abcdefghi", "j", True), ("v", "ab", "c", False)]
    assert test.queries.histories.ratings.tolist() == [5, 2, 4, 3, 5, 1, 5, 4, 2, 1, 5]
    assert test.queries.histories.times.tolist() == [*range(1, 10), 1, 2]
    liked = [True, False, True, False, True, False, True, True, False, False, True]
    assert test.queries.histories.liked(4).tolist() == liked
    assert split.dataset.histories.liked(4).all()  # it has no ratings
    assert test.queries.users.tolist() == [0, 1]
    assert split.train.ratings.values.tolist() == [5, 2, 4, 3, 5, 1, 5, 4, 1, 5, 5]
    assert by_user(data, split.train.interactions) == {"u": "acegh", "v": "b", "w": "b"}
    assert by_user(data, split.train.below_threshold) == {"u": "bdf", "v": "a"}
    assert split.masks == ("none",)
    assert split.part_counts()["test"] == {"ratings": 2, "liked": 1, "users": 2, "items": 2}
    assert repr(split) == "Split('rated', labels; ratings: train 11, valid 1, test 2)"
    assert split.summary()["slices"]["test all"] == {
        "queries": 2,
        "users": 2,
        "pairs": 2,
        "liked": 1,
    }


def test_the_threshold_decides_labels_and_positives():
    data = rated(U, threshold=None)
    with pytest.raises(DataError, match="has no positive_rating; give the lowest rating of a like"):
        labels(data)
    split = labels(data, threshold=5, fractions=(0.5, 0.7))
    assert [query[2:] for query in rows(data, split.tasks("valid")["all"])] == [
        ("f", False),
        ("g", True),
    ]
    assert split.train.positive_rating == 5
    assert by_user(data, split.train.interactions) == {"u": "ae"}
    assert split.manifest["threshold"] == 5
    assert labels(data, threshold=4, fractions=(0.5, 0.7)).hash != split.hash


def test_a_pair_that_was_rated_before_is_not_asked_for():
    data = rated("u a 5 1,u b 2 2,u c 4 3,u d 3 4,u e 5 5,u f 1 6,u g 5 7,u h 4 8,u c 2 9,u j 5 10")
    split = labels(data, fractions=(0.5, 0.7))
    assert [query[1:3] for query in rows(data, split.tasks("test")["all"])] == [
        ("abcdefg", "h"),
        ("abcdefghc", "j"),
    ]
    assert split.manifest["notes"]["held_out_ratings_of_pairs_rated_before_not_asked_for"] == 1


def test_published_parts_are_kept():
    data = rated(f"{U},{W},x a 5 7")
    parts = ["train"] * 5 + ["valid"] * 2 + ["test"] * 2 + [None, "train", "test"]
    split = labels(data, parts=parts)
    test = split.tasks("test")["all"]
    assert rows(data, test) == [
        ("u", "abcdefg", "h", True),
        ("u", "abcdefgh", "i", False),
        ("x", "", "a", True),
    ]
    assert test.queries.users.tolist() == [0, 0, -1]  # x has no training
    assert split.manifest["left_out"] == {"in_no_published_part": 1}
    assert split.manifest["notes"]["held_out_ratings_of_users_without_training"] == 1
    with pytest.raises(DataError, match="3 parts for 12 ratings"):
        labels(data, parts=parts[:3])
    with pytest.raises(DataError, match="part 'dev'; allowed: train, valid, test"):
        labels(data, parts=["dev"] * 12)
    with pytest.raises(ConfigError, match="fractions do not apply to published parts"):
        labels(data, parts=parts, fractions=(0.5, 0.7))
    with pytest.raises(DataError, match=r"1 user\(s\) have a rating of train after one of valid"):
        labels(data, parts=[*parts[:9], "train", *parts[10:]])


def test_what_is_missing_is_named():
    with pytest.raises(DataError, match="has no ratings; labels need liked and disliked items"):
        labels(from_frames({"user": [1], "item": [1]}))
    data = rated(U)
    timeless = replace(data, ratings=replace(data.ratings, times=None))
    with pytest.raises(DataError, match="neither times nor positions; labels need the order"):
        labels(timeless)
    with pytest.raises(DataError, match="labels leaves valid empty, of 3 events"):
        labels(rated(V))
    with pytest.raises(ConfigError, match=r"fractions .* allowed: two numbers"):
        labels(data, fractions=(0.9, 0.8))
    with pytest.raises(ConfigError, match="threshold must be a finite number, got nan"):
        labels(data, threshold=float("nan"))


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    fractions=st.sampled_from([(0.8, 0.9), (0.5, 0.75), (0.7, 0.85)]),
)
def test_law_parts_follow_each_other_with_the_given_shares(sizes, fractions):
    n = sum(sizes)
    data = rated(
        ",".join(f"u{u} i{k} {5 - k % 5} {k}" for u, size in enumerate(sizes) for k in range(size))
    )
    try:
        split = labels(data, fractions=fractions)
    except DataError as error:
        assert "empty" in str(error) or "leaves no" in str(error)  # noqa: PT017
        return
    assert len(split.parts) == n
    for user, size in enumerate(sizes):
        codes = split.parts[data.ratings.users == user]
        assert (np.diff(codes) >= 0).all()
        first, second = (int(size * 100 * fraction + 1e-6) // 100 for fraction in fractions)
        first = max(first, 1)
        second = max(second, first)
        assert np.bincount(codes, minlength=3).tolist() == [first, second - first, size - second]
    for part in ("valid", "test"):
        task = split.tasks(part)["all"]
        histories = task.queries.histories
        for row in range(len(task.items)):
            user = task.groups[row]
            before = data.ratings.items[data.ratings.users == user][: histories.lengths[row]]
            assert histories[row].tolist() == before.tolist()


def test_by_threshold_is_the_rule_of_reading():
    rng = np.random.default_rng(0)
    n = 400
    frame = {
        "user": rng.integers(8, size=n),
        "item": rng.integers(30, size=n),
        "rating": rng.integers(1, 6, size=n).astype(float),
        "time": rng.permutation(n),
    }
    data = from_frames(frame, time="time", rating="rating", positive_rating=4)
    order = np.lexsort((frame["time"], frame["user"]))
    ratings = Ratings(
        data.user_ids.rows(frame["user"].tolist())[order],
        data.catalogue.item_ids.rows(frame["item"].tolist())[order],
        frame["rating"].astype(np.float32)[order],
        frame["time"].astype(np.int64)[order],
    )
    positives, below = by_threshold(ratings, 4)
    assert positives.order_hash == data.interactions.order_hash
    assert below.order_hash == data.below_threshold.order_hash


def test_ratings_of_the_same_second_are_no_history():
    """Whoever rates ten films in one second has told no order in which to learn from them."""
    rows = [("u", f"i{n}", 5 if n % 2 else 1, 100 + n // 2) for n in range(20)]
    frame = pl.DataFrame(rows, schema=["user", "item", "rating", "time"], orient="row")
    data = from_frames(frame, rating="rating", time="time", positive_rating=4)
    task = labels(data).tasks("test")["all"]
    assert task.queries.histories is not None
    assert task.queries.histories.lengths.tolist() == [18, 18]
