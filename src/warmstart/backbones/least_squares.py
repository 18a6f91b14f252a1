"""Weighted least squares for many rows against one set of frozen factors.

For a row with interactions k (weight w_k, factor v_k) among factors V, every pair of the row counts
with confidence 1 and target 0, an interaction with confidence 1 + alpha w_k and target 1 (Hu, Koren,
Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, eq. 3):

    min over x   sum_all (x.v)^2  + sum_k [(1 + alpha w_k)(1 - x.v_k)^2 - (x.v_k)^2] + r |x - prior|^2

    (V'V + r I + alpha L'WL) x = L'(1 + alpha w) + r prior          L: the row's factors, n x width

V'V is diagonalised once; in its eigenbasis V'V + rI is diagonal for every r, so a row with n < width
interactions is solved exactly through an n x n system (Woodbury), and conjugate gradients get an
exact preconditioner for all but the row's own n directions. Wide vectors therefore cost little.
"""

from dataclasses import dataclass

import numba
import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Basis:
    """Frozen factors in the eigenbasis of their Gram matrix.

    Attributes:
        rotation: float32 (width, width); columns are eigenvectors.
        eigenvalues: float32 (width,), not negative.
        factors: float32 (rows, width): the factors times ``rotation``.
    """

    rotation: np.ndarray
    eigenvalues: np.ndarray
    factors: np.ndarray

    @classmethod
    def of(cls, factors: np.ndarray) -> "Basis":
        """Diagonalise the Gram matrix of ``factors`` (float32, (rows, width))."""
        gram = (factors.T @ factors).astype(np.float64)
        eigenvalues, rotation = np.linalg.eigh(gram)
        rotation = np.ascontiguousarray(rotation, np.float32)
        return cls(rotation, np.maximum(eigenvalues, 0.0).astype(np.float32), factors @ rotation)


