"""Softmax over the rows of a large table, in blocks: memory does not depend on the number of rows.

    logits = queries @ table.T + bias + fixed.queries @ fixed.table.T        (batch, rows)

A cross-entropy needs only the log-normalisers (logsumexp over all rows) and the logits of the
positive pairs. The forward pass computes one block of logits at a time and keeps only these; the
backward pass computes each block again, turns it into the gradient of the logits, and multiplies
it into the gradients of queries and rows. That is 4 products instead of the 3 of a dense softmax,
for a memory of one block instead of (batch, rows) several times. The same exchange is made by
FlashAttention (Dao et al. 2022, arXiv 2205.14135, section 3.1) and by Cut Cross-Entropy (Wijmans
et al. 2024, arXiv 2411.09009, section 4) for GPUs; this is plain torch, for every device.

With ``update`` the backward pass hands the gradient of each block to an optimiser, instead of
making a gradient of the size of the table (LOMO, Lv et al. 2023, arXiv 2306.09782, section 3.1).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from warmstart.errors import DataError

BLOCK_LOGITS = 2**20
"""Logits of a block: 4 MB, which stay in the cache of a processor core (docs/log.md)."""

BlockUpdate: TypeAlias = Callable[[slice, Tensor, Tensor | None], None]
"""Takes rows of the table, and the gradients of these rows and of their biases."""


@dataclass(frozen=True)
class FixedLogits:
    """Constant logits that are added to the learned ones, as a product of two matrices.

    Attributes:
        queries: float32, shape (batch, rank).
        table: float32, shape (rows, rank).
    """

    queries: Tensor
    table: Tensor


def blocked_softmax(
    queries: Tensor,
    table: Tensor,
    pair_queries: Tensor,
    pair_rows: Tensor,
    *,
    bias: Tensor | None = None,
    fixed: FixedLogits | None = None,
    block: int | None = None,
    update: BlockUpdate | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the logits of some pairs and the log-normaliser of each query.

    Both results have gradients with respect to queries, table and bias, for one backward pass. The
    log-normaliser of an empty table is -inf.

    Args:
        queries: float32, shape (batch, width); a temperature is multiplied into them.
        table: float32, shape (rows, width).
        pair_queries: int64, position of each pair's query in the batch, shape (pairs,).
        pair_rows: int64, row of each pair, shape (pairs,).
        bias: float32, shape (rows,).
        fixed: constant logits to add.
        block: rows whose logits are in memory at the same time; None takes ``BLOCK_LOGITS`` logits.
        update: takes the gradients of table and bias block by block during the backward pass, when
            the block is no longer needed, so it may change these rows. Table and bias then get no
            gradient. None gives them gradients of their own size.

    Returns:
        float32 logits of the pairs, shape (pairs,), and log-normalisers, shape (batch,).

    Raises:
        DataError: shapes do not fit together, or a pair is outside the table.
    """
    _check(queries, table, bias, fixed)
    if len(pair_rows) and not 0 <= int(pair_rows.min()) <= int(pair_rows.max()) < len(table):
        raise DataError(f"blocked_softmax: rows of pairs must be within 0..{len(table) - 1}")
    order = pair_rows.argsort()  # so that the pairs of a block are neighbours
    size = block or max(1, BLOCK_LOGITS // max(len(queries), 1))
    blocks = _Blocks(len(table), size, pair_queries[order], pair_rows[order])
    picked, normalisers = _BlockedSoftmax.apply(queries, table, bias, fixed, blocks, update)  # pyright: ignore[reportGeneralTypeIssues]
    unsorted = torch.empty_like(order)
    unsorted[order] = torch.arange(len(order), device=order.device)
    return picked[unsorted], normalisers


def blocked_log_normalisers(
    queries: Tensor,
    table: Tensor,
    *,
    bias: Tensor | None = None,
    fixed: FixedLogits | None = None,
    block: int | None = None,
) -> Tensor:
    """Compute log sum_r exp(logit_r) for each query; arguments as in ``blocked_softmax``."""
    nothing = torch.empty(0, dtype=torch.int64, device=queries.device)
    more: dict[str, Any] = {"bias": bias, "fixed": fixed, "block": block}
    return blocked_softmax(queries, table, nothing, nothing, **more)[1]


class _Blocks:
    """Splits the rows of a table, and pairs sorted by row."""

    def __init__(self, n_rows: int, size: int, queries: Tensor, rows: Tensor) -> None:
        size = max(1, min(size, n_rows))
        self.size, self.n_rows = size, n_rows
        self.queries, self.rows = queries, rows
        starts = torch.arange(0, n_rows + size, size, device=rows.device)
        self._bounds = torch.searchsorted(rows, starts).tolist()

    def __iter__(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield the rows of a block, its pairs, and where they are in its flattened logits."""
        for number, start in enumerate(range(0, self.n_rows, self.size)):
            rows = slice(start, min(start + self.size, self.n_rows))
            pairs = slice(self._bounds[number], self._bounds[number + 1])
            width = rows.stop - rows.start
            yield rows, pairs, self.queries[pairs] * width + self.rows[pairs] - start


class _BlockedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        table: Tensor,
        bias: Tensor | None,
        fixed: FixedLogits | None,
        blocks: _Blocks,
        update: BlockUpdate | None,
    ) -> tuple[Tensor, Tensor]:
        picked = queries.new_empty(len(blocks.rows))
        total = queries.new_full((len(queries),), -torch.inf)
        buffer = queries.new_empty(len(queries) * blocks.size)
        for rows, pairs, places in blocks:
            logits = _logits(queries, table, bias, fixed, rows, buffer)
            picked[pairs] = logits.view(-1)[places]
            largest = logits.amax(1)
            sums = logits.sub_(largest[:, None]).exp_().sum(1)
            total = torch.logaddexp(total, sums.log_().add_(largest))
        ctx.save_for_backward(queries, table, bias, total)
        ctx.fixed, ctx.blocks, ctx.update = fixed, blocks, update
        return picked, total

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        of_picked, of_total = gradients
        queries, table, bias, total = ctx.saved_tensors
        for_queries = torch.zeros_like(queries)
        whole = ctx.update is None
        for_table = torch.empty_like(table) if whole and ctx.needs_input_grad[1] else None
        for_bias = torch.empty_like(bias) if whole and ctx.needs_input_grad[2] else None
        buffer = queries.new_empty(len(queries) * ctx.blocks.size)
        for rows, pairs, places in ctx.blocks:
            logits = _logits(queries, table, bias, ctx.fixed, rows, buffer)
            # The gradient of a logit: its probability times that of log Z, plus that of a pair.
            slopes = logits.sub_(total[:, None]).exp_().mul_(of_total[:, None])
            slopes.view(-1).index_add_(0, places, of_picked[pairs])
            for_queries.addmm_(slopes, table[rows])
            if ctx.update is not None:
                ctx.update(rows, slopes.T @ queries, None if bias is None else slopes.sum(0))
            if for_table is not None:
                torch.mm(slopes.T, queries, out=for_table[rows])
            if for_bias is not None:
                torch.sum(slopes, 0, out=for_bias[rows])
        return for_queries, for_table, for_bias, None, None, None


def _logits(
    queries: Tensor,
    table: Tensor,
    bias: Tensor | None,
    fixed: FixedLogits | None,
    rows: slice,
    buffer: Tensor,
) -> Tensor:
    """Compute the logits of a block of rows in ``buffer``, shape (batch, rows)."""
    n_rows = rows.stop - rows.start
    logits = buffer[: len(queries) * n_rows].view(len(queries), n_rows)
    torch.mm(queries, table[rows].T, out=logits)
    if fixed is not None:
        logits.addmm_(fixed.queries, fixed.table[rows].T)
    return logits if bias is None else logits.add_(bias[rows])


def _check(queries: Tensor, table: Tensor, bias: Tensor | None, fixed: FixedLogits | None) -> None:
    shapes = {"queries": queries.shape, "table": table.shape}
    fits = queries.ndim == table.ndim == 2 and queries.shape[1] == table.shape[1]
    if bias is not None:
        shapes["bias"] = bias.shape
        fits = fits and bias.shape == table.shape[:1]
    if fixed is not None:
        shapes |= {"fixed.queries": fixed.queries.shape, "fixed.table": fixed.table.shape}
        expected = (len(queries), len(table))
        fits = fits and (len(fixed.queries), len(fixed.table)) == expected
        fits = fits and fixed.queries.shape[1] == fixed.table.shape[1]
    if not fits:
        given = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise DataError(f"blocked_softmax: the shapes do not fit together: {given}")
