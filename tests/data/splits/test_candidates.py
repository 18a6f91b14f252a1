"""Frozen candidates: what may be drawn, how often, and that a position tells nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.splits.made import ordered, words
from warmstart.data.interactions import Interactions
from warmstart.data.splits.candidates import Candidates, draw_candidates, negatives_of
from warmstart.data.splits.next_item import next_item
from warmstart.errors import ConfigError, DataError


def draw(name, targets, known, clicks, seed=0, pool=None):
    """Draw for users 0, 1, ..., who had the items of ``known``."""
    users = np.concatenate([np.full(len(items), row) for row, items in enumerate(known)])
    return draw_candidates(
        name,
        np.asarray(targets, np.int32),
        np.arange(len(targets), dtype=np.int32),
        np.arange(len(clicks), dtype=np.int32) if pool is None else np.asarray(pool, np.int32),
        known=Interactions.from_arrays(users, np.concatenate(known)),
        clicks=np.asarray(clicks),
        rng=np.random.default_rng(seed),
    )


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**31),
    kind=st.sampled_from(["uni", "pop"]),
    negatives=st.integers(1, 8),
    n_items=st.integers(4, 30),
)
def test_law_negatives_are_distinct_and_never_positives(seed, kind, negatives, n_items):
    rng = np.random.default_rng(seed)
    known = [rng.choice(n_items, rng.integers(1, n_items), replace=False) for _ in range(5)]
    clicks = rng.integers(0, 4, n_items)
    pool = np.sort(rng.choice(n_items, rng.integers(2, n_items), replace=False))
    targets = [items[0] for items in known]
    try:
        drawn = draw(f"{kind}{negatives}", targets, known, clicks, seed, pool)
    except DataError:
        free = [np.setdiff1d(pool[clicks[pool] > 0] if kind == "pop" else pool, k) for k in known]
        assert min(map(len, free)) < negatives
        return
    assert drawn.dtype == np.int32
    assert drawn.shape == (5, 1 + negatives)
    for row, items in enumerate(drawn.tolist()):
        assert len(set(items)) == 1 + negatives
        assert set(items) & set(known[row].tolist()) == {targets[row]}
        others = np.setdiff1d(items, targets[row])
        assert np.isin(others, pool).all()
        assert kind == "uni" or (clicks[others] > 0).all()


def test_negatives_are_uniform_or_in_proportion_to_clicks():
    clicks = np.array([5, 1, 2, 4, 8, 0])
    n = 30_000
    for name, expected in (("uni1", [0, 1, 1, 1, 1, 1]), ("pop1", [0, 1, 2, 4, 8, 0])):
        drawn = draw(name, np.zeros(n), [np.array([0])] * n, clicks)
        shares = np.bincount(drawn.ravel(), minlength=6)[1:] / n
        assert shares == pytest.approx(np.array(expected)[1:] / sum(expected), abs=0.012)


def test_two_negatives_by_popularity_are_drawn_one_after_the_other():
    """The second is drawn among the rest: P({1, 2}) = 1/6 * 2/5 + 2/6 * 1/4 and so on."""
    n = 30_000
    drawn = draw("pop2", np.zeros(n), [np.array([0])] * n, [9, 1, 2, 3])
    pairs = np.sort(drawn, axis=1)[:, 1:] @ np.array([10, 1])
    shares = {pair: float((pairs == pair).mean()) for pair in (12, 13, 23)}
    assert shares == pytest.approx(
        {
            12: 1 / 6 * 2 / 5 + 2 / 6 * 1 / 4,
            13: 1 / 6 * 3 / 5 + 3 / 6 * 1 / 3,
            23: 2 / 6 * 3 / 4 + 3 / 6 * 2 / 3,
        },
        abs=0.012,
    )


def test_the_last_items_left_are_found_though_nearly_all_are_known():
    clicks = np.full(5_000, 1_000)
    clicks[[7, 8]] = 1
    known = np.setdiff1d(np.arange(5_000), [7, 8])
    assert sorted(draw("pop2", [3], [known], clicks)[0].tolist()) == [3, 7, 8]
    with pytest.raises(DataError, match="'uni3': a user has only 2 items left to draw negatives"):
        draw("uni3", [3], [known], clicks)


def test_the_target_stands_anywhere():
    n = 8_000
    drawn = draw("uni3", np.zeros(n), [np.array([0])] * n, np.ones(6))
    shares = (drawn == 0).mean(axis=0)
    assert shares == pytest.approx(np.full(4, 0.25), abs=0.02)


def test_a_split_draws_once_and_names_its_metrics():
    histories = {"u": "abcd", "v": "bcde", "w": "cdef"}
    data = ordered(histories, items="ghijkl")
    split = next_item(data, candidates="uni3")
    assert split.metric_suffix == "~uni3"
    for part in ("valid", "test"):
        task = split.tasks(part)["all"]
        assert task.candidates.shape == (3, 4)
        for row, name in enumerate(histories):
            target = words(data, task.relevance[row].indices)
            assert set(words(data, task.candidates[row])) & set(histories[name]) == {target}
    again = next_item(data, candidates="uni3")
    assert again.candidates.hash == split.candidates.hash
    assert next_item(data, candidates="uni3", seed=1).candidates.hash != split.candidates.hash
    more = ordered({**histories, "x": "gh"})
    assert next_item(more, candidates="pop1").metric_suffix == "~pop1"


def test_slices_select_queries_and_keep_their_candidates():
    data = ordered({"u": "abcd", "v": "dbc", "w": "abe"}, items="ghijkl")
    split = next_item(data, candidates="uni2", cold_users=3)
    every, cold = split.tasks("test")["all"], split.tasks("test")["cold_users"]
    assert cold.candidates.tolist() == every.candidates[1:].tolist()


def test_names():
    assert negatives_of("uni19") == 19
    assert negatives_of("pop99") == 99
    for name in ("uni", "uni0", "all19", "uni-1", "uni1000000", 19):
        with pytest.raises(ConfigError, match="allowed: uni or pop and the number of negatives"):
            negatives_of(name)


def test_the_hash_covers_name_part_and_items():
    rows = np.arange(6, dtype=np.int32).reshape(2, 3)
    hashes = {
        Candidates("uni2", {"valid": rows, "test": rows}).hash,
        Candidates("pop2", {"valid": rows, "test": rows}).hash,
        Candidates("uni2", {"valid": rows, "test": rows[::-1]}).hash,
        Candidates("uni2", {"valid": rows[::-1], "test": rows}).hash,
    }
    assert len(hashes) == 4
