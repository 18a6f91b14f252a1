"""The k best rows of a block, exactly, with one pass over its codes.

1. A pass bounds the scores of every chunk of 128 rows from above; nothing else is stored.
2. The chunks with the highest bounds, some more than k, are scored again in float64. Let t be the
   k-th best score among their rows.
3. If no other chunk's bound reaches t, these are the k best. Else (equal scores, a row with an
   enormous norm) every chunk whose bound reaches t is scored, in the order of the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from warmstart.retrieval.device_noise import gumbel
from warmstart.retrieval.device_queries import Asked
from warmstart.retrieval.device_rows import CHUNK, Block
from warmstart.retrieval.found import Found

_SCORES_AT_ONCE = 1 << 24  # in step 2, so that the temporaries stay below 1 GB
_MOST_EXTRA = 4096  # chunks looked at in step 2 because of excluded rows
_MISSING = -torch.inf


@cache
def kernels_for(device: torch.device) -> ModuleType:
    """The passes: Triton's on CUDA where it is installed, else torch's."""
    name = "triton" if device.type == "cuda" and find_spec("triton") else "torch"
    return import_module(f"warmstart.retrieval.{name}_kernels")


class Excluded:
    """Row numbers that each query leaves out, on a device."""

    def __init__(self, rows: Sequence[np.ndarray], device: torch.device) -> None:
        counts = [len(some) for some in rows]
        self.most = max(counts, default=0)
        self.queries = torch.tensor(np.repeat(np.arange(len(rows)), counts), device=device)
        flat = np.concatenate([np.zeros(0, np.int64), *rows]).astype(np.int64)
        self.rows = torch.tensor(flat, device=device)

    def mask(self, scores: Tensor, chunks: Tensor, block: Block, first_query: int) -> None:
        """Set to -inf the scores, shape (queries, chunks, CHUNK), of rows that are left out."""
        if self.most == 0:
            return
        rows, query = self.rows - block.first_row, self.queries - first_query
        here = (rows >= 0) & (rows < len(block)) & (query >= 0) & (query < len(chunks))
        rows, query = rows[here], query[here]
        n_chunks = len(block.norms)
        offsets = torch.arange(len(chunks), device=rows.device)[:, None] * n_chunks
        looked_at = (chunks + offsets).flatten()  # ascending, as the chunks of a query are
        wanted = rows // CHUNK + query * n_chunks
        place = torch.searchsorted(looked_at, wanted).clamp(max=len(looked_at) - 1)
        found = looked_at[place] == wanted
        scores.view(-1)[(place * CHUNK + rows % CHUNK)[found]] = _MISSING


@dataclass(frozen=True)
class Best:
    """Rows of each query, best first, as tensors of shape (queries, rows).

    ``values`` decide: float32 scores, or float64 keys. Missing ones are -inf.
    """

    values: Tensor
    rows: Tensor
    scores: Tensor

    def then(self, later: "Best", k: int) -> "Best":
        """The k best of these and others; all rows of the others are higher numbers."""
        pairs = zip(self.fields(), later.fields(), strict=True)
        return Best(*(torch.cat(pair, dim=1) for pair in pairs)).first(k)

    def first(self, k: int) -> "Best":
        """The k best; of equal ones those that stand first."""
        columns = _best_columns(self.values, min(k, self.values.shape[1]))
        return Best(*(field.gather(1, columns) for field in self.fields()))

    def fields(self) -> tuple[Tensor, Tensor, Tensor]:
        """All of them, in the order of the arguments."""
        return self.values, self.rows, self.scores

    def found(self, k: int, log_normalisers: Tensor | None, sampled: bool) -> Found:
        """On the host, with -1 and NaN where there is no row."""
        missing = (self.values == _MISSING).cpu().numpy()
        after = ((0, 0), (0, k - missing.shape[1]))
        rows, scores, values = (
            np.pad(
                np.where(missing, filling, field.cpu().numpy()).astype(dtype),
                after,
                constant_values=filling,
            )
            for field, filling, dtype in (
                (self.rows, -1, np.int64),
                (self.scores, np.nan, np.float32),
                (self.values, np.nan, np.float64),
            )
        )
        sums = None if log_normalisers is None else log_normalisers.cpu().numpy()
        return Found(rows, scores, sums, values if sampled else None)


def search_block(
    block: Block, asked: Asked, k: int, excluded: Excluded, *, sums: bool
) -> tuple[Best, Tensor | None]:
    """Find the k best rows of each query, and log sum exp of all scores, float64, (queries,)."""
    kernels = kernels_for(block.codes.device)
    upper, log_sums = kernels.chunk_bounds(block, asked, sums=sums)
    n_chunks = upper.shape[1]
    n = min(n_chunks, k + k // 8 + 16 + min(excluded.most, _MOST_EXTRA))
    bounds, chunks = upper.topk(n)
    chunks = chunks.sort(1).values
    best = [
        _best_of(block, asked.some(some), chunks[some], k, excluded, some.start)
        for some in _slices(len(asked), max(1, _SCORES_AT_ONCE // CHUNK // n))
    ]
    best = Best(*map(torch.cat, zip(*(part.fields() for part in best), strict=True)))
    if n < n_chunks:
        enough = best.values[:, -1:]
        reached = (bounds[:, -1:] >= enough) & (bounds[:, -1:] > _MISSING)
        for query in reached.flatten().nonzero().flatten().tolist():
            some = slice(query, query + 1)
            reaching = (upper[query] >= enough[query]) & (upper[query] > _MISSING)
            chunks = reaching.nonzero().flatten()[None]
            whole = _best_of(block, asked.some(some), chunks, k, excluded, query)
            best.values[query] = _MISSING
            for field, value in zip(best.fields(), whole.fields(), strict=True):
                field[some, : value.shape[1]] = value
    return best, None if log_sums is None else _log_sum_exp(log_sums)


def _best_of(
    block: Block, asked: Asked, chunks: Tensor, k: int, excluded: Excluded, first_query: int
) -> Best:
    """The k best rows of some chunks, ascending, int64, shape (queries, chunks of each)."""
    kernels = kernels_for(block.codes.device)
    lanes = torch.arange(CHUNK, device=chunks.device)
    best = None
    for some in _slices(chunks.shape[1], max(1, _SCORES_AT_ONCE // CHUNK // len(asked))):
        part = chunks[:, some]
        scores = kernels.exact_scores(block, asked, part)
        excluded.mask(scores, part, block, first_query)
        scores = scores.flatten(1)
        rows = ((part * CHUNK)[..., None] + lanes).flatten(1) + block.first_row
        rounded = scores.float()
        values = rounded if asked.keys is None else scores + gumbel(asked.keys, rows)
        here = Best(values, rows, rounded).first(k)
        best = here if best is None else best.then(here, k)
    assert best is not None
    return best


def _best_columns(values: Tensor, k: int) -> Tensor:
    """Columns of the k highest values of each row, best first; of equal ones the first columns."""
    lowest = values.topk(k).values[:, -1:]
    above, equal = values > lowest, values == lowest
    wanted = k - above.sum(1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(1) <= wanted))
    columns = chosen.nonzero()[:, 1].view(-1, k)
    order = values.gather(1, columns).sort(dim=1, descending=True, stable=True).indices
    return columns.gather(1, order)


def _log_sum_exp(log_sums: Tensor) -> Tensor:
    """Over chunks, added in float64; ``log_sums`` is used up."""
    highest = log_sums.amax(1)
    finite = torch.where(highest == -torch.inf, 0, highest)
    total = log_sums.sub_(finite[:, None]).exp_().sum(1, dtype=torch.float64)
    return finite.double() + total.log()


def _slices(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
