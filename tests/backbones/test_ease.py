"""EASE against the dense formula of the paper."""

import numpy as np
import pytest
from scipy import sparse

from warmstart.backbones.ease import Ease, EaseConfig, upper_gram
from warmstart.errors import UnsupportedError


def dense_ease(x, l2):
    inverse = np.linalg.inv(x.T @ x + l2 * np.eye(x.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return x @ weights


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)], ids=["over users", "over items"])
def test_scores_are_those_of_the_dense_formula(shape):
    x = (np.random.default_rng(0).random(shape) < 0.2).astype(np.float64)
    x[:, 3] = 0
    ease = Ease(EaseConfig(l2=2.5)).fit(sparse.csr_matrix(x), rng=np.random.default_rng(0))
    users, items = np.arange(4, 20), np.array([3, 0, 29, 7])
    expected = dense_ease(x, 2.5)[users][:, items]
    np.testing.assert_allclose(ease.score(users, items), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)], ids=["over users", "over items"])
def test_a_folded_item_gets_the_column_that_training_would_give(shape):
    x = (np.random.default_rng(0).random(shape) < 0.2).astype(np.float64)
    without = x.copy()
    without[:, 5] = 0
    ease = Ease(EaseConfig(l2=2.5)).fit(sparse.csr_matrix(without), rng=np.random.default_rng(0))
    folded = ease.fold_in(sparse.csr_matrix(x[:, [5]].T))
    scores = ease.score_folded(np.arange(shape[0]), folded)[:, 0]
    np.testing.assert_allclose(scores, dense_ease(x, 2.5)[:, 5], atol=1e-5)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)], ids=["over users", "over items"])
def test_a_history_scores_by_the_dense_formula(shape):
    rng = np.random.default_rng(0)
    x, new = ((rng.random((n, shape[1])) < 0.2).astype(np.float64) for n in (shape[0], 4))
    ease = Ease(EaseConfig(l2=2.5)).fit(sparse.csr_matrix(x), rng=np.random.default_rng(0))
    inverse = np.linalg.inv(x.T @ x + 2.5 * np.eye(shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    states = ease.history_states(sparse.csr_matrix(new))
    for items in (np.arange(shape[1]), np.array([3, 0, 29, 7])):
        found = ease.score_states(states, ease.warm_items(items))
        np.testing.assert_allclose(found, (new @ weights)[:, items], atol=1e-5)
    clicks = sparse.csr_matrix((rng.random((2, shape[0])) < 0.3).astype(np.float32))
    folded = ease.fold_in(clicks)
    np.testing.assert_allclose(ease.score_folded_states(states, folded), new @ folded.T, atol=1e-5)
    known = ease.history_states(sparse.csr_matrix(x))  # of known users: as they score themselves
    everyone, items = np.arange(shape[0]), np.arange(shape[1])
    found = ease.score_states(known, ease.warm_items(items))
    np.testing.assert_allclose(found, ease.score(everyone, items), atol=1e-5)


def test_the_upper_gram_matrix_is_that_of_the_dense_product():
    x = sparse.random(40, 25, 0.3, "csr", random_state=np.random.default_rng(0), dtype=np.float32)
    expected = x.toarray().astype(np.float64)
    np.testing.assert_allclose(upper_gram(x), np.triu(expected @ expected.T), rtol=1e-12)


def test_the_diagonal_is_zero():
    """An item's own interactions do not count for its score; here there are no others."""
    ease = Ease(EaseConfig(l2=1.0))
    ease.fit(sparse.csr_matrix(np.eye(6)), rng=np.random.default_rng(0))
    np.testing.assert_allclose(ease.score(np.arange(6), np.arange(6)), 0, atol=1e-6)


def test_memory_is_bounded():
    ease = Ease(EaseConfig(max_memory_gib=1e-6))
    with pytest.raises(UnsupportedError, match=r"20 rows .* max_memory_gib"):
        ease.fit(sparse.csr_matrix(np.ones((20, 40))), rng=np.random.default_rng(0))


def test_fold_in_refuses_another_regulariser(world):
    ease = Ease().fit(world.train, rng=np.random.default_rng(0))
    with pytest.raises(UnsupportedError, match="prior_weight must be 1, got 2"):
        ease.fold_in(world.new, prior_weight=2.0)
