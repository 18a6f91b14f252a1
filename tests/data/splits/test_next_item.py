"""Next items: hand-made histories whose queries are written down, laws, and public data."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from tests.data.splits.made import asked, by_user, clocked, letters, ordered, words
from warmstart.data.interactions import Interactions
from warmstart.data.ratings import Ratings
from warmstart.data.readers.files import read_dataset
from warmstart.data.readers.frames import from_frames
from warmstart.data.splits.event_split import EventSplit
from warmstart.data.splits.next_item import next_item
from warmstart.errors import ConfigError, DataError

# -- leave-one-out --


def test_the_last_item_is_the_test_and_the_one_before_it_validation():
    data = ordered({"u": "abcd", "v": "dbc", "w": "ab"}, items="z")
    split = next_item(data)
    assert by_user(data, split.train.interactions) == {"u": "ab", "v": "d", "w": "ab"}
    valid, test = split.tasks("valid")["all"], split.tasks("test")["all"]
    assert asked(data, valid) == [("u", "ab", "c", "ab"), ("v", "d", "b", "d")]
    assert asked(data, test) == [("u", "abc", "d", "abc"), ("v", "db", "c", "bd")]
    assert words(data, test.candidates) == "abcdz"
    assert test.ties == "random"
    assert split.metric_suffix == ""
    assert split.manifest["notes"]["users_with_fewer_than_3_interactions"] == 1
    assert split.train.histories[2].tolist() == [0, 1]
    assert split.part_counts()["train"] == {"interactions": 5, "users": 3, "items": 3}
    assert repr(split) == "Split('made', next-item; interactions: train 5, valid 2, test 2)"


def test_masks_are_all_train_and_none():
    data = ordered({"u": "abcd", "v": "dbc"})
    split = next_item(data)
    masked = {mask: letters(data, split.tasks("test", mask)["all"].masked) for mask in split.masks}
    assert masked == {"all": ["abc", "bd"], "train": ["ab", "d"], "none": ["", ""]}
    with pytest.raises(ConfigError, match="mask 'history'; allowed: all, train, none"):
        split.tasks("test", "history")
    with pytest.raises(ConfigError, match="part 'train'; allowed: valid, test"):
        split.tasks("train")


def test_warm_and_cold_are_the_items_with_the_most_and_the_fewest_clicks():
    # Training clicks: a 5, b 4, c 3, d 2, e 1, f 0; 35 % of the five clicked items are two.
    data = ordered(
        {
            "p": "abcdexa"[:5] + "xy",
            "q": "abcdxy",
            "r": "abcxf",
            "s": "abxc",
            "t": "axb",
            "u": "ax",
        }
    )
    split = next_item(data)
    clicks = dict(zip(words(data, np.arange(data.n_items)), split.clicks.tolist(), strict=True))
    assert clicks == {"a": 6, "b": 4, "c": 3, "d": 2, "e": 1, "f": 0, "x": 1, "y": 0}
    tasks = split.tasks("test")
    assert letters(data, tasks["all"].relevance) == ["y", "y", "f", "c", "b"]
    assert letters(data, tasks["warm"].relevance) == ["b"]
    assert letters(data, tasks["cold"].relevance) == ["y", "y", "f"]
    assert tasks["cold"].name == "cold"
    assert np.array_equal(tasks["cold"].candidates, tasks["all"].candidates)
    assert "35 %" in split.manifest["slice_definitions"]["cold"]


def test_items_with_equal_clicks_give_no_slices():
    assert set(next_item(ordered({"u": "abc", "v": "bca"})).tasks("test")) == {"all"}


def test_cold_users_are_withheld_and_asked_for_by_history():
    data = ordered({"u": "abcd", "v": "dbc", "w": "ab"})
    split = next_item(data, cold_users=3)
    assert by_user(data, split.train.interactions) == {"u": "ab", "w": "ab"}
    tasks = split.tasks("test")
    assert asked(data, tasks["all"]) == [("u", "abc", "d", "abc"), ("?v", "db", "c", "bd")]
    assert asked(data, tasks["cold_users"]) == [("?v", "db", "c", "bd")]
    assert tasks["cold_users"].name == "cold_users"
    assert asked(data, split.tasks("valid")["cold_users"]) == [("?v", "d", "b", "d")]
    # The mask "train" knows of no training of theirs.
    assert letters(data, split.tasks("test", "train")["all"].masked) == ["ab", ""]


def test_few_shot_trains_and_validates_on_few_users_only():
    data = ordered({f"u{number}": "abcde" for number in range(6)} | {"w": "ab"})
    split = next_item(data, few_shot=2, seed=1)
    trained = by_user(data, split.train.interactions)
    assert len(trained) == 2
    assert set(trained.values()) == {"abc"}
    assert [query[0] for query in asked(data, split.tasks("valid")["all"])] == list(trained)
    test = {query[0]: query[1:] for query in asked(data, split.tasks("test")["all"])}
    assert test == {
        name if (name := f"u{number}") in trained else f"?{name}": ("abcd", "e", "abcd")
        for number in range(6)
    }
    assert split.manifest["left_out"] == {"of_short_histories": 2}
    assert by_user(data, next_item(data, few_shot=2, seed=2).train.interactions) != trained


def test_strictly_cold_items_are_in_no_training_history():
    rng = np.random.default_rng(0)
    letters_ = "abcdefghijklmnopqrst"
    data = ordered({f"u{n:02d}": "".join(rng.permutation(list(letters_))[:8]) for n in range(40)})
    split = next_item(data, cold_items=0.2)
    cold = split.cold_candidates
    assert {part: len(items) for part, items in cold.items()} == {"valid": 2, "test": 2}
    withheld = np.concatenate([cold["valid"], cold["test"]])
    train = split.train
    assert not np.isin(train.histories.items, withheld).any()
    for part in ("valid", "test"):
        tasks = split.tasks(part)
        assert set(tasks) == {"all", "warm", "cold"}
        warm = np.setdiff1d(np.arange(data.n_items), withheld)
        assert tasks["cold"].candidates.tolist() == cold[part].tolist()
        assert tasks["warm"].candidates.tolist() == warm.tolist()
        assert tasks["all"].candidates.tolist() == np.union1d(warm, cold[part]).tolist()
        assert np.isin(tasks["cold"].relevance.indices, cold[part]).all()
        assert not np.isin(tasks["warm"].relevance.indices, withheld).any()
        assert len(tasks["warm"].queries) + len(tasks["cold"].queries) == len(tasks["all"].queries)
    # What the user had is known of the query, cold items too.
    histories = split.tasks("test")["all"].queries.histories
    assert np.isin(histories.items, withheld).any()
    dropped = split.manifest["left_out"]["at_test_of_items_that_are_no_candidates"]
    assert dropped == 40 - len(split.tasks("test")["all"].queries) > 0


def test_ratings_and_disliked_pairs_after_training_are_no_training():
    data = ordered({"u": "abcd", "v": "dbc"})
    # u rates z low at the place of "a", and b again after the held-out items.
    below = Interactions.from_arrays([0, 0, 1], [0, 1, 2], times=np.array([0, 9, 0]))
    clicked = data.interactions.where(np.array([1, 2, 3, 4, 5, 6]))
    ratings = Ratings(
        np.array([0, 0, 0, 0, 0, 1, 1, 1], np.int32),
        np.array([0, 1, 1, 2, 3, 3, 1, 2], np.int32),
        np.full(8, 5, np.float32),
        np.array([0, 1, 9, 2, 3, 0, 1, 2], np.int64),
    )
    split = next_item(replace(data, interactions=clicked, below_threshold=below, ratings=ratings))
    train = split.train
    assert by_user(data, train.interactions) == {"u": "b", "v": "d"}
    assert len(train.below_threshold) == 0  # neither item is one of training
    assert train.ratings.times.tolist() == [1, 0]
    assert words(data, train.ratings.items) == "bd"


def test_order_is_needed():
    with pytest.raises(DataError, match="neither times nor positions; next-item needs the order"):
        next_item(from_frames({"user": [1, 1, 1], "item": [1, 2, 3]}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "place"}, "by 'place'; allowed: last, time"),
        ({"targets": "each"}, "targets = 'each' does not apply to by = 'last'"),
        ({"fractions": (0.5, 0.6)}, "fractions = .* does not apply to by = 'last'"),
        ({"by": "time", "few_shot": 2}, "few_shot = 2 does not apply to by = 'time'"),
        ({"by": "time", "targets": "all"}, "targets 'all'; allowed: first, each"),
        ({"cold_users": 3, "few_shot": 2}, "cold_users and few_shot exclude each other"),
        ({"cold_users": 2}, "cold_users must be a whole number from 3, got 2"),
        ({"cold_users": 3}, "cold_users 3; allowed: a length that some history has, from 4"),
        ({"few_shot": 3}, "few_shot must be a whole number from 1 to 2, got 3"),
        ({"cold_items": 2}, "cold_items must be a share of the items between 0 and 1, got 2"),
        ({"candidates": "uni"}, "candidates 'uni'; allowed: uni or pop and the number"),
        ({"seed": -1}, "seed must be a whole number from 0, got -1"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        next_item(ordered({"u": "abcd", "v": "dbca"}), **options)


def test_too_short_histories_are_named():
    with pytest.raises(DataError, match="next-item leaves valid, test empty, of 4 events"):
        next_item(ordered({"u": "ab", "v": "ab"}))


# -- by global time --

LOG = (
    "u a 1,u b 2,v b 3,v c 4,"  # training: a, b, c are warm
    "u d 11,u c 12,w a 13,w b 14,v n 15,"  # validation: d and n are new; w has no training
    "u e 21,u n 22,w c 23,x a 24,x c 25,v a 26,v e 27"  # test: e is new; x is new
)


def test_by_time_the_first_event_of_each_window_is_asked_for():
    data = clocked(LOG, items="z")
    split = next_item(data, by="time", cutoffs=(10, 20))
    assert by_user(data, split.train.interactions) == {"u": "ab", "v": "bc"}
    valid, test = split.tasks("valid"), split.tasks("test")
    assert asked(data, valid["all"]) == [("u", "ab", "d", "ab"), ("v", "bc", "n", "bc")]
    assert asked(data, test["all"]) == [
        ("u", "abdc", "e", "abcd"),
        ("v", "bcn", "a", "bcn"),
        ("?w", "ab", "c", "ab"),
    ]
    assert words(data, valid["all"].candidates) == "abcdn"
    assert words(data, test["all"].candidates) == "abce"
    assert words(data, test["warm"].candidates) == "abc"
    assert words(data, test["cold"].candidates) == "e"
    assert [query[:3] for query in asked(data, test["cold"])] == [("u", "abdc", "e")]
    assert [query[0] for query in asked(data, test["cold_users"])] == ["?w"]
    assert split.manifest["cutoffs"] == [10, 20]
    assert split.manifest["left_out"] == {
        "at_test_after_the_first_of_the_user": 3,
        "at_test_of_users_without_history": 1,
        "at_test_of_items_new_in_validation": 0,
    }


def test_by_time_each_event_of_a_window_is_asked_for_with_the_history_up_to_it():
    data = clocked(LOG)
    split = next_item(data, by="time", cutoffs=(10, 20), targets="each")
    assert [query[:3] for query in asked(data, split.tasks("test")["all"])] == [
        ("u", "abdc", "e"),
        ("v", "bcn", "a"),
        ("v", "bcna", "e"),
        ("?w", "ab", "c"),
        ("?x", "a", "c"),
    ]
    assert [query[:3] for query in asked(data, split.tasks("valid")["all"])] == [
        ("u", "ab", "d"),
        ("u", "abd", "c"),
        ("v", "bc", "n"),
        ("?w", "a", "b"),
    ]
    assert split.tasks("test")["all"].groups.tolist() == [0, 1, 1, 2, 3]
    assert split.manifest["left_out"] == {}


def test_by_time_an_item_of_the_validation_window_is_not_asked_for_on_test():
    data = clocked("u a 1,v b 2,w a 3,u n 11,v n 21,w b 22")
    split = next_item(data, by="time", cutoffs=(10, 20))
    assert letters(data, split.tasks("valid")["all"].relevance) == ["n"]
    assert [query[:3] for query in asked(data, split.tasks("test")["all"])] == [("w", "a", "b")]
    assert split.manifest["left_out"]["at_test_of_items_new_in_validation"] == 1


def test_by_time_needs_a_common_clock_and_events_in_every_window():
    with pytest.raises(DataError, match="positions in each user's own sequence only; next-item by"):
        next_item(ordered({"u": "abcd"}), by="time")
    with pytest.raises(DataError, match="next-item leaves test empty"):
        next_item(clocked(LOG), by="time", cutoffs=(10, 27))


# -- laws --


@st.composite
def logs(draw):
    n_users, n_items = draw(st.integers(2, 6)), draw(st.integers(4, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    n_events = draw(st.integers(12, 40))
    return from_frames(
        {
            "user": rng.integers(n_users, size=n_events),
            "item": rng.integers(n_items, size=n_events),
            "time": np.sort(rng.integers(0, 30, size=n_events)),
        },
        time="time",
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=logs(), targets=st.sampled_from([None, "first", "each"]))
def test_law_queries_know_exactly_what_came_before(data, targets):
    try:
        split = next_item(data, by="time" if targets else "last", targets=targets)
    except (ConfigError, DataError):  # too small a draw, or too many events in one second
        reject()
    events = data.interactions
    order = {(u, i): n for n, (u, i) in enumerate(zip(events.users, events.items, strict=True))}
    for part in ("valid", "test"):
        task = split.tasks(part)["all"]
        for row, user in enumerate(task.groups.tolist()):
            target = task.relevance[row].indices
            assert len(target) == 1
            place = order[user, target[0]]
            expected = [i for (u, i), n in order.items() if u == user and n < place]
            assert task.queries.histories[row].tolist() == expected
            assert sorted(task.masked[row].indices.tolist()) == sorted(expected)
            assert np.isin(target, task.candidates).all()
    codes = split.parts
    assert (codes == -1).sum() == sum(split.manifest["left_out"].values())
    train = split.train.interactions
    if targets:
        assert train.times.max() < split.manifest["cutoffs"][0]
    assert np.isin(train.keys, events.keys).all()
    held = np.concatenate(
        [
            task.groups.astype(np.int64) << 32 | task.relevance.indices
            for task in (split.tasks("valid")["all"], split.tasks("test")["all"])
        ]
    )
    assert len(np.unique(np.concatenate([held, train.keys]))) == len(held) + len(train)


def test_the_hash_follows_order_and_parts_and_candidates():
    more = {"v": "dbca", "w": "efabdc"}
    data = ordered({"u": "abcd", **more}, items="xyz")
    split = next_item(data)
    assert next_item(data).hash == split.hash
    assert replace(split, manifest={}).hash == split.hash
    swapped = ordered({"u": "bacd", **more}, items="xyz")
    assert next_item(swapped).train.matrix.nnz == split.train.matrix.nnz
    hashes = {
        split.hash,
        next_item(swapped).hash,
        next_item(data, cold_users=4).hash,
        next_item(data, candidates="uni1").hash,
        next_item(data, candidates="uni1", seed=1).hash,
    }
    assert len(hashes) == 5


# -- public data --


@pytest.mark.reference
def test_amazon_beauty_has_a_test_item_for_every_user(data_root):
    data = read_dataset(data_root / "amazon-beauty")
    split = next_item(data)
    counts = split.summary()["slices"]
    assert counts["test all"] == {
        "queries": 22_363,
        "users": 22_363,
        "pairs": 22_363,
        "candidates": 12_101,
    }
    assert len(split.train.interactions) == 198_502 - 2 * 22_363
    assert counts["test warm"]["queries"] == 13_332
    assert counts["test cold"]["queries"] == 6_197


@pytest.mark.reference
@pytest.mark.parametrize(("candidates", "hit"), [("uni19", 0.158), ("pop19", 0.027)])
def test_popularity_on_amazon_beauty_is_as_measured_elsewhere(data_root, candidates, hit):
    """Hit@1 of popularity among 20 candidates, ties at random, by another implementation."""
    split = next_item(read_dataset(data_root / "amazon-beauty"), candidates=candidates)
    task = split.tasks("test")["all"]
    noise = np.random.default_rng(0).random(task.candidates.shape) / 2
    best = np.argmax(split.clicks[task.candidates] + noise, axis=1)
    chosen = task.candidates[np.arange(len(best)), best]
    assert (chosen == task.relevance.indices).mean() == pytest.approx(hit, abs=0.003)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("targets", "queries", "cold_users"), [("first", 76, 19), ("each", 5_456, 4_639)]
)
def test_movielens_by_time(data_root, targets, queries, cold_users):
    data = read_dataset(data_root / "ml-100k")
    split: EventSplit = next_item(data, by="time", targets=targets)
    slices = split.summary()["slices"]
    assert slices["test all"]["queries"] == queries
    assert slices["test cold_users"]["queries"] == cold_users
    assert slices["test warm"]["candidates"] == 1_376
    assert split.manifest["cutoffs"] == [889_396_582, 891_383_835]
    assert len(split.train.interactions) == 44_300
