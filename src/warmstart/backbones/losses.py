"""Ranking losses on scores, for the gradient-trained graph models.

Both take the scores of a batch of interactions ("pairs") and return the weighted mean over pairs.
"""

import torch
from torch.nn import functional

_MASKED = -1e9  # -inf would make the gradient NaN for a user who has every sampled item


def bpr_loss(
    positive: torch.Tensor, negative: torch.Tensor, weights: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Compute -log sigmoid of the margin (Rendle et al., UAI 2009).

    Args:
        positive: scores of the pairs, shape (pairs,).
        negative: score of one sampled item for the user of each pair, shape (pairs,).
        weights: interaction weights of the pairs, shape (pairs,).
        temperature: divides the margin.
    """
    return weighted_mean(functional.softplus((negative - positive) / temperature), weights)


def sampled_softmax_loss(
    positive: torch.Tensor,
    negative: torch.Tensor,
    false_negatives: torch.Tensor,
    rows: torch.Tensor,
    weights: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Compute -log softmax of each pair against the sampled items of its user.

    Args:
        positive: scores of the pairs, shape (pairs,).
        negative: scores of shared sampled items for the users of the batch, shape (users, sampled).
        false_negatives: (row, column) in ``negative`` of items that the user has interacted with;
            they are masked. int64, shape (2, any).
        rows: row in ``negative`` of each pair's user, int64, shape (pairs,).
        weights: interaction weights of the pairs, shape (pairs,).
        temperature: divides the scores.
    """
    negative = negative / temperature
    masked = torch.full_like(false_negatives[0], _MASKED, dtype=negative.dtype)
    negative = negative.index_put((false_negatives[0], false_negatives[1]), masked)
    others = torch.logsumexp(negative, dim=1).index_select(0, rows)
    return weighted_mean(functional.softplus(others - positive / temperature), weights)


def weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Compute sum(values x weights) / sum(weights)."""
    return torch.dot(values, weights) / weights.sum()
