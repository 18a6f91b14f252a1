"""From scores over users to simulated interactions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from warmstart.data.interactions import OBSERVED
from warmstart.simulate.top_users import relative_weights, top_users

SCORES = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    elements=st.floats(-2, 2, width=32),
)


@given(SCORES, st.data())
def test_top_users_are_sorted_with_weights_above_0_up_to_1(scores, data):
    k = data.draw(st.integers(1, scores.shape[1]))
    events = top_users(scores, k, "test")
    assert len(events) == k * len(scores)
    np.testing.assert_array_equal(events.items, np.repeat(np.arange(len(scores)), k))
    assert events.sources == ("test",) != (OBSERVED,)
    for row, users in enumerate(events.users.reshape(-1, k)):
        assert len(set(users.tolist())) == k
        np.testing.assert_array_equal(scores[row, users], np.sort(scores[row])[::-1][:k])
    assert events.weights.dtype == np.float32
    assert ((events.weights > 0) & (events.weights <= 1)).all()
    inside = (scores > 1e-6) & (scores <= 1)
    unclipped = inside[events.items, events.users]
    np.testing.assert_array_equal(
        events.weights[unclipped], scores[events.items, events.users][unclipped]
    )


def test_no_items_give_no_interactions():
    assert len(top_users(np.zeros((0, 5), np.float32), 3, "test")) == 0


@given(SCORES)
def test_relative_weights_are_proportional_and_the_largest_is_one(scores):
    weights = relative_weights(scores)
    assert ((weights > 0) & (weights <= 1)).all()
    for row, weight in zip(scores, weights, strict=True):
        if row.max() <= 0:
            assert (weight == 1).all()
            continue
        assert weight[row.argmax()] == 1
        expected = np.clip(np.maximum(row, 0) / row.max(), 1e-6, 1)
        np.testing.assert_allclose(weight, expected, rtol=1e-6)
