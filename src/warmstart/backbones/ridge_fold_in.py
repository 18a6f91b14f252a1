"""Fold-in by least squares into any space of user and item vectors.

The vector of a new item is the closed form of ``least_squares``, with users frozen, as if their
vectors were those of iALS. Its targets are 0 and 1, while the scores of other models are on another
scale, so the result is multiplied by one constant: the least-squares match between warm vectors and
warm vectors that are folded in from their own training interactions.
"""

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.backbones.base import FactorBackbone, check_fold_in, shape_of
from warmstart.backbones.least_squares import Basis, solve_rows
from warmstart.backbones.limits import check_finite
from warmstart.config import Config
from warmstart.sampling import evenly_spaced

_SAMPLE_SIZE = 2000  # warm items that the scale is computed from


class RidgeFoldInConfig(Config):
    """Settings of the fold-in.

    Attributes:
        fold_in_alpha: confidence added by an interaction of weight 1.
        fold_in_l2: regulariser of the new vector, in units of the mean eigenvalue of the users'
            Gram matrix.
    """

    fold_in_alpha: float = Field(default=3.0, gt=0)
    fold_in_l2: float = Field(default=0.1, gt=0)


class RidgeFoldIn(FactorBackbone):
    """A factor backbone whose fold-in is a closed form; ``config`` is a ``RidgeFoldInConfig``."""

    _scale = 1.0
    _basis: Basis | None = None

    def fold_in(
        self,
        interactions: sparse.csr_matrix,
        *,
        prior: np.ndarray | None = None,
        prior_weight: float = 1.0,
    ) -> np.ndarray:
        users, _ = self.vectors
        rows = check_fold_in(self.name, interactions, len(users), prior, users.shape[1])
        return self._ridge(rows, prior, prior_weight)

    def _match_scale(self, train: sparse.csr_matrix) -> np.ndarray:
        """Compute the scale from warm items, and return a sample of them, evenly spaced."""
        _, items = self.vectors
        warm = np.unique(train.indices)
        sample = warm[evenly_spaced(len(warm), _SAMPLE_SIZE)]
        self._basis, self._scale = None, 1.0
        ridge = self._ridge(train[:, sample].T.tocsr(), None, 1.0)
        with np.errstate(all="ignore"):
            self._scale = float(np.vdot(ridge, items[sample]) / np.vdot(ridge, ridge))
        check_finite(self.name, "fold_in_alpha and fold_in_l2", ridge, self._scale)
        return sample

    def _ridge(
        self, rows: sparse.csr_matrix, prior: np.ndarray | None, prior_weight: float
    ) -> np.ndarray:
        if self._basis is None:
            self._basis = Basis.of(self.vectors[0])
        unit = float(self._basis.eigenvalues.mean(dtype=np.float64))  # of the users' Gram matrix
        strength = self.config.fold_in_l2 * unit * prior_weight
        ridge = np.full(shape_of(rows)[0], strength, np.float32)
        start = None if prior is None else prior / np.float32(self._scale)
        found, _ = solve_rows(
            self._basis, rows, alpha=self.config.fold_in_alpha, ridge=ridge, prior=start
        )
        return found * np.float32(self._scale)
