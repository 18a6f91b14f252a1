"""What the API takes and gives."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

_COLUMNS = 64  # of an item
_WHOLE = 2**63  # what a database keeps as an integer


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text, without halves of surrogate pairs") from None
    return text


def _exact(value: Any) -> Any:
    if isinstance(value, int) and not -_WHOLE <= value < _WHOLE:
        raise ValueError("an integer must have 64 bits; give it as a string")
    return value


def _few(fields: Any) -> Any:
    """Each wrong field is an error of its own: a body of millions of them would fill memory."""
    if isinstance(fields, dict) and len(fields) > _COLUMNS:
        raise ValueError(f"may have {_COLUMNS} fields, got {len(fields)}")
    return fields


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_storable)]
Whole = Annotated[int, Field(ge=-_WHOLE, lt=_WHOLE)]
Id = Whole | Name
Value = Annotated[
    Text | bool | Whole | Annotated[float, Field(allow_inf_nan=False)] | None,
    BeforeValidator(_exact),
]
Columns = Annotated[
    dict[Name, Value],
    Field(
        max_length=_COLUMNS,
        description="title, text, genres, ... as in the training data",
        examples=[{"title": "A walk on Roman roads", "text": "Eight days from coast to coast."}],
    ),
    BeforeValidator(_few),
]
Share = Annotated[float, Field(ge=0, le=1)]
K = Annotated[int, Field(ge=1, le=100_000, description="length of the list")]


class _In(BaseModel):
    # strict: no bool for an int and no text for a number; what is kept is what was sent
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, given: Any) -> Any:
        return _few(given)


class NewItem(_In):
    """An item to add or to update."""

    id: Id
    columns: Columns


class NewItems(_In):
    """Items to add or update, all or none."""

    items: Annotated[list[NewItem], Field(min_length=1, fail_fast=True)]


class ItemColumns(_In):
    """The columns of one item."""

    columns: Columns


class Recommend(_In):
    """A request for a list, for a user or for a history."""

    user: Id | None = None
    history: Annotated[list[Id], Field(min_length=1, max_length=10_000, fail_fast=True)] | None = (
        None
    )
    k: K = 10
    exclude_seen: bool = True
    allow: Annotated[list[Id], Field(max_length=100_000, fail_fast=True)] | None = None
    deny: Annotated[list[Id], Field(max_length=100_000, fail_fast=True)] = []
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

    columns: Annotated[Columns, Field(min_length=1)]
    k: Annotated[int, Field(ge=1, le=50)] = 20


class NewEvent(_In):
    """An interaction; with an event id it can be sent twice and counts once."""

    user: Id
    item: Id
    event: Name | None = None


class NewEvents(_In):
    """Interactions to record, all or none."""

    interactions: Annotated[list[NewEvent], Field(min_length=1, fail_fast=True)]


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

    ``probability`` is the chance that the user is among those who interact with it, ``calibration``
    says how far that was measured; ``rank`` is where the item would stand in that user's list.
    ``claim`` is the share of users whose first 20 it would enter,
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
