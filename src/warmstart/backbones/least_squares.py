"""Weighted least squares for many rows against one set of frozen factors.

For a row with interactions k (weight w_k, factor v_k) among factors V, every pair of the row has
confidence 1 and target 0, and an interaction has confidence 1 + alpha w_k and target 1 (Hu, Koren,
Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, eq. 3):

    min over x   sum_all (x.v)^2 + sum_k [(1 + alpha w_k)(1 - x.v_k)^2 - (x.v_k)^2]
                 + r |x - prior|^2

    (V'V + r I + alpha L'WL) x = L'(1 + alpha w) + r prior      L: the row's factors, n x width

V'V is diagonalised once; in its eigenbasis V'V + rI is diagonal for every r. So a row with
n < width interactions is solved exactly through an n x n system (Woodbury), and conjugate gradients
get a preconditioner that is exact except in the n directions of the row. Wide vectors cost little.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from warmstart.backbones.base import shape_of
from warmstart.backbones.threads import Array, Float, Integer, inlined, kernel, over_rows
from warmstart.errors import ConfigError


@dataclass(frozen=True)
class Basis:
    """Frozen factors in the eigenbasis of their Gram matrix.

    Attributes:
        rotation: float32 (width, width); columns are eigenvectors.
        eigenvalues: float32 (width,), non-negative.
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
    """Solve every row exactly.

    Args:
        basis: the frozen factors.
        rows: interaction weights, float32 CSR, shape (rows, number of factors).
        alpha: confidence added by an interaction of weight 1.
        ridge: r of each row, float32 (rows,), positive.
        prior: float32 (rows, width), or None for zero.

    Returns:
        The solutions, float32 (rows, width), and the sum over all interactions of the bracketed
        term in the module docstring.

    Raises:
        ConfigError: alpha or a ridge is out of the range of float32.
    """
    shape = (shape_of(rows)[0], basis.factors.shape[1])
    found = np.zeros(shape, np.float32)
    if prior is not None:
        found[:] = ridge[:, None] * (prior @ basis.rotation)
    losses = np.zeros(shape[0])
    _over_rows(
        _solve, shape[0], rows.indptr, rows.indices, rows.data, basis.factors,
        basis.eigenvalues, np.float32(alpha), ridge, found, losses,
    )  # fmt: skip
    return found @ basis.rotation.T, float(losses.sum())


def solve_rows_cg(
    basis: Basis,
    rows: sparse.csr_matrix,
    current: np.ndarray,
    *,
    alpha: float,
    ridge: np.ndarray,
    steps: int,
) -> tuple[np.ndarray, float]:
    """As ``solve_rows``, but improve ``current`` by ``steps`` of conjugate gradients."""
    found = current @ basis.rotation
    losses = np.zeros(len(found))
    _over_rows(
        _improve, len(found), rows.indptr, rows.indices, rows.data, basis.factors,
        basis.eigenvalues, np.float32(alpha), ridge, found, losses, steps,
    )  # fmt: skip
    return found @ basis.rotation.T, float(losses.sum())


def _over_rows(solver: Callable[..., None], rows: int, *arguments: Any) -> None:
    """As ``over_rows``, for kernels that divide by numbers that are positive within float32.

    Raises:
        ConfigError: a divisor is 0.
    """
    try:
        over_rows(solver, rows, *arguments)
    except ZeroDivisionError:
        raise ConfigError(
            "least squares: a divisor is 0; a setting is too extreme: alpha, l2, or the "
            "learning_rate with which the vectors were trained"
        ) from None


@kernel
def _solve(
    first: Integer, last: Integer, indptr: Array, indices: Array, weights: Array, factors: Array,
    eigenvalues: Array, alpha: Float, ridge: Array, found: Array, losses: Array,
) -> None:  # fmt: skip
    """Rows of ``found`` hold ridge * prior on entry and the solutions on exit."""
    width = factors.shape[1]
    for row in range(first, last):
        begin, end = indptr[row], indptr[row + 1]
        n = end - begin
        base, own = np.empty(width, np.float32), np.empty((n, width), np.float32)
        confidence = np.empty(n, np.float32)
        x = found[row]
        for j in range(width):
            base[j] = eigenvalues[j] + ridge[row]
        for k in range(n):
            confidence[k] = alpha * weights[begin + k]
            for j in range(width):
                own[k, j] = factors[indices[begin + k], j]
            _add(x, np.float32(1) + confidence[k], own[k])
        if n < width:
            _woodbury(base, own, confidence, x)
        else:
            _normal_equations(base, own, confidence, x)
        for k in range(n):
            s = _dot(own[k], x)
            losses[row] += (1 + confidence[k]) * (1 - s) ** 2 - s**2


