"""Similar users: weights by hand, and scores that are means of their scores."""

import numpy as np
import pytest
from scipy import sparse

from warmstart.similar_users import score_by_similar_users, similar_users

POSITIVES = sparse.csr_matrix(
    np.array([[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]], np.float32)
)


def histories(*lists):
    matrix = np.zeros((len(lists), 4), np.float32)
    for row, items in enumerate(lists):
        matrix[row, items] = 1
    return sparse.csr_matrix(matrix)


def test_weights_by_hand():
    found = similar_users(POSITIVES, histories([1, 3], [0], [2], [])).toarray()
    similarity = np.array([1 / np.sqrt(2), 2 / np.sqrt(3), 1, 0])
    np.testing.assert_allclose(found[0], similarity / similarity.sum(), rtol=1e-6)
    assert found[1].tolist() == [1, 0, 0, 0]
    assert found[2].tolist() == [0, 1, 0, 0]
    assert found[3].tolist() == [0, 0, 0, 0]


def test_only_the_most_similar_users_count():
    found = similar_users(POSITIVES, histories([1, 3]), k=2).toarray()[0]
    assert (found > 0).tolist() == [False, True, True, False]
    assert found.sum() == pytest.approx(1)


def test_weights_of_a_history_do_not_depend_on_the_others():
    rng = np.random.default_rng(0)
    positives = sparse.csr_matrix((rng.random((300, 40)) < 0.2).astype(np.float32))
    asked = sparse.csr_matrix((rng.random((150, 40)) < 0.1).astype(np.float32))
    whole = similar_users(positives, asked, k=7).toarray()
    for row in (0, 63, 64, 149):
        alone = similar_users(positives, asked[[row]], k=7).toarray()[0]
        np.testing.assert_array_equal(whole[row], alone)


def test_scores_are_weighted_means_and_unknown_ones_are_nan():
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    weights = similar_users(POSITIVES, histories([1, 3], [], [0]))

    def score(users, items):
        return table[np.ix_(users, items)]

    found = score_by_similar_users(score, weights, np.array([2, 0], np.int32))
    expected = weights.toarray() @ table[:, [2, 0]]
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], rtol=1e-6)
    assert np.isnan(found[1]).all()
