"""iALS against brute-force solutions."""

from itertools import pairwise

import numba
import numpy as np
import pytest
from scipy import sparse

from warmstart.backbones.ials import Ials, IalsConfig, Ridge, _Sweeps
from warmstart.backbones.least_squares import Basis, solve_rows, solve_rows_cg


def weighted(shape, rng, density=0.3):
    matrix = rng.random(shape) * (rng.random(shape) < density)
    return sparse.csr_matrix(matrix.astype(np.float32))


def brute_force(factors, row, alpha, ridge, prior):
    factors = factors.astype(np.float64)
    target = (row > 0).astype(np.float64)
    confidence = 1 + alpha * row
    normal = (factors.T * confidence) @ factors + ridge * np.eye(factors.shape[1])
    return np.linalg.solve(normal, factors.T @ (confidence * target) + ridge * prior)


@pytest.mark.parametrize("width", [4, 60], ids=["more interactions than width", "fewer"])
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_solve_the_dense_system(width, threads):
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(50, width)).astype(np.float32)
    rows = weighted((20, 50), rng)
    ridge = rng.uniform(1, 3, 20).astype(np.float32)
    prior = rng.normal(size=(20, width)).astype(np.float32)
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        found, _ = solve_rows(Basis.of(factors), rows, alpha=5, ridge=ridge, prior=prior)
    finally:
        numba.set_num_threads(before)
    expected = [
        brute_force(factors, rows[i].toarray()[0], 5, ridge[i], prior[i]) for i in range(20)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("width", [4, 60])
def test_conjugate_gradients_reach_the_exact_solution(width):
    rng = np.random.default_rng(0)
    basis = Basis.of(rng.normal(size=(50, width)).astype(np.float32))
    rows, ridge = weighted((20, 50), rng), np.ones(20, np.float32)
    start = rng.normal(size=(20, width)).astype(np.float32)
    exact, loss = solve_rows(basis, rows, alpha=5, ridge=ridge)
    found, found_loss = solve_rows_cg(basis, rows, start, alpha=5, ridge=ridge, steps=60)
    np.testing.assert_allclose(found, exact, atol=1e-3)
    assert found_loss == pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_the_loss_is_the_objective_and_every_sweep_decreases_it(exponent):
    rng = np.random.default_rng(0)
    train = weighted((30, 40), rng, density=0.2)
    config = IalsConfig(width=8, alpha=4, l2=2, frequency_exponent=exponent)
    sweeps = _Sweeps(train, config, rng)
    losses = [next(sweeps.epoch(rng, epoch)) for epoch in range(1, 7)]
    assert all(after < before for before, after in pairwise(losses))
    weights = train.toarray().astype(np.float64)
    users, items = sweeps.users.astype(np.float64), sweeps.items.astype(np.float64)
    errors = (1 + 4 * weights) * ((weights > 0) - users @ items.T) ** 2
    counts = [weights.sum(axis) for axis in (1, 0)]
    others = [np.count_nonzero(counts[1]), np.count_nonzero(counts[0])]
    penalty = sum(
        2 * ((4 * n + m) / (4 * n[n > 0].mean() + m)) ** exponent @ (vectors**2).sum(1)
        for n, m, vectors in zip(counts, others, (users, items), strict=True)
    )
    assert losses[-1] == pytest.approx((errors.sum() + penalty) / train.nnz, rel=1e-4)


def test_fold_in_of_a_warm_item_gives_its_trained_vector(world):
    ials = Ials(IalsConfig(width=12, epochs=5, alpha=10, l2=3)).fit(
        world.train, rng=np.random.default_rng(0)
    )
    folded = ials.fold_in(world.train.T.tocsr())
    np.testing.assert_allclose(folded, ials.vectors[1], atol=1e-5)


def test_fold_in_uses_the_interaction_weights(world):
    ials = Ials(IalsConfig(width=12, epochs=5, alpha=10, l2=3)).fit(
        world.train, rng=np.random.default_rng(0)
    )
    rows = sparse.csr_matrix(([1.0, 0.05], ([0, 0], [0, 1])), shape=(1, 40), dtype=np.float32)
    even, odd = ials.score_folded(np.array([0, 1]), ials.fold_in(rows))[:, 0]
    assert even > odd > 0


def test_frequency_scaling_regularises_frequent_rows_more():
    rows = sparse.csr_matrix(np.array([[1, 0, 0], [1, 1, 1]], np.float32))
    rare, frequent = Ridge.learn(IalsConfig(l2=3, frequency_exponent=1), rows).of(rows)
    assert rare < 3 < frequent
    np.testing.assert_array_equal(
        Ridge.learn(IalsConfig(l2=3, frequency_exponent=0), rows).of(rows), 3
    )


def test_cg_sweeps_reach_the_objective_of_the_exact_sweeps(world):
    def objective(solver):
        sweeps = _Sweeps(
            world.train, IalsConfig(width=8, alpha=5, l2=2, solver=solver), np.random.default_rng(0)
        )
        return [next(sweeps.epoch(np.random.default_rng(0), epoch)) for epoch in range(15)][-1]

    assert objective("cg") == pytest.approx(objective("exact"), rel=0.01)
