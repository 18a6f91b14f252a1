import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstart.errors import ArtefactError, ConfigError, DataError
from warmstart.simulate.user_tokens import (
    PositivePairs,
    UserTokens,
    behaviour_guided_loss,
    initial_tokens,
)
from warmstart.train.blocked_softmax import FixedLogits
from warmstart.train.sampled_softmax import Proposal, Sampling


def rng(seed=0):
    return np.random.default_rng(seed)


def user_tokens(n_users=50, width=6, **more):
    table = rng(1).normal(size=(n_users, width)).astype(np.float32)
    return UserTokens(table, 10, rng(2), **more)


def unit(batch, width=10):
    return torch.nn.functional.normalize(
        torch.tensor(rng(3).normal(size=(batch, width)), dtype=torch.float32), dim=1
    )


def positives():
    return PositivePairs(
        torch.tensor([0, 0, 1, 2]), torch.tensor([4, 9, 4, 30]), torch.tensor([1.0, 2.0, 1.0, 1.0])
    )


@pytest.mark.parametrize("head", ["linear", "two-layer"])
def test_queries_have_both_signs_in_every_dimension(head):
    queries = user_tokens(head=head).queries(unit(200))
    assert queries.shape == (200, 6)
    assert (queries > 0).any(0).all()
    assert (queries < 0).any(0).all()


@pytest.mark.parametrize("block", [1, 7, 50, 1000])
@pytest.mark.parametrize("degrees", [None, np.arange(50)])
def test_blocks_give_the_same_as_the_full_softmax(block, degrees):
    tokens = user_tokens(degrees=degrees)
    queries = tokens.queries(unit(4))
    full = tokens.logits(queries).log_softmax(1)
    torch.testing.assert_close(
        tokens.log_normalisers(queries, block=block), tokens.logits(queries).logsumexp(1)
    )
    users, values = tokens.top_k(queries, 8, block=block)
    expected = full.sort(dim=1, descending=True, stable=True)
    torch.testing.assert_close(values, expected.values[:, :8])
    assert torch.equal(users, expected.indices[:, :8])
    assert not values.requires_grad


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 14), st.integers(0, 5))
def test_ties_are_in_user_order_for_every_block_size(k, block, seed):
    table = rng(seed).integers(-1, 2, (12, 2)).astype(np.float32)
    tokens = UserTokens(table, 2, rng(), temperature=1.0)
    queries = torch.tensor(rng(seed + 50).integers(-1, 2, (5, 2)), dtype=torch.float32)
    users, values = tokens.top_k(queries, k, block=block)
    expected = tokens.logits(queries).sort(dim=1, descending=True, stable=True).indices[:, :k]
    assert torch.equal(users, expected)
    assert all(len(set(row)) == k for row in users.tolist())
    assert (values.diff(dim=1) <= 0).all()


def test_k_outside_the_number_of_users_is_refused():
    tokens = user_tokens()
    for k in (0, 51):
        with pytest.raises(DataError, match=rf"within 1\.\.50 users, got {k}"):
            tokens.top_k(tokens.queries(unit(1)), k)


def test_log_probabilities_of_some_users_are_a_slice_and_all_sum_to_one():
    tokens = user_tokens(degrees=np.arange(50))
    queries = tokens.queries(unit(3))
    chosen = torch.tensor([3, 0, 49])
    some, everyone = tokens.log_probabilities(queries, chosen), tokens.log_probabilities(queries)
    torch.testing.assert_close(some, everyone[:, chosen])
    torch.testing.assert_close(everyone.exp().sum(1), torch.ones(3))


def test_without_text_the_bias_gives_the_activity_prior():
    degrees = np.array([0, 1, 3, 7])
    tokens = UserTokens(np.zeros((4, 2)), 10, rng(), degrees=degrees)
    probabilities = tokens.log_probabilities(tokens.queries(unit(1))).exp()[0]
    torch.testing.assert_close(
        probabilities, torch.tensor((degrees + 1) / (degrees + 1).sum(), dtype=torch.float32)
    )


def sampling(negatives, weights=None, seed=0, **more):
    stream = torch.Generator().manual_seed(seed)
    return Sampling(negatives, Proposal(50, weights), stream, **more)


OFFSETS = {
    "none": None,
    "matrix": torch.randn(3, 50, generator=torch.Generator().manual_seed(4)),
    "product": FixedLogits(
        torch.randn(3, 2, generator=torch.Generator().manual_seed(5)),
        torch.randn(50, 2, generator=torch.Generator().manual_seed(6)),
    ),
}


