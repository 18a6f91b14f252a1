"""Histories and queries: ragged columns against lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.data.histories import Histories, concatenated
from warmstart.data.interactions import Interactions
from warmstart.data.queries import Queries
from warmstart.errors import DataError

LISTS = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6)


def lists_of(histories):
    return [histories[query].tolist() for query in range(len(histories))]


@given(lists=LISTS, n=st.integers(0, 7), data=st.data())
def test_histories_are_lists(lists, n, data):
    histories = Histories.from_lists(lists)
    assert lists_of(histories) == lists
    assert histories.lengths.tolist() == [len(items) for items in lists]
    newest = [items[len(items) - min(n, len(items)) :] for items in lists]
    assert lists_of(histories.last(n)) == newest
    order = data.draw(st.permutations(range(len(lists))))
    assert lists_of(histories.take(np.array(order, int))) == [lists[at] for at in order]
    kept = histories.items % 2 == 0
    assert lists_of(histories.where(kept)) == [[i for i in items if i % 2 == 0] for items in lists]
    padded = histories.padded(3, -1)
    assert padded.tolist() == [[-1] * (3 - len(items[-3:])) + items[-3:] for items in lists]
    matrix = histories.matrix(10).toarray()
    numbers = histories.numbered.where(kept).numbers
    np.testing.assert_array_equal(numbers, np.flatnonzero(kept))
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    for items, mean in zip(lists, histories.mean(table), strict=True):
        expected = table[sorted(set(items))].mean(axis=0) if items else np.zeros(2)
        np.testing.assert_allclose(mean, expected, rtol=1e-5)
    assert matrix.tolist() == [[float(i in items) for i in range(10)] for items in lists]
    assert lists_of(histories) == lists  # nothing was sorted in place
    assert lists_of(concatenated([histories, histories])) == lists + lists


def test_events_of_a_user_keep_their_order():
    events = Interactions.from_arrays([1, 0, 1, 1], [7, 2, 3, 5], times=np.array([1, 9, 2, 2]))
    found = Histories.from_interactions(events, 3)
    assert lists_of(found) == [[2], [7, 3, 5], []]
    assert found.times is not None
    assert found.times.tolist() == [9, 1, 2, 2]


def test_another_order_has_another_hash():
    one, other = Histories.from_lists([[1, 2]]), Histories.from_lists([[2, 1]])
    assert one.hash != other.hash
    assert one.hash == Histories.from_lists([[1, 2]]).hash


def test_wrong_columns_are_refused():
    with pytest.raises(DataError, match="2 items do not match offsets that end at 3"):
        Histories(np.array([0, 3]), np.array([1, 2], np.int32))
    with pytest.raises(DataError, match="offsets"):
        Histories(np.array([1, 2]), np.array([1, 2], np.int32))
    with pytest.raises(DataError, match="1 texts for 2 users"):
        Queries(np.array([0, 1], np.int32), texts=("one",))


def test_a_known_user_is_asked_for_by_the_history_of_the_data():
    known = Histories.from_lists([[1], [2, 3], []])
    given = Histories.from_lists([[5]])
    assert lists_of(Queries.of_users([1, 0]).histories_or(known)) == [[2, 3], [1]]
    assert lists_of(Queries.of_users([-1, 1, -1]).histories_or(known)) == [[], [2, 3], []]
    assert lists_of(Queries.of_users([-1]).histories_or(known.take(np.zeros(0, int)))) == [[]]
    assert lists_of(Queries.of_histories(given).histories_or(known)) == [[5]]
    some = Queries(np.array([1, 1, -1, 0], np.int32), Histories.from_lists([[], [5], [], []]))
    assert lists_of(some.histories_or(known)) == [[2, 3], [5], [], [1]]


def test_kinds_and_selection_of_queries():
    histories = Histories.from_lists([[1], [2, 3]])
    queries = Queries(np.array([-1, 4], np.int32), histories, ("a", "b"))
    assert queries.kinds == {"user", "history", "text"}
    assert Queries.of_histories(histories).kinds == {"history"}
    assert Queries.of_texts(["a"]).kinds == {"text"}
    part = queries.take(np.array([False, True]))
    assert (part.users.tolist(), lists_of(part.histories), part.texts) == ([4], [[2, 3]], ("b",))
    assert part.hash != queries.take(np.array([0])).hash
