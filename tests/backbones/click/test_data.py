"""Histories as ranges of shared events, and the pairs made of ratings."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse

from warmstart.backbones.click import ClickData, Events, HistoryRanges
from warmstart.data.histories import Histories
from warmstart.data.ratings import Ratings
from warmstart.errors import DataError


def rated(times=True):
    """Two users; the second and third rating of user 0 are of one moment."""
    return Ratings(
        users=np.array([0, 0, 0, 0, 1, 1], np.int32),
        items=np.array([5, 3, 4, 1, 3, 2], np.int32),
        values=np.array([5, 1, 4, 2, 3, 5], np.float32),
        times=np.array([10, 20, 20, 30, 5, 6]) if times else None,
    )


def click_data(ratings, **options):
    return ClickData.from_ratings(ratings, threshold=4, n_users=3, n_items=7, **options)


def listed(histories):
    """(items, liked) of each history as lists."""
    return [
        list(zip(histories.events.items[a:b].tolist(), histories.events.liked[a:b], strict=True))
        for a, b in zip(histories.starts, histories.ends, strict=True)
    ]


def test_a_history_holds_what_was_rated_at_earlier_moments():
    first, same_moment = (5, True), [(5, True)]
    expected = [[], [first], same_moment, [first, (3, False), (4, True)], [], [(3, False)]]
    assert listed(click_data(rated()).histories) == expected
    assert click_data(rated()).labels.tolist() == [True, False, True, False, False, True]


def test_without_times_the_position_tells_what_came_before():
    found = listed(click_data(rated(times=False)).histories)
    assert found[2] == [(5, True), (3, False)]
    assert [len(history) for history in found] == [0, 1, 2, 3, 0, 1]


@given(st.integers(0, 2**32 - 1))
def test_no_history_changes_with_what_happens_later(seed):
    rng = np.random.default_rng(seed)
    users = np.sort(rng.integers(4, size=40)).astype(np.int32)
    times = rng.integers(12, size=40)
    order = np.lexsort((times, users))
    items, values = rng.integers(9, size=40).astype(np.int32), rng.integers(1, 6, 40)
    whole = Ratings(users, items, values.astype(np.float32), times[order])
    row = int(rng.integers(40))
    later = (whole.users == users[row]) & (whole.times >= whole.times[row])
    changed = replace(
        whole,
        items=np.where(later, (items + 1) % 9, items).astype(np.int32),
        values=np.where(later, 6 - values, values).astype(np.float32),
    )
    assume(all(0 < ratings.labels(4).sum() < 40 for ratings in (whole, changed)))
    before, after = (
        ClickData.from_ratings(ratings, threshold=4, n_users=4, n_items=9).histories
        for ratings in (whole, changed)
    )
    assert listed(before)[row] == listed(after)[row]
    for start, end, time in zip(before.starts, before.ends, whole.times, strict=True):
        assert (whole.times[start:end] < time).all()


@given(st.integers(0, 2**32 - 1))
def test_ranges_equal_loops(seed):
    rng = np.random.default_rng(seed)
    events = Events(rng.integers(9, size=30).astype(np.int32), rng.random(30) < 0.5)
    bounds = np.sort(rng.integers(31, size=(8, 2)), axis=1)
    ranges = HistoryRanges(events, bounds[:, 0], bounds[:, 1])
    values = rng.normal(size=30)
    np.testing.assert_allclose(
        ranges.sums(values), [values[a:b].sum() for a, b in bounds], atol=1e-12
    )
    assert listed(ranges.last(3)) == [history[-3:] for history in listed(ranges)]
    assert listed(ranges.take(np.array([4, 1]))) == [listed(ranges)[4], listed(ranges)[1]]
    for liked in (True, False):
        for length in (1, 4, 40):
            found = ranges.latest_items(length, liked=liked, padding=-1)
            for row, history in zip(found.tolist(), listed(ranges), strict=True):
                kept = [item for item, is_liked in history if is_liked == liked][-length:]
                assert row == [-1] * (length - len(kept)) + kept


def test_ranges_share_the_events():
    data = click_data(rated())
    assert data.histories.take(np.arange(3)).events is data.histories.events
    assert data.take(np.arange(3)).histories.events is data.histories.events


def test_histories_of_queries_are_read_at_the_threshold():
    lists = Histories.from_lists([[1, 2], [], [3]])
    rated = Histories(lists.offsets, lists.items, ratings=np.array([4, 3.9, 5], np.float32))
    expected = [[(1, True), (2, False)], [], [(3, True)]]
    assert listed(HistoryRanges.of_histories(rated, 4)) == expected
    assert listed(HistoryRanges.of_histories(lists, 4))[0] == [(1, True), (2, True)]


def test_the_pairs_of_a_user_are_their_training_history():
    by_user = click_data(rated()).by_user
    assert listed(by_user) == [
        [(5, True), (3, False), (4, True), (1, False)],
        [(3, False), (2, True)],
        [],
    ]
    some = click_data(rated()).take(np.array([1, 3, 5])).by_user
    assert listed(some) == [[(3, False), (1, False)], [(2, True)], []]


def test_features_are_unit_attributes_then_texts():
    attributes = sparse.csr_matrix(np.array([[1, 1, 0]] + [[0, 0, 1]] * 5 + [[0, 0, 0]], bool))
    texts = np.arange(14, dtype=np.float32).reshape(7, 2)
    data = click_data(rated(), attributes=attributes, text_vectors=texts)
    root = np.sqrt(0.5)
    np.testing.assert_allclose(
        data.item_features(np.array([6, 0])), [[0, 0, 0, 12, 13], [root, root, 0, 0, 1]], rtol=1e-6
    )
    assert data.n_features == 5
    assert click_data(rated()).item_features(np.arange(2)).shape == (2, 0)


def test_the_hash_covers_everything():
    plain = click_data(rated())
    attributes = sparse.csr_matrix(np.eye(7, dtype=bool))
    others = [
        click_data(rated(times=False)),
        click_data(rated(), attributes=attributes),
        click_data(rated(), text_vectors=np.zeros((7, 2), np.float32)),
        replace(plain, labels=~plain.labels),
        replace(plain, threshold=3.5),
        replace(plain, n_users=4),
    ]
    hashes = {data.hash for data in [plain, *others]}
    assert len(hashes) == 7
    assert click_data(rated()).hash == plain.hash


def test_bad_data_are_named():
    plain = click_data(rated())
    with pytest.raises(DataError, match=r"have lengths \[6, 5, 6, 6\]"):
        replace(plain, items=plain.items[:5])
    with pytest.raises(DataError, match="all labels of the 6 pairs are equal"):
        replace(plain, labels=np.ones(6, bool))
    with pytest.raises(DataError, match="all labels of the 0 pairs are equal"):
        plain.take(np.zeros(6, bool))
    with pytest.raises(DataError, match="item row 5 is unknown; allowed: from 0 to 4"):
        replace(plain, n_items=5)
    with pytest.raises(DataError, match="user row 1 is unknown"):
        replace(plain, n_users=1)
    with pytest.raises(DataError, match="text_vectors have 3 rows for 7 items"):
        replace(plain, text_vectors=np.zeros((3, 2), np.float32))
