"""``DialogueSplit``: held-out dialogues, in which the turns of the system ask for items."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse

from warmstart.data.dataset import Dataset
from warmstart.data.dialogues import SPEAKERS, Dialogues, dialogue_text
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.data.splits.base import Mask, Part, Protocol, Split
from warmstart.data.splits.part_codes import CODE_OF, PART_NAMES, TEST, TRAIN
from warmstart.data.splits.sequences import before, pairs_of, repeated
from warmstart.data.tasks import RankingTask, Task
from warmstart.errors import DataError

_SYSTEM = SPEAKERS.index("system")


@dataclass(frozen=True)
class Requests:
    """What was said before each item that the system recommended, and the item.

    Attributes:
        queries: the text of the turns before, and the items that they mention.
        targets: int32, shape (requests,): the recommended items.
        dialogues: int32, shape (requests,): the dialogue of each request, a position.
    """

    queries: Queries
    targets: np.ndarray
    dialogues: np.ndarray


@dataclass(frozen=True, repr=False)
class DialogueSplit(Split):
    """A split in which each dialogue has one part.

    The queries are the requests of the held-out dialogues; see ``requests_of``. Candidates are the
    catalogue: the items that some dialogue mentions would tell what test mentions. The other new
    items of the turn stay candidates, as in published figures. Queries of one dialogue are one
    group, and ties are ranked in the middle. One slice, "all".

    Attributes:
        dataset: the dialogues as users: each row is a dialogue, and its interactions are the items
            that it mentions, in order; see ``dialogues_as_users``.
        parts: int8, shape (dialogues,): the part of each dialogue; see ``part_codes``.
        manifest: see ``Split``.
    """

    dataset: Dataset
    parts: np.ndarray
    manifest: dict[str, Any] = field(default_factory=dict)
    protocol: Protocol = "dialogues"

    @property
    def dialogues(self) -> Dialogues:
        """All dialogues of the data set."""
        if self.dataset.dialogues is None:
            raise DataError("the split is broken: it has no dialogues")
        return self.dataset.dialogues

    def _train(self) -> Dataset:
        rows = np.flatnonzero(self.parts == TRAIN)
        events = self.dataset.interactions
        return replace(
            self.dataset,
            interactions=events.where(np.isin(events.users, rows)),
            dialogues=take_dialogues(self.dialogues, rows),
        )

    @property
    def masks(self) -> tuple[Mask, ...]:
        """Masks: "all", the items mentioned before the turn; "none"."""
        return ("all", "none")

    def tasks(self, part: Part, mask: Mask | None = None) -> dict[str, Task]:
        mask = self._check_words(part, mask)
        n_items = self.dataset.n_items
        asked = requests_of(self.dialogues, self.parts == CODE_OF[part])
        n_queries = len(asked.targets)
        relevance = sparse.csr_matrix(
            (np.ones(n_queries, bool), asked.targets, np.arange(n_queries + 1)),
            (n_queries, n_items),
        )
        masked = sparse.csr_matrix(relevance.shape, dtype=bool)
        if mask == "all" and asked.queries.histories is not None:
            masked = pairs_of(asked.queries.histories, n_items)
        return {
            "all": RankingTask(
                "all",
                asked.queries,
                np.arange(n_items, dtype=np.int32),
                relevance,
                masked,
                groups=asked.dialogues,
                ties="middle",
            )
        }

    def _hash(self) -> str:
        digest = hashlib.sha256(f"{self.protocol} {self.dataset.hash}".encode())
        digest.update(self.dialogues.hash.encode() + self.parts.tobytes())
        return digest.hexdigest()

    def part_counts(self) -> dict[str, dict[str, int]]:
        spoken, counts = self.dialogues, {}
        mentioned = spoken.items.lengths
        turn_parts = np.repeat(self.parts, np.diff(spoken.offsets))
        for code, name in enumerate(PART_NAMES[: TEST + 1]):
            counts[name] = {
                "dialogues": int((self.parts == code).sum()),
                "turns": int((turn_parts == code).sum()),
                "mentions": int(mentioned[turn_parts == code].sum()),
            }
        return counts


def requests_of(dialogues: Dialogues, keep: np.ndarray | None = None) -> Requests:
    """Collect the requests of dialogues, for training as well as for held-out tasks.

    A request is a pair of a system turn and an item that this turn mentions for the first time in
    its dialogue. An item that the same turn mentions before it is not in the request.

    Args:
        dialogues: all dialogues.
        keep: bool, shape (dialogues,): the dialogues to read; all if None.
    """
    mentioned, turns = mentions(dialogues)
    asked = ~repeated(mentioned.queries, mentioned.items)
    asked &= dialogues.speakers[turns] == _SYSTEM
    if keep is not None:
        asked &= keep[mentioned.queries]
    targets = np.flatnonzero(asked)
    # What stands before a target includes earlier items of its own turn; drop these.
    histories, rows = before(mentioned, targets)
    histories = histories.where(turns[rows] < turns[targets][histories.queries])
    texts = [text_before(dialogues, turn) for turn in turns[targets].tolist()]
    return Requests(
        Queries.of_texts(texts, histories),
        mentioned.items[targets],
        mentioned.queries[targets].astype(np.int32),
    )


def text_before(dialogues: Dialogues, turn: int) -> str:
    """Write the turns before one as ``dialogue_text`` does.

    Args:
        dialogues: all dialogues.
        turn: position of the turn among the turns of all dialogues.
    """
    first = dialogues.offsets[np.searchsorted(dialogues.offsets, turn, side="right") - 1]
    return turns_as_text(dialogues.speakers[first:turn], dialogues.texts[first:turn])


def turns_as_text(speakers: np.ndarray, texts: tuple[str, ...]) -> str:
    """Write turns as ``dialogue_text`` does."""
    names = [SPEAKERS[speaker] for speaker in speakers.tolist()]
    return dialogue_text(list(zip(names, texts, strict=True)))


def mentions(dialogues: Dialogues) -> tuple[Histories, np.ndarray]:
    """Collect the items of each dialogue in the order of their mentions.

    Returns:
        One history per dialogue, and the turn of each of its events, int64.
    """
    items = dialogues.items
    return Histories(items.offsets[dialogues.offsets], items.items), items.queries


def take_dialogues(dialogues: Dialogues, rows: np.ndarray) -> Dialogues:
    """Select dialogues by position, in the given order."""
    starts, ends = dialogues.offsets[rows], dialogues.offsets[rows + 1]
    turns = np.concatenate(
        [np.zeros(0, np.int64), *map(np.arange, starts.tolist(), ends.tolist())]
    ).astype(np.int64)
    return Dialogues(
        tuple(dialogues.ids[row] for row in rows.tolist()),
        np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int64),
        dialogues.speakers[turns],
        tuple(dialogues.texts[turn] for turn in turns.tolist()),
        dialogues.items.take(turns),
        tuple(dialogues.parts[row] for row in rows.tolist()),
    )
