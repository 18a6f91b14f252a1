"""Request and response bodies of the API."""

from math import isinf
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    model_validator,
)

from warmstart.data.control import Control
from warmstart.serve.api.invalid_requests import shown
from warmstart.serve.api.problems import FieldError
from warmstart.serve.engine.ids import MAX_ID

_MAX_COLUMNS = 64  # of an item
_MAX_VALUES = 1000  # of a column that is a list
_MAX_NAME = MAX_ID  # characters
_MAX_ROWS = 10_000  # items or interactions of one request; also bounded by a setting
_MAX_HISTORY = 1000
_MAX_IDS = 10_000  # in allow and in deny
_MAX_MESSAGES = 200  # of a conversation
_MAX_MESSAGE = 10_000  # characters
_INT64_LIMIT = 2**63


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"got {shown(text)}; allowed: text without the NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"got {shown(text)}; allowed: Unicode text without unpaired surrogates"
        ) from None
    return text


def _column_value(value: Any) -> Any:
    """Check the value of a column; one sentence for all the types that it may have."""
    if not isinstance(value, list):
        return _scalar(value)
    if len(value) > _MAX_VALUES:
        raise ValueError(
            f"got a list of {len(value)} values; allowed: a list of at most {_MAX_VALUES}"
        )
    return [_scalar(part) for part in value]


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return _storable(value)
    if value is None or value != value:  # NaN is a missing value
        return None
    if not isinstance(value, bool | int | float):
        raise ValueError(
            f"got {shown(value)}; allowed: text, a number, true, false, null, or a list of these"
        )
    if isinstance(value, float) and isinf(value):
        raise ValueError(f"got {shown(value)}; allowed: a finite number")
    if isinstance(value, int) and not -_INT64_LIMIT <= value < _INT64_LIMIT:
        raise ValueError(
            f"got {shown(value)}; allowed: an integer of 64 bits; send a larger one as a string"
        )
    return value


def _bounded(fields: Any) -> Any:
    """Bound the number of fields: an error for each of millions would exhaust the memory."""
    if isinstance(fields, dict) and len(fields) > _MAX_COLUMNS:
        raise ValueError(f"got {len(fields)} fields; allowed: at most {_MAX_COLUMNS}")
    return fields


def _few_rows(rows: Any) -> Any:
    """Refuse a long list before any of it is validated, which takes far longer than reading it."""
    if isinstance(rows, list) and len(rows) > _MAX_ROWS:
        raise ValueError(f"got {len(rows)} values; allowed: at most {_MAX_ROWS}")
    return rows


Name = Annotated[str, Field(min_length=1, max_length=_MAX_NAME), AfterValidator(_storable)]
Integer = Annotated[int, Field(ge=-_INT64_LIMIT, lt=_INT64_LIMIT)]
# Only described here: the model decides what is an id. ``convert`` reads all of a request at once.
Id = Annotated[Integer | Name, SkipValidation]
# The function refuses all that the union would: a union has an error for each of its types.
Scalar = str | bool | Integer | Annotated[float, Field(allow_inf_nan=False)] | None
Value = Annotated[
    Scalar | Annotated[list[Scalar], Field(max_length=_MAX_VALUES)], BeforeValidator(_column_value)
]
Columns = Annotated[
    dict[Name, Value],
    Field(
        max_length=_MAX_COLUMNS,
        description="title, text, genres, ... as in the training data; at most 64 columns",
        examples=[{"title": "A walk on Roman roads", "text": "Eight days from coast to coast."}],
    ),
    BeforeValidator(_bounded),
]
With = Annotated[
    list[Name],
    Field(
        alias="with",
        max_length=_MAX_COLUMNS,
        fail_fast=True,
        description="names of item columns to return, such as title",
        examples=[["title"]],
    ),
]
Fraction = Annotated[float, Field(ge=0, le=1)]
K = Annotated[
    int, Field(ge=1, le=100_000, description="maximum length of the list; also bounded by `max_k`")
]


class _RequestBody(BaseModel):
    # strict: a bool is not an int and a string is not a number; values are stored as sent
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check_number_of_fields(cls, given: Any) -> Any:
        return _bounded(given)


class NewItem(_RequestBody):
    """An item to add or to update: its id and its columns."""

    id: Id
    columns: Columns


class NewItems(_RequestBody):
    """Items to add or update, all or none."""

    items: Annotated[
        list[NewItem],
        Field(min_length=1, max_length=_MAX_ROWS, fail_fast=True),
        BeforeValidator(_few_rows),
    ]


class ItemColumns(_RequestBody):
    """The columns of one item; ``id`` repeats the id in the path, with its type."""

    id: Id | None = None
    columns: Columns


