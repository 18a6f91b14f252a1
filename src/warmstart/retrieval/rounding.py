"""Vectors rounded to 8 bits, with what bounds the error of their products.

A vector v is kept as s c + d: 8-bit codes c, a scale s and the norm of the error d. A query q is
rounded to 16 bits, q = t b + e. By Cauchy-Schwarz

    | q v  -  s t b c |  <=  |t b| |d| + |e| |v|
"""

import numba
import numpy as np

ROUNDING = np.float32(1 + 1e-5)  # on bounds, which are themselves computed in float32
PRODUCT_ROUNDING = np.float32(4e-6)  # relative error of a product in float32
LANES = 16  # the width of codes and queries is a multiple of it
BLOCK_ROWS = 4096  # rows with a common bound of their errors and norms
GROUP = 16  # rows that a pass takes together
_LARGEST_SUM = 2**31 - 1
_LARGEST_SQUARE = 3.4e38**2  # of the norm of a row
_LEAST_SCALE = np.float32(1e-36)  # float32 has all of its digits down to 1.2e-38

# fastmath without "ninf" and "nnan": biases may be infinite. A cached function is compiled again
# when its file changes, not when the file of one that it calls does: delete __pycache__ then.
kernel = numba.njit(fastmath={"contract", "reassoc"}, nogil=True, cache=True)


def padded(width: int) -> int:
    """The width of codes: the next multiple of ``LANES``."""
    return -(-width // LANES) * LANES


def rounded_vectors(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Round vectors to 8 bits.

    Args:
        vectors: float32, shape (rows, width); a row that is not finite counts as zeros.

    Returns:
        "codes", int8, shape (rows, padded width); and, float32, shape (rows,), the "scales" that
        multiply them, the norms of the "errors" of rounding, and the "norms" of the vectors.
    """
    n, width = vectors.shape
    codes = np.zeros((n, padded(width)), np.int8)
    scales, errors, norms = (np.empty(n, np.float32) for _ in range(3))
    _round_rows(np.ascontiguousarray(vectors, np.float32), codes, scales, errors, norms)
    return {"codes": codes, "scales": scales, "errors": errors, "norms": norms}


def restored_vectors(codes: np.ndarray, scales: np.ndarray, width: int) -> np.ndarray:
    """The vectors that codes and scales stand for: float32, shape (rows, width)."""
    return codes[:, :width] * scales[:, None]


def block_maxima(values: np.ndarray) -> np.ndarray:
    """The highest value of every ``BLOCK_ROWS`` rows: float32, shape (blocks,)."""
    if not len(values):
        return np.zeros(0, np.float32)
    return np.maximum.reduceat(values, np.arange(0, len(values), BLOCK_ROWS))


def rounded_queries(queries: np.ndarray) -> dict[str, np.ndarray]:
    """Round queries to 16 bits, or to fewer where the sum of their products would overflow.

    Args:
        queries: float32, shape (queries, width); one that is not finite, such as that of a user
            of whom nothing is known, counts as zeros.

    Returns:
        "codes", int16, shape (queries, padded width); and, float32, shape (queries,), the "scales",
        the "errors", which include those of products in float32, and the "norms" of the rounded
        queries.
    """
    n, width = queries.shape
    queries = np.where(np.isfinite(queries).all(axis=1, keepdims=True), queries, np.float32(0))
    largest_code = min(32767, _LARGEST_SUM // (127 * padded(width)))
    scales = (np.abs(queries).max(axis=1, initial=0) / np.float32(largest_code)).astype(np.float32)
    used = np.where(scales > 0, scales, 1)[:, None]
    codes = np.zeros((n, padded(width)), np.int16)
    codes[:, :width] = np.clip(np.rint(queries / used), -largest_code, largest_code)
    lost = np.linalg.norm(queries - codes[:, :width] * scales[:, None], axis=1) * ROUNDING
    norms = np.linalg.norm(queries, axis=1) * ROUNDING
    errors = (lost + norms * PRODUCT_ROUNDING).astype(np.float32)
    return {"codes": codes, "scales": scales, "errors": errors, "norms": norms + lost}


@kernel
def _round_rows(
    vectors: np.ndarray,
    codes: np.ndarray,
    scales: np.ndarray,
    errors: np.ndarray,
    norms: np.ndarray,
) -> None:
    # Sums in float64, whose squares neither overflow nor vanish.
    for row in range(len(vectors)):
        largest, square, error = np.float32(0), 0.0, 0.0
        for value in vectors[row]:
            largest = max(largest, abs(value))
            square += np.float64(value) * np.float64(value)
        if not square <= _LARGEST_SQUARE:  # also if it is NaN
            scales[row] = errors[row] = norms[row] = 0
            continue
        scale = largest / np.float32(127)
        if scale < _LEAST_SCALE:  # too few digits are left of it: all of the row is error
            scale, error = np.float32(0), square
        else:
            for at, value in enumerate(vectors[row]):
                code = np.rint(value / scale)
                codes[row, at] = np.int8(code)
                error += (np.float64(value) - np.float64(code) * np.float64(scale)) ** 2
        scales[row] = scale
        errors[row] = np.float32(np.sqrt(error)) * ROUNDING
        norms[row] = np.float32(np.sqrt(square)) * ROUNDING
        if square > 0 and scale == 0:
            errors[row] = norms[row] = max(norms[row], _LEAST_SCALE)
