"""The passes over a block of rows in plain torch, for every device; what the others must equal.

Like ``triton_kernels``, this module has ``chunk_bounds`` and ``exact_scores``.
"""

import torch
from torch import Tensor

from warmstart.retrieval.device_noise import gumbel_bound
from warmstart.retrieval.device_queries import FLOAT32, Asked
from warmstart.retrieval.device_rows import CHUNK, Block

_NUMBERS_AT_ONCE = 1 << 22  # so that what is stored between two steps stays small
_MATMUL_ERRORS = {"highest": 0.0, "high": 2.0**-9, "medium": 2.0**-7}
NOISE_SLACK = 2.0**-15  # of a logarithm of at most 23 in float32


def chunk_bounds(block: Block, asked: Asked, *, sums: bool) -> tuple[Tensor, Tensor | None]:
    """Bound the scores of each chunk from above, in one pass over the codes.

    Args:
        block: the rows.
        asked: the queries; if they have keys, scores plus noise are bounded.
        sums: whether to return log sum exp too.

    Returns:
        Upper bounds of the scores of the rows of a chunk, and log sum exp of these scores, float32,
        shape (queries, chunks). Both are -inf if all rows of a chunk have the score -inf.
    """
    shape, device = (len(asked), len(block.norms)), block.codes.device
    upper = torch.empty(shape, device=device)
    log_sums = torch.empty(shape, device=device) if sums else None
    slacks = (
        asked.slacks[:, FLOAT32, None]
        + asked.vectors.norm(dim=1, keepdim=True)
        * (_MATMUL_ERRORS[torch.get_float32_matmul_precision()])
    )
    step = max(1, _NUMBERS_AT_ONCE // CHUNK // max(len(asked), asked.vectors.shape[1]))
    for first in range(0, shape[1], step):
        chunks = slice(first, first + step)
        rows = slice(first * CHUNK, min((first + step) * CHUNK, len(block)))
        scores = asked.vectors @ _decoded(block, rows).T * block.scales[rows]
        if block.bias is not None:
            scores += block.bias[rows]
        if log_sums is not None:
            log_sums[:, chunks] = _by_chunk(scores).logsumexp(2)
        if asked.keys is not None:
            numbers = torch.arange(rows.start, rows.stop, device=device) + block.first_row
            scores += gumbel_bound(asked.keys, numbers[None])
        highest = _by_chunk(scores).amax(2)
        slack = (
            slacks * block.norms[chunks]
            + highest.abs() * 2.0**-22
            + NOISE_SLACK * (asked.keys is not None)
        )
        upper[:, chunks] = torch.where(highest == -torch.inf, highest, highest + slack)
    return upper, log_sums


def exact_scores(block: Block, asked: Asked, chunks: Tensor) -> Tensor:
    """Compute the scores of all rows of some chunks as float64; the same bits on every device.

    Args:
        block: the rows.
        asked: the queries.
        chunks: numbers of chunks in the block, int64, shape (queries, chunks of each).

    Returns:
        Float64, shape (queries, chunks of each, CHUNK); -inf beyond the last row.
    """
    rows = chunks[..., None] * CHUNK + torch.arange(CHUNK, device=chunks.device)
    inside = rows < len(block)
    rows = rows.clamp(max=len(block) - 1)
    products = torch.empty(rows.shape, dtype=torch.float64, device=rows.device)
    step = max(1, _NUMBERS_AT_ONCE // CHUNK // block.codes.shape[1])
    for query, exact in enumerate(asked.exact):
        for first in range(0, rows.shape[1], step):
            some = query, slice(first, first + step)
            codes = block.codes[rows[some]]
            if block.centroids is None:
                products[some] = codes.double() @ exact
            else:
                subspaces = torch.arange(len(exact), device=codes.device)
                products[some] = exact[subspaces, codes.long()].sum(-1)
    scores = products * block.scales[rows].double()
    scores = scores * asked.factor
    if block.bias is not None:
        scores = scores + block.bias[rows].double()
    return torch.where(inside, scores, -torch.inf)


def _decoded(block: Block, rows: slice) -> Tensor:
    """The vectors that codes stand for, without scales, float32, shape (rows, width)."""
    codes = block.codes[rows]
    if block.centroids is None:
        return codes.float()
    subspaces = torch.arange(codes.shape[1], device=codes.device)
    return block.centroids.values[subspaces, codes.long()].flatten(1)


def _by_chunk(scores: Tensor) -> Tensor:
    """Shape (queries, chunks, CHUNK), -inf beyond the last row."""
    missing = -scores.shape[1] % CHUNK
    padded = torch.nn.functional.pad(scores, (0, missing), value=-torch.inf)
    return padded.view(len(scores), -1, CHUNK)
