"""The losses against torch's, value and gradient."""

import pytest
import torch
from torch.nn import functional

from warmstart.backbones.sequence import losses
from warmstart.backbones.sequence.losses import binary_loss, softmax_loss


def example(positions=37, items=50, width=8):
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(positions, width, generator=draw).requires_grad_()
    table = torch.randn(items, width, generator=draw).requires_grad_()
    return states, table, torch.randint(0, items, (positions,), generator=draw)


@pytest.mark.parametrize("at_once", [1, 200, 2**20])
def test_the_softmax_in_blocks_is_torchs_cross_entropy(at_once, monkeypatch):
    monkeypatch.setattr(losses, "_LOGITS_AT_ONCE", {"cpu": at_once})
    states, table, targets = example()
    expected = functional.cross_entropy(states @ table.T, targets)
    found = softmax_loss(states, table, targets)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(3 * found, (states, table)),
        torch.autograd.grad(3 * expected, (states, table)),
    )


def test_bfloat16_is_close():
    states, table, targets = example()
    exact, half = (softmax_loss(states, table, targets, half=kind) for kind in (False, True))
    assert half.item() == pytest.approx(exact.item(), rel=0.01)
    for rough, fine in zip(
        torch.autograd.grad(half, (states, table)),
        torch.autograd.grad(exact, (states, table)),
        strict=True,
    ):
        assert (rough - fine).norm() < 0.02 * fine.norm()
        assert (rough != fine).any()


def test_a_target_of_probability_zero_has_a_finite_loss():
    states, table = torch.tensor([[200.0]]), torch.tensor([[1.0], [-1.0]])
    assert softmax_loss(states, table, torch.tensor([0])).item() == pytest.approx(0)
    assert softmax_loss(states, table, torch.tensor([1])).isfinite()


def test_the_binary_loss_is_torchs():
    states, table, targets = example()
    negatives = (targets + 7) % len(table)
    logits = states @ table.T
    rows = torch.arange(len(states))
    expected = functional.binary_cross_entropy_with_logits(
        logits[rows, targets], torch.ones(len(states))
    ) + functional.binary_cross_entropy_with_logits(
        logits[rows, negatives], torch.zeros(len(states))
    )
    torch.testing.assert_close(binary_loss(states, table, targets, negatives), expected)
