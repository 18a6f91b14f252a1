"""What the store holds: items, events, keys, changes, and the state of an item for an index."""

from dataclasses import dataclass
from typing import Any, Literal

WriteOutcome = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True)
class Item:
    """An item as written.

    Attributes:
        item: external id, as text.
        columns: columns as given.
        text: text for the language model, composed from the text columns.
        content: sha256 of text and columns; "" for an item of the artefact that was only deleted.
        owner: id of the key that wrote it.
        deleted: whether it is excluded from all lists.
        error: why it could not be encoded; None otherwise.
    """

    item: str
    columns: dict[str, Any]
    text: str
    content: str
    owner: str
    deleted: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Event:
    """A user's interaction with an item; ``event`` identifies it, so duplicates are ignored."""

    event: str
    user: str
    item: str
    owner: str


@dataclass(frozen=True)
class Click:
    """A recorded interaction as an index needs it; the numbers are in order of commit."""

    number: int
    user: str
    item: str


@dataclass(frozen=True)
class Key:
    """An API key; ``secret`` is the sha256 of its secret."""

    key: str
    name: str
    scope: str
    secret: str
    revoked: bool = False


@dataclass(frozen=True)
class Change:
    """A changed item or user.

    ``kind`` is "item", or "erased" for a user whose interactions were erased; ``name`` is then the
    number of the last interaction before that, a colon, and the user.
    """

    number: int
    kind: str
    name: str


@dataclass(frozen=True)
class ItemState:
    """The part of the store that an index needs for one item.

    Attributes:
        item: the item as written; None if it was never written.
        encoding: packed arrays; None until the language model has encoded the current text.
    """

    item: Item | None
    encoding: bytes | None

    @property
    def is_waiting(self) -> bool:
        """Whether the item still has to be encoded."""
        item = self.item
        if item is None or item.deleted or item.error is not None:
            return False
        return self.encoding is None and item.content != ""
