"""EASE: a closed-form linear item model.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, eq. 8: with
P = (XᵀX + λI)⁻¹, the weights are B = I - P diag(1/diag P), whose diagonal is zero, and the scores
are XB.

With fewer users than items, the same scores follow from M = (XXᵀ + λI)⁻¹ over users, since
P = (I - XᵀMX)/λ and XP = MX:

    score(u, i) = X[u, i] - (M X)[u, i] / P[i, i],    P[i, i] = (1 - xᵢᵀ M xᵢ) / λ

so neither P nor B is ever formed. Fitting is counted as min(users, items)² x 12 bytes of memory; a
fitted model keeps a third of that.

Column i of B is the ridge regression of item i's column on all other columns. A new item is
regressed on the warm columns in the same way, so fold-in gives exactly the column that EASE would
have learned for it; only the columns of the other items stay as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.linalg import get_lapack_funcs

from warmstart.backbones.base import (
    Backbone,
    Validate,
    check_fold_in,
    check_train,
    required_arrays,
    shape_of,
)
from warmstart.backbones.limits import check_finite
from warmstart.backbones.threads import Array, Integer, kernel, over_rows
from warmstart.config import Config
from warmstart.errors import NotFittedError, UnsupportedError

_BLOCK = 256  # rows of M, or item columns, per block


class EaseConfig(Config):
    """Settings of EASE.

    Attributes:
        l2: λ of the ridge regression; 20 suits small sparse logs, a few hundred suit dense ones.
        max_memory_gib: limit on the memory of fitting, in GiB; above it ``fit`` raises
            UnsupportedError.
    """

    kind: Literal["ease"] = "ease"
    l2: float = Field(default=20.0, gt=0)
    max_memory_gib: float = Field(default=8.0, gt=0)


class Ease(Backbone):
    """EASE, solved over users or over items, whichever are fewer."""

    name = "ease"
    config_type = EaseConfig

    def __init__(self, config: EaseConfig | None = None) -> None:
        super().__init__(config)
        self._train: sparse.csr_matrix | None = None
        self._inverse = np.zeros((0, 0), np.float32)
        self._diagonal = np.zeros(0)
        self._users_of_items: sparse.csr_matrix | None = None

    @property
    def _fitted(self) -> sparse.csr_matrix:
        if self._train is None:
            raise NotFittedError("backbone ease: call fit or restore first")
        return self._train

    @property
    def _over_users(self) -> bool:
        n_users, n_items = shape_of(self._fitted)
        return n_users < n_items

    def fit(
        self,
        train: sparse.csr_matrix,
        *,
        validate: Validate | None = None,
        rng: np.random.Generator,
        run_folder: Path | None = None,
    ) -> Self:
        train = check_train(self.name, train)
        side = min(shape_of(train))
        # Bytes per cell: 8 of the Gram matrix, whose place the inverse takes, and 4 in float32.
        gib = 12 * side**2 / 2**30
        if gib > self.config.max_memory_gib:
            raise UnsupportedError(
                f"backbone ease: {side} rows need {gib:.1f} GiB, max_memory_gib allows "
                f"{self.config.max_memory_gib}; raise it or choose another backbone"
            )
        self._train, self._users_of_items = train, None
        gram = upper_gram(train if self._over_users else train.T.tocsr())
        inverse = ridge_inverse(gram, self.config.l2)
        if self._over_users:
            self._diagonal = (1 - _quadratic(inverse, train)) / self.config.l2
        else:
            self._diagonal = np.diag(inverse).copy()
        self._inverse = inverse.astype(np.float32)
        with np.errstate(all="ignore"):
            check_finite(self.name, "l2", self._inverse, (1 / self._diagonal).astype(np.float32))
        return self

    def user_states(self, users: np.ndarray) -> "EaseStates":
        known = self._fitted[users]
        return EaseStates(known, lambda: -self._inverse[users])

    @property
    def folds_in_users(self) -> bool:
        return True

    def history_states(self, histories: sparse.csr_matrix) -> "EaseStates":
        train, l2 = self._fitted, np.float32(self.config.l2)
        known = sparse.csr_matrix(histories[:, : shape_of(train)[1]])
        if self._users_of_items is None:
            self._users_of_items = train.T.tocsr()
        overlap = known @ self._users_of_items
        # xB = x - xP / diag(P), and xP = (x - (xXᵀ) M X) / λ
        return EaseStates(known, lambda: overlap @ self._inverse / l2, float(-1 / l2))

    def warm_items(self, items: np.ndarray) -> "EaseItems":
        scale = (1 / self._diagonal[items]).astype(np.float32)
        return EaseItems(items, scale, self._fitted[:, items].tocsc() if self._over_users else None)

    def score_states(self, states: "EaseStates", items: "EaseItems") -> np.ndarray:
        if items.columns is not None:
            own = states.histories[:, items.rows].toarray()
            scores = np.ascontiguousarray((items.columns.T @ states.through.T).T)
            if states.own:
                scores += own * states.own
            scores *= items.scale
            scores += own
            return scores
        used = np.unique(states.histories.indices)
        weights = self._inverse[used]
        if not np.array_equal(items.rows, np.arange(weights.shape[1])):
            weights = weights[:, items.rows]
        weights *= -items.scale
        (own,) = np.nonzero(np.isin(items.rows, used))
        weights[np.searchsorted(used, items.rows[own]), own] = 0.0  # 1 - P_ii / P_ii, exactly
        return states.histories[:, used] @ weights

    def fold_in(
        self,
        interactions: sparse.csr_matrix,
        *,
        prior: np.ndarray | None = None,
        prior_weight: float = 1.0,
    ) -> np.ndarray:
        """Compute ridge columns over the items, (new_items, n_items); see ``Backbone.fold_in``.

        Raises:
            DataError: a shape does not match the fitted model, or a weight is outside (0, 1].
            UnsupportedError: ``prior_weight`` is not 1; another regulariser needs another inverse.
        """
        train = self._fitted
        n_users, n_items = shape_of(train)
        targets = check_fold_in(self.name, interactions, n_users, prior, n_items)
        if prior_weight != 1.0:
            raise UnsupportedError(f"backbone ease: prior_weight must be 1, got {prior_weight}")
        folded = np.empty((shape_of(targets)[0], n_items), np.float32)
        for start in range(0, len(folded), _BLOCK):
            rows = slice(start, start + _BLOCK)
            residual = targets[rows].toarray()
            if prior is not None:
                residual -= (train @ prior[rows].T).T
            if self._over_users:
                folded[rows] = (train.T @ (self._inverse @ residual.T)).T
            else:
                folded[rows] = (train.T @ residual.T).T @ self._inverse
            if prior is not None:
                folded[rows] += prior[rows]
        return folded

    def score_folded_states(self, states: "EaseStates", folded: np.ndarray) -> np.ndarray:
        used = np.unique(states.histories.indices)
        return states.histories[:, used] @ np.ascontiguousarray(folded[:, used].T)

    def state(self) -> dict[str, np.ndarray]:
        train = self._fitted
        return {
            "shape": np.array(shape_of(train), np.int64),
            "indptr": train.indptr.astype(np.int64),
            "indices": train.indices.astype(np.int32),
            "weights": train.data,
            "inverse": self._inverse,
            "diagonal": self._diagonal,
        }

    def restore(self, state: dict[str, np.ndarray]) -> Self:
        shape, indptr, indices, weights, inverse, diagonal = required_arrays(
            self.name, state, "shape", "indptr", "indices", "weights", "inverse", "diagonal"
        )
        n_users, n_items = (int(n) for n in shape)
        self._train = sparse.csr_matrix((weights, indices, indptr), shape=(n_users, n_items))
        self._inverse, self._diagonal, self._users_of_items = inverse, diagonal, None
        return self


class EaseStates:
    """Users as EASE scores them.

    Args:
        histories: their items, CSR, shape (queries, n_items).
        through: computes V, float32, shape (queries, n_users), if solved over users: the score of
            item i is then x_i + (own x_i + (VX)_i) / P[i, i].
        own: the factor in that score.
    """

    def __init__(
        self,
        histories: sparse.csr_matrix,
        through: Callable[[], np.ndarray],
        own: float = 0.0,
    ) -> None:
        self.histories, self.own, self._through = histories, np.float32(own), through

    @cached_property
    def through(self) -> np.ndarray:
        """V; computed on first use, since folded-in items do not need it."""
        return self._through()


@dataclass(frozen=True)
class EaseItems:
    """Items of the fit as EASE scores them.

    Attributes:
        rows: int32 row numbers, shape (items,).
        scale: 1 / P[i, i], float32, shape (items,).
        columns: their interactions, CSC, shape (n_users, items), if solved over users; else None.
    """

    rows: np.ndarray
    scale: np.ndarray
    columns: sparse.csc_matrix | None


def upper_gram(matrix: sparse.csr_matrix) -> np.ndarray:
    """Compute the upper triangle of XXᵀ densely: float64, (rows, rows), zero below the diagonal.

    A sparse product takes longer and more memory, since few of the numbers are zero.

    Args:
        matrix: X, CSR with sorted indices.
    """
    other = matrix.T.tocsr()
    gram = np.zeros((shape_of(matrix)[0],) * 2)
    over_rows(
        _gram_rows, len(gram), matrix.indptr, matrix.indices, matrix.data, other.indptr,
        other.indices, other.data, gram,
    )  # fmt: skip
    return gram


@kernel
def _gram_rows(
    first: Integer, last: Integer, indptr: Array, indices: Array, data: Array,
    other_indptr: Array, other_indices: Array, other_data: Array, gram: Array,
) -> None:  # fmt: skip
    for row in range(first, last):
        for k in range(indptr[row], indptr[row + 1]):
            middle, weight = indices[k], np.float64(data[k])
            for m in range(other_indptr[middle + 1] - 1, other_indptr[middle] - 1, -1):
                column = other_indices[m]
                if column < row:
                    break  # columns are sorted
                gram[row, column] += weight * other_data[m]


def ridge_inverse(gram: np.ndarray, l2: float) -> np.ndarray:
    """Compute (gram + l2 I)⁻¹ by Cholesky, in the dtype of ``gram``, which is overwritten.

    Args:
        gram: positive semi-definite, float32 or float64, C order; only its upper triangle is read.
        l2: above 0, and not too small for that dtype.
    """
    gram[np.diag_indices_from(gram)] += l2
    potrf, potri = get_lapack_funcs(("potrf", "potri"), (gram,))
    # LAPACK expects column-major arrays: the transpose of a symmetric C array avoids a copy
    factor, info = potrf(gram.T, lower=1, overwrite_a=1)
    assert info == 0, "a Gram matrix plus l2 > 0 is positive definite"
    inverse, info = potri(factor, lower=1, overwrite_c=1)
    assert info == 0
    for start in range(0, len(inverse), _BLOCK):  # mirror the lower triangle
        end = start + _BLOCK
        inverse[:start, start:end] = inverse[start:end, :start].T
        corner = inverse[start:end, start:end]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
    return inverse.T


def _quadratic(inverse: np.ndarray, train: sparse.csr_matrix) -> np.ndarray:
    """Compute xᵢᵀ M xᵢ for every item column xᵢ: float64, shape (n_items,)."""
    columns = train.T.tocsr()
    result = np.empty(shape_of(columns)[0])
    over_rows(
        _quadratic_rows, len(result), columns.indptr, columns.indices, columns.data, inverse, result
    )
    return result


@kernel
def _quadratic_rows(
    first: Integer, last: Integer, indptr: Array, indices: Array, data: Array, inverse: Array,
    result: Array,
) -> None:  # fmt: skip
    """Add up the entries of M between the users of an item; all others are multiplied by zero."""
    for row in range(first, last):
        total = 0.0
        for k in range(indptr[row], indptr[row + 1]):
            for m in range(indptr[row], indptr[row + 1]):
                total += data[k] * data[m] * inverse[indices[k], indices[m]]
        result[row] = total
