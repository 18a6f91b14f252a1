"""Drawing items that a user has not interacted with."""

import numpy as np
from scipy import sparse

from warmstart.backbones.negatives import below, draw_unseen, next_random, seen_filter


def drawn(train, user, pool, n, random=12345):
    seen, found = seen_filter(train), []
    for _ in range(n):
        item, random = draw_unseen(
            user, seen, train.indptr, train.indices, pool, 0, len(pool), random
        )
        found.append(item)
    return found


def test_a_negative_is_never_an_interaction_and_all_others_are_drawn():
    rng = np.random.default_rng(0)
    train = sparse.csr_matrix((rng.random((30, 50)) < 0.8).astype(np.float32))
    pool = rng.permutation(50).astype(np.int32)
    for user in (0, 29):
        negatives = drawn(train, user, pool, 1000)
        assert not set(negatives) & set(train[user].indices)
        free = np.setdiff1d(pool, train[user].indices)
        counts = np.bincount(negatives, minlength=50)[free]
        assert counts.min() > 0.5 * 1000 / len(free)


def test_only_the_range_of_the_pool_is_drawn():
    train = sparse.csr_matrix((2, 9), dtype=np.float32)
    pool, random, found = np.arange(9, dtype=np.int32), 7, set()
    for _ in range(100):
        item, random = draw_unseen(
            1, np.zeros(1, np.uint64), train.indptr, train.indices, pool, 3, 4, random
        )
        found.add(item)
    assert found == {3, 4, 5, 6}


def test_a_user_with_every_item_gets_none():
    train = sparse.csr_matrix(np.ones((2, 5), np.float32))
    assert drawn(train, 1, np.arange(5, dtype=np.int32), 3) == [-1, -1, -1]


def test_the_filter_is_never_wrong_of_a_row_that_holds_nothing():
    train = sparse.csr_matrix(np.eye(40, dtype=np.float32))
    assert set(drawn(train, 3, np.arange(40, dtype=np.int32), 2000)) == set(range(40)) - {3}


def test_numbers_below_n_are_uniform():
    random, counts = 88172645463325252, np.zeros(7)
    for _ in range(7000):
        random = np.uint64(next_random(random))
        counts[below(random, 7)] += 1
    assert (np.abs(counts - 1000) < 150).all()
