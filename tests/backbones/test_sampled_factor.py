"""Fold-in with frozen users, by ridge and by the training loss."""

import numpy as np
import pytest
from scipy import sparse

from warmstart.backbones.bpr import Bpr, BprConfig
from warmstart.backbones.sampled_factor import ItemLoss

SETTINGS = {"width": 8, "epochs": 30, "learning_rate": 0.2, "l2": 0.02, "negatives": 4}


def item_loss(rng, ridge=0.1):
    weights = rng.random((3, 20)) * (rng.random((3, 20)) < 0.3)
    return ItemLoss(
        users=rng.normal(size=(20, 5)),
        weights=weights,
        counts=rng.integers(1, 9, 20).astype(float),
        log_mean=rng.normal(size=20),
        n_warm=50,
        prior=rng.normal(size=(3, 5)),
        ridge=ridge,
        negatives=4,
        temperature=0.7,
    )


def test_the_item_loss_by_hand():
    rng = np.random.default_rng(0)
    loss, vectors = item_loss(rng), rng.normal(size=(3, 5))
    for item in range(3):
        total, n = 0.0, loss.weights[item].sum()
        for user in range(20):
            s, z = vectors[item] @ loss.users[user] / 0.7, np.exp(loss.log_mean[user])
            w = loss.weights[item, user]
            if w > 0:
                total += w * np.log1p(4 * z * np.exp(-s))
            else:
                total += loss.counts[user] * np.log1p(np.exp(s) / (50 * z))
        total += 0.1 * max(n, 1) * ((vectors[item] - loss.prior[item]) ** 2).sum() / 2
        assert loss.value(vectors)[item] == pytest.approx(total, rel=1e-5)


def test_the_gradient_is_that_of_the_value():
    rng = np.random.default_rng(0)
    loss, vectors = item_loss(rng), rng.normal(size=(3, 5))
    gradient, _ = loss.derivatives(vectors)
    for j in range(5):
        nudge = np.eye(5)[j] * 1e-5
        slope = (loss.value(vectors + nudge) - loss.value(vectors - nudge)) / 2e-5
        np.testing.assert_allclose(gradient[:, j], slope, atol=1e-3)


def test_newton_steps_reach_the_minimum_from_anywhere():
    rng = np.random.default_rng(0)
    loss = item_loss(rng)
    near = loss.minimise(loss.prior, 20)
    far = loss.minimise(5 * rng.normal(size=(3, 5)), 20)
    np.testing.assert_allclose(near, far, atol=1e-3)
    assert np.abs(loss.derivatives(near)[0]).max() < 1e-3


def test_both_solvers_rank_by_parity(world):
    users = np.arange(38)
    for solver in ("ridge", "newton"):
        bpr = Bpr(BprConfig(**SETTINGS, fold_in_solver=solver)).fit(
            world.train, rng=np.random.default_rng(0)
        )
        scores = bpr.score_folded(users, bpr.fold_in(world.new))
        same = users[:, None] % 2 == np.arange(4)[None, :] % 2
        assert scores[same].mean() > scores[~same].mean() + 0.5


def test_ridge_vectors_have_the_scale_of_trained_ones(world):
    bpr = Bpr(BprConfig(**SETTINGS)).fit(world.train, rng=np.random.default_rng(0))
    folded = bpr.fold_in(world.train.T.tocsr())
    trained = bpr.vectors[1]
    assert np.vdot(folded, trained) == pytest.approx(np.vdot(folded, folded), rel=1e-3)
    empty = sparse.csr_matrix((1, 40), dtype=np.float32)
    np.testing.assert_array_equal(bpr.fold_in(empty), 0)
