"""Request and response bodies of the API."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

_MAX_COLUMNS = 64  # of an item
_INT64_LIMIT = 2**63


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text, without halves of surrogate pairs") from None
    return text


def _exact(value: Any) -> Any:
    if isinstance(value, int) and not -_INT64_LIMIT <= value < _INT64_LIMIT:
        raise ValueError("an integer must have 64 bits; give it as a string")
    return value


def _bounded(fields: Any) -> Any:
    """Bound the number of fields: each wrong one is an error, and millions would fill memory."""
    if isinstance(fields, dict) and len(fields) > _MAX_COLUMNS:
        raise ValueError(f"may have {_MAX_COLUMNS} fields, got {len(fields)}")
    return fields


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_storable)]
Integer = Annotated[int, Field(ge=-_INT64_LIMIT, lt=_INT64_LIMIT)]
Id = Integer | Name
Value = Annotated[
    Text | bool | Integer | Annotated[float, Field(allow_inf_nan=False)] | None,
    BeforeValidator(_exact),
]
Columns = Annotated[
    dict[Name, Value],
    Field(
        max_length=_MAX_COLUMNS,
        description="title, text, genres, ... as in the training data",
        examples=[{"title": "A walk on Roman roads", "text": "Eight days from coast to coast."}],
    ),
    BeforeValidator(_bounded),
]
Fraction = Annotated[float, Field(ge=0, le=1)]
K = Annotated[int, Field(ge=1, le=100_000, description="length of the list")]


class _RequestBody(BaseModel):
    # strict: no bool for an int and no text for a number; what is stored is what was sent
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check_number_of_fields(cls, given: Any) -> Any:
        return _bounded(given)


class NewItem(_RequestBody):
    """An item to add or to update."""

    id: Id
    columns: Columns


class NewItems(_RequestBody):
    """Items to add or update, all or none."""

    items: Annotated[list[NewItem], Field(min_length=1, fail_fast=True)]


class ItemColumns(_RequestBody):
    """The columns of one item."""

    columns: Columns


class Recommend(_RequestBody):
    """A list for a user, or for a history."""

    user: Id | None = None
    history: Annotated[list[Id], Field(min_length=1, max_length=10_000, fail_fast=True)] | None = (
        None
    )
    k: K = 10
    exclude_seen: bool = True
    allow: Annotated[list[Id], Field(max_length=100_000, fail_fast=True)] | None = None
    deny: Annotated[list[Id], Field(max_length=100_000, fail_fast=True)] = []
    cold_share_min: Fraction = 0.0
    cold_share_max: Fraction = 1.0
    explain: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> "Recommend":
        if (self.user is None) == (self.history is None):
            raise ValueError("give either user or history")
        if self.cold_share_min > self.cold_share_max:
            raise ValueError("cold_share_min must not exceed cold_share_max")
        return self


class Simulate(_RequestBody):
    """The columns of an item that is not stored."""

    columns: Annotated[Columns, Field(min_length=1)]
    k: Annotated[int, Field(ge=1, le=50)] = 20


class NewEvent(_RequestBody):
    """An interaction; one with an event id counts once, however often it is sent."""

    user: Id
    item: Id
    event: Name | None = None


class NewEvents(_RequestBody):
    """Interactions to record, all or none."""

    interactions: Annotated[list[NewEvent], Field(min_length=1, fail_fast=True)]


class NewKey(_RequestBody):
    """A key to make."""

    name: Name
    scope: Literal["read", "write", "admin"]


class SwapModel(_RequestBody):
    """A model to serve from now on."""

    folder: Name


class RecommendedItem(BaseModel):
    """One item of a list. ``is_cold``: it has too few clicks to be scored by them."""

    item: int | str
    score: float
    rank: int
    is_cold: bool
    evidence: dict[str, Any] | None = None


class Recommendations(BaseModel):
    """A list; ``known_user`` is false if it was made from a history."""

    known_user: bool
    items: list[RecommendedItem]


class WrittenItem(BaseModel):
    """The outcome of writing one item."""

    id: int | str
    outcome: Literal["created", "updated", "unchanged"]


class WrittenItems(BaseModel):
    """Stored items; they are recommended as soon as they are encoded."""

    items: list[WrittenItem]
    waiting: int


class ItemInfo(BaseModel):
    """An item in its present state.

    ``state``: trained (in the training data), ready (recommended), waiting (to be encoded), failed
    (``error`` says why), deleted. ``click_weight``: weight of observed clicks in its score, from 0
    (as simulated) to 1 (clicks alone). ``exposure_penalty``: subtracted from its cold scores.
    """

    id: int | str
    state: Literal["trained", "ready", "waiting", "failed", "deleted"]
    columns: dict[str, Any] | None
    owner: str | None
    clicks: int
    click_weight: float
    exposure_penalty: float
    error: str | None
    simulated_users: list[dict[str, Any]]


class ItemList(BaseModel):
    """Items in their present state."""

    items: list[ItemInfo]


class UserInfo(BaseModel):
    """A user: whether the model knows them, and the items they interacted with."""

    id: int | str
    known: bool
    history: list[int | str]


class Similar(BaseModel):
    """Items with similar texts, with the cosine."""

    items: list[dict[str, Any]]


class Simulation(BaseModel):
    """The likely users of a text.

    ``probability`` is that of an interaction of the user with the item; ``calibration`` says how it
    was fitted; ``rank`` is the item's rank in that user's list. ``exposure`` is the fraction of
    users whose first 20 the item would enter, ``capped_exposure`` that fraction before its first
    click, under the service's ``max_exposure``.
    """

    users: list[dict[str, Any]]
    nearest: list[dict[str, Any]]
    exposure: float
    capped_exposure: float
    calibration: str


class Recorded(BaseModel):
    """The number of interactions that were new."""

    new: int


class ModelInfo(BaseModel):
    """The served model."""

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
