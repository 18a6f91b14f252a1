import numpy as np
import pytest
import torch

from warmstart.errors import ConfigError
from warmstart.simulate.user_tokens import behaviour_guided_loss, text_distribution_loss

LOGITS = torch.tensor(np.random.default_rng(0).normal(size=(3, 6)), dtype=torch.float32)
ROWS = torch.tensor([0, 0, 1, 2, 2, 2])
USERS = torch.tensor([1, 4, 0, 2, 3, 5])
WEIGHTS = torch.tensor([1.0, 3.0, 0.5, 1.0, 1.0, 2.0])


def dense_targets():
    targets = torch.zeros(3, 6)
    targets[ROWS, USERS] = WEIGHTS
    return targets / targets.sum(1, keepdim=True)


def loss(**more):
    return text_distribution_loss(LOGITS[ROWS, USERS], LOGITS.logsumexp(1), ROWS, WEIGHTS, **more)


def test_the_distribution_loss_equals_torch_cross_entropy_with_soft_targets():
    expected = torch.nn.functional.cross_entropy(LOGITS, dense_targets())
    torch.testing.assert_close(loss(), expected)


def test_item_weights_give_a_weighted_mean():
    per_item = -(dense_targets() * LOGITS.log_softmax(1)).sum(1)
    torch.testing.assert_close(loss(item_weights=torch.tensor([0.0, 5.0, 0.0])), per_item[1])
    torch.testing.assert_close(loss(item_weights=torch.full((3,), 7.0)), per_item.mean())


def test_with_one_text_for_all_items_training_finds_the_mean_target():
    shared = torch.zeros(6, requires_grad=True)
    optimiser = torch.optim.Adam([shared], lr=0.1)
    for _ in range(400):
        logits = shared.expand(3, 6)
        value = text_distribution_loss(logits[ROWS, USERS], logits.logsumexp(1), ROWS, WEIGHTS)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    torch.testing.assert_close(shared.softmax(0), dense_targets().mean(0), atol=2e-3, rtol=0)


def test_guidance_is_the_squared_distance_and_keeps_its_targets():
    targets = torch.tensor([[3.0, -4.0], [0.0, 1.0]])
    before = targets.clone()
    queries = torch.zeros(2, 2, requires_grad=True)
    assert behaviour_guided_loss(queries, targets).item() == (25 + 1) / 2
    optimiser = torch.optim.SGD([queries], lr=0.1)
    for _ in range(200):
        value = behaviour_guided_loss(queries, targets)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    torch.testing.assert_close(queries.detach(), targets, atol=1e-4, rtol=0)
    assert torch.equal(targets, before)


def test_a_trainable_target_is_refused():
    with pytest.raises(ConfigError, match="frozen"):
        behaviour_guided_loss(torch.zeros(1, 2), torch.zeros(1, 2, requires_grad=True))