def _not_empty(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("got []; allowed: 1 or more values")
    return values


class ListControl(Control):
    """What a list should be like besides high in score; at most one wish.

    ``n_genres``: number of different genres in the list. ``genres``: names of the genres in the
    list, each of them present and no other. ``calibrate``: whether the genres should be distributed
    as in the user's history. ``diversity``: weight of variety against scores, from 0 to 1.
    ``first_genre_only``: whether only the first genre of an item counts; no wish of its own.
    """

    model_config = ConfigDict(strict=True)  # with what ``Control`` has

    genres: (
        Annotated[
            tuple[Name, ...],
            Field(
                max_length=_MAX_VALUES,
                fail_fast=True,
                strict=False,  # of a list
                examples=[["Drama"]],
                json_schema_extra={"minItems": 1},
            ),
            AfterValidator(_not_empty),  # min_length would count the right ones only
        ]
        | None
    ) = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_booleans_as_numbers(cls, settings: Any) -> Any:
        return _bounded(settings)  # a strict model refuses them anyway


class ListOptions(_RequestBody):
    """What all requests for lists have in common."""

    history: (
        Annotated[list[Id], Field(min_length=1, max_length=_MAX_HISTORY, fail_fast=True)] | None
    ) = None
    k: K = 10
    allow: Annotated[list[Id], Field(max_length=_MAX_IDS, fail_fast=True)] | None = None
    deny: Annotated[list[Id], Field(max_length=_MAX_IDS, fail_fast=True)] = []
    cold_share_min: Fraction = 0.0
    cold_share_max: Fraction = 1.0
    explain: bool = False
    with_columns: With = []
    control: ListControl | None = None

    @model_validator(mode="after")
    def _shares_in_order(self) -> Self:
        if self.cold_share_min > self.cold_share_max:
            raise ValueError(
                f"got cold_share_min {self.cold_share_min:g} and cold_share_max "
                f"{self.cold_share_max:g}; allowed: a minimum up to the maximum"
            )
        return self


class Recommend(ListOptions):
    """A request for a list, with exactly one of ``user`` and ``history``.

    ``exclude_seen``: leave out the items that the user has interacted with. ``allow``: the only
    items that may be in the list. ``deny``: items that must not be in the list.
    ``cold_share_min``, ``cold_share_max``: bounds on the fraction of cold items in the list, from 0
    to 1. ``explain``: return ``evidence`` for each item. ``with``: return these columns of each
    item. ``control``: what the list should be like besides high in score.
    """

    user: Id | None = None
    exclude_seen: bool = True

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.user is None) == (self.history is None):
            given = "neither" if self.user is None else "both"
            raise ValueError(f"give either user or history, got {given}")
        return self


def _with_words(text: str) -> str:
    if not text.strip():
        raise ValueError(f"got {shown(text)}; allowed: text that is more than white space")
    return text


def _few_messages(messages: Any) -> Any:
    if isinstance(messages, list) and len(messages) > _MAX_MESSAGES:
        raise ValueError(f"got {len(messages)} messages; allowed: at most {_MAX_MESSAGES}")
    return messages


class Message(_RequestBody):
    """What one side said: the ``user`` who is asking, or the ``system`` that answers."""

    speaker: Literal["user", "system"]
    text: Annotated[
        str, Field(max_length=_MAX_MESSAGE), AfterValidator(_storable), AfterValidator(_with_words)
    ]


class Converse(ListOptions):
    """A request for a list for a conversation: its ``messages``, the oldest first.

    ``history``: items that the user had, beside those that the messages mention. None of these is
    in the list. The other fields are those of ``POST /v1/recommend``.
    """

    messages: Annotated[
        list[Message],
        Field(
            min_length=1,
            max_length=_MAX_MESSAGES,
            fail_fast=True,
            examples=[[{"speaker": "user", "text": "I liked Heat. Something like it?"}]],
        ),
        BeforeValidator(_few_messages),
    ]


class Simulate(_RequestBody):
    """The columns of an item that is not stored; ``k``: number of users to return.

    ``with``: return these columns of the nearest items.
    """

    columns: Annotated[Columns, Field(min_length=1)]
    k: Annotated[int, Field(ge=1, le=50)] = 20
    with_columns: With = []


class NewEvent(_RequestBody):
    """An interaction; with an ``event`` id, it counts once however often it is sent."""

    user: Id
    item: Id
    event: Name | None = None


class NewEvents(_RequestBody):
    """Interactions to record: all or none, or with ``partial`` those that are right."""

    interactions: Annotated[
        list[NewEvent],
        Field(min_length=1, max_length=_MAX_ROWS, fail_fast=True),
        BeforeValidator(_few_rows),
    ]
    partial: bool = False


class NewKey(_RequestBody):
    """An API key to create: who holds it, and its scope."""

    name: Name
    scope: Literal["read", "owner", "interactions", "backend", "admin"]


class SwapModel(_RequestBody):
    """A model to swap in: its folder, relative to ``models_folder``."""

    folder: Name


