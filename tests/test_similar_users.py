"""Similar users against the formula of the module."""

import numpy as np
from scipy import sparse

from warmstart.similar_users import SimilarUsers, score_by_similar_users, similar_users

POSITIVES = np.array(
    [
        [1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ],
    np.float32,
)


def rows(*lines):
    return sparse.csr_matrix(np.array(lines, np.float32))


def test_weights_follow_the_formula():
    found = similar_users(sparse.csr_matrix(POSITIVES), rows([1, 1, 0, 0, 0], [0, 0, 1, 0, 0]))
    similarity = np.array([[2 / np.sqrt(2), 2 / 2, 0, 0, 0], [0, 1 / 2, 1, 1, 0]])
    expected = similarity / similarity.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-6)


def test_of_equally_similar_users_the_first_count():
    found = similar_users(sparse.csr_matrix(POSITIVES), rows([0, 0, 1, 0, 0]), k=1)
    np.testing.assert_array_equal(found.toarray(), [[0, 0, 1, 0, 0]])
    both = similar_users(sparse.csr_matrix(POSITIVES), rows([0, 0, 1, 0, 0]), k=2)
    np.testing.assert_allclose(both.toarray(), [[0, 0, 0.5, 0.5, 0]])


def test_users_of_other_items_add_to_the_overlap():
    similar = SimilarUsers(sparse.csr_matrix(POSITIVES))
    histories, others = (
        rows([0, 0, 1, 0, 0], [0, 0, 0, 0, 0]),
        rows([0, 0, 0, 3, 0], [0.5, 0, 0, 0, 1]),
    )
    similarity = np.array([[0, 1 / 2, 1, 4, 0], [0.5 / np.sqrt(2), 0, 0, 0, 1]])
    expected = similarity / similarity.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(similar.weights(histories, others).toarray(), expected, atol=1e-6)


def test_many_histories_are_weighted_as_one_by_one():
    rng = np.random.default_rng(0)
    positives = sparse.csr_matrix((rng.random((300, 40)) < 0.2).astype(np.float32))
    items = (rng.random((130, 40)) < 0.1) | (np.arange(40) == 7)  # none without an item
    histories = sparse.csr_matrix(items.astype(np.float32))
    together = similar_users(positives, histories)
    for row in (0, 63, 64, 129):
        alone = similar_users(positives, histories[[row]]).toarray()[0]
        np.testing.assert_array_equal(together[[row]].toarray()[0], alone)
    assert (np.diff(together.indptr) <= 50).all()
    np.testing.assert_allclose(together.toarray().sum(axis=1), 1, atol=1e-5)


def test_a_history_that_nobody_shares_is_empty_and_scores_nan():
    weights = similar_users(sparse.csr_matrix(POSITIVES), rows([0, 0, 0, 0, 1], [1, 0, 0, 0, 0]))
    assert np.diff(weights.indptr).tolist() == [0, 2]
    items = np.arange(2, dtype=np.int32)
    scores = score_by_similar_users(lambda u, i: np.outer(u + 1.0, i + 1.0), weights, items)
    assert np.isnan(scores[0]).all()
    expected = weights.toarray()[1] @ np.outer(np.arange(5) + 1.0, [1.0, 2.0])
    np.testing.assert_allclose(scores[1], expected, rtol=1e-6)
    assert similar_users(sparse.csr_matrix(POSITIVES), rows([0] * 5)[:0]).shape == (0, 5)
