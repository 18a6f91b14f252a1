"""Histories are cut to the items whose sum is nearest to that of all."""

from itertools import combinations

import numpy as np
import pytest
from scipy import sparse

from warmstart.retrieval.fewer_items import fewer_items


def drawn(n_users=30, n_items=40, width=6, share=0.3):
    rng = np.random.default_rng(0)
    histories = sparse.csr_matrix((rng.random((n_users, n_items)) < share).astype(np.float32))
    return histories, rng.normal(size=(n_items, width)).astype(np.float32)


def restored(kept, scales, vectors):
    padded = np.concatenate([vectors, np.zeros((1, vectors.shape[1]), np.float32)])
    return padded[kept].sum(axis=1) * scales[:, None].astype(np.float32)


def test_histories_that_are_short_enough_are_kept_whole():
    histories, vectors = drawn()
    kept, scales = fewer_items(histories, vectors, 40)
    lengths = np.diff(histories.indptr)
    assert kept.shape == (30, lengths.max())
    assert kept.dtype == np.uint16
    assert (scales == 1).all()
    for row, own in enumerate(kept):
        np.testing.assert_array_equal(own[: lengths[row]], histories[row].indices)
        assert (own[lengths[row] :] == 40).all()


def test_items_are_taken_greedily_by_the_cosine_with_the_sum_of_all():
    histories, vectors = drawn()
    kept, scales = fewer_items(histories, vectors, 4)
    for row, own in enumerate(kept):
        history, chosen = histories[row].indices.tolist(), []
        total = vectors[history].sum(axis=0)

        def cosine(items, total=total):
            found = vectors[items].sum(axis=0)
            return found @ total / np.linalg.norm(found)

        while len(chosen) < min(4, len(history)):
            rest = [item for item in history if item not in chosen]
            chosen.append(max(rest, key=lambda item: cosine([*chosen, item])))
        assert sorted(chosen) == own[own < 40].tolist()
        found = vectors[sorted(chosen)].sum(axis=0)
        expected = 1 if len(history) <= 4 else found @ total / (found @ found)
        assert scales[row] == pytest.approx(expected, rel=2e-3)


def test_more_items_come_nearer_and_few_are_near_the_best():
    histories, vectors = drawn(share=0.4)
    whole = histories @ vectors
    errors = [
        np.linalg.norm(restored(*fewer_items(histories, vectors, most), vectors) - whole)
        for most in (1, 2, 4, 8, 40)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4
    row = int(np.diff(histories.indptr).argmax())
    kept, scales = fewer_items(histories[[row]], vectors, 3)
    found = np.linalg.norm(restored(kept, scales, vectors)[0] - whole[row])
    pairs = combinations(histories[row].indices.tolist(), 3)
    sums = np.array([vectors[list(items)].sum(axis=0) for items in pairs])
    cosines = sums @ whole[row] / np.linalg.norm(sums, axis=1)
    best = np.sqrt(whole[row] @ whole[row] - cosines.max() ** 2)
    assert found <= 1.5 * best


def test_a_history_is_cut_alike_in_any_batch_and_by_any_threads():
    histories, vectors = drawn()
    kept, scales = fewer_items(histories, vectors, 5, threads=1)
    others = fewer_items(histories, vectors, 5, threads=3)
    np.testing.assert_array_equal(others[0], kept)
    np.testing.assert_array_equal(others[1], scales)
    one, scale = fewer_items(histories[[7]], vectors, 5)
    np.testing.assert_array_equal(one[0], kept[7])
    assert scale[0] == scales[7]


@pytest.mark.parametrize("n_users", [0, 3])
def test_empty_histories(n_users):
    kept, scales = fewer_items(sparse.csr_matrix((n_users, 5)), np.ones((5, 2), np.float32), 4)
    assert kept.shape == (n_users, 0)
    assert (scales == 1).all()


def test_vectors_of_zeros_are_kept_in_order():
    history = sparse.csr_matrix(np.ones((1, 6), np.float32))
    kept, scales = fewer_items(history, np.zeros((6, 2), np.float32), 2)
    assert kept.tolist() == [[0, 1]]
    assert scales.tolist() == [0]


def test_numbers_take_four_bytes_from_65536_items_on():
    histories = sparse.csr_matrix((np.ones(2, np.float32), ([0, 0], [3, 65_536])), (1, 65_537))
    kept, _ = fewer_items(histories, np.ones((65_537, 1), np.float32), 4)
    assert kept.dtype == np.uint32
    assert kept.tolist() == [[3, 65_536]]