class RecommendedItem(BaseModel):
    """One recommended item.

    ``score``: higher is better, on the scale of the model. ``rank`` starts at 1. ``is_cold``: fewer
    than ``prior_strength`` known users have clicked it. ``evidence``: null unless ``explain`` was
    set. ``columns``: those that ``with`` named, or null.
    """

    item: int | str
    score: float
    rank: int
    is_cold: bool
    evidence: dict[str, Any] | None = None
    columns: dict[str, Any] | None = None


class MentionedItem(BaseModel):
    """An item that the messages mention; ``columns``: those that ``with`` named, or null."""

    item: int | str
    title: str
    columns: dict[str, Any] | None = None


class AnsweredBy(BaseModel):
    """The method and the hash of the model that made a list."""

    method: str
    hash: str


class ConversationList(BaseModel):
    """A list for a conversation, best item first.

    ``mentioned``: the items that the messages mention by their titles, in order of first mention.
    """

    mentioned: list[MentionedItem]
    items: list[RecommendedItem]
    model: AnsweredBy


class Recommendations(BaseModel):
    """A list, best item first; ``known_user``: the request named a user of the training data."""

    known_user: bool
    items: list[RecommendedItem]


class WrittenItem(BaseModel):
    """The outcome of writing one item."""

    id: int | str
    outcome: Literal["created", "updated", "unchanged"]


class WrittenItems(BaseModel):
    """Stored items, and the number of items ``waiting`` to be encoded, which includes them."""

    items: list[WrittenItem]
    waiting: int


class ItemInfo(BaseModel):
    """The current state of an item.

    ``state``: trained (in the training data), ready (recommended), waiting (to be encoded),
    unscored (the method cannot score it before known users have clicked it), failed (``error`` has
    the reason), deleted. ``owner``: id of the key that wrote it. ``clicks``:
    number of users who interacted with it since the fit. ``click_weight``: weight of these in its
    score, from 0 (cold score only) to 1 (clicks only). ``exposure_penalty``: subtracted from its
    cold scores. ``simulated_users``: its likely users, each with a probability.
    """

    id: int | str
    state: Literal["trained", "ready", "waiting", "unscored", "failed", "deleted"]
    columns: dict[str, Any] | None
    owner: str | None
    clicks: int
    click_weight: float
    exposure_penalty: float
    error: str | None
    simulated_users: list[dict[str, Any]]


class ItemList(BaseModel):
    """Items with their current states."""

    items: list[ItemInfo]


class UserInfo(BaseModel):
    """A user.

    ``known``: the user is in the training data. ``history``: the items of their positive
    interactions in the training data and of the interactions recorded since. It is empty for a user
    whose ratings are all below the threshold; such a user gets no list. ``columns``: for each item
    of the history those that ``with`` named, or null.
    """

    id: int | str
    known: bool
    history: list[int | str]
    columns: list[dict[str, Any]] | None = None


class Similar(BaseModel):
    """Items with similar texts, each with the cosine similarity, and with ``columns`` if asked."""

    items: list[dict[str, Any]]


class Simulation(BaseModel):
    """The likely users of a text, and the items with the ``nearest`` texts.

    ``probability`` is that of an interaction of the user with the item; ``calibration`` tells how
    it was fitted; ``rank`` is the item's rank in that user's list. ``exposure`` is the fraction of
    users whose top 20 the item would enter without a cap; ``capped_exposure`` is the fraction
    before its first click, under the service's ``max_exposure``.
    """

    users: list[dict[str, Any]]
    nearest: list[dict[str, Any]]
    exposure: float
    capped_exposure: float
    calibration: str


class Recorded(BaseModel):
    """The number of new interactions, without those that were already stored.

    ``refused``: with ``partial``, those that were left out, and why.
    """

    new: int
    refused: list[FieldError] = []


class ModelInfo(BaseModel):
    """The served model.

    ``hash`` identifies the artefact. ``title_column``: the item column that names an item for
    people, if there is one. ``genre_column``: the one whose values are the genres of ``control``.
    ``prior_strength``: number of clicks that count as much as an item's simulated users.
    ``load_seconds``: time taken to load it and build the index. ``swapping``: folder of the model
    that is being swapped in, or null. ``abilities``: what it can beside lists: "converse",
    "similar", "simulate".
    """

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


class Status(BaseModel):
    """The state of index, queue and store.

    ``warm``: items of the training data with clicks. ``cold``: items without clicks. ``warming``:
    cold items that were clicked since. ``waiting``: items to be encoded. ``behind``: changes in the
    store that are not yet in the index of this process; null if the store cannot be reached.
    """

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


class KeyInfo(BaseModel):
    """A key, without its secret."""

    key: str
    name: str
    scope: str
    revoked: bool


class MadeKey(BaseModel):
    """A new key; only this response contains its ``token``."""

    key: str
    token: str


class Health(BaseModel):
    """The status is always ``ok``; failures are problems."""

    status: Literal["ok"]
