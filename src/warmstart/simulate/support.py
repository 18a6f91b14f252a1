"""Support: is what a user has liked by the people who like what is nearest to a new item?

Nobody is known to like the new item i, but of the K warm items N_K whose texts are nearest to it
it is known who does. With H_u what user u has interacted with, and S(h, n) the cosine of the users
of two items, a user counting 1 / |H_u| in it,

    support_K(i, u) = log(1 + 10 / sqrt|H_u| * sum_{n in N_K} w_n sum_{h in H_u} S(h, n))

where w_n, in proportion to the cube of the texts' cosine, sum to 1. A warm item stands in for a new
one with itself left out of N_K and of H_u. It comes from interactions and text vectors alone, so it
is the same behind every backbone.
"""

import numpy as np
from scipy import sparse

DEPTHS = np.array([3, 10, 30])  # the values of K
_SCALE = 10.0  # brings most sums to about 1, where the logarithm bends
_SMALLEST = 1e-12


class Support:
    """Support of items by users of the training data.

    Args:
        seen: training interactions, CSR, shape (n_users, n_items).
        vectors: text vectors of the items, unit length, float32, shape (n_items, width).
    """

    def __init__(self, seen: sparse.csr_matrix, vectors: np.ndarray) -> None:
        self._warm = np.flatnonzero(np.bincount(seen.indices, minlength=len(vectors)))
        self._vectors = vectors[self._warm]
        liked = seen[:, self._warm].astype(bool).astype(np.float32)
        self._histories, self._lengths = liked, np.diff(liked.indptr)
        each = 1 / np.sqrt(np.maximum(self._lengths, 1))
        weighed = sparse.diags(each) @ liked
        norms = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=0)).ravel())
        unit = weighed @ sparse.diags(1 / norms)
        self._items = sparse.csr_matrix(unit.T, dtype=np.float32)  # (warm items, users)

    def of(self, vector: np.ndarray, users: np.ndarray, own: int) -> np.ndarray:
        """Support of one item by some users.

        Args:
            vector: its text vector, float32, shape (width,).
            users: rows, int32, shape (users,).
            own: its row, if it is warm and to be taken for new; else -1.

        Returns:
            Float32, shape (users, len(DEPTHS)).
        """
        histories, lengths = self._histories[users], self._lengths[users]
        similar = self._vectors @ vector
        if not len(similar):
            return np.zeros((len(users), len(DEPTHS)), np.float32)
        at = int(np.searchsorted(self._warm, own))
        left_out = own >= 0 and at < len(self._warm) and self._warm[at] == own
        if left_out:
            similar[at] = -np.inf
        nearest = np.argsort(-similar, kind="stable")[: DEPTHS[-1]]
        alike = self._items[nearest] @ self._items.T  # S, (nearest, warm items)
        sums = (histories @ alike.T).toarray()
        if left_out:
            mine = histories[:, [at]].toarray()
            sums, lengths = sums - mine * alike[:, [at]].toarray().T, lengths - mine[:, 0]
        weights = np.clip(similar[nearest], 0, None) ** 3
        last = np.minimum(DEPTHS, len(nearest)) - 1
        means = np.cumsum(weights * sums, axis=1)[:, last]
        means /= np.maximum(np.cumsum(weights)[last], _SMALLEST)
        roots = np.sqrt(np.maximum(lengths, 1))[:, None]
        return np.log1p(_SCALE * np.maximum(means, 0) / roots).astype(np.float32)
