"""Low-rank form of a ridge regression onto users: a short row for each user instead of a column.

With Y the interactions (items x users, sparse), S the smoother of the ridge (its fitted values are
S Y) and D = diag(activity^-1/2), the best table of r numbers a user spans the first r right
singular vectors V of the centred fitted values (I - 11'/n) S Y D: reduced-rank regression (Izenman
1975). They are found by subspace iteration from a random start (Halko, Martinsson and Tropp 2011),
which needs products with the sparse Y and ridge solutions for r columns only. No array has both
items and users as its dimensions.

Only a user's items enter a row: it is the sum of one vector per item of the history. So the rows of
unknown users, and of more users than the basis was computed from, follow in the same way.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from scipy import linalg, sparse
from scipy.linalg import lapack

from warmstart.backbones.base import shape_of

_PASSES = 2  # 4 gave the same ndcg@20 on CiteULike-a
_EXTRA = 32  # additional columns during the iteration
_MAX_USERS = 200_000  # from which the basis is computed: half of CiteULike-a's lost .001 ndcg@20
_BLOCK = 1024


class RidgeSystem:
    """A factorised ridge regression, solved for any columns of targets.

    Args:
        features: features of the items of some rows, float32, shape (rows, width).
        n_items: number of items.
        penalty: positive definite, float32, shape (width, width).
    """

    def __init__(
        self, features: Callable[[slice], np.ndarray], n_items: int, penalty: np.ndarray
    ) -> None:
        self._features, self._n_items = features, n_items
        gram = penalty
        for rows in self._blocks:
            block = features(rows)
            gram += block.T @ block
        self._factor = linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)

    @property
    def _blocks(self) -> list[slice]:
        return [slice(start, start + _BLOCK) for start in range(0, self._n_items, _BLOCK)]

    def solve(self, targets: np.ndarray) -> np.ndarray:
        """Weights for targets of shape (items, columns): float32, shape (width, columns)."""
        right: Any = 0
        for rows in self._blocks:
            right = right + self._features(rows).T @ targets[rows]
        return np.ascontiguousarray(linalg.cho_solve(self._factor, right, check_finite=False))

    def fitted(self, targets: np.ndarray) -> np.ndarray:
        """Fitted values for targets of shape (items, columns), of the same shape."""
        weights = self.solve(targets)
        return np.concatenate([self._features(rows) @ weights for rows in self._blocks])

    @cached_property
    def leverage(self) -> np.ndarray:
        """Diagonal of the hat matrix, float32, shape (items,)."""
        (potri,) = lapack.get_lapack_funcs(("potri",), (self._factor[0],))
        inverse, _ = potri(self._factor[0], lower=True)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        blocks = (self._features(rows) for rows in self._blocks)
        return np.concatenate([np.einsum("ij,ij->i", block @ inverse, block) for block in blocks])


class KernelSystem:
    """As ``RidgeSystem``, for a kernel that all items span.

    Args:
        kernel: float32, shape (items, items); overwritten.
        l2: the regulariser.
    """

    def __init__(self, kernel: np.ndarray, l2: float) -> None:
        self._l2 = np.float32(l2)
        kernel[np.diag_indices_from(kernel)] += self._l2
        self._factor = linalg.cho_factor(kernel, lower=True, overwrite_a=True, check_finite=False)

    def solve(self, targets: np.ndarray) -> np.ndarray:
        """Weights for targets of shape (items, columns), of the same shape."""
        return np.ascontiguousarray(linalg.cho_solve(self._factor, targets, check_finite=False))

    def fitted(self, targets: np.ndarray) -> np.ndarray:
        """Fitted values, without the kernel: K (K + l2 I)^-1 T = T - l2 (K + l2 I)^-1 T."""
        return targets - self._l2 * self.solve(targets)

    @cached_property
    def leverage(self) -> np.ndarray:
        """Diagonal of the hat matrix, float32, shape (items,)."""
        (potri,) = lapack.get_lapack_funcs(("potri",), (self._factor[0],))
        inverse, _ = potri(self._factor[0], lower=True)
        return 1 - self._l2 * np.diag(inverse)


def low_rank_targets(
    fitted: Callable[[np.ndarray], np.ndarray],
    interactions: sparse.csr_matrix,
    rank: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Find a few targets that replace the users in a ridge regression, and the rows of users.

    A ridge fitted to the targets predicts z for a text; its score for a user is the product of z
    and the user's row. On CiteULike-a this form had a cold ndcg@20 of .190, .228, .250, .261 and
    .266 with 64, 128, 256, 512 and 1024 numbers a user, and the full regression .266; singular
    vectors of its weights gave .092 with 64, of the interactions .122 (docs/log.md).

    Args:
        fitted: fitted values of the ridge for columns of targets, float32, (items, columns).
        interactions: of the items of the fit, CSR, shape (items, n_users).
        rank: number of targets.
        rng: draws the start, and a sample of many users.

    Returns:
        The targets, and for each item the vector that it adds to the rows of its users; float32,
        both of shape (items, at most rank).
    """
    n_items, n_users = shape_of(interactions)
    if n_users > _MAX_USERS:
        interactions = interactions[:, np.sort(rng.choice(n_users, _MAX_USERS, replace=False))]
    activity = np.maximum(np.asarray(interactions.sum(axis=0)).ravel(), 1)
    weighted = sparse.csr_matrix(
        interactions @ sparse.diags_array(activity**-0.5), dtype=np.float32
    )
    back = weighted.T.tocsr()
    columns = min(rank + _EXTRA, n_items, shape_of(weighted)[1])
    basis = rng.standard_normal((shape_of(weighted)[1], columns), dtype=np.float32)
    centred = np.zeros((0, 0), np.float32)
    for number in range(_PASSES + 1):
        basis = _orthonormal(basis)
        centred = fitted(weighted @ basis)
        centred -= centred.mean(axis=0)
        if number < _PASSES:
            basis = back @ fitted(centred)
    _, values, right = np.linalg.svd(centred, full_matrices=False)
    used = values[:rank] > 1e-6 * values[0]
    turned, values = right[:rank][used].T, values[:rank][used]
    targets = weighted @ (basis @ turned)
    rows = fitted(centred @ (turned / np.square(values)))
    return targets.astype(np.float32), rows.astype(np.float32)


def _orthonormal(basis: np.ndarray) -> np.ndarray:
    """Orthonormal columns with the same span, but for directions lost in rounding.

    From the Gram matrix, which for a tall matrix is many times faster than a QR decomposition; the
    next pass makes up for its errors.
    """
    values, vectors = np.linalg.eigh((basis.T @ basis).astype(np.float64))
    kept = values > 1e-6 * values[-1]
    return basis @ (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)
