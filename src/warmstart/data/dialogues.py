"""Dialogues: turns of users and a recommending system, with the items that they mention."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from warmstart.data.histories import Histories

SPEAKERS = ("user", "system")


@dataclass(frozen=True)
class Dialogues:
    """Dialogues in columns; the turns of a dialogue stand in their order.

    Attributes:
        ids: id of each dialogue, as text.
        offsets: int64, shape (dialogues + 1,): dialogue d has the turns ``offsets[d]`` to
            ``offsets[d + 1] - 1``.
        speakers: int8, shape (turns,): position in ``SPEAKERS``.
        texts: text of each turn.
        items: items that each turn mentions or recommends, in their order: one history per turn.
        parts: "train", "valid" or "test" of each dialogue, as published; None where the data do not
            say.
    """

    ids: tuple[str, ...]
    offsets: np.ndarray
    speakers: np.ndarray
    texts: tuple[str, ...]
    items: Histories
    parts: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def hash(self) -> str:
        """sha256 of everything."""
        digest = hashlib.sha256(repr((self.ids, self.parts)).encode("utf-8", "surrogatepass"))
        for text in self.texts:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(self.offsets.tobytes() + self.speakers.tobytes() + self.items.hash.encode())
        return digest.hexdigest()
