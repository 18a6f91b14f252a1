"""The graph backbones against dense reference implementations."""

import numba
import numpy as np
import pytest
import torch
from scipy import sparse

from warmstart.backbones.graph import sample_negatives
from warmstart.backbones.lightgcn import LayerMean, LightGcn, LightGcnConfig
from warmstart.backbones.losses import bpr_loss, sampled_softmax_loss
from warmstart.backbones.ngcf import Ngcf, NgcfConfig
from warmstart.backbones.propagation import (
    Batch,
    Graph,
    Propagate,
    adjacency,
    pair_scores,
    to_torch,
)
from warmstart.errors import ConfigError

CPU = torch.device("cpu")


def small(rng, n_users=6, n_items=5):
    return sparse.csr_matrix((rng.random((n_users, n_items)) < 0.5).astype(np.float32))


def test_the_adjacency_is_the_normalised_bipartite_graph():
    train = sparse.csr_matrix(np.array([[1, 1, 0], [0, 1, 0]], np.float32))
    expected = np.zeros((5, 5))
    for user, item, degrees in [(0, 0, 2 * 1), (0, 1, 2 * 2), (1, 1, 1 * 2)]:
        expected[user, 2 + item] = expected[2 + item, user] = 1 / np.sqrt(degrees)
    np.testing.assert_allclose(adjacency(train).toarray(), expected, atol=1e-7)


def test_added_edges_change_the_adjacency():
    train = small(np.random.default_rng(0))
    more = train.tolil()
    more[0, np.flatnonzero(train[0].toarray()[0] == 0)[0]] = 1
    more = more.tocsr()
    assert not np.allclose(adjacency(train).toarray(), adjacency(more).toarray())
    vectors = [
        LightGcn(LightGcnConfig(width=4, epochs=2, layers=1))
        .fit(matrix, rng=np.random.default_rng(0))
        .vectors[0]
        for matrix in (train, more)
    ]
    assert not np.allclose(*vectors)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_layer_mean_is_the_dense_polynomial(layers):
    matrix = adjacency(small(np.random.default_rng(0)))
    table = torch.randn(11, 4, generator=torch.Generator().manual_seed(0))
    dense, expected = torch.from_numpy(matrix.toarray()), torch.zeros(11, 4)
    for power in range(layers + 1):
        expected += torch.linalg.matrix_power(dense, power) @ table / (layers + 1)
    for users in (np.arange(6), np.array([1, 4])):
        batch = Batch(Graph(matrix, 6, CPU), users)
        found = LayerMean.apply(table, batch, layers)
        torch.testing.assert_close(found, expected[[*users, *range(6, 11)]])


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_torch_multiplies_as_the_kernels_do(layers):
    """The way of CUDA, on the CPU."""
    matrix = adjacency(small(np.random.default_rng(0)))
    generator, results = torch.Generator().manual_seed(0), []
    table = torch.randn(11, 4, generator=generator)
    weights = torch.randn(8, 4, generator=generator)
    for by_torch in (False, True):
        graph = Graph(matrix, 6, CPU)
        graph.torch_matrix = to_torch(matrix, CPU) if by_torch else None
        batch = Batch(graph, np.array([0, 2, 5]))
        vectors = table.clone().requires_grad_()
        mean = LayerMean.apply(vectors, batch, layers)
        product = Propagate.apply(vectors, graph, batch)
        everything = Propagate.apply(vectors, graph, None)
        ((mean + product) * weights).sum().add((everything**2).sum()).backward()
        results.append([mean, product, everything, vectors.grad])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_gradients_of_the_propagations(layers):
    matrix = adjacency(small(np.random.default_rng(0))).astype(np.float64)
    graph = Graph(matrix, 6, CPU)
    batch = Batch(graph, np.array([1, 2, 5]))
    table = torch.randn(
        11, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    assert torch.autograd.gradcheck(lambda t: LayerMean.apply(t, batch, layers), table)
    assert torch.autograd.gradcheck(lambda t: Propagate.apply(t, graph, None), table)
    assert torch.autograd.gradcheck(lambda t: Propagate.apply(t, graph, batch), table)


def test_scores_of_pairs_and_their_gradients():
    pairs = small(np.random.default_rng(0))
    pairs = sparse.csr_matrix(
        (np.ones(pairs.nnz), pairs.indices[::-1] // 2, pairs.indptr), shape=pairs.shape
    )  # unsorted, with repeated columns
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(n, 3, dtype=torch.float64, generator=generator, requires_grad=True)
        for n in (6, 5)
    )
    rows = np.repeat(np.arange(6), np.diff(pairs.indptr))
    expected = (x[rows] * y[pairs.indices.astype(np.int64)]).sum(dim=1)
    torch.testing.assert_close(pair_scores(x, y, pairs), expected)
    assert torch.autograd.gradcheck(lambda x, y: pair_scores(x, y, pairs), (x, y))


@pytest.mark.parametrize("kind", ["lightgcn", "ngcf"])
@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_threads_do_not_change_the_result(world, kind, loss):
    backbone, config = {"lightgcn": (LightGcn, LightGcnConfig), "ngcf": (Ngcf, NgcfConfig)}[kind]
    settings = config(width=8, epochs=3, layers=1, loss=loss, negatives=16, batch_size=100)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            found = backbone(settings).fit(world.train, rng=np.random.default_rng(0))
            results.append(found.vectors)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_negatives_are_never_interactions_and_cover_the_pool():
    rng = np.random.default_rng(0)
    pairs = small(rng, 8, 20)
    pool = np.arange(0, 20, 2)
    rows = np.repeat(np.arange(8), 200)
    drawn = sample_negatives(rows, pairs.indptr, pairs.indices, pool, 7)
    assert (pairs.toarray()[rows, drawn] == 0).all()
    for row in range(8):
        free = set(pool) - set(pairs[row].indices)
        assert set(drawn[rows == row]) == free
    again = sample_negatives(rows, pairs.indptr, pairs.indices, pool, 7)
    np.testing.assert_array_equal(drawn, again)


def test_bpr_loss_by_hand():
    loss = bpr_loss(
        torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0]), torch.tensor([1.0, 0.5]), 0.5
    )
    expected = (np.log1p(np.exp(-2)) + 0.5 * np.log1p(np.exp(6))) / 1.5
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_softmax_loss_by_hand_leaves_false_negatives_out():
    negative = torch.tensor([[1.0, 9.0, 0.5], [2.0, 0.0, 1.0]])
    loss = sampled_softmax_loss(
        torch.tensor([2.0, 1.0, 0.5]),
        negative,
        torch.tensor([[0], [1]]),  # the 9 belongs to an item that the first user has
        torch.tensor([0, 0, 1]),
        torch.tensor([1.0, 1.0, 0.5]),
        2.0,
    )
    others = [[1.0, 0.5], [1.0, 0.5], [2.0, 0.0, 1.0]]
    terms = [
        np.log(np.exp(np.array([p, *rest]) / 2).sum()) - p / 2
        for p, rest in zip([2.0, 1.0, 0.5], others, strict=True)
    ]
    assert loss.item() == pytest.approx((terms[0] + terms[1] + 0.5 * terms[2]) / 2.5, rel=1e-5)