@kernel
def _woodbury(base: Array, own: Array, confidence: Array, x: Array) -> None:
    """Solve (diag(base) + own' diag(confidence) own) y = x through an n x n system; x becomes y.

    ``own`` (n, width) holds the factors of the row's interactions.
    """
    n, width = own.shape
    scaled = np.empty((n, width), np.float32)
    for j in range(width):
        x[j] /= base[j]
        for k in range(n):
            scaled[k, j] = own[k, j] / base[j]
    small = np.empty((n, n))
    right = np.empty(n)
    for i in range(n):
        for j in range(i + 1):
            small[i, j] = _dot(scaled[i], own[j])
        small[i, i] += 1.0 / confidence[i]
        right[i] = _dot(own[i], x)
    _cholesky_solve(small, right)
    for i in range(n):
        _add(x, np.float32(-right[i]), scaled[i])


@kernel
def _normal_equations(base: Array, own: Array, confidence: Array, x: Array) -> None:
    """As ``_woodbury``, through the width x width system: for rows with n >= width."""
    n, width = own.shape
    normal = np.zeros((width, width), np.float32)
    whole = n - n % 4
    for k in range(0, whole, 4):  # four rank-one updates in one pass over ``normal``
        for i in range(width):
            p, q = confidence[k] * own[k, i], confidence[k + 1] * own[k + 1, i]
            r, s = confidence[k + 2] * own[k + 2, i], confidence[k + 3] * own[k + 3, i]
            for j in range(i + 1):
                normal[i, j] += (
                    p * own[k, j] + q * own[k + 1, j] + r * own[k + 2, j] + s * own[k + 3, j]
                )
    for k in range(whole, n):
        for i in range(width):
            p = confidence[k] * own[k, i]
            for j in range(i + 1):
                normal[i, j] += p * own[k, j]
    for i in range(width):
        normal[i, i] += base[i]
    _cholesky_solve(normal, x)


@kernel
def _cholesky_solve(matrix: Array, right: Array) -> None:
    """Solve matrix x = right; x overwrites ``right``, the factor the lower triangle."""
    n = len(matrix)
    for i in range(n):
        for j in range(i):
            matrix[i, j] = (matrix[i, j] - _dot(matrix[i, :j], matrix[j, :j])) / matrix[j, j]
        matrix[i, i] = np.sqrt(matrix[i, i] - _dot(matrix[i, :i], matrix[i, :i]))
    for i in range(n):
        right[i] = (right[i] - _dot(matrix[i, :i], right[:i])) / matrix[i, i]
    for i in range(n - 1, -1, -1):
        right[i] /= matrix[i, i]
        _add(right[:i], -right[i], matrix[i, :i])


@kernel
def _improve(
    first: Integer, last: Integer, indptr: Array, indices: Array, weights: Array, factors: Array,
    eigenvalues: Array, alpha: Float, ridge: Array, found: Array, losses: Array, steps: Integer,
) -> None:  # fmt: skip
    """Rows of ``found`` hold the initial solutions on entry and the improved ones on exit."""
    width = factors.shape[1]
    base, residual = np.empty(width, np.float32), np.empty(width, np.float32)
    direction, image = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(first, last):
        begin, end = indptr[row], indptr[row + 1]
        x = found[row]
        for j in range(width):
            base[j] = eigenvalues[j] + ridge[row]
            residual[j] = -base[j] * x[j]
        for k in range(begin, end):
            factor, c = factors[indices[k]], alpha * weights[k]
            _add(residual, np.float32(1) + c - c * _dot(factor, x), factor)
        for j in range(width):
            direction[j] = residual[j] / base[j]
        slope = _dot(residual, direction)
        for _ in range(steps):
            if slope < 1e-12:
                break
            for j in range(width):
                image[j] = base[j] * direction[j]
            for k in range(begin, end):
                factor = factors[indices[k]]
                _add(image, alpha * weights[k] * _dot(factor, direction), factor)
            length = slope / _dot(direction, image)
            _add(x, length, direction)
            _add(residual, -length, image)
            for j in range(width):
                image[j] = residual[j] / base[j]
            before, slope = slope, _dot(residual, image)
            for j in range(width):
                direction[j] = image[j] + (slope / before) * direction[j]
        for k in range(begin, end):
            s = _dot(factors[indices[k]], x)
            losses[row] += (1 + alpha * weights[k]) * (1 - s) ** 2 - s**2


@inlined
def _add(to: Array, scale: Float, what: Array) -> None:
    for k in range(len(to)):
        to[k] += scale * what[k]


@inlined
def _dot(a: Array, b: Array) -> Float:
    total = a.dtype.type(0)
    for k in range(len(a)):
        total += a[k] * b[k]
    return total
