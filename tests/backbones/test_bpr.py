"""The SGD kernel of MF-BPR."""

import numba
import numpy as np
import pytest
from scipy import sparse

from warmstart.backbones.bpr import (
    _BLOCKS,
    Bpr,
    BprConfig,
    _bucket,
    _pair_step,
    _softmax_step,
    _update,
)


def test_blocks_hold_every_interaction_once():
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 20, 300), rng.integers(0, 30, 300)
    user_block, item_block = rng.integers(0, _BLOCKS, 20), rng.integers(0, _BLOCKS, 30)
    order = np.empty(300, np.int32)
    starts = _bucket(rows, columns, user_block, item_block, order)
    assert sorted(order) == list(range(300))
    for block in range(_BLOCKS * _BLOCKS):
        inside = order[starts[block] : starts[block + 1]]
        assert (user_block[rows[inside]] == block // _BLOCKS).all()
        assert (item_block[columns[inside]] == block % _BLOCKS).all()


@pytest.mark.parametrize("negatives", [1, 5])
def test_a_step_follows_the_gradient(negatives):
    rng = np.random.default_rng(0)
    x = rng.normal(size=6).astype(np.float32)
    items = rng.normal(size=(9, 6)).astype(np.float32)
    candidates = np.arange(negatives + 1, dtype=np.int32)[::-1].copy()

    def loss(x, items):
        scores = items[candidates].astype(np.float64) @ x / 0.5
        return np.log(np.exp(scores).sum()) - scores[0]

    descent = np.empty(len(candidates), np.float32)
    found = _softmax_step(x, items, candidates, descent, 0.5)
    assert found == pytest.approx(loss(x, items), rel=1e-5)
    moved_x, moved_items = x.copy(), items.copy()
    _update(
        moved_x,
        moved_items,
        candidates,
        descent,
        np.float32(2),
        np.float32(0),
        np.empty(6, np.float32),
    )
    for j in range(6):
        nudge = np.eye(6)[j] * 1e-5
        slope = (loss(x + nudge, items) - loss(x - nudge, items)) / 2e-5
        assert moved_x[j] - x[j] == pytest.approx(0 if j == 5 else -slope, abs=1e-4)
        for row in range(9):
            up, down = items.astype(np.float64), items.astype(np.float64)
            up[row], down[row] = up[row] + nudge, down[row] - nudge
            slope = (loss(x, up) - loss(x, down)) / 2e-5
            assert moved_items[row, j] - items[row, j] == pytest.approx(-slope, abs=1e-4)


def test_a_step_with_one_negative_is_the_step_with_many():
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(4, 6)).astype(np.float32) for _ in range(2))
    users[:, -1] = 1
    x, others, descent = users[2].copy(), items.copy(), np.empty(2, np.float32)
    candidates = np.array([3, 1], np.int32)
    step, shrink = np.float32(0.3), np.float32(0.1)
    expected = _softmax_step(x, others, candidates, descent, 0.5)
    _update(x, others, candidates, descent, step, shrink, np.empty(6, np.float32))
    found = _pair_step(users, 2, items, 3, 1, 0.5, step, shrink)
    assert found == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(users[2], x, rtol=1e-5)
    np.testing.assert_allclose(items, others, rtol=1e-5)


@pytest.mark.parametrize("negatives", [1, 3])
def test_threads_do_not_change_the_result(world, negatives):
    config = BprConfig(width=8, epochs=5, negatives=negatives)
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            results.append(Bpr(config).fit(world.train, rng=np.random.default_rng(0)).vectors)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_the_bias_learns_popularity():
    """If popularity is all there is to learn, every popular item has the larger bias."""
    rng = np.random.default_rng(0)
    popularity = np.where(np.arange(40) < 20, 0.5, 0.05)
    train = sparse.csr_matrix((rng.random((200, 40)) < popularity).astype(np.float32))
    bpr = Bpr(BprConfig(width=4, epochs=30, l2=0.05)).fit(train, rng=rng)
    users, items = bpr.vectors
    assert (users[:, -1] == 1).all()
    assert items[:20, -1].min() > items[20:, -1].max()
