"""Co-mention: which items are mentioned in the same dialogues as those mentioned so far.

    p(i | j) = (n_ij + a p(i)) / (n_j + a),    score(h, i) = log mean over j in h of p(i | j)

n_ij is the number of dialogues that mention both items, n_j the sum of n_ij over i, p(i) the share
of item i among all mentions: Dirichlet smoothing with the prior a p (Zhai and Lafferty, "A Study of
Smoothing Methods for Language Models", TOIS 2004). Items with similar texts lend each other counts,
so that one that was mentioned twice is not left to two dialogues.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.config import Config
from warmstart.conversation.stand_ins import nearest_warm
from warmstart.data.histories import Histories

_SMALLEST = 1e-9


class CoMentionConfig(Config):
    """Settings of co-mentions.

    Attributes:
        smoothing: a, in mentions: how many of them weigh as much as the popularity of items. The
            default was chosen on a validation fold of ReDial.
        text_weight: weight of the counts of the ``stand_ins`` of a mentioned item relative to its
            own; 0 uses no texts.
        stand_ins: warm items with similar texts that lend counts to an item, or that speak for an
            item which no training dialogue mentions.
    """

    smoothing: float = Field(default=20.0, gt=0)
    text_weight: float = Field(default=1.0, ge=0)
    stand_ins: int = Field(default=10, ge=1)


@dataclass(frozen=True)
class CoMentions:
    """Fitted co-mentions.

    Attributes:
        counts: n_ij, float32 CSR, shape (n_items, n_items), lent ones included.
        popularity: p, float32, shape (n_items,); sums to 1.
        smoothing: a.
    """

    counts: sparse.csr_matrix
    popularity: np.ndarray
    smoothing: float

    def score(self, histories: Histories) -> np.ndarray:
        """Score all items of the fit: log p, float32, shape (histories, n_items).

        An item that was added after the fit is left out of the histories. A history without any
        item gets the log popularity.
        """
        n_items = len(self.popularity)
        mentioned = histories.where(histories.items < n_items).matrix(n_items)
        lengths = np.maximum(mentioned.getnnz(axis=1), 1)[:, None]
        weighted = mentioned @ self._by_total
        found = (weighted @ self.counts).toarray()
        prior = np.asarray(weighted.sum(axis=1)).reshape(-1, 1) * self.smoothing
        prior[mentioned.getnnz(axis=1) == 0] = 1
        found = (found + prior * self.popularity) / lengths
        return np.log(np.maximum(found, _SMALLEST)).astype(np.float32)

    @cached_property
    def _by_total(self) -> sparse.dia_array:
        """1 / (n_j + a) on the diagonal, float32."""
        totals = np.asarray(self.counts.sum(axis=1)).ravel() + self.smoothing
        return sparse.diags_array((1 / totals).astype(np.float32))

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of an artefact."""
        counts = self.counts
        return {
            "data": counts.data,
            "indices": counts.indices,
            "indptr": counts.indptr,
            "popularity": self.popularity,
        }

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray], config: CoMentionConfig) -> "CoMentions":
        """Rebuild from ``state``."""
        n_items = len(state["popularity"])
        counts = sparse.csr_matrix(
            (state["data"], state["indices"], state["indptr"]), shape=(n_items, n_items)
        )
        return cls(counts, state["popularity"], config.smoothing)


def fit_co_mentions(
    matrix: sparse.csr_matrix, vectors: np.ndarray | None, config: CoMentionConfig
) -> CoMentions:
    """Count co-mentions.

    Args:
        matrix: which dialogues mention which items, CSR, shape (dialogues, n_items).
        vectors: unit text vectors of the items, float32, shape (n_items, width); None lends no
            counts.
        config: the settings.
    """
    ones = matrix.copy()
    ones.data = np.ones(len(ones.data), np.float32)
    counts = sparse.csr_matrix(ones.T @ ones)
    counts.setdiag(0)
    mentions = np.asarray(ones.sum(axis=0), dtype=np.float32).ravel()
    if vectors is not None and config.text_weight and mentions.any():
        similar = nearest_warm(vectors, vectors, mentions > 0, config.stand_ins, own=True)
        lent = similar.matrix(len(mentions)) * np.float32(config.text_weight)
        counts = counts + lent @ counts
    counts = sparse.csr_matrix(counts, dtype=np.float32)
    counts.eliminate_zeros()
    return CoMentions(counts, mentions / max(mentions.sum(), 1), config.smoothing)
