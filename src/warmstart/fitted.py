"""The data that a fitted recommender keeps: ids, catalogue, histories and choices."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.ids import Ids


@dataclass
class Fitted:
    """The training data that recommendations and the artefact need.

    Attributes:
        user_ids: external user ids.
        catalogue: all items; grows with ``add_items``.
        positives: training interactions, float32 CSR, shape (n_users, n_items).
        below_threshold: pairs rated below the threshold of a positive, float32 CSR of the same
            shape; they count as seen but not as positives.
        warm: whether each item has a training interaction, bool, shape (n_items,).
        histories: the training interactions of each user, oldest first.
        choices: nested settings that ``fit`` chose on validation.
        lms: portable references to the language models of the fit, by role ("encoder", "causal").
    """

    user_ids: Ids
    catalogue: Catalogue
    positives: sparse.csr_matrix
    below_threshold: sparse.csr_matrix
    warm: np.ndarray
    histories: Histories
    choices: dict[str, Any] = field(default_factory=dict)
    lms: dict[Any, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def from_dataset(cls, data: Dataset) -> "Fitted":
        """Keep the needed parts of ``data``."""
        below = data.below_threshold.matrix(data.n_users, data.n_items)
        histories = Histories(data.histories.offsets, data.histories.items)
        return cls(data.user_ids, data.catalogue, data.matrix, below, data.warm, histories)

    def seen(self, users: np.ndarray) -> sparse.csr_matrix:
        """Items that users (row numbers) have seen: float32 CSR, shape (users, n_items)."""
        return sparse.csr_matrix(self.positives[users] + self.below_threshold[users])

    def extend(self, new: Catalogue) -> None:
        """Append cold items.

        Raises:
            DataError: an id of ``new`` is already in the catalogue.
        """
        self.catalogue = self.catalogue.extended(new)
        self.warm = np.concatenate([self.warm, np.zeros(len(new), bool)])
        shape = (len(self.user_ids), len(self.catalogue))
        self.positives = _widened(self.positives, shape)
        self.below_threshold = _widened(self.below_threshold, shape)


def _widened(matrix: sparse.csr_matrix, shape: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=shape)
