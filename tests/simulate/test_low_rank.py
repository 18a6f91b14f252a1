"""The low-rank form of the ridge: at full rank the ridge itself, and never an array over users."""

import numpy as np
import pytest
from scipy import sparse

from warmstart.errors import UnsupportedError
from warmstart.simulate import low_rank
from warmstart.simulate.low_rank import KernelSystem, RidgeSystem, low_rank_targets
from warmstart.simulate.ridge import RidgeConfig, RidgeHead

KINDS = {
    "linear": {"kernel": "linear", "l2": 1.0},
    "rbf": {"gamma": 1.0, "l2": 0.5},
    "landmarks": {"gamma": 1.0, "l2": 0.5, "landmarks": 25},
}
RNG = 5


@pytest.fixture(scope="module")
def world():
    """Items of some topics, whose users like a topic or two each."""
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(6, 20))
    topic = rng.integers(0, 6, 80)
    vectors = topics[topic] + 0.5 * rng.normal(size=(80, 20))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    likes = rng.random((6, 40)) < 0.3
    chance = np.where(likes[topic], 0.5, 0.03)
    targets = sparse.csr_matrix((rng.random((80, 40)) < chance).astype(np.float32))
    return vectors.astype(np.float32), targets


def heads(world, kind, rank):
    vectors, targets = world
    settings = KINDS[kind]
    return tuple(
        RidgeHead.fit(RidgeConfig(**settings, rank=r), vectors, targets, np.random.default_rng(RNG))
        for r in (None, rank)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_more_rank_comes_closer_to_the_whole_solution(world, kind):
    vectors, _ = world
    new = vectors[:10] + np.float32(0.05)
    errors = []
    for rank in (2, 5, 12, 40):
        whole, short = heads(world, kind, rank)
        expected = whole.predict(new)
        difference = short.predict(new) - expected
        errors.append(np.linalg.norm(difference - difference.mean(axis=0)))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.15 * errors[0]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_users_are_sums_over_their_histories(world, kind):
    vectors, targets = world
    _, head = heads(world, kind, 8)
    assert head.user_table is not None
    np.testing.assert_allclose(head.user_table, targets.T @ head.item_rows, atol=1e-5)
    histories = sparse.csr_matrix(targets.T[:4])
    found = head.history_weights(histories, vectors, np.arange(80))
    np.testing.assert_allclose(found, head.user_weights(np.arange(4)), atol=1e-5)
    assert head.features(vectors).shape == (80, 8)
    np.testing.assert_allclose(
        head.predict(vectors, np.array([3, 1])), head.predict(vectors)[:, [3, 1]], atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_left_out_items_are_predicted_by_a_regression_without_them(world, kind):
    """With the basis of the users as it is, which depends on all items."""
    vectors, _ = world
    _, head = heads(world, kind, 6)
    settings = RidgeConfig(**KINDS[kind])
    rows = np.array([0, 17, 50])
    found = head.leave_one_out_features(vectors, rows)
    for at, row in enumerate(rows):
        others = np.delete(np.arange(80), row)
        if kind == "linear":
            kernel = vectors
        else:
            from warmstart.simulate.ridge import rbf

            kernel = rbf(vectors, head.centres, settings.gamma)
        if kind == "rbf":
            square = kernel[np.ix_(others, others)] + settings.l2 * np.eye(79)
            expected = kernel[row, others] @ np.linalg.solve(square, head.targets[others])
        else:
            penalty = settings.l2 * np.eye(kernel.shape[1])
            if kind == "landmarks":
                penalty = settings.l2 * rbf(head.centres, head.centres, settings.gamma)
                penalty += 1e-3 * np.eye(len(penalty))
            gram = kernel[others].T @ kernel[others] + penalty
            right = kernel[others].T @ head.targets[others]
            expected = kernel[row] @ np.linalg.solve(gram, right)
        np.testing.assert_allclose(found[at], expected, atol=2e-3)


def test_systems_agree_where_they_are_the_same():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(50, 50)).astype(np.float32)
    targets = rng.normal(size=(50, 3)).astype(np.float32)
    kernel = vectors @ vectors.T
    linear = RidgeSystem(lambda rows: vectors[rows], 50, 2 * np.eye(50, dtype=np.float32))
    dual = KernelSystem(kernel.copy(), 2.0)
    np.testing.assert_allclose(linear.fitted(targets), dual.fitted(targets), atol=1e-3)
    np.testing.assert_allclose(linear.leverage, dual.leverage, atol=1e-3)


def test_a_sample_of_many_users_gives_nearly_the_same_basis(world, monkeypatch):
    vectors, targets = world
    kernel = vectors @ vectors.T
    system = KernelSystem(kernel, 1.0)
    monkeypatch.setattr(low_rank, "_MAX_USERS", 30)
    found, rows = low_rank_targets(system.fitted, targets, 6, np.random.default_rng(0))
    assert found.shape == rows.shape == (80, 6)
    predicted = system.fitted(found) @ (targets.T @ rows).T
    actual = system.fitted(targets.toarray())
    correlation = np.corrcoef(predicted.ravel(), actual.ravel())[0, 1]
    assert correlation > 0.9


def test_a_solution_too_large_is_refused_with_advice():
    config = RidgeConfig()
    with pytest.raises(UnsupportedError, match=r"20000 numbers for each of 1000000 users, 74\.5"):
        config.check_size("text_ridge", 100_000, 1_000_000, 384)
    RidgeConfig(rank=256).check_size("text_ridge", 100_000, 1_000_000, 384)
    with pytest.raises(UnsupportedError, match=r"lower ridge\.rank"):
        RidgeConfig(rank=4096).check_size("text_ridge", 100_000, 1_000_000, 384)
    RidgeConfig(kernel="linear").check_size("text_ridge", 100_000, 1_000_000, 384)


def test_a_saved_head_predicts_the_same(world):
    vectors, _ = world
    _, head = heads(world, "rbf", 7)
    restored = RidgeHead.restore(head.config, head.state())
    np.testing.assert_array_equal(restored.predict(vectors[:5]), head.predict(vectors[:5]))
    found = restored.table.search(restored.features(vectors[:2]), 5)
    expected = np.argsort(-head.predict(vectors[:2]), axis=1)[:, :5]
    np.testing.assert_array_equal(found.rows, expected)
