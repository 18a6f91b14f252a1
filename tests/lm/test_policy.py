"""Policy gradients: formulas by hand, and a bandit whose optimum is known."""

import numpy as np
import pytest
import torch

from warmstart.lm.policy import (
    clipped_fraction,
    clipped_loss,
    divergence,
    final_rewards,
    generalised_advantages,
    group_advantages,
    masked_mean,
)


def test_advantages_compare_the_texts_of_a_prompt():
    rewards = torch.tensor([[1.0, 3.0], [5.0, 5.0], [0.0, 10.0]])
    torch.testing.assert_close(
        group_advantages(rewards), torch.tensor([[-1.0, 1.0], [0.0, 0.0], [-1.0, 1.0]])
    )
    torch.testing.assert_close(
        group_advantages(rewards, scale=False), torch.tensor([[-1.0, 1.0], [0.0, 0.0], [-5.0, 5.0]])
    )


def test_the_reward_stands_at_the_last_written_token_only():
    written = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)
    found = final_rewards(torch.tensor([2.0, -1.0, 7.0]), written)
    expected = torch.zeros(3, 4)
    expected[0, 2], expected[1, 3] = 2, -1
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("decay", "discount"), [(0.95, 1.0), (0.5, 0.9), (1.0, 1.0), (0.0, 0.8)])
def test_generalised_advantages_are_the_sums_of_their_definition(decay, discount):
    rng = np.random.default_rng(0)
    rewards, values = (torch.from_numpy(rng.normal(size=(3, 6))) for _ in range(2))
    written = torch.zeros(3, 6, dtype=torch.bool)
    for row, (first, stop) in enumerate([(0, 6), (1, 4), (2, 3)]):
        written[row, first:stop] = True
    found, returns = generalised_advantages(
        rewards, values, written, decay=decay, discount=discount
    )
    for row, (first, stop) in enumerate([(0, 6), (1, 4), (2, 3)]):
        surprises = [
            rewards[row, t]
            + (discount * values[row, t + 1] if t + 1 < stop else 0)
            - values[row, t]
            for t in range(first, stop)
        ]
        for t in range(first, stop):
            expected = sum(
                (discount * decay) ** n * surprise
                for n, surprise in enumerate(surprises[t - first :])
            )
            assert found[row, t] == pytest.approx(float(expected))
            assert returns[row, t] == pytest.approx(float(expected + values[row, t]))
    assert (found[~written] == 0).all()
    assert (returns[~written] == 0).all()


def test_nothing_is_clipped_while_the_policy_is_the_old_one():
    log_p = torch.randn(4, 5, requires_grad=True)
    advantages, written = torch.randn(4, 5), torch.rand(4, 5) < 0.7
    loss = clipped_loss(log_p, log_p.detach(), advantages, written)
    assert loss.item() == pytest.approx(-float(masked_mean(advantages, written)), abs=1e-6)
    assert clipped_fraction(log_p.detach(), log_p.detach(), written) == 0
    loss.backward()  # the plain policy gradient
    expected = -advantages * written / written.sum()
    torch.testing.assert_close(log_p.grad, expected)


@pytest.mark.parametrize(
    ("ratio", "advantage", "has_gradient"),
    [(1.5, 1.0, False), (1.5, -1.0, True), (0.5, 1.0, True), (0.5, -1.0, False), (1.1, 1.0, True)],
)
def test_the_clip_stops_only_what_goes_too_far(ratio, advantage, has_gradient):
    log_p = torch.tensor([[np.log(ratio)]], requires_grad=True)
    written = torch.ones(1, 1, dtype=torch.bool)
    loss = clipped_loss(log_p, torch.zeros(1, 1), torch.tensor([[advantage]]), written)
    loss.backward()
    assert (log_p.grad.abs().item() > 0) == has_gradient
    bounded = min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage)
    assert loss.item() == pytest.approx(-bounded)
    assert clipped_fraction(log_p.detach(), torch.zeros(1, 1), written) == (abs(ratio - 1) > 0.2)


def test_the_divergence_is_zero_at_the_reference_and_unbiased():
    same = torch.randn(10)
    torch.testing.assert_close(divergence(same, same), torch.zeros(10))
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    values = divergence(p.log(), q.log())
    assert (values >= 0).all()
    assert float((p * values).sum()) == pytest.approx(float((p * (p / q).log()).sum()))


def test_an_empty_mask_has_mean_zero():
    assert masked_mean(torch.ones(2, 2), torch.zeros(2, 2, dtype=torch.bool)) == 0


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_a_bandit_reaches_its_known_optimum(beta):
    """With weight beta on KL(policy, uniform) the best policy is softmax(rewards / beta)."""
    rewards = torch.tensor([0.1, 0.9, 0.3, 0.6])
    logits = torch.zeros(4, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.05)
    generator = torch.Generator().manual_seed(0)
    uniform = torch.full((4,), 0.25).log()
    for _ in range(300):
        with torch.no_grad():
            actions = torch.multinomial(
                logits.softmax(0).expand(16, 4), 16, replacement=True, generator=generator
            )
            old = logits.log_softmax(0)[actions]
        advantages = group_advantages(rewards[actions], scale=False)
        written = torch.ones_like(old, dtype=torch.bool)
        for _ in range(2):
            log_p = logits.log_softmax(0)[actions]
            loss = clipped_loss(log_p, old, advantages, written)
            drift = (logits.softmax(0) * (logits.log_softmax(0) - uniform)).sum()
            optimiser.zero_grad()
            (loss + beta * drift).backward()
            optimiser.step()
    found = logits.softmax(0).detach()
    if beta == 0:
        assert found[1] > 0.95
    else:
        torch.testing.assert_close(found, (rewards / beta).softmax(0), atol=0.05, rtol=0)
