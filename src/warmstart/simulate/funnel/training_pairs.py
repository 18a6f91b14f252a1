"""Pairs of an item and a user for a judge: would this user, with this history, like that item?

A user is described by the L items of their history that are most similar to the item of the pair.
Training pairs come from training interactions alone; the item itself is left out of its users'
histories. Hard pairs take users from the top of the filter's ranking, where the judge is applied;
random pairs take any users. Both kinds contain positives and negatives: if all hard pairs were
negative, the judge would learn that similarity to an item counts against a user (docs/log.md).
Held-out interactions are not used, not even to exclude them from the negatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from warmstart.data.dataset import Dataset
from warmstart.simulate.funnel.neighbours import NEIGHBOUR_COUNTS, NeighbourEvidence

_PADDING = -1


@dataclass(frozen=True)
class Pairs:
    """Pairs of an item and a user, with the user's history and features.

    Attributes:
        items: positions in ``texts``, int32, shape (pairs,).
        users: row numbers, int32, shape (pairs,).
        history: row numbers of the user's items most similar to the item, most similar first; -1
            pads a short history. int32, shape (pairs, L).
        similarities: their cosines with the item, 0 for padding; float32, shape (pairs, L).
        activity: log(1 + length of the user's history without the item), float32, shape (pairs,).
        evidence: see ``simulate.funnel.neighbours``, float32, shape (pairs, neighbour counts).
        texts: the texts that ``items`` index.
        catalogue_texts: the texts that ``history`` indexes.
    """

    items: np.ndarray
    users: np.ndarray
    history: np.ndarray
    similarities: np.ndarray
    activity: np.ndarray
    evidence: np.ndarray
    texts: Sequence[str]
    catalogue_texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.items)

    def at(self, rows: np.ndarray) -> "Pairs":
        """Return the pairs at these positions."""
        return replace(
            self,
            items=self.items[rows],
            users=self.users[rows],
            history=self.history[rows],
            similarities=self.similarities[rows],
            activity=self.activity[rows],
            evidence=self.evidence[rows],
        )

    def history_texts(self, row: int) -> list[str]:
        """Return the texts of the history of one pair, most similar item first."""
        items: list[int] = self.history[row].tolist()
        return [self.catalogue_texts[item] for item in items if item != _PADDING]

    def features(self) -> np.ndarray:
        """Stack similarities, activity and evidence, float32, shape (pairs, features)."""
        return np.column_stack([self.similarities, self.activity, self.evidence])


class PairBuilder:
    """Builds pairs with users of the training data: histories, similarities and evidence.

    Args:
        seen: training interactions, CSR, shape (n_users, n_items).
        vectors: text vectors of the catalogue, unit length, float32, shape (n_items, width).
        texts: texts of the catalogue.
        history_length: L, the number of items that describe a user.
    """

    def __init__(
        self,
        seen: sparse.csr_matrix,
        vectors: np.ndarray,
        texts: Sequence[str],
        history_length: int,
    ) -> None:
        self._seen, self._vectors, self._texts = seen, vectors, texts
        self._history_length = history_length
        self._evidence = NeighbourEvidence(seen, vectors)

    def new_item_pairs(
        self, items: np.ndarray, users: np.ndarray, vectors: np.ndarray, texts: Sequence[str]
    ) -> Pairs:
        """Build pairs with items that no user has interacted with.

        Args:
            items: positions in ``vectors`` and ``texts``, int32, shape (pairs,).
            users: row numbers, int32, shape (pairs,).
            vectors: text vectors of the items, float32, shape (items, width).
            texts: texts of the items.
        """
        return self._build(items, users, np.full(len(items), _PADDING), vectors, texts)

    def warm_item_pairs(self, items: np.ndarray, users: np.ndarray) -> Pairs:
        """Build pairs with items of the catalogue as if nobody had interacted with them."""
        return self._build(items, users, items, self._vectors, self._texts)

    def _build(
        self,
        items: np.ndarray,
        users: np.ndarray,
        left_out: np.ndarray,
        vectors: np.ndarray,
        texts: Sequence[str],
    ) -> Pairs:
        shape = (len(items), self._history_length)
        histories, similarities = np.full(shape, _PADDING, np.int32), np.zeros(shape, np.float32)
        activity = np.zeros(len(items), np.float32)
        seen = self._seen
        for row, (item, user) in enumerate(zip(items, users, strict=True)):
            history = seen.indices[seen.indptr[user] : seen.indptr[user + 1]]
            history = history[history != left_out[row]]
            activity[row] = np.log1p(len(history))
            cosines = self._vectors[history] @ vectors[item]
            best = np.argsort(-cosines, kind="stable")[: self._history_length]
            histories[row, : len(best)] = history[best]
            similarities[row, : len(best)] = cosines[best]
        evidence = np.zeros((len(items), len(NEIGHBOUR_COUNTS)), np.float32)
        for item in np.unique(items):
            rows = np.flatnonzero(items == item)
            evidence[rows] = self._evidence.of(vectors[item], users[rows], int(left_out[rows[0]]))
        return Pairs(
            items.astype(np.int32), users.astype(np.int32), histories, similarities, activity,
            evidence, texts, self._texts,
        )  # fmt: skip


def training_pairs(
    builder: PairBuilder,
    data: Dataset,
    ranked: np.ndarray,
    items: np.ndarray,
    rng: np.random.Generator,
    *,
    hard: int,
    random: int,
) -> tuple[Pairs, np.ndarray]:
    """Sample labelled pairs from training interactions alone.

    Args:
        builder: builds the pairs.
        data: training interactions.
        ranked: the filter's top users of each of ``items``, int32, shape (items, pool).
        items: row numbers of warm items, int32.
        rng: draws users and the order of the pairs.
        hard: maximum number of pairs per item and label with users from ``ranked``.
        random: maximum number of pairs per item and label with any users.

    Returns:
        The pairs and their labels, bool, shape (pairs,).
    """
    users_of, labelled = data.matrix.T.tocsr(), []
    for row, item in enumerate(items):
        positives = users_of.indices[users_of.indptr[item] : users_of.indptr[item + 1]]
        top, drawn = ranked[row], rng.integers(data.n_users, size=random)
        is_positive = np.isin(top, positives)
        chosen = [
            (rng.permutation(top[is_positive])[:hard], True),
            (rng.permutation(top[~is_positive])[:hard], False),
            (rng.permutation(positives)[:random], True),
            (drawn[~np.isin(drawn, positives)], False),
        ]
        labelled += dict.fromkeys(
            (item, user, label) for users, label in chosen for user in users.tolist()
        )
    order = rng.permutation(len(labelled))
    pair_items, users, labels = (np.array(column) for column in zip(*labelled, strict=True))
    pairs = builder.warm_item_pairs(
        pair_items[order].astype(np.int32), users[order].astype(np.int32)
    )
    return pairs, labels[order].astype(bool)
