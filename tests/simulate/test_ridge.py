"""The closed-form head, compared with a dense float64 reference that follows the formulas."""

import numpy as np
import pytest
from scipy import sparse

from warmstart.errors import ConfigError
from warmstart.simulate import ridge
from warmstart.simulate.ridge import RidgeConfig, RidgeHead, rbf


@pytest.fixture(scope="module")
def warm(world, vectors):
    """Vectors and targets of the warm items."""
    rows = np.flatnonzero(world.data.warm)
    return vectors[rows], world.data.matrix.T.tocsr()[rows]


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def kernel(left, right, gamma):
    return np.array([[np.exp(-gamma * ((a - b) ** 2).sum()) for b in right] for a in left])


def features(config, vectors, centres):
    """Inputs of the regression: the text vectors, or their kernel with the centres."""
    vectors = vectors.astype(np.float64)
    if config.kernel == "linear":
        return vectors
    return kernel(vectors, centres.astype(np.float64), config.gamma)


def dense_reference(config, vectors, targets, centres):
    """A function from vectors to scores, with weights (F'F + P)^-1 F'Y and penalty P."""
    f = features(config, vectors, centres)
    penalty = config.l2 * np.eye(f.shape[1])
    if config.kernel == "rbf":
        penalty = config.l2 * kernel(centres.astype(np.float64), centres, config.gamma)
    weights = np.linalg.solve(f.T @ f + penalty, f.T @ targets.toarray())
    return lambda new: features(config, new, centres) @ weights


CONFIGS = [
    RidgeConfig(kernel="linear", l2=0.7),
    RidgeConfig(kernel="rbf", l2=0.4, gamma=0.8),
    RidgeConfig(kernel="rbf", l2=0.4, gamma=0.8, landmarks=9),
]


@pytest.fixture(params=CONFIGS, ids=["linear", "rbf", "landmarks"])
def config(request):
    return request.param


def test_the_kernel_follows_its_formula(vectors):
    found = rbf(vectors[:7], vectors[:9], 0.8)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, kernel(vectors[:7], vectors[:9], 0.8), atol=1e-6)
    assert (rbf(vectors, vectors, 3.0) <= 1).all()


