"""Types of the service's JSON, as plain dicts; ``docs/serving/api.md`` describes every field."""

from collections.abc import Sequence
from typing import Any, Literal, NotRequired, TypedDict

Id = int | str
Scalar = str | int | float | bool | None
Value = Scalar | list[Scalar]
Scope = Literal["read", "owner", "interactions", "backend", "admin"]
WriteOutcome = Literal["created", "updated", "unchanged"]
State = Literal["trained", "ready", "waiting", "unscored", "failed", "deleted"]


class Interaction(TypedDict):
    """An interaction to record; each event id counts once, however often it is sent."""

    user: Id
    item: Id
    event: NotRequired[str]


class Message(TypedDict):
    """What one side of a conversation said."""

    speaker: Literal["user", "system"]
    text: str


class ListControl(TypedDict, total=False):
    """What a list should be like besides high in score; one wish at most."""

    n_genres: int
    genres: Sequence[str]
    calibrate: bool
    diversity: float
    first_genre_only: bool


class RecommendedItem(TypedDict):
    """One line of a list."""

    item: Id
    score: float
    rank: int
    is_cold: bool
    evidence: dict[str, Any] | None
    columns: dict[str, Any] | None


class Recommendations(TypedDict):
    """A list; ``known_user`` is false if it was made from a history."""

    known_user: bool
    items: list[RecommendedItem]


class MentionedItem(TypedDict):
    """An item that a conversation mentions."""

    item: Id
    title: str
    columns: dict[str, Any] | None


class AnsweredBy(TypedDict):
    """The model that made a list."""

    method: str
    hash: str


class ConversationList(TypedDict):
    """A list for a conversation, and the items that were recognised in it."""

    mentioned: list[MentionedItem]
    items: list[RecommendedItem]
    model: AnsweredBy


class WrittenItem(TypedDict):
    """The outcome of writing one item."""

    id: Id
    outcome: WriteOutcome


class WrittenItems(TypedDict):
    """Stored items; ``waiting`` counts all items to be encoded, including these."""

    items: list[WrittenItem]
    waiting: int


class ItemInfo(TypedDict):
    """An item in its present state."""

    id: Id
    state: State
    columns: dict[str, Any] | None
    owner: str | None
    clicks: int
    click_weight: float
    exposure_penalty: float
    error: str | None
    simulated_users: list[dict[str, Any]]


class ItemList(TypedDict):
    """Items in their present state."""

    items: list[ItemInfo]


class UserInfo(TypedDict):
    """A user: whether they are in the training data, and the items of their interactions.

    The history is empty for a user whose ratings are all below the threshold.
    """

    id: Id
    known: bool
    history: list[Id]
    columns: list[dict[str, Any]] | None


class Similar(TypedDict):
    """Items with similar texts, with the cosine."""

    items: list[dict[str, Any]]


class Simulation(TypedDict):
    """The likely users of a text, its nearest items, and its exposure."""

    users: list[dict[str, Any]]
    nearest: list[dict[str, Any]]
    exposure: float
    capped_exposure: float
    calibration: str


class Recorded(TypedDict):
    """The number of interactions that were new.

    ``refused``: with ``partial``, the interactions that were left out, and why.
    """

    new: int
    refused: list[dict[str, str]]


class ModelInfo(TypedDict):
    """The served model."""

    method: str
    hash: str
    folder: str
    config: dict[str, Any]
    text_columns: list[str]
    title_column: str | None
    genre_column: str | None
    prior_strength: float
    language_models: dict[str, str]
    id_type: Literal["integer", "string"]
    load_seconds: float
    swapping: str | None
    abilities: list[str]


class Status(TypedDict):
    """The state of index, queue and store."""

    items: int
    warm: int
    cold: int
    warming: int
    users: int
    waiting: int
    last_change: int
    behind: int | None
    store: Literal["sqlite", "postgresql"]
    store_reachable: bool


class KeyInfo(TypedDict):
    """A key, without its secret."""

    key: str
    name: str
    scope: str
    revoked: bool


class MadeKey(TypedDict):
    """A new key; ``token`` is shown this once."""

    key: str
    token: str


class Health(TypedDict):
    """``ok``."""

    status: Literal["ok"]
