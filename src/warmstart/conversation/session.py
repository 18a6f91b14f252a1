"""A conversation with a model: what was said, what was listed, and what is asked next."""

from dataclasses import dataclass, field
from typing import Any

from warmstart.abilities import Converses, require
from warmstart.arguments import whole_number
from warmstart.core import Recommender
from warmstart.data.dialogues import dialogue_text
from warmstart.data.ids import ExternalId
from warmstart.errors import ConfigError


@dataclass(frozen=True)
class NamedItem:
    """An item with its title; "" without one."""

    item: ExternalId
    title: str


@dataclass(frozen=True)
class ListedItem(NamedItem):
    """An item of a list; a higher score is better."""

    score: float


@dataclass(frozen=True)
class Turn:
    """A message of the user and the answer.

    Attributes:
        message: what the user said.
        mentioned: the items that the message names and no turn before named.
        items: the list, best first.
        reply: what the dialogue keeps as the turn of the system; None keeps nothing.
    """

    message: str
    mentioned: tuple[NamedItem, ...]
    items: tuple[ListedItem, ...]
    reply: str | None


@dataclass
class Session:
    """A conversation with a model that converses; a list answers every message.

    An item that the dialogue mentions is not listed, nor is one that was listed before.

    Attributes:
        model: any model with the ability ``Converses``.
        k: length of the lists.
        repeat: list items again that were listed before.
        name_items: so many of the listed titles are named in the turn of the system that the
            dialogue keeps; they count as mentioned from then on. 0 keeps no turn of the system.
        turns: the turns so far.
    """

    model: Recommender
    k: int = 10
    repeat: bool = False
    name_items: int = 0
    turns: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        require(self.model, Converses, "hold a conversation")
        whole_number("conversation", "k", self.k, low=1, error=ConfigError)
        whole_number("conversation", "name_items", self.name_items, low=0, error=ConfigError)

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Speaker and text of everything that the dialogue keeps."""
        kept = [(("user", turn.message), ("system", turn.reply)) for turn in self.turns]
        return [(speaker, text) for pair in kept for speaker, text in pair if text is not None]

    def say(self, message: str) -> Turn:
        """Answer a message.

        Raises:
            ConfigError: the message is empty or no string.
            DataError, UnsupportedError: the model cannot answer it; the conversation is as before.
        """
        if not isinstance(message, str):
            raise ConfigError(f"conversation: the message must be a string, got {message!r}")
        if not message.strip():
            raise ConfigError("conversation: the message is empty; allowed: what the user says")
        before = self.messages
        texts = [dialogue_text(before), dialogue_text([*before, ("user", message)])]
        converses: Any = self.model
        known, mentioned = converses.mentioned_items(texts)
        items = self._list(texts[1], mentioned)
        reply = _reply([item.title or str(item.item) for item in items[: self.name_items]])
        new = [item for item in mentioned if item not in set(known)]
        turn = Turn(message, tuple(map(NamedItem, new, self._titles(new))), items, reply)
        self.turns.append(turn)
        return turn

    def undo(self) -> Turn | None:
        """Take back the last message and its list; return it, or None if there is none."""
        return self.turns.pop() if self.turns else None

    def restart(self) -> None:
        """Forget everything that was said and listed."""
        self.turns.clear()

    def _list(self, text: str, mentioned: list[ExternalId]) -> tuple[ListedItem, ...]:
        listed = set() if self.repeat else {item.item for turn in self.turns for item in turn.items}
        top = self.model.recommend(texts=[text], histories=[mentioned], k=self.k + len(listed))
        rows = [row for row in top.select("item", "score").iter_rows() if row[0] not in listed]
        rows = rows[: self.k]
        titles = self._titles([item for item, _ in rows])
        return tuple(
            ListedItem(item, title, score)
            for (item, score), title in zip(rows, titles, strict=True)
        )

    def _titles(self, items: list[ExternalId]) -> list[str]:
        return self.model.fitted.catalogue.titles(items)


def _reply(titles: list[str]) -> str | None:
    if not titles:
        return None
    *others, last = titles
    return f"I recommend {', '.join(others) + ' and ' if others else ''}{last}."