def test_both_losses_rank_by_parity(world):
    for loss in ("softmax", "bpr"):
        config = LightGcnConfig(width=8, epochs=8, loss=loss, negatives=16, learning_rate=0.05)
        backbone = LightGcn(config)
        users, items = np.arange(38), np.arange(28)
        scores = backbone.fit(world.train, rng=np.random.default_rng(0)).score(users, items)
        same = users[:, None] % 2 == items[None, :] % 2
        assert scores[same].mean() > scores[~same].mean() + 0.1


def test_ngcf_starts_as_plain_smoothing_and_learns_its_maps(world):
    config = NgcfConfig(
        width=8, layers=1, epochs=1, learning_rate=1e-9, negatives=8, normalised=False
    )
    ngcf = Ngcf(config).fit(world.train, rng=np.random.default_rng(0))
    users, items = ngcf.vectors
    table = np.concatenate([users, items])[:, :4]
    smoothed = adjacency(world.train) @ table + table
    expected = np.where(smoothed > 0, smoothed, config.leaky_relu_slope * smoothed)
    n = len(users)
    np.testing.assert_allclose(users[:, 4:], expected[:n], atol=1e-5)
    np.testing.assert_allclose(items[:28, 4:], expected[n : n + 28], atol=1e-5)
    with pytest.raises(ConfigError, match="multiple of layers"):
        NgcfConfig.build({"width": 9, "layers": 1})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_gpu_learns_the_same(world, monkeypatch):
    config = LightGcnConfig(width=8, epochs=3, negatives=16)
    on_gpu = LightGcn(config).fit(world.train, rng=np.random.default_rng(0)).vectors
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    on_cpu = LightGcn(config).fit(world.train, rng=np.random.default_rng(0)).vectors
    np.testing.assert_allclose(on_gpu[0], on_cpu[0], atol=1e-3)
