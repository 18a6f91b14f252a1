"""Dialogues: turns of users and a recommending system, with the items that they mention."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from warmstart.data.histories import Histories
from warmstart.errors import DataError, shortened

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


def dialogue_text(messages: Sequence[tuple[str, str]]) -> str:
    """Write a dialogue as the text of a query: one line per turn, ``User: ...`` or ``System: ...``.

    Whoever cuts this text keeps its end: the newest turns hold the request. White space within a
    message is collapsed, line breaks too, so a message cannot pretend to be another turn.

    Args:
        messages: speaker, one of ``SPEAKERS``, and what is said, oldest first.

    Raises:
        DataError: a message is no pair, another speaker speaks, or what is said is no text.
    """
    lines = []
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, tuple | list) or len(message) != 2:
            raise DataError(
                f"dialogue: message {number} is {shortened(message)}; allowed: (speaker, text)"
            )
        speaker, text = message
        if speaker not in SPEAKERS:
            raise DataError(
                f"dialogue: message {number} has the speaker {shortened(speaker)}; allowed: "
                f"{' or '.join(map(repr, SPEAKERS))}"
            )
        if not isinstance(text, str):
            raise DataError(
                f"dialogue: message {number} has the text {shortened(text)}; allowed: a string"
            )
        lines.append(f"{speaker.capitalize()}: {' '.join(text.split())}")
    return "\n".join(lines)
