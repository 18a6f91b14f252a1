"""Windows and batches lose no event and repeat none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.backbones.sequence.batches import Windows, batches_by_length
from warmstart.data.histories import Histories

LENGTHS = st.lists(st.integers(0, 12), max_size=8)


@given(lengths=LENGTHS, length=st.integers(1, 5))
def test_every_event_but_the_first_follows_in_exactly_one_window(lengths, length):
    numbered = iter(range(sum(lengths)))
    histories = Histories.from_lists([[next(numbered) for _ in range(n)] for n in lengths])
    windows = Windows.of(histories, length)
    followed = [
        windows.items[start + 1 : end]
        for start, end in zip(windows.starts, windows.ends, strict=True)
    ]
    first = histories.offsets[:-1][histories.lengths > 0]
    expected = np.setdiff1d(np.arange(sum(lengths)), first)
    np.testing.assert_array_equal(np.sort(np.concatenate([[], *followed])), expected)
    assert (windows.lengths <= length + 1).all()
    assert (windows.lengths >= 2).all()


def test_only_the_oldest_window_of_a_history_is_short():
    windows = Windows.of(Histories.from_lists([range(8)]), 3)
    runs = [list(windows.items[a:b]) for a, b in zip(windows.starts, windows.ends, strict=True)]
    assert runs == [[4, 5, 6, 7], [1, 2, 3, 4], [0, 1]]


def test_padding_stands_after_the_events():
    windows = Windows.of(Histories.from_lists([[5, 6, 7], [8, 9]]), 10)
    items, real = windows.padded(np.array([1, 0]))
    np.testing.assert_array_equal(items, [[8, 9, 0], [5, 6, 7]])
    np.testing.assert_array_equal(real, [[True, True, False], [True] * 3])


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_batches_hold_each_window_once_and_about_as_many_events_as_asked(size):
    lengths = np.random.default_rng(0).integers(2, 30, 300)
    batches = batches_by_length(lengths, size, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(300))
    assert max(lengths[batch].sum() for batch in batches) < size + 30
    padding = sum(lengths[batch].max() * len(batch) for batch in batches) / lengths.sum()
    assert padding < (1.25 if size == 10 else 2.2)
    again = batches_by_length(lengths, size, np.random.default_rng(2))
    assert [list(batch) for batch in again] != [list(batch) for batch in batches]
