"""The low-rank form of the ridge: at full rank the ridge itself, and never an array over users."""

import numpy as np
import pytest
from scipy import sparse

from warmstart.errors import ConfigError, UnsupportedError
from warmstart.methods import build
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


# -- users as items of their histories --


def with_items(world, kind, most, rank=8):
    vectors, targets = world
    config = RidgeConfig(**KINDS[kind], rank=rank, items_per_user=most)
    return RidgeHead.fit(config, vectors, targets, np.random.default_rng(RNG))


@pytest.mark.parametrize("kind", KINDS)
def test_users_as_whole_histories_score_as_users_as_vectors(world, kind):
    vectors, targets = world
    _, expected = heads(world, kind, 8)
    head = with_items(world, kind, 40)
    assert head.user_table is None
    histories, rows = sparse.csr_matrix(targets.T[:4]), np.array([0, 17])
    for users in (None, np.array([3, 1])):
        scores = head.predict(vectors[:9], users)
        np.testing.assert_allclose(scores, expected.predict(vectors[:9], users), atol=1e-4)
    scores, by_vectors = (
        one.features(vectors) @ one.history_weights(histories, vectors, np.arange(80))
        for one in (head, expected)
    )
    np.testing.assert_allclose(scores, by_vectors, atol=1e-4)
    scores, by_vectors = (one.leave_one_out(vectors, targets, rows) for one in (head, expected))
    np.testing.assert_allclose(scores, by_vectors, atol=1e-3)
    found = head.table.search(head.features(vectors[:2]), 5)
    np.testing.assert_array_equal(
        found.rows, expected.table.search(expected.features(vectors[:2]), 5).rows
    )


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_of_left_out_items_spread_alike_in_all_targets(world, kind):
    head = with_items(world, kind, 3)
    left_out = head.leave_one_out_features(world[0], np.arange(80))
    np.testing.assert_allclose(left_out.std(axis=0), 1, atol=1e-2)


def test_more_items_of_a_user_come_closer_to_all(world):
    vectors, _ = world
    expected = with_items(world, "rbf", 40).predict(vectors)
    errors = [
        np.linalg.norm(with_items(world, "rbf", most).predict(vectors) - expected)
        for most in (1, 3, 6, 12)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.25 * errors[0]


def test_cut_histories_are_cut_alike_for_users_of_the_fit_and_others(world):
    vectors, targets = world
    head = with_items(world, "rbf", 3)
    histories = sparse.csr_matrix(targets.T[:6])
    assert head.user_items.shape == (40, 3)
    found = head.history_weights(histories, vectors, np.arange(80))
    np.testing.assert_array_equal(found, head.user_weights(np.arange(6)))
    restored = RidgeHead.restore(head.config, head.state())
    np.testing.assert_array_equal(
        restored.history_weights(histories, vectors, np.arange(80)), found
    )
    np.testing.assert_array_equal(restored.predict(vectors[:5]), head.predict(vectors[:5]))


def test_settings_of_items_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="items_per_user needs a rank"):
        build("text_ridge", {"items_per_user": 31})
    for name in ("filterllm", "text_to_vector"):
        with pytest.raises(ConfigError, match="ridge: items_per_user is for text_ridge"):
            build(name, {"ridge": {"rank": 8, "items_per_user": 31}})
    RidgeConfig(rank=256, items_per_user=31).check_size("text_ridge", 65_535, 10**8, 384)
    config = RidgeConfig(rank=256, items_per_user=31)
    with pytest.raises(UnsupportedError, match=r"31 items .*, 11\.7 GiB.*lower ridge\.items_per"):
        config.check_size("text_ridge", 65_536, 10**8, 384)


def test_a_saved_head_predicts_the_same(world):
    vectors, _ = world
    _, head = heads(world, "rbf", 7)
    restored = RidgeHead.restore(head.config, head.state())
    np.testing.assert_array_equal(restored.predict(vectors[:5]), head.predict(vectors[:5]))
    found = restored.table.search(restored.features(vectors[:2]), 5)
    expected = np.argsort(-head.predict(vectors[:2]), axis=1)[:, :5]
    np.testing.assert_array_equal(found.rows, expected)
