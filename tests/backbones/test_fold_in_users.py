"""Unknown users by their history: EASE and iALS against their own equations."""

import numpy as np
import pytest
from scipy import sparse

from warmstart.backbones import build
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.ease import EaseConfig
from warmstart.backbones.ials import IalsConfig


def score_histories(model, histories, items):
    return model.score_states(model.history_states(histories), model.warm_items(items))


def interactions(n_users, n_items, seed=0):
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix((rng.random((n_users, n_items)) < 0.25).astype(np.float32))


@pytest.mark.parametrize(("n_users", "n_items"), [(30, 12), (12, 30)])
def test_ease_gives_a_training_history_the_scores_of_its_user(n_users, n_items):
    train = interactions(n_users, n_items)
    ease = build(EaseConfig(l2=3)).fit(train, rng=np.random.default_rng(0))
    users, items = np.arange(n_users, dtype=np.int32), np.arange(n_items, dtype=np.int32)
    found = score_histories(ease, train, items)
    np.testing.assert_allclose(found, ease.score(users, items), atol=1e-4)
    some = items[[7, 2, 5]]
    np.testing.assert_allclose(score_histories(ease, train, some), found[:, some], atol=1e-5)
    folded = ease.fold_in(interactions(4, n_users, seed=1))
    np.testing.assert_allclose(
        ease.score_folded_states(ease.history_states(train), folded),
        ease.score_folded(users, folded),
        atol=1e-4,
    )


def test_ease_scores_a_new_history_by_its_equation():
    train, new = interactions(40, 15), interactions(5, 15, seed=3)
    found = build(EaseConfig(l2=2)).fit(train, rng=np.random.default_rng(0))
    gram = (train.T @ train).toarray() + 2 * np.eye(15)
    inverse = np.linalg.inv(gram)
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    items = np.arange(15, dtype=np.int32)
    np.testing.assert_allclose(score_histories(found, new, items), new @ weights, atol=1e-4)


def test_ials_solves_for_a_new_user_with_items_frozen():
    train, new = interactions(40, 15), interactions(5, 15, seed=3)
    config = IalsConfig(width=4, epochs=3, alpha=5, l2=2)
    model = build(config).fit(train, rng=np.random.default_rng(0))
    _, vectors = model.vectors
    items = np.arange(15, dtype=np.int32)
    found = score_histories(model, new, items)
    counts, n_warm = np.asarray(new.sum(1)).ravel(), 15
    mean = np.diff(train.indptr)[np.diff(train.indptr) > 0].mean()
    for row in range(5):
        liked = new[[row]].indices
        ridge = 2 * (5 * counts[row] + n_warm) / (5 * mean + n_warm)
        left = vectors.T @ vectors + ridge * np.eye(4) + 5 * vectors[liked].T @ vectors[liked]
        user = np.linalg.solve(left, 6 * vectors[liked].sum(0))
        np.testing.assert_allclose(found[row], vectors @ user, rtol=2e-3, atol=2e-4)
    again = build(config).restore(model.state())
    np.testing.assert_array_equal(score_histories(again, new, items), found)


def test_a_state_without_user_ridge_is_of_format_1_and_does_not_fold_in():
    model = build(IalsConfig(width=4, epochs=1)).fit(
        interactions(20, 10), rng=np.random.default_rng(0)
    )
    state = {name: array for name, array in model.state().items() if name != "user_ridge"}
    assert model.folds_in_users
    assert not build(IalsConfig(width=4, epochs=1)).restore(state).folds_in_users


def test_other_backbones_do_not_fold_in_users():
    assert not build(BprConfig(width=4)).folds_in_users
