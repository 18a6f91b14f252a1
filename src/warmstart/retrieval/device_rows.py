"""Rows of a table on a device, as the kernels take them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CHUNK = 128  # consecutive rows of which a pass writes one number per query
_ROUNDING = 1 + 1e-5  # on norms, which are computed in float32
_ROWS_AT_ONCE = 1 << 20  # when norms are computed


class Centroids:
    """What the codes of a product-quantised table stand for.

    A row is the concatenation of ``values[j, code[j]]`` over the subspaces j, times its scale.

    Args:
        values: float32, shape (subspaces, 256, width of a subspace).
        device: where the rows are.

    Attributes:
        parts: float16, shape (2, subspaces, 256, width of a subspace); their sum times ``unit``, a
            power of two, is nearly the values.
        norm: the norm of a row with scale 1, at most.
        errors: the norm of a row with scale 1 minus its decoded one, at most, relative to ``norm``,
            for arithmetic in float32, with one part and with both.
    """

    def __init__(self, values: np.ndarray, device: torch.device) -> None:
        exact = values.astype(np.float64)
        self.unit = float(np.ldexp(1.0, np.frexp(np.abs(exact).max(initial=0))[1] - 7))
        parts = half_parts(exact / self.unit)
        self.norm = _longest(exact) * _ROUNDING
        one, two = (_longest(exact - parts[:n].sum(0) * self.unit) for n in (1, 2))
        self.errors = (0.0, *(error / max(self.norm, 1e-300) for error in (one, two)))
        self.values = torch.tensor(values, device=device)
        self.parts = torch.tensor(parts, device=device, dtype=torch.float16)


def half_parts(values: np.ndarray) -> np.ndarray:
    """Two numbers that fit float16 and sum nearly to each value; float64, shape (2, ...)."""
    high = values.astype(np.float16).astype(np.float64)
    return np.stack([high, (values - high).astype(np.float16).astype(np.float64)])


def _longest(values: np.ndarray) -> float:
    """The norm of a concatenation of one vector of each subspace, at most."""
    return float(np.sqrt((values**2).sum(2).max(1).sum()))


@dataclass(frozen=True)
class Block:
    """Consecutive rows; the first of them is the first of a chunk.

    Attributes:
        codes: int8, shape (rows, width), or uint8, shape (rows, subspaces).
        scales: float32, shape (rows,).
        bias: added to the scores, float32, shape (rows,), or None.
        norms: the largest norm of a row of each chunk, rounded up; float32, shape (chunks,).
        first_row: global number of the first row.
        centroids: what the codes stand for if the table is product-quantised.
    """

    codes: Tensor
    scales: Tensor
    bias: Tensor | None
    norms: Tensor
    first_row: int
    centroids: Centroids | None

    def __len__(self) -> int:
        return len(self.codes)

    def slice(self, start: int, end: int) -> "Block":
        """Some rows, without a copy; ``start`` is the first row of a chunk."""
        return Block(
            self.codes[start:end],
            self.scales[start:end],
            None if self.bias is None else self.bias[start:end],
            self.norms[start // CHUNK : -(-end // CHUNK)],
            self.first_row + start,
            self.centroids,
        )


def chunk_norms(codes: Tensor, scales: Tensor, centroids: Centroids | None) -> Tensor:
    """Return the largest norm of a row of each chunk, rounded up; float32, shape (chunks,)."""
    norms = torch.zeros(-(-len(codes) // CHUNK), device=codes.device)
    for start in range(0, len(codes), _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        of_rows = scales[some].abs() * _ROUNDING
        if centroids is None:
            of_rows *= torch.linalg.vector_norm(codes[some].float(), dim=1)
        else:
            of_rows *= centroids.norm
        of_rows = torch.nn.functional.pad(of_rows, (0, -len(of_rows) % CHUNK))
        of_chunks = of_rows.view(-1, CHUNK).amax(1)
        norms[start // CHUNK : start // CHUNK + len(of_chunks)] = of_chunks
    return norms
