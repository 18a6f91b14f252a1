"""Proposals and samples of rows."""

import pytest
import torch

from warmstart.errors import ConfigError
from warmstart.train.sampled_softmax import Proposal, Sampling


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.0, 1, 0, 2, 4, 0])])
def test_draws_follow_the_proposal_and_know_their_probability(weights):
    rows, log_q = Proposal(6, weights).draw(100_000, generator())
    expected = torch.full((6,), 1 / 6) if weights is None else weights / weights.sum()
    torch.testing.assert_close(rows.bincount(minlength=6) / 100_000, expected, atol=0.01, rtol=0)
    torch.testing.assert_close(log_q.exp(), expected[rows])


def test_small_probabilities_among_many_rows_are_exact():
    n_rows = 1_000_000
    weights = torch.ones(n_rows)
    weights[::2] = 1000
    rows, log_q = Proposal(n_rows, weights).draw(10_000, generator())
    torch.testing.assert_close(log_q.exp() * weights.double().sum().float(), weights[rows])


def test_positive_rows_come_once_and_are_not_drawn():
    pairs = torch.tensor([5, 2, 5, 9])
    rows, log_weights, columns = Sampling(50, Proposal(20), generator()).draw(pairs)
    assert rows[:3].tolist() == [2, 5, 9]
    assert torch.equal(rows[columns], pairs)
    assert (log_weights[:3] == 0).all()
    assert not torch.isin(rows[3:], pairs).any()
    torch.testing.assert_close(log_weights[3:], torch.full((len(rows) - 3,), 20 / 50).log())


def test_the_weighted_sum_is_an_unbiased_estimate():
    logits = torch.randn(200, generator=generator(1)) * 2
    proposal = Proposal(200, logits.exp().sqrt())
    sampling, estimates = Sampling(20, proposal, generator(2)), []
    for _ in range(4000):
        rows, log_weights, _ = sampling.draw(torch.tensor([3, 60]))
        estimates.append((logits[rows] + log_weights).exp().sum())
    found = torch.stack(estimates)
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - logits.exp().sum()) < 4 * error
    assert error < 0.01 * found.mean()


@pytest.mark.parametrize(
    "weights", [torch.zeros(3), torch.tensor([1.0, -1, 1]), torch.tensor([1.0, torch.inf, 1])]
)
def test_wrong_weights_are_refused(weights):
    with pytest.raises(ConfigError, match=r"finite, not negative.*got shape \(3,\)"):
        Proposal(3, weights)
    with pytest.raises(ConfigError, match="a proposal needs 5 weights"):
        Proposal(5, torch.ones(3))