@pytest.mark.parametrize("block", [5, 1024])
def test_predictions_match_the_dense_reference(config, block, warm, vectors, rng, monkeypatch):
    monkeypatch.setattr(ridge, "_BLOCK", block)
    head = RidgeHead.fit(config, *warm, rng)
    found = head.predict(vectors)
    assert found.dtype == np.float32
    expected = dense_reference(config, *warm, head.centres)(vectors)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    if config.landmarks > len(warm[0]):  # without the jitter of the landmarks
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_landmarks_are_warm_items_drawn_by_the_generator(warm):
    config = CONFIGS[2]
    heads = [RidgeHead.fit(config, *warm, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert heads[0].centres.shape == (9, warm[0].shape[1])
    assert {tuple(row) for row in heads[0].centres} <= {tuple(row) for row in warm[0]}
    np.testing.assert_array_equal(heads[0].centres, heads[1].centres)
    assert (heads[0].centres != heads[2].centres).any()


def test_landmarks_that_cover_all_vectors_give_the_exact_solution(warm, vectors, rng):
    # With every item twice, 95 of 96 items as landmarks cover all vectors.
    order = np.repeat(np.arange(len(warm[0])), 2)
    twice = warm[0][order], warm[1][order]
    exact = RidgeHead.fit(RidgeConfig(l2=0.4, gamma=0.8), *twice, rng).predict(vectors)
    errors = []
    for landmarks in (6, 48, 95):
        config = RidgeConfig(l2=0.4, gamma=0.8, landmarks=landmarks)
        errors.append(np.abs(RidgeHead.fit(config, *twice, rng).predict(vectors) - exact).max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 5e-3  # the effect of the jitter for float32


def test_scores_of_some_users_are_a_slice_of_all_scores(config, warm, vectors, rng):
    head = RidgeHead.fit(config, *warm, rng)
    users = np.array([7, 0, 7], np.int32)
    np.testing.assert_allclose(
        head.predict(vectors, users), head.predict(vectors)[:, users], atol=1e-6
    )
    assert head.predict(vectors[:0]).shape == (0, warm[1].shape[1])


def test_a_restored_head_predicts_the_same(config, warm, vectors, rng):
    head = RidgeHead.fit(config, *warm, rng)
    restored = RidgeHead.restore(config, head.state())
    np.testing.assert_array_equal(restored.predict(vectors), head.predict(vectors))


def test_the_history_of_a_fitted_user_has_the_weights_of_the_fit(config, world, warm, vectors, rng):
    head = RidgeHead.fit(config, *warm, rng)
    rows, users = np.flatnonzero(world.data.warm), np.array([5, 0, 5])
    histories = world.data.matrix[users]
    restored = RidgeHead.restore(config, head.state())
    found = restored.history_weights(histories, vectors, rows)
    assert found.dtype == np.float32
    scores = head.features(vectors) @ found
    np.testing.assert_allclose(scores, head.predict(vectors, users), atol=2e-3)
    if config.landmarks > len(warm[0]):  # without the jitter of the landmarks
        np.testing.assert_allclose(found, head.weights[:, users], atol=2e-5)


def test_scores_of_the_fit_need_no_kernel_if_its_items_span_the_solution(world, warm, rng):
    head = RidgeHead.fit(CONFIGS[1], *warm, rng)
    assert head.spans_fit(len(warm[0]))
    assert not RidgeHead.fit(CONFIGS[0], *warm, rng).spans_fit(len(warm[0]))
    assert not RidgeHead.fit(CONFIGS[2], *warm, rng).spans_fit(len(warm[0]))
    users, rows = np.array([5, 0, 7]), np.array([3, 0, 11])
    known = warm[1].T.tocsr()[users]
    found = head.fitted_scores(known, head.weights[:, users], rows)
    np.testing.assert_allclose(found, head.predict(warm[0][rows], users).T, atol=1e-5)


@pytest.mark.parametrize("block", [5, 1024])
def test_leave_one_out_equals_a_refit_without_the_item(config, block, warm, rng, monkeypatch):
    monkeypatch.setattr(ridge, "_BLOCK", block)
    vectors, targets = warm
    head = RidgeHead.fit(config, vectors, targets, rng)
    rows = np.array([4, 0, 31])
    found = head.leave_one_out(vectors, targets, rows)
    for row, prediction in zip(rows, found, strict=True):
        others = np.delete(np.arange(len(vectors)), row)
        # Landmarks and their penalty stay; without landmarks the item is removed from the centres.
        fixed = config.kernel == "rbf" and len(head.centres) < len(vectors)
        centres = head.centres if fixed else head.centres[others[: len(head.centres)]]
        refit = dense_reference(config, vectors[others], targets[others], centres)
        np.testing.assert_allclose(prediction, refit(vectors[[row]])[0], atol=3e-3)


def test_more_regularisation_gives_smaller_scores(warm, vectors, rng):
    sizes = [
        np.linalg.norm(RidgeHead.fit(RidgeConfig(l2=l2), *warm, rng).predict(vectors))
        for l2 in (0.1, 1, 10, 100)
    ]
    assert sizes == sorted(sizes, reverse=True)


def test_a_zero_vector_gets_finite_scores(config, warm, rng):
    zero = np.zeros((1, warm[0].shape[1]), np.float32)
    assert np.isfinite(RidgeHead.fit(config, *warm, rng).predict(zero)).all()


def test_a_system_that_cannot_be_solved_is_a_clear_error(warm, rng):
    vectors = np.repeat(warm[0][:2], 30, axis=0) * 1000
    targets = sparse.csr_matrix(np.ones((60, 3), np.float32))
    with pytest.raises(ConfigError, match="l2=1e-12 is too small"):
        RidgeHead.fit(RidgeConfig(kernel="linear", l2=1e-12), vectors, targets, rng)


@pytest.mark.parametrize("settings", [{"kernel": "linear"}, {}, {"landmarks": 9}])
def test_a_training_history_gets_the_scores_of_its_user(settings):
    """Regressing a user's history again gives what the fit gave that user."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    targets = sparse.csr_matrix((rng.random((30, 8)) < 0.3).astype(np.float32))
    head = RidgeHead.fit(RidgeConfig(l2=0.5, **settings), vectors, targets, rng)
    new = rng.normal(size=(5, 6)).astype(np.float32)
    histories = sparse.csr_matrix(targets.T)
    warm = np.arange(30)
    found = head.history_weights(histories, vectors, warm)
    expected = head.predict(new)
    np.testing.assert_allclose(head.features(new) @ found, expected, atol=1e-4)
    alone = head.history_weights(histories[[3]], vectors, warm)
    np.testing.assert_allclose(head.features(new) @ alone, expected[:, [3]], atol=1e-4)