def solve_rows(
    basis: Basis,
    rows: sparse.csr_matrix,
    *,
    alpha: float,
    ridge: np.ndarray,
    prior: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """The exact solution of every row.

    Args:
        basis: of the frozen factors.
        rows: interaction weights, float32 CSR, shape (rows, number of factors).
        alpha: confidence added by an interaction of weight 1.
        ridge: r of each row, float32 (rows,), positive.
        prior: float32 (rows, width), or None for zero.

    Returns:
        The solutions, float32 (rows, width), and the sum over interactions of the bracket above.
    """
    start = np.zeros((0, 0), np.float32) if prior is None else prior @ basis.rotation
    found = np.empty((rows.shape[0], basis.factors.shape[1]), np.float32)
    losses = np.zeros(rows.shape[0])
    _solve_exact(
        rows.indptr, rows.indices, rows.data, basis.factors, basis.eigenvalues,
        np.float32(alpha), ridge, start, found, losses,
    )  # fmt: skip
    return found @ basis.rotation.T, float(losses.sum())


def improve_rows(
    basis: Basis,
    rows: sparse.csr_matrix,
    current: np.ndarray,
    *,
    alpha: float,
    ridge: np.ndarray,
    steps: int,
) -> tuple[np.ndarray, float]:
    """As ``solve_rows``, by preconditioned conjugate gradients that start from ``current``."""
    found = current @ basis.rotation
    losses = np.zeros(rows.shape[0])
    _solve_cg(
        rows.indptr, rows.indices, rows.data, basis.factors, basis.eigenvalues,
        np.float32(alpha), ridge, found, steps, losses,
    )  # fmt: skip
    return found @ basis.rotation.T, float(losses.sum())


_jit = numba.njit(fastmath=True, nogil=True, cache=True)
_parallel = numba.njit(fastmath=True, nogil=True, cache=True, parallel=True)


@_parallel
def _solve_exact(
    indptr, indices, weights, factors, eigenvalues, alpha, ridge, prior, found, losses
):
    width = factors.shape[1]
    for row in numba.prange(len(indptr) - 1):
        begin, end = indptr[row], indptr[row + 1]
        n = end - begin
        base = eigenvalues + ridge[row]
        x = np.zeros(width, np.float32)
        if len(prior):
            x[:] = ridge[row] * prior[row]
        own = np.empty((n, width), np.float32)
        for k in range(n):
            own[k] = factors[indices[begin + k]]
            x += (np.float32(1) + alpha * weights[begin + k]) * own[k]
        if n < width:
            _woodbury(base, own, alpha * weights[begin:end], x)
        else:
            _normal_equations(base, own, alpha * weights[begin:end], x)
        found[row] = x
        losses[row] = _loss(own, alpha, weights[begin:end], x)


@_jit
def _woodbury(base, own, confidence, x):
    """x <- (diag(base) + own' diag(confidence) own)^-1 x, by the n x n system."""
    n = len(own)
    x /= base
    scaled = own / base
    small = np.empty((n, n))
    right = np.empty(n)
    for i in range(n):
        for j in range(i + 1):
            small[i, j] = _dot(scaled[i], own[j])
        small[i, i] += 1.0 / confidence[i]
        right[i] = _dot(own[i], x)
    _cholesky_solve(small, right)
    for i in range(n):
        x -= np.float32(right[i]) * scaled[i]


@_jit
def _normal_equations(base, own, confidence, x):
    """The same by the width x width system, for rows with many interactions."""
    n, width = own.shape
    normal = np.zeros((width, width), np.float32)
    for k in range(0, n - n % 4, 4):  # four rank-one updates a pass over ``normal``
        a, b, c, d = own[k], own[k + 1], own[k + 2], own[k + 3]
        for i in range(width):
            p, q = confidence[k] * a[i], confidence[k + 1] * b[i]
            r, s = confidence[k + 2] * c[i], confidence[k + 3] * d[i]
            for j in range(i + 1):
                normal[i, j] += p * a[j] + q * b[j] + r * c[j] + s * d[j]
    for k in range(n - n % 4, n):
        for i in range(width):
            p = confidence[k] * own[k, i]
            for j in range(i + 1):
                normal[i, j] += p * own[k, j]
    for i in range(width):
        normal[i, i] += base[i]
    _cholesky_solve(normal, x)


@_jit
def _cholesky_solve(matrix, right):
    """right <- matrix^-1 right; ``matrix`` (lower triangle) is overwritten by its factor."""
    n = len(matrix)
    for i in range(n):
        for j in range(i):
            matrix[i, j] = (matrix[i, j] - _dot(matrix[i, :j], matrix[j, :j])) / matrix[j, j]
        matrix[i, i] = np.sqrt(matrix[i, i] - _dot(matrix[i, :i], matrix[i, :i]))
    for i in range(n):
        right[i] = (right[i] - _dot(matrix[i, :i], right[:i])) / matrix[i, i]
    for i in range(n - 1, -1, -1):
        right[i] /= matrix[i, i]
        right[:i] -= right[i] * matrix[i, :i]


@_parallel
def _solve_cg(indptr, indices, weights, factors, eigenvalues, alpha, ridge, found, steps, losses):
    for row in numba.prange(len(indptr) - 1):
        begin, end = indptr[row], indptr[row + 1]
        x = found[row]
        if begin == end:
            x[:] = 0
            continue
        base = eigenvalues + ridge[row]
        residual = -base * x
        for k in range(begin, end):
            factor = factors[indices[k]]
            c = alpha * weights[k]
            residual += (np.float32(1) + c - c * _dot(factor, x)) * factor
        direction = residual / base
        slope = _dot(residual, direction)
        for _ in range(steps):
            if slope < 1e-12:
                break
            image = base * direction
            for k in range(begin, end):
                factor = factors[indices[k]]
                image += alpha * weights[k] * _dot(factor, direction) * factor
            length = slope / _dot(direction, image)
            x += length * direction
            residual -= length * image
            before = slope
            image[:] = residual / base
            slope = _dot(residual, image)
            direction = image + (slope / before) * direction
        loss = 0.0
        for k in range(begin, end):
            s = _dot(factors[indices[k]], x)
            loss += (1 + alpha * weights[k]) * (1 - s) ** 2 - s**2
        losses[row] = loss


@_jit
def _loss(own, alpha, weights, x):
    loss = 0.0
    for k in range(len(own)):
        s = _dot(own[k], x)
        loss += (1 + alpha * weights[k]) * (1 - s) ** 2 - s**2
    return loss


@_jit
def _dot(a, b):
    total = a.dtype.type(0)
    for k in range(len(a)):
        total += a[k] * b[k]
    return total
