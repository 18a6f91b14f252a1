"""Losses of the sequence backbones: the next item among all items, or against one sampled item.

The logits of a softmax over the catalogue are larger than everything else in training: positions x
items numbers. ``softmax_loss`` computes them for some positions at a time and derives the gradient
in the same pass, so none are kept for a second pass.
"""

from typing import Any

import torch
from torch.nn import functional

_LOGITS_AT_ONCE = {"cpu": 2**21, "cuda": 2**27}  # a block stays in the caches of a CPU


def softmax_loss(
    states: torch.Tensor, table: torch.Tensor, targets: torch.Tensor, *, half: bool = False
) -> torch.Tensor:
    """Compute the mean of -log softmax(states @ table.T) at the targets.

    The memory needed beside the gradients does not grow with the number of states.

    Args:
        states: float32, shape (positions, width).
        table: vectors of all items that can follow, float32, shape (items, width).
        targets: row in ``table`` of the item that follows, int64, shape (positions,).
        half: multiply in bfloat16; sums, the loss and the gradients stay float32.
    """
    return _Softmax.apply(states, table, targets, half)  # pyright: ignore[reportReturnType]


class _Softmax(torch.autograd.Function):
    """Cross-entropy over the catalogue; ``forward`` computes the gradients too."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, table: torch.Tensor, targets: torch.Tensor, half: bool
    ) -> torch.Tensor:
        kind = torch.bfloat16 if half else torch.float32
        factors, by_position = table.to(kind), states.to(kind)
        to_states, to_table = torch.empty_like(states), torch.zeros_like(table)
        chosen = torch.empty_like(states[:, 0])
        rows = max(1, _LOGITS_AT_ONCE[states.device.type] // len(table))
        logits = factors.new_empty(min(rows, len(states)), len(table))
        for begin in range(0, len(states), rows):
            block = slice(begin, begin + rows)
            part = torch.mm(by_position[block], factors.T, out=logits[: len(states) - begin])
            probabilities = torch.softmax(part, dim=1, out=part)
            chosen[block] = probabilities.gather(1, targets[block, None])[:, 0]
            to_states[block] = probabilities @ factors
            to_table += probabilities.T @ by_position[block]
        to_states -= table[targets]
        to_table.index_add_(0, targets, states, alpha=-1)
        ctx.save_for_backward(to_states / len(states), to_table / len(states))
        return -chosen.clamp(min=torch.finfo(torch.float32).tiny).log().mean()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        to_states, to_table = ctx.saved_tensors
        return gradients[0] * to_states, gradients[0] * to_table, None, None


def binary_loss(
    states: torch.Tensor, table: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor
) -> torch.Tensor:
    """Compute the mean binary cross-entropy of targets (1) and sampled items (0).

    Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section III-E.

    Args:
        states: float32, shape (positions, width).
        table: vectors of all items, float32, shape (items, width).
        targets: row in ``table`` of the item that follows, int64, shape (positions,).
        negatives: row in ``table`` of an item that does not follow, int64, shape (positions,).
    """
    # unlike those of table[rows], gradients of an embedding do not depend on threads
    positive = (states * functional.embedding(targets, table)).sum(dim=1)
    negative = (states * functional.embedding(negatives, table)).sum(dim=1)
    return (functional.softplus(-positive) + functional.softplus(negative)).mean()
