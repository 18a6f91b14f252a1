"""A factor backbone as a model of histories: a state for anybody, from vectors of items alone.

A factor backbone has a vector for each user of its fit, which knows all training events of it,
the one that is to be predicted too. The state of a history is the weighted least-squares fit of
``least_squares`` to its items with the items' vectors frozen, so it knows what the history has and
no more. Its targets are 0 and 1, so it is multiplied by one constant, which matches the users'
vectors of the fit in the least-squares sense.
"""

import numpy as np
from scipy import sparse

from warmstart.backbones.base import FactorBackbone
from warmstart.backbones.least_squares import Basis, solve_rows
from warmstart.backbones.limits import check_finite
from warmstart.data.histories import Histories
from warmstart.errors import DataError
from warmstart.sampling import evenly_spaced

_ALPHA, _L2 = 3.0, 0.1  # as the defaults of ``RidgeFoldInConfig``
_SAMPLE_SIZE = 2000  # users that the scale is computed from
_PREFIXES_AT_ONCE = 65_536


class FactorHistories:
    """States of histories in the space of a factor backbone.

    Args:
        backbone: the fitted backbone.
        matrix: the interactions of its fit, CSR, shape (n_users, n_items).
        scale: factor on the states; None matches the users' vectors.
    """

    def __init__(
        self, backbone: FactorBackbone, matrix: sparse.csr_matrix, scale: float | None = None
    ) -> None:
        self.backbone = backbone
        self._vectors = backbone.vectors[1].copy()
        self._vectors[matrix.getnnz(axis=0) == 0] = np.nan
        self._basis = Basis.of(np.nan_to_num(self._vectors))
        self.scale = 1.0
        self.scale = self._matched(matrix) if scale is None else scale

    @property
    def item_vectors(self) -> np.ndarray:
        """Vectors of the items, float32, shape (n_items, width); NaN without training events."""
        return self._vectors

    def encode(self, histories: Histories, vectors: np.ndarray | None = None) -> np.ndarray:
        """Compute the state of each history; see ``SequenceBackbone.encode``."""
        known, table = self._readable(histories, vectors)
        states = self._solved(known.matrix(len(table)), table)
        states[known.lengths == 0] = np.nan
        return states

    def encode_events(self, histories: Histories, vectors: np.ndarray | None = None) -> np.ndarray:
        """Compute the state after every event; see ``SequenceBackbone.encode_events``."""
        known, table = self._readable(histories.numbered, vectors)
        states = np.full((len(histories.items), table.shape[1]), np.nan, np.float32)
        starts = known.offsets[known.queries]
        for begin in range(0, len(known.items), _PREFIXES_AT_ONCE):
            events = np.arange(begin, min(begin + _PREFIXES_AT_ONCE, len(known.items)))
            lengths = events - starts[events] + 1
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            places = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - starts[events], lengths)
            prefixes = Histories(offsets.astype(np.int64), known.items[places])
            states[known.numbers[events]] = self._solved(prefixes.matrix(len(table)), table)
        return states

    def _readable(
        self, histories: Histories, vectors: np.ndarray | None
    ) -> tuple[Histories, np.ndarray]:
        table = self._vectors if vectors is None else vectors
        if table.shape[1:] != self._vectors.shape[1:]:
            raise DataError(
                f"backbone {self.backbone.name}: vectors have shape {table.shape}; allowed: "
                f"(items, {self._vectors.shape[1]})"
            )
        known = np.asarray(np.isfinite(table).all(axis=1))
        return histories.where(known[histories.items]), table

    def _solved(self, rows: sparse.csr_matrix, table: np.ndarray) -> np.ndarray:
        basis = self._basis
        if table is not self._vectors:
            factors = np.nan_to_num(table) @ basis.rotation
            basis = Basis(basis.rotation, basis.eigenvalues, np.ascontiguousarray(factors))
        strength = _L2 * float(basis.eigenvalues.mean(dtype=np.float64))
        ridge = np.full(rows.indptr.size - 1, strength, np.float32)
        found, _ = solve_rows(basis, rows, alpha=_ALPHA, ridge=ridge)
        return found * np.float32(self.scale)

    def _matched(self, matrix: sparse.csr_matrix) -> float:
        users = np.flatnonzero(matrix.getnnz(axis=1))
        users = users[evenly_spaced(len(users), _SAMPLE_SIZE)]
        ones = sparse.csr_matrix(matrix[users] > 0, dtype=np.float32)
        found, wanted = self._solved(ones, self._vectors), self.backbone.vectors[0][users]
        with np.errstate(all="ignore"):
            scale = float(np.vdot(found, wanted) / np.vdot(found, found))
        check_finite(self.backbone.name, "the settings of the training", found, scale)
        return scale