@pytest.mark.parametrize("weights", [None, torch.arange(1.0, 51)])
@pytest.mark.parametrize("offset", OFFSETS)
def test_the_sampled_normaliser_is_unbiased(weights, offset):
    tokens = user_tokens(temperature=1.0, degrees=np.arange(50))
    queries, offset = tokens.queries(unit(3)).detach(), OFFSETS[offset]
    expected = tokens.loss(queries, positives(), offset=offset)
    # With many draws log Z is exact up to noise; a wrong correction shifts it by 0.08 or more.
    sampled = tokens.loss(queries, positives(), offset=offset, sampling=sampling(400_000, weights))
    torch.testing.assert_close(sampled, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("sparse", [False, True])
def test_the_sampled_gradient_approaches_the_full_gradient(sparse):
    tokens = user_tokens(temperature=1.0, degrees=np.arange(50))
    queries = tokens.queries(unit(3)).detach()
    learned = [tokens.table, tokens.bias]
    full = torch.autograd.grad(tokens.loss(queries, positives()), learned)
    loss = tokens.loss(queries, positives(), sampling=sampling(200_000, seed=1, sparse=sparse))
    for found, expected in zip(torch.autograd.grad(loss, learned), full, strict=True):
        assert found.is_sparse == sparse
        found = found.to_dense() if sparse else found
        torch.testing.assert_close(found, expected, atol=0.01, rtol=0)


def test_a_sampled_step_leaves_other_users_alone():
    tokens = user_tokens(degrees=np.arange(50))
    loss = tokens.loss(tokens.queries(unit(3)), positives(), sampling=sampling(5, sparse=True))
    loss.backward()
    users = tokens.table.grad.coalesce().indices()[0]
    assert set(positives().users.tolist()) <= set(users.tolist())
    assert len(users) <= 3 + 5


def test_blocks_give_the_loss_and_the_gradients_of_all_users_at_once(monkeypatch):
    tokens = user_tokens(degrees=np.arange(50))
    product = OFFSETS["product"]
    found = {}
    for dense_users in (65_536, 10):
        monkeypatch.setattr("warmstart.simulate.user_tokens.DENSE_USERS", dense_users)
        for name, offset in (("none", None), ("product", product)):
            if dense_users == 65_536 and offset is product:
                offset = product.queries @ product.table.T
            tokens.zero_grad()
            loss = tokens.loss(tokens.queries(unit(3)), positives(), offset=offset)
            loss.backward()
            gradients = {key: weight.grad for key, weight in tokens.named_parameters()}
            found[dense_users, name] = {"loss": loss.detach(), **gradients}
    for name in ("none", "product"):
        torch.testing.assert_close(found[65_536, name], found[10, name])


def test_training_finds_the_users_and_keeps_the_guidance_targets():
    items = rng(5).normal(size=(3, 6)).astype(np.float32)
    targets = torch.from_numpy(items)
    before = items.copy()
    tokens, pooled = user_tokens(), unit(3)
    optimiser = torch.optim.AdamW(tokens.parameters(), lr=0.05)
    first = None
    for _ in range(60):
        queries = tokens.queries(pooled)
        loss = tokens.loss(queries, positives()) + 0.1 * behaviour_guided_loss(queries, targets)
        first = first or loss.item()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.5 * first
    users, _ = tokens.top_k(tokens.queries(pooled), 2)
    assert set(users[0].tolist()) == {4, 9}
    assert users[1, 0] == 4
    assert users[2, 0] == 30
    np.testing.assert_array_equal(targets.numpy(), before)


def test_a_fixed_temperature_is_not_trained():
    tokens = user_tokens(learn_temperature=False, temperature=0.5)
    assert not tokens.log_scale.requires_grad
    queries = tokens.queries(unit(2))
    torch.testing.assert_close(tokens.logits(queries), queries @ tokens.table.T * 2)


@pytest.mark.parametrize("head", ["linear", "two-layer"])
@pytest.mark.parametrize("degrees", [None, np.arange(50)])
def test_state_round_trips(head, degrees):
    tokens = user_tokens(head=head, degrees=degrees, temperature=0.3)
    restored = UserTokens.from_state(tokens.state())
    pooled = unit(3)
    assert torch.equal(
        restored.logits(restored.queries(pooled)), tokens.logits(tokens.queries(pooled))
    )
    state = tokens.state()
    del state["log_scale"]
    with pytest.raises(ArtefactError, match="log_scale"):
        UserTokens.from_state(state)


def test_initial_tokens_keep_the_backbones_inner_products_up_to_scale():
    users, items = rng(1).normal(size=(40, 5)) * 0.01, rng(2).normal(size=(30, 5)) * 3
    for width in (5, 9):
        tokens, targets = initial_tokens(users, items, width, rng())
        assert tokens.shape == (40, width)
        assert targets.shape == (30, 5)
        assert tokens.dtype == targets.dtype == np.float32
        products, kept = users @ items.T, tokens[:, :5] @ targets.T
        np.testing.assert_allclose(kept, products * kept[0, 0] / products[0, 0], atol=1e-5)
        assert np.square(targets).sum(1).mean() == pytest.approx(1, rel=1e-5)


def test_narrow_tokens_keep_the_users_principal_directions():
    strong = rng(1).normal(size=(60, 2)) @ np.linalg.qr(rng(2).normal(size=(8, 2)))[0].T
    users = strong * 10 + rng(3).normal(size=(60, 8)) * 0.01
    items = rng(4).normal(size=(20, 8))
    tokens, targets = initial_tokens(users, items, 2, rng())
    products, kept = users @ items.T, tokens @ targets.T
    assert np.corrcoef(products.ravel(), kept.ravel())[0, 1] > 0.9999


def test_wrong_arguments_are_refused():
    with pytest.raises(DataError, match=r"one width, got shapes \(3, 4\) and \(2, 5\)"):
        initial_tokens(np.zeros((3, 4)), np.zeros((2, 5)), 4, rng())
    with pytest.raises(DataError, match="finite"):
        UserTokens(np.full((2, 2), np.nan), 4, rng())
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        UserTokens(np.zeros((2, 2)), 4, rng(), temperature=0)
    with pytest.raises(ConfigError, match="'linear' or 'two-layer', got 'relu'"):
        UserTokens(np.zeros((2, 2)), 4, rng(), head="relu")
