"""What the API takes and gives."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text, without halves of surrogate pairs") from None
    return text


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_storable)]
# No bool for an int, and no text for a number: an id is what it was.
Id = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)] | Name
Share = Annotated[float, Field(ge=0, le=1)]
K = Annotated[int, Field(ge=1, le=100_000, description="length of the list")]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewItem(_In):
    """An item to add or to update."""

    id: Id
    columns: Annotated[
        dict[Name, Text | int | float | None],
        Field(max_length=64, description="title, text, genres, ... as in the training data"),
    ]


class NewItems(_In):
    """Items to add or update, all or none."""

    items: Annotated[list[NewItem], Field(min_length=1)]


class ItemColumns(_In):
    """The columns of one item."""

    columns: Annotated[dict[Name, Text | int | float | None], Field(max_length=64)]


class Recommend(_In):
    """A request for a list, for a user or for a history."""

    user: Id | None = None
    history: Annotated[list[Id], Field(min_length=1, max_length=10_000)] | None = None
    k: K = 10
    exclude_seen: bool = True
    allow: Annotated[list[Id], Field(max_length=100_000)] | None = None
    deny: Annotated[list[Id], Field(max_length=100_000)] = []
    cold_share_min: Share = 0.0
    cold_share_max: Share = 1.0
    explain: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> "Recommend":
        if (self.user is None) == (self.history is None):
            raise ValueError("give either user or history")
        if self.cold_share_min > self.cold_share_max:
            raise ValueError("cold_share_min must not exceed cold_share_max")
        return self


class Simulate(_In):
    """A text that is not stored."""

    columns: Annotated[dict[Name, Text | int | float | None], Field(min_length=1, max_length=64)]
    k: Annotated[int, Field(ge=1, le=50)] = 20


class NewEvent(_In):
    """An interaction; with an event id it can be sent twice and counts once."""

    user: Id
    item: Id
    event: Name | None = None


class NewEvents(_In):
    """Interactions to record, all or none."""

    interactions: Annotated[list[NewEvent], Field(min_length=1)]


class NewKey(_In):
    """A key to make."""

    name: Name
    scope: Literal["read", "write", "admin"]


class Swap(_In):
    """A model to serve from now on."""

    folder: Name


class Hit(BaseModel):
    """One line of a list. ``is_cold``: too few have clicked it to go by them."""

    item: int | str
    score: float
    rank: int
    is_cold: bool
    why: dict[str, Any] | None = None


class Recommendations(BaseModel):
    """A list; ``known_user`` is false where it was made from a history."""

    known_user: bool
    items: list[Hit]


class Written(BaseModel):
    """What became of one item."""

    id: int | str
    outcome: Literal["created", "updated", "unchanged"]


class WrittenItems(BaseModel):
    """Kept for good; recommended as soon as they have been read."""

    items: list[Written]
    waiting: int


class ItemInfo(BaseModel):
    """An item as it stands.

    ``state``: trained (the model learned from its interactions), ready (recommended), waiting (to
    be read), failed (``error`` says why), deleted. ``warmth``: 0 as simulated, 1 by clicks alone.
    """

    id: int | str
    state: Literal["trained", "ready", "waiting", "failed", "deleted"]
    columns: dict[str, Any] | None
    owner: str | None
    clicks: int
    warmth: float
    claim_cut: float
    error: str | None
    simulated_users: list[dict[str, Any]]


class ItemList(BaseModel):
    """Items as they stand."""

    items: list[ItemInfo]


class UserInfo(BaseModel):
    """A user: known to the model or not, and what they have interacted with."""

    id: int | str
    known: bool
    history: list[int | str]


class Similar(BaseModel):
    """Items whose texts are alike, with the cosine."""

    items: list[dict[str, Any]]


class Simulation(BaseModel):
    """Whom a text would interest.

    ``weight`` is relative to the likeliest user, not a probability; ``rank`` is where the item
    would stand in that user's list. ``claim`` is the share of users whose first 20 it would enter,
    ``claim_granted`` what it gets before anybody clicked it.
    """

    users: list[dict[str, Any]]
    nearest: list[dict[str, Any]]
    claim: float
    claim_granted: float
    calibration: str


class Recorded(BaseModel):
    """How many interactions were new."""

    new: int


class ModelInfo(BaseModel):
    """The model that is served."""

    method: str
    hash: str
    folder: str
    config: dict[str, Any]
    text_columns: list[str]
    language_model: str | None
    id_type: Literal["integer", "string"]
    load_seconds: float
    swapping: str | None


class Status(BaseModel):
    """Health of index and queue."""

    items: int
    warm: int
    cold: int
    warming: int
    users: int
    waiting: int
    last_change: int
    behind: int | None
    store: Literal["sqlite", "postgresql"]
    store_answers: bool


class KeyInfo(BaseModel):
    """A key, without its secret."""

    key: str
    name: str
    scope: str
    revoked: bool


class MadeKey(BaseModel):
    """A new key; ``token`` is shown this once."""

    key: str
    token: str


class Health(BaseModel):
    """``ok``."""

    status: Literal["ok"]
