"""Sampled softmax: the log-normaliser estimated from a sample of the rows, with log-Q correction.

The normaliser Z = sum_r exp(l_r) over all rows is the sum over the batch's positive rows plus an
expectation over a proposal Q, which a sample of n draws estimates without bias:

    Z = sum_{positive} exp(l_r) + E_Q[exp(l_r) / Q(r); r not positive]
      ~ sum_{positive} exp(l_r) + sum_{drawn, not positive} exp(l_r - log(n Q(r)))

Bengio and Senécal 2008 (importance sampling); the subtraction of log Q is the "log-Q correction" of
Yi et al. 2019. log Z is estimated with a small bias that falls as 1 / n. A step computes logits,
gradients and updates for the positive and the drawn rows only.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from warmstart.errors import ConfigError


class Proposal:
    """A distribution over rows to draw from with replacement; a draw takes O(log rows).

    Args:
        n_rows: number of rows.
        weights: probabilities up to a factor, not negative, shape (n_rows,); None is uniform. They
            are kept as cumulative sums in float64, 8 bytes a row: in float32 the sums over ten
            million rows would lose the small ones.

    Raises:
        ConfigError: the weights are not finite, negative, all 0, or not one for each row.
    """

    def __init__(self, n_rows: int, weights: Tensor | None = None) -> None:
        self.n_rows = n_rows
        self._sums: Tensor | None = None
        if weights is not None:
            weights = weights.detach().double().cpu()
            sums = weights.cumsum(0)
            if (
                weights.shape != (n_rows,)
                or not (weights >= 0).all()
                or not 0 < sums[-1] < torch.inf
            ):
                raise ConfigError(
                    f"a proposal needs {n_rows} weights that are finite, not negative, and not all "
                    f"0; got shape {tuple(weights.shape)}"
                )
            self._sums = sums.div_(sums[-1].item())

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw rows: int64 rows and float32 log-probabilities log Q, each of shape (n,)."""
        if self._sums is None:
            rows = torch.randint(self.n_rows, (n,), generator=generator)
            return rows, torch.full((n,), 1 / self.n_rows).log()
        places = torch.rand(n, generator=generator, dtype=torch.float64)
        # The first row whose sum is above the place; a row of probability 0 has no place.
        rows = torch.searchsorted(self._sums, places, right=True).clamp_(max=self.n_rows - 1)
        before = torch.where(rows > 0, self._sums[rows - 1], 0.0)
        return rows, (self._sums[rows] - before).log().float()


class Sample(NamedTuple):
    """The rows of a sampled softmax.

    Attributes:
        rows: int64 positive rows, each once, then the drawn ones that are not positive.
        log_weights: float32 log-weights of their terms in Z, same shape.
        columns: int64 position in ``rows`` of each positive pair's row, shape (pairs,).
    """

    rows: Tensor
    log_weights: Tensor
    columns: Tensor


@dataclass(frozen=True)
class Sampling:
    """How the rows of a batch's softmax are sampled.

    Attributes:
        negatives: number of draws, shared by the batch.
        proposal: the distribution of the draws.
        generator: random generator on the CPU.
        sparse: whether the rows get sparse gradients, for a row-wise optimiser.
    """

    negatives: int
    proposal: Proposal
    generator: torch.Generator
    sparse: bool = False

    def draw(self, pair_rows: Tensor) -> Sample:
        """Sample the rows of a batch with positive pairs in these rows, int64, shape (pairs,)."""
        positive, columns = pair_rows.unique(return_inverse=True)
        draws = self.proposal.draw(self.negatives, self.generator)
        drawn, log_q = (part.to(pair_rows.device) for part in draws)
        other = ~torch.isin(drawn, positive)
        log_weights = -log_q[other] - math.log(self.negatives)
        rows = torch.cat([positive, drawn[other]])
        return Sample(rows, torch.cat([log_weights.new_zeros(len(positive)), log_weights]), columns)


def gather_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Gather rows of a matrix or entries of a vector, with a sparse gradient.

    The gradient holds only these rows (``torch.sparse_coo_tensor``), so a row-wise optimiser leaves
    all others alone. Torch has this for matrices (``embedding``), but not for vectors.
    """
    return _Gather.apply(table, rows)  # pyright: ignore[reportReturnType]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return table[rows]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        # Rows are within the table, or indexing would have failed.
        sparse = torch.sparse_coo_tensor(
            rows[None], gradients[0], ctx.shape, check_invariants=False
        )
        return sparse, None
