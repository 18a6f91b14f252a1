"""Queries on a device, in the forms that the passes take, with bounds on their errors.

The fast pass multiplies rounded queries, so its result is off by at most slack x norm of the row
(Cauchy-Schwarz). Exact scores come from queries rounded to multiples of a power of two so small
that float64 holds every sum of products without rounding: they are the same in any order of
summation, hence on every device. Only elements smaller than the largest by a factor of 2^16 (width
64; 2^12 with 1024) lose anything, less than 2^-41 of the largest (2^-37).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from warmstart.retrieval.device_rows import Centroids, half_parts

FLOAT32 = 0  # column of ``slacks``; the others are the number of parts


@dataclass(frozen=True)
class Asked:
    """A batch of queries.

    Attributes:
        exact: float64, shape (queries, width); of a product-quantised table the product of each
            query with each centroid, shape (queries, subspaces, 256).
        factor: multiplies the products, float64, shape (1,).
        vectors: queries times factor, float32, shape (queries, width).
        parts: their sum times ``units`` is nearly ``vectors``; float16, (2, queries, width).
        units: float32, shape (queries,).
        slacks: error of a product relative to the norm of the row, at most, for arithmetic in
            float32, with one part and with both; float32, shape (queries, 3).
        keys: of the noise, each below 2^32, int64, shape (queries, 2), or None.
    """

    exact: Tensor
    factor: Tensor
    vectors: Tensor
    parts: Tensor
    units: Tensor
    slacks: Tensor
    keys: Tensor | None

    def __len__(self) -> int:
        return len(self.exact)

    def some(self, which: slice) -> "Asked":
        """Some of the queries."""
        return Asked(
            self.exact[which],
            self.factor,
            self.vectors[which],
            self.parts[:, which],
            self.units[which],
            self.slacks[which],
            None if self.keys is None else self.keys[which],
        )


def ask(
    queries: np.ndarray,
    factor: float,
    keys: np.ndarray | None,
    centroids: Centroids | None,
    device: torch.device,
) -> Asked:
    """Bring queries, float32, shape (queries, width), to a device."""
    width = queries.shape[1]
    vectors = queries.astype(np.float64) * factor
    # Up to 2^14, so that small elements and the second part are seldom below float16's range.
    units = np.ldexp(1.0, np.frexp(np.abs(vectors).max(1))[1] - 14)
    parts = half_parts(vectors / units[:, None])
    norms = np.linalg.norm(vectors, axis=1)
    centroid_unit, row_errors = (1.0, (0.0,) * 3) if centroids is None else _of(centroids)
    slacks = np.empty((len(queries), 3))
    rounded = vectors.astype(np.float32), parts[0] * units[:, None], parts.sum(0) * units[:, None]
    for at, (approximate, row_error) in enumerate(zip(rounded, row_errors, strict=True)):
        # A sum in float32 of so many products, each addition truncated (tensor cores do not round)
        summing = 2.0**-22 * (width * max(at, 1) + 8)
        slacks[:, at] = np.linalg.norm(vectors - approximate, axis=1)
        slacks[:, at] += (summing + row_error) * norms
    exact = torch.tensor(queries, dtype=torch.float64, device=device)
    if centroids is not None:
        exact = _products_with(centroids, exact)
    return Asked(
        _multiples(exact, bits=53 - 7 if centroids is None else 53),
        torch.tensor([factor], dtype=torch.float64, device=device),
        torch.tensor(rounded[0], device=device),
        torch.tensor(parts, dtype=torch.float16, device=device),
        torch.tensor(units * centroid_unit, dtype=torch.float32, device=device),
        torch.tensor(slacks * (1 + 1e-5), dtype=torch.float32, device=device),
        None if keys is None else torch.tensor(keys.astype(np.int64), device=device),
    )


def _of(centroids: Centroids) -> tuple[float, tuple[float, ...]]:
    return centroids.unit, centroids.errors


def _products_with(centroids: Centroids, queries: Tensor) -> Tensor:
    """Float64, (queries, subspaces, 256); added one by one, so that every device gives the same."""
    values = centroids.values.double()
    subspaces, _, width = values.shape
    queries = queries.view(-1, subspaces, 1, width)
    products = torch.zeros((len(queries), subspaces, 256), device=values.device, dtype=values.dtype)
    for at in range(width):
        product = values[:, :, at] * queries[..., at]
        products += product
    return products


def _multiples(values: Tensor, bits: int) -> Tensor:
    """Round to multiples of a power of two, of which sums along axis 1 stay below 2^bits."""
    largest = values.abs().amax(tuple(range(1, values.ndim))).cpu().numpy()
    bits -= int(np.ceil(np.log2(values.shape[1])))
    steps = torch.tensor(np.ldexp(1.0, np.frexp(largest)[1] - bits), device=values.device)
    steps = steps.view(-1, *[1] * (values.ndim - 1))
    return (values / steps).round() * steps
