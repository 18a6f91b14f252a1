"""The rows of a large table that one process holds, and the softmax over all of them.

As in Megatron-LM's vocabulary-parallel cross-entropy (arXiv 1909.08053, section 3): every process
has the queries of the whole batch and computes logits for its own rows; only numbers of the size of
the batch are exchanged, never logits.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from warmstart.train.ranks import Ranks


class Places(NamedTuple):
    """Where rows of the whole table are.

    Attributes:
        held: bool, whether this process holds the row, shape (rows,).
        places: int64, the row's position in the part, if it is held, shape (rows,).
    """

    held: Tensor
    places: Tensor


@dataclass(frozen=True)
class TablePart:
    """Rows of a table, or the whole table.

    Attributes:
        table: float32, shape (rows, width).
        bias: float32, shape (rows,), or None.
        ranks: the processes that share the table; None holds all of it.
        rows: which rows of the whole table these are.
    """

    table: Tensor
    bias: Tensor | None = None
    ranks: Ranks | None = None
    rows: slice = field(default_factory=lambda: slice(0, None))

    def find(self, rows: Tensor) -> Places:
        """Find rows of the whole table, int64."""
        if self.ranks is None:
            return Places(torch.ones_like(rows, dtype=torch.bool), rows)
        places = rows - self.rows.start
        return Places((places >= 0) & (places < len(self.table)), places)

    def combine(
        self, picked: Tensor, held: Tensor, log_normalisers: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Combine results over the parts of all processes.

        Args:
            picked: logits of the pairs that this process holds.
            held: which of all pairs these are, bool, shape (pairs,).
            log_normalisers: over the rows of this process, shape (batch,).

        Returns:
            The logits of all pairs, shape (pairs,), and the log-normalisers over all rows.
        """
        if self.ranks is None:
            return picked, log_normalisers
        whole = picked.new_zeros(len(held)).index_put((held.nonzero()[:, 0],), picked)
        return self.ranks.total(whole), self.ranks.log_sum_exp(log_normalisers)
