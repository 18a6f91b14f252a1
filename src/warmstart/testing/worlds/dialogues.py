"""Dialogues in which a user tells the wanted parity, and the system recommends items of it.

    User:   i liked even pair of six      (mentions this item)
    System: have you seen the two four story
    User:   yes i want four eight
    System: try a couple six book

Each dialogue is about one parity, so an ideal system ranks the items of this parity first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.dialogues import SPEAKERS, Dialogues
from warmstart.data.histories import Histories
from warmstart.data.interactions import Interactions
from warmstart.data.queries import Queries
from warmstart.data.splits.dialogue_split import DialogueSplit
from warmstart.data.splits.dialogues import dialogues
from warmstart.testing.worlds.items import EVEN, ODD, external_ids, numbered_items

MENTIONS = 3  # items that a dialogue mentions: by the user, then twice by the system
_SPEAKERS = [SPEAKERS.index(name) for name in ("user", "system", "user", "system")]
_PARTS = ("train", "train", "valid", "test")


@dataclass(frozen=True)
class DialogueWorld:
    """Dialogues with their ideal answers.

    Attributes:
        split: by the protocol "dialogues".
        item_parity: 0 even, 1 odd; int64, shape (n_items,).
    """

    split: DialogueSplit
    item_parity: np.ndarray

    def ideal_scores(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """1 for items of the parity that the words of a query tell, else 0: float32."""
        wanted = [parity_of_words(text) for text in queries.texts or ()]
        same = np.array(wanted, np.int64)[:, None] == self.item_parity[items][None, :]
        return same.astype(np.float32)


def dialogue_world(*, n_dialogues: int = 80, n_items: int = 24, seed: int = 0) -> DialogueWorld:
    """Make dialogues: half train, a quarter validates, a quarter tests; both parities in each part.

    Args:
        n_dialogues: number of dialogues, a multiple of 8.
        n_items: number of items, half of them even.
        seed: seed of all random choices.
    """
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(n_items)
    catalogue = numbered_items(numbers, rng)
    parities = np.repeat(np.arange(n_dialogues) // len(_PARTS) % 2, MENTIONS)
    made = spoken(
        parities.reshape(-1, MENTIONS), np.arange(n_items), numbers % 2, catalogue.texts, rng
    )
    dataset = Dataset(
        "dialogues",
        external_ids("user", "str", range(n_dialogues)),
        catalogue,
        Interactions.from_arrays([], []),
        dialogues=made,
    )
    return DialogueWorld(dialogues(dataset), numbers % 2)


def spoken(
    parities: np.ndarray,
    rows: np.ndarray,
    item_parity: np.ndarray,
    texts: Sequence[str],
    rng: np.random.Generator,
) -> Dialogues:
    """Make one dialogue of four turns for each row of ``parities``.

    Args:
        parities: parity of each mentioned item, shape (dialogues, ``MENTIONS``); the user asks for
            that of the first.
        rows: the items that may be mentioned, distinct row numbers.
        item_parity: parity of every item.
        texts: text of every item.
        rng: draws items and words.
    """
    said, mentioned = [], []
    for wanted in parities.tolist():
        order = rng.permutation(rows)
        first, second, third = [], [], []
        for parity, turn in zip(wanted, (first, second, third), strict=True):
            turn.append(next(item for item in order if item_parity[item] == parity))
            order = order[order != turn[0]]
        words = rng.choice((EVEN, ODD)[wanted[0]], 2, replace=False)
        said += [
            f"i liked {texts[first[0]]}",
            f"have you seen {texts[second[0]]}",
            f"yes i want {' '.join(words)}",
            f"try {texts[third[0]]}",
        ]
        mentioned += [first, second, [], third]
    n_dialogues = len(parities)
    return Dialogues(
        ids=tuple(f"dialogue {number}" for number in range(n_dialogues)),
        offsets=np.arange(0, 4 * n_dialogues + 1, 4, dtype=np.int64),
        speakers=np.tile(np.array(_SPEAKERS, np.int8), n_dialogues),
        texts=tuple(said),
        items=Histories.from_lists(mentioned),
        parts=tuple(_PARTS[number % len(_PARTS)] for number in range(n_dialogues)),
    )


def parity_of_words(text: str) -> int:
    """The parity that most words of a text tell: 0 even, 1 odd."""
    words = text.split()
    return int(sum(w in ODD for w in words) > sum(w in EVEN for w in words))
