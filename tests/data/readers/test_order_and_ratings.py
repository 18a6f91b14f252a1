"""What reading keeps besides the pairs: the order of a user's events, and all ratings."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.data.dataset import Dataset
from warmstart.data.readers.files import read_dataset, write_dataset
from warmstart.data.readers.frames import from_frames


def items_of(data: Dataset, user: str) -> list:
    (row,) = data.user_ids.known_rows([user])
    return data.catalogue.item_ids.take(data.histories[row])


def rated(data: Dataset) -> list[tuple]:
    ratings = data.ratings
    assert ratings is not None
    times = [None] * len(ratings) if ratings.times is None else ratings.times.tolist()
    users = data.user_ids.take(ratings.users)
    items = data.catalogue.item_ids.take(ratings.items)
    return list(zip(users, items, ratings.values.tolist(), times, strict=True))


# -- order --

TIES = {
    "user": ["v", "u", "u", "u", "u"],
    "item": ["a", "d", "c", "b", "a"],
    "time": [9, 5, 5, 5, 4],
    "place": [0, 1, 3, 2, 9],
}


def test_events_stand_by_time_then_position():
    data = from_frames(TIES, time="time", position="place")
    assert items_of(data, "u") == ["a", "d", "b", "c"]
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [4, 5, 5, 5, 9]
    assert data.clock == "unix"


def test_events_of_one_time_stand_in_the_order_of_the_rows():
    assert items_of(from_frames(TIES, time="time"), "u") == ["a", "d", "c", "b"]
    untimed = {name: TIES[name] for name in ("user", "item")}
    assert items_of(from_frames(untimed), "u") == ["d", "c", "b", "a"]


def test_swapped_ties_have_the_same_hash_and_another_order_hash():
    frame = pl.DataFrame(TIES)
    swapped = frame[[0, 2, 1, 3, 4]]
    data, other = (from_frames(rows, time="time").interactions for rows in (frame, swapped))
    assert data.hash == other.hash
    assert data.order_hash != other.order_hash
    by_place = [from_frames(f, time="time", position="place") for f in (frame, swapped)]
    assert by_place[0].interactions.order_hash == by_place[1].interactions.order_hash
    assert by_place[0].hash == by_place[1].hash == from_frames(frame, time="time").hash


def test_a_repeated_pair_stands_where_it_first_was():
    rows = {"user": ["u"] * 4, "item": ["b", "a", "b", "c"], "place": [3, 2, 1, 4]}
    data = from_frames(rows, position="place")
    assert items_of(data, "u") == ["b", "a", "c"]
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [1, 2, 4]
    rows["place"] = [7, 7, 7, 7]
    assert items_of(from_frames(rows, time="place"), "u") == ["b", "a", "c"]


@given(
    events=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 2), st.integers(0, 2)),
        min_size=1,
        max_size=20,
    )
)
def test_law_histories_are_a_stable_sort_of_the_rows(events):
    columns = dict(zip(("user", "item", "t", "p"), zip(*events, strict=True), strict=True))
    data = from_frames({k: list(v) for k, v in columns.items()}, time="t", position="p")
    for row, user in enumerate(data.user_ids.values):
        mine = sorted((event for event in events if event[0] == user), key=lambda e: (e[2], e[3]))
        expected = list(dict.fromkeys(item for _, item, _, _ in mine))
        assert data.catalogue.item_ids.take(data.histories[row]) == expected


def test_every_layout_keeps_the_order(write, tmp_path):
    rows = "u,d,5\nu,c,5\nu,a,4\nu,b,5\n"
    data = read_dataset(write(interactions__csv="user,item,timestamp\n" + rows))
    assert items_of(data, "u") == ["a", "d", "c", "b"]
    atomic = tmp_path / "atomic"
    atomic.mkdir()
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    (atomic / "x.inter").write_text(header + rows.replace(",", "\t"))
    assert items_of(read_dataset(atomic), "u") == ["a", "d", "c", "b"]
    parts = tmp_path / "parts"
    parts.mkdir()
    names = ("warm_emb", "warm_val", "warm_test", "cold_item_val", "cold_item_test")
    for name, item in zip(names, "dbcae", strict=True):
        (parts / f"{name}.csv").write_text(f"user,item\nu,{item}\n")
    assert items_of(read_dataset(parts), "u") == list("dbcae")


# -- ratings --

RATED = {
    "user": ["v", "u", "u", "u", "u"],
    "item": ["a", "a", "b", "a", "c"],
    "rating": [2, 5, None, 1, 3.5],
    "time": [1, 30, 20, 10, 30],
}
NAMES = {"rating": "rating", "time": "time", "positive_rating": 3.5}


def test_ratings_are_the_rated_rows_before_threshold_and_merging():
    data = from_frames(RATED, **NAMES)
    assert rated(data) == [
        ("u", "a", 1, 10),
        ("u", "a", 5, 30),
        ("u", "c", 3.5, 30),
        ("v", "a", 2, 1),
    ]
    assert items_of(data, "u") == ["b", "a", "c"]
    assert data.positive_rating == 3.5
    ratings = data.ratings
    assert ratings is not None
    assert (ratings.users.dtype, ratings.items.dtype) == (np.int32, np.int32)
    assert (ratings.values.dtype, ratings.labels(3.5).tolist()) == (
        np.float32,
        [False, True, True, False],
    )


def test_ratings_do_not_enter_the_hash_of_the_data():
    data = from_frames(RATED, **NAMES)
    other = from_frames({**RATED, "rating": [1, 4, None, 2, 5]}, **NAMES)
    assert data.hash == other.hash
    assert data.ratings is not None
    assert other.ratings is not None
    assert data.ratings.hash != other.ratings.hash


def test_data_without_a_rating_have_none():
    assert from_frames({"user": ["u"], "item": ["a"]}).ratings is None
    rows = {"user": ["u"], "item": ["a"], "rating": [None]}
    data = from_frames(rows, rating="rating", positive_rating=3)
    assert data.ratings is None
    assert data.positive_rating == 3
    unthresholded = from_frames({**rows, "rating": [0.5]}, rating="rating")
    assert rated(unthresholded) == [("u", "a", 0.5, None)]
    assert unthresholded.positive_rating is None


def test_labels_are_on_the_side_of_the_threshold_that_reading_chose():
    rows = {"user": ["u"] * 4, "item": list("abcd"), "rating": [3.3, 3.29, 3.4, 3.2]}
    data = from_frames(rows, rating="rating", positive_rating=3.3)
    assert data.ratings is not None
    assert items_of(data, "u") == ["a", "c"]
    assert data.ratings.labels(3.3).tolist() == [True, False, True, False]


@pytest.mark.filterwarnings("ignore:.*looks like a scale:warmstart.errors.DataWarning")
@pytest.mark.parametrize("clock", ["time", "position", None])
@pytest.mark.parametrize("threshold", [None, 3.3])
def test_written_ratings_read_back_equal(tmp_path, clock, threshold):
    rows = {**RATED, "rating": [2.1, 5, None, 0.1, 3.3]}
    when = rows.pop("time")
    named = {"rating": "rating", "positive_rating": threshold}
    if clock is not None:
        rows["when"], named[clock] = when, "when"
    data = from_frames(rows, **named)
    write_dataset(data, tmp_path / "out")
    again = read_dataset(tmp_path / "out")
    assert again.hash == data.hash
    assert again.positive_rating == threshold
    assert again.below_threshold.hash == data.below_threshold.hash
    assert again.counts["users"] == data.counts["users"]
    assert again.ratings is not None
    assert data.ratings is not None
    assert again.ratings.hash == data.ratings.hash
    assert again.clock == data.clock


def test_ratings_of_pairs_that_are_left_out_are_not_written(tmp_path):
    data = from_frames(RATED, **NAMES)
    kept = data.with_interactions(data.interactions.where(data.interactions.items != 2))
    write_dataset(kept, tmp_path / "out")
    again = read_dataset(tmp_path / "out")
    assert again.hash == kept.hash
    assert [row[:3] for row in rated(again)] == [("u", "a", 1), ("u", "a", 5), ("v", "a", 2)]


def test_a_rating_beyond_float32_is_its_largest_number():
    rows = {"user": ["u", "u"], "item": ["a", "b"], "rating": [1e50, -1e50]}
    data = from_frames(rows, rating="rating", positive_rating=3)
    assert data.ratings is not None
    assert np.isfinite(data.ratings.values).all()
    assert data.ratings.values[0] == np.finfo(np.float32).max == -data.ratings.values[1]
