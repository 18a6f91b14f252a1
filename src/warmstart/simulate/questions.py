"""Questions to a judge: would this user, who liked these items, interact with that one?

A user is shown by the L of their items that are most similar to the one in question. Training
questions come from training interactions alone; the item itself is left out of what its users are
shown by. The hard ones are about users from the top of the filter's own ranking, which are the ones
that the judge will be asked about, the others about any. Each kind has both answers: were hard
questions always to be answered no, then being like an item would speak against a user. Which pairs
are held out is nowhere read, not even to spare them as negatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from warmstart.data.dataset import Dataset
from warmstart.simulate.support import DEPTHS, Support

_NONE = -1


@dataclass(frozen=True)
class Questions:
    """Pairs of an item and a user, with what the user is shown by.

    Attributes:
        items: positions in ``texts``, int32, shape (questions,).
        users: rows, int32, shape (questions,).
        shown: catalogue rows of the user's items most similar to the item, the best first; -1
            where the user has fewer. int32, shape (questions, L).
        similarities: theirs, cosine; 0 where there is none. float32, shape (questions, L).
        activity: log(1 + number of the user's items, without the one asked about), float32, shape
            (questions,).
        support: see ``simulate.support``, float32, shape (questions, depths).
        texts: what ``items`` points to.
        catalogue: what ``shown`` points to.
    """

    items: np.ndarray
    users: np.ndarray
    shown: np.ndarray
    similarities: np.ndarray
    activity: np.ndarray
    support: np.ndarray
    texts: Sequence[str]
    catalogue: Sequence[str]

    def __len__(self) -> int:
        return len(self.items)

    def at(self, rows: np.ndarray) -> "Questions":
        """Some of the questions."""
        return replace(
            self,
            items=self.items[rows],
            users=self.users[rows],
            shown=self.shown[rows],
            similarities=self.similarities[rows],
            activity=self.activity[rows],
            support=self.support[rows],
        )

    def history(self, row: int) -> list[str]:
        """The texts that the user of a question is shown by."""
        shown: list[int] = self.shown[row].tolist()
        return [self.catalogue[item] for item in shown if item != _NONE]


class Questioner:
    """Makes questions about users of the training data.

    Args:
        seen: training interactions, CSR, shape (n_users, n_items).
        vectors: text vectors of the catalogue, unit length, float32, shape (n_items, width).
        texts: of the catalogue.
        shown: L, how many items a user is shown by.
    """

    def __init__(
        self, seen: sparse.csr_matrix, vectors: np.ndarray, texts: Sequence[str], shown: int
    ) -> None:
        self._seen, self._vectors, self._texts, self._shown = seen, vectors, texts, shown
        self._support = Support(seen, vectors)

    def ask(
        self, items: np.ndarray, users: np.ndarray, vectors: np.ndarray, texts: Sequence[str]
    ) -> Questions:
        """Questions about items that no user has interacted with.

        Args:
            items: positions in ``vectors`` and ``texts``, int32, shape (questions,).
            users: rows, int32, shape (questions,).
            vectors: text vectors of the items, float32, shape (items, width).
            texts: of the items.
        """
        own = np.full(len(items), _NONE)
        return self._ask(items, users, own, vectors, texts)

    def ask_warm(self, items: np.ndarray, users: np.ndarray) -> Questions:
        """Questions about items of the catalogue, as if nobody had interacted with them."""
        return self._ask(items, users, items, self._vectors, self._texts)

    def _ask(
        self,
        items: np.ndarray,
        users: np.ndarray,
        own: np.ndarray,
        vectors: np.ndarray,
        texts: Sequence[str],
    ) -> Questions:
        shape = (len(items), self._shown)
        shown, similarities = np.full(shape, _NONE, np.int32), np.zeros(shape, np.float32)
        activity = np.zeros(len(items), np.float32)
        seen = self._seen
        for row, (item, user) in enumerate(zip(items, users, strict=True)):
            history = seen.indices[seen.indptr[user] : seen.indptr[user + 1]]
            history = history[history != own[row]]
            activity[row] = np.log1p(len(history))
            similar = self._vectors[history] @ vectors[item]
            best = np.argsort(-similar, kind="stable")[: self._shown]
            shown[row, : len(best)] = history[best]
            similarities[row, : len(best)] = similar[best]
        support = np.zeros((len(items), len(DEPTHS)), np.float32)
        for item in np.unique(items):
            rows = np.flatnonzero(items == item)
            support[rows] = self._support.of(vectors[item], users[rows], int(own[rows[0]]))
        return Questions(
            items.astype(np.int32), users.astype(np.int32), shown, similarities, activity, support,
            texts, self._texts,
        )  # fmt: skip


def training_questions(
    questioner: Questioner,
    data: Dataset,
    ranked: np.ndarray,
    items: np.ndarray,
    rng: np.random.Generator,
    *,
    hard: int,
    random: int,
) -> tuple[Questions, np.ndarray]:
    """Questions with known answers, from training interactions alone.

    Args:
        questioner: makes them.
        data: training interactions.
        ranked: the filter's best users of each of ``items``, int32, shape (items, depth).
        items: warm items, int32 rows.
        rng: draws.
        hard: questions an item and answer, at most, about users at the top of ``ranked``.
        random: as many about any users.

    Returns:
        The questions, and the answers: bool, shape (questions,).
    """
    users_of, asked = data.matrix.T.tocsr(), []
    for row, item in enumerate(items):
        likers = users_of.indices[users_of.indptr[item] : users_of.indptr[item + 1]]
        top, drawn = ranked[row], rng.integers(data.n_users, size=random)
        liked = np.isin(top, likers)
        chosen = [
            (rng.permutation(top[liked])[:hard], True),
            (rng.permutation(top[~liked])[:hard], False),
            (rng.permutation(likers)[:random], True),
            (drawn[~np.isin(drawn, likers)], False),
        ]
        asked += dict.fromkeys(
            (item, user, answer) for users, answer in chosen for user in users.tolist()
        )
    order = rng.permutation(len(asked))
    about, users, answers = (np.array(column) for column in zip(*asked, strict=True))
    questions = questioner.ask_warm(about[order].astype(np.int32), users[order].astype(np.int32))
    return questions, answers[order].astype(bool)
