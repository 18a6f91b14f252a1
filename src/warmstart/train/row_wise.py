"""AdamW, with one number of state per row for the tables among the parameters.

AdamW keeps two numbers per parameter: a table with its gradient and its state takes four times its
size. A row-wise optimiser adapts the step size to a row as a whole and keeps one number per row,
as row-wise Adagrad does in DLRM and FBGEMM (Naumov et al. 2019, arXiv 1906.00091; Mudigere et al.
2021, arXiv 2104.05158, section 4.1.3). Here the number is Adam's second moment, averaged over the
row, without a first moment:

    v_r <- b2 v_r + (1 - b2) mean(g_r^2)
    row r <- row r - rate g_r / (sqrt(v_r / (1 - b2^t)) + eps)

A row whose first gradient comes at step t starts with v_r = (1 - b2^t) mean(g_r^2), so that its
first change has the size of the rate; with v_r = 0 it would be 25 times as large at step 1,000.

On a planted set it validated as well as AdamW at the same learning rates. Row-wise Adagrad came
within .005 of it at ten times the rate, and was far behind at the same one (docs/log.md).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from warmstart.train.blocked_softmax import BlockUpdate

_BLOCK_NUMBERS = 2**20  # of a dense gradient that are processed at the same time: 4 MB


class RowWiseAdamW(torch.optim.AdamW):
    """AdamW without weight decay whose groups with ``row_wise=True`` keep one number per row.

    A parameter of such a group is a matrix or a vector (of rows of width 1), and has a dense or a
    sparse gradient. With a sparse one only its rows change, and the second moments of the others do
    not decay.

    Args:
        groups: parameter groups, as for AdamW; ``row_wise`` is False where it is not given.
        lr: learning rate of groups that do not give one.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float = 1e-3) -> None:
        groups = [{"row_wise": False, **group} for group in groups]
        super().__init__(groups, lr=lr, weight_decay=0.0)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters; the rows that ``fused`` has updated are not updated again."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            if not group["row_wise"]:
                continue
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update_table(group, parameter, parameter.grad)
                if "step" in (state := self.state[parameter]):
                    state["step"] += 1
                parameter.grad = None  # so that AdamW passes over it
        super().step()
        return loss

    def fused(self, table: Tensor, bias: Tensor | None) -> BlockUpdate:
        """Return the ``update`` of ``blocked_softmax`` by which a backward pass updates row-wise.

        The updates are those that ``step`` would make afterwards, which must still be called, once
        for each backward pass. So gradients can be neither accumulated nor clipped.

        Args:
            table: a parameter of a row-wise group.
            bias: likewise.
        """
        groups = {
            id(parameter): group for group in self.param_groups for parameter in group["params"]
        }

        @torch.no_grad()
        def update(rows: slice, for_table: Tensor, for_bias: Tensor | None) -> None:
            self._update_rows(groups[id(table)], table, rows, for_table)
            if bias is not None and for_bias is not None:
                self._update_rows(groups[id(bias)], bias, rows, for_bias)

        return update

    def _update_table(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        if gradient.is_sparse:
            gradient = gradient.coalesce()
            self._update_rows(group, parameter, gradient.indices()[0], gradient.values())
            return
        size = max(1, _BLOCK_NUMBERS * len(parameter) // max(parameter.numel(), 1))
        for start in range(0, len(parameter), size):
            rows = slice(start, start + size)
            self._update_rows(group, parameter, rows, gradient[rows])

    def _update_rows(
        self, group: dict[str, Any], parameter: Tensor, rows: slice | Tensor, gradient: Tensor
    ) -> None:
        """Update some rows in place; ``gradient`` has the shape of these rows."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["row_moment"] = parameter.new_zeros(len(parameter))
        decay, moments = group["betas"][1], state["row_moment"]
        squares = gradient.square() if gradient.ndim == 1 else gradient.square().mean(1)
        correction = 1 - decay ** (state["step"].item() + 1)
        before = moments[rows]
        # A row that is sampled late starts like one that was there at the first step.
        first = squares * correction
        moment = torch.where(before == 0, first, before * decay + squares * (1 - decay))
        moments[rows] = moment
        factors = (
            moment.div_(correction).sqrt_().add_(group["eps"]).reciprocal_().mul_(-group["lr"])
        )
        change = gradient * (factors if gradient.ndim == 1 else factors[:, None])
        if isinstance(rows, slice):
            parameter[rows] += change
        else:
            parameter.index_add_(0, rows, change)
