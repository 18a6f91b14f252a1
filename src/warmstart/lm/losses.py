"""The losses of FilterLLM as pure functions (arXiv 2502.16924).

| function | part of the paper |
|---|---|
| ``text_distribution_loss`` | text-to-distribution loss: cross entropy over users |
| ``behaviour_guided_loss`` | behaviour-guiding loss: the hidden state matches the CF vector |
"""

from torch import Tensor

from warmstart.errors import ConfigError


def text_distribution_loss(
    logits: Tensor,
    log_normalisers: Tensor,
    rows: Tensor,
    weights: Tensor,
    *,
    item_weights: Tensor | None = None,
) -> Tensor:
    """Cross entropy of softmax(logits) against weighted multi-hot targets, averaged over items.

    L = mean_i w_i sum_u q_iu (log Z_i - l_iu), with sum_u q_iu = 1. Only the logits of positive
    pairs are needed beside log Z, so full and sampled softmax share it.

    Args:
        logits: of the positive pairs, shape (pairs,).
        log_normalisers: log Z of each item, shape (batch,).
        rows: int64, which item of the batch each pair belongs to, shape (pairs,).
        weights: positive weights of the pairs, normalised here within each item, shape (pairs,).
        item_weights: w, normalised here to mean 1; equal weights where None; shape (batch,).

    Returns:
        A scalar.
    """
    totals = log_normalisers.new_zeros(len(log_normalisers)).index_add(0, rows, weights)
    shares = weights / totals[rows]
    losses = log_normalisers.new_zeros(len(log_normalisers)).index_add(
        0, rows, shares * (log_normalisers[rows] - logits)
    )
    if item_weights is None:
        return losses.mean()
    return (losses * item_weights).sum() / item_weights.sum()


def behaviour_guided_loss(queries: Tensor, targets: Tensor) -> Tensor:
    """Squared distance between the projected text and the item's frozen CF vector.

    L = mean_i ||h_i - e_i||^2: summed over the dimensions, so its scale does not fall with the
    width. (The public code averages over 4096 dimensions too: its lambda = 10 is 10 / 4096 here.)

    Args:
        queries: h, shape (batch, width).
        targets: e, shape (batch, width); constants.

    Raises:
        ConfigError: the targets ask for a gradient; they could then move to h and void the loss.
    """
    if targets.requires_grad:
        raise ConfigError("behaviour_guided_loss: the target vectors must be frozen")
    return (queries - targets).square().sum(1).mean()
