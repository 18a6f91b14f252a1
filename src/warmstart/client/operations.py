"""Every operation of the service: one function each, with its arguments and its response type.

A function makes the request and sends nothing; ``clients`` turns it into a method, sync and async.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from warmstart.client.json_values import (
    json_columns,
    json_id,
    json_ids,
    json_list,
    json_option,
    json_rows,
    json_value,
    wrong,
)
from warmstart.client.request import Request, readiness_of
from warmstart.client.responses import (
    ConversationList,
    Health,
    Id,
    Interaction,
    ItemInfo,
    ItemList,
    KeyInfo,
    ListControl,
    MadeKey,
    Message,
    ModelInfo,
    Recommendations,
    Recorded,
    Scope,
    Similar,
    Simulation,
    Status,
    UserInfo,
    Value,
    WrittenItems,
)

_CONVERSATION_SECONDS = 120.0
_TRIAL_SECONDS = 1860.0  # the service gives a new model 1,800 to be tried


def write_items(
    items: Mapping[str, Mapping[str, Value]] | Mapping[int, Mapping[str, Value]],
) -> Request[WrittenItems]:
    """Add or update items, all or none; they are recommended a moment later.

    Args:
        items: columns by item id: title, text, ... as in the training data.

    Returns:
        The outcome of each; "unchanged" if it is stored with the same columns already.

    Raises:
        ServiceError: the request fails.
    """
    if not isinstance(items, Mapping):
        allowed = "a mapping of columns by item id, such as {'p-1': {'title': 'Night trains'}}"
        raise wrong("items", items, allowed)
    rows = [
        {
            "id": json_id(item, "an id of items"),
            "columns": json_columns(columns, f"items[{item!r}]"),
        }
        for item, columns in items.items()
    ]
    return Request("POST", "/v1/items", body={"items": rows})


def write_item(item: Id, columns: Mapping[str, Value]) -> Request[WrittenItems]:
    """Add or update one item.

    Args:
        item: its id.
        columns: title, text, ... as in the training data.

    Returns:
        The outcome.

    Raises:
        ServiceError: the request fails.
    """
    # The body has the id too: in a path, a number cannot be told from text.
    body = {"id": json_id(item, "item"), "columns": json_columns(columns, "columns")}
    return Request("PUT", "/v1/items/{item}", json_id(item, "item"), body=body)


def delete_item(item: Id) -> Request[None]:
    """Stop recommending an item, and erase its columns and text for good.

    Args:
        item: its id.

    Raises:
        ServiceError: there is no such item (404), or the request fails.
    """
    return Request("DELETE", "/v1/items/{item}", json_id(item, "item"))


def item(item: Id) -> Request[ItemInfo]:
    """Look up an item: its state, its columns, its clicks, its simulated users.

    Args:
        item: its id.

    Raises:
        ServiceError: there is no such item (404), or the request fails.
    """
    return Request("GET", "/v1/items/{item}", json_id(item, "item"))


def items(*, limit: int = 100, offset: int = 0, search: str = "") -> Request[ItemList]:
    """List the written items, the newest first.

    Args:
        limit: the number of items.
        offset: the number of newer items to skip.
        search: words in the id or the text of an item; items of the training data with these words
            in id or title follow.

    Raises:
        ServiceError: the request fails.
    """
    query = {
        "limit": json_option(limit, "limit", int),
        "offset": json_option(offset, "offset", int),
        "search": json_option(search, "search", str),
    }
    return Request("GET", "/v1/items", query=query)


def similar(item: Id, *, k: int = 10, with_columns: Sequence[str] = ()) -> Request[Similar]:
    """Find the items with the most similar texts.

    Args:
        item: its id.
        k: the number of items.
        with_columns: names of item columns to return, such as "title".

    Raises:
        ServiceError: there is no such item (404), or the request fails.
    """
    query = {"k": json_option(k, "k", int), "with": _names(with_columns)}
    return Request("GET", "/v1/similar/{item}", json_id(item, "item"), query=query)


def recommend(
    user: Id | None = None,
    *,
    history: Iterable[Id] | None = None,
    k: int = 10,
    exclude_seen: bool = True,
    allow: Iterable[Id] | None = None,
    deny: Iterable[Id] = (),
    cold_share_min: float = 0.0,
    cold_share_max: float = 1.0,
    explain: bool = False,
    with_columns: Sequence[str] = (),
    control: ListControl | Mapping[str, Any] | None = None,
) -> Request[Recommendations]:
    """Recommend items to a user, or for the history of a user whom the model does not know.

    Args:
        user: id of the user; give either this or ``history``.
        history: ids of the items that a user has interacted with.
        k: length of the list.
        exclude_seen: leave out items that the user has interacted with.
        allow: only these items may be in the list.
        deny: these items may not be in the list.
        cold_share_min: smallest fraction of cold items in the list, if there are enough of them.
        cold_share_max: largest fraction of cold items in the list.
        explain: give the evidence for each item.
        with_columns: names of item columns to return, such as "title".
        control: what the list should be like besides high in score: one of ``{"n_genres": 5}``,
            ``{"genres": ["Comedy", "Drama"]}``, ``{"calibrate": True}`` or ``{"diversity": 0.3}``.

    Raises:
        DataError: the control has other fields, or a value is no genre or number.
        ServiceError: user or history is unknown (404), no list is as the control asks (422), or
            the request fails.
    """
    options = _list_options(
        history, k, allow, deny, (cold_share_min, cold_share_max), explain, with_columns, control
    )
    options["exclude_seen"] = json_option(exclude_seen, "exclude_seen", bool)
    if user is not None:
        options["user"] = json_id(user, "user")
    return Request("POST", "/v1/recommend", body=options)


def converse(
    messages: Iterable[Message],
    *,
    history: Iterable[Id] | None = None,
    k: int = 10,
    allow: Iterable[Id] | None = None,
    deny: Iterable[Id] = (),
    cold_share_min: float = 0.0,
    cold_share_max: float = 1.0,
    explain: bool = False,
    with_columns: Sequence[str] = (),
    control: ListControl | Mapping[str, Any] | None = None,
) -> Request[ConversationList]:
    """Recommend items for a conversation; a language model of the service reads it.

    Its answer may take two minutes, whatever the timeout of the client.

    Args:
        messages: what was said, oldest first: mappings with "speaker", "user" or "system", and
            "text".
        history: ids of further items that the user had; like the mentioned ones, they are not in
            the list.
        k: length of the list.
        allow: only these items may be in the list.
        deny: these items may not be in the list.
        cold_share_min: smallest fraction of cold items in the list, if there are enough of them.
        cold_share_max: largest fraction of cold items in the list.
        explain: give the evidence for each item.
        with_columns: names of item columns to return, such as "title".
        control: as for ``recommend``; the history is that of the conversation.

    Raises:
        DataError: a message or the control has other fields, or values of other types.
        ServiceError: the model cannot be asked in words (422), does not answer in time (504), or
            the request fails.
    """
    options = _list_options(
        history, k, allow, deny, (cold_share_min, cold_share_max), explain, with_columns, control
    )
    options["messages"] = [
        _message(message, f"messages[{n}]")
        for n, message in enumerate(json_list(messages, "messages"))
    ]
    return Request("POST", "/v1/converse", body=options, min_timeout=_CONVERSATION_SECONDS)


def _list_options(
    history: Iterable[Id] | None,
    k: int,
    allow: Iterable[Id] | None,
    deny: Iterable[Id],
    cold_shares: tuple[float, float],
    explain: bool,
    with_columns: Sequence[str],
    control: ListControl | Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What all requests for lists have in common, without what was not given."""
    options = {
        "history": None if history is None else json_ids(history, "history"),
        "k": json_option(k, "k", int),
        "allow": None if allow is None else json_ids(allow, "allow"),
        "deny": json_ids(deny, "deny"),
        "cold_share_min": json_option(cold_shares[0], "cold_share_min", float),
        "cold_share_max": json_option(cold_shares[1], "cold_share_max", float),
        "explain": json_option(explain, "explain", bool),
        "with": _names(with_columns),
        "control": None if control is None else _control(control),
    }
    return {name: value for name, value in options.items() if value is not None}


def _control(control: Any) -> dict[str, Any]:
    kinds = {"n_genres": int, "calibrate": bool, "diversity": float, "first_genre_only": bool}
    if not isinstance(control, Mapping) or not {*control} <= {"genres", *kinds}:
        allowed = "a mapping with one of 'n_genres', 'genres', 'calibrate' and 'diversity'"
        raise wrong("control", control, allowed)
    found = {}
    for field, value in control.items():
        name = f"control[{field!r}]"
        if value is None:
            continue
        if field == "genres":
            found[field] = [
                json_option(genre, f"{name}[{n}]", str)
                for n, genre in enumerate(json_list(value, name))
            ]
        else:
            found[field] = json_option(value, name, kinds[field])
    return found


def _message(message: Any, name: str) -> dict[str, str]:
    if not isinstance(message, Mapping) or set(message) != {"speaker", "text"}:
        raise wrong(name, message, "a mapping with 'speaker' and 'text', and no others")
    return {field: json_option(message[field], f"{name}[{field!r}]", str) for field in message}


def simulate(
    columns: Mapping[str, Value], *, k: int = 20, with_columns: Sequence[str] = ()
) -> Request[Simulation]:
    """Simulate the users of a text as if it were an item; nothing is stored.

    Args:
        columns: title, text, ... as in the training data.
        k: the number of users.
        with_columns: names of columns of the nearest items to return, such as "title".

    Raises:
        ServiceError: the request fails.
    """
    body = {
        "columns": json_columns(columns, "columns"),
        "k": json_option(k, "k", int),
        "with": _names(with_columns),
    }
    return Request("POST", "/v1/simulate", body=body)


def record(interactions: Iterable[Interaction], *, partial: bool = False) -> Request[Recorded]:
    """Record interactions, all or none, or with ``partial`` those that are right.

    An interaction without an event id gets one here, so that it counts once even if the response is
    lost and the request is sent again. Give event ids if your program may repeat the call.

    Args:
        interactions: mappings with "user", "item" and optionally "event", or a frame of pandas or
            polars with these columns.
        partial: leave out interactions with unknown items, and those whose event id was used for
            another user or item; the response names them.

    Raises:
        DataError: an interaction has other fields, or a value is no id.
        ServiceError: an item is unknown (422), an event id was used for another user or item
            (409), or the request fails.
    """
    rows = [
        _interaction(row, f"interactions[{n}]")
        for n, row in enumerate(json_rows(interactions, "interactions"))
    ]
    body = {"interactions": rows, "partial": json_option(partial, "partial", bool)}
    return Request("POST", "/v1/interactions", body=body)


def _names(columns: Sequence[str]) -> list[str]:
    if isinstance(columns, str):
        raise wrong("with_columns", columns, "a list of names of columns")
    return [json_option(name, f"with_columns[{n}]", str) for n, name in enumerate(columns)]


def _interaction(row: Any, name: str) -> dict[str, Any]:
    fields = ("user", "item", "event")
    if not isinstance(row, Mapping) or any(field not in fields for field in row):
        raise wrong(name, row, "a mapping with 'user', 'item', optionally 'event', and no others")
    event = json_value(row.get("event"), f"{name}['event']")
    return {
        "user": json_id(row.get("user"), f"{name}['user']"),
        "item": json_id(row.get("item"), f"{name}['item']"),
        "event": json_option(uuid.uuid4() if event is None else event, f"{name}['event']", str),
    }


def user(user: Id, *, with_columns: Sequence[str] = ()) -> Request[UserInfo]:
    """Look up a user's history: interactions of the training data and those recorded since.

    Args:
        user: id of the user.
        with_columns: names of columns of the items to return, such as "title".

    Raises:
        ServiceError: the user is unknown (404), or the request fails.
    """
    query = {"with": _names(with_columns)}
    return Request("GET", "/v1/users/{user}", json_id(user, "user"), query=query)


def erase_user(user: Id) -> Request[None]:
    """Erase all recorded interactions of a user for good.

    Args:
        user: id of the user.

    Raises:
        ServiceError: the user is unknown (404), or the request fails.
    """
    return Request("DELETE", "/v1/users/{user}", json_id(user, "user"))


def model() -> Request[ModelInfo]:
    """Describe the served model.

    Raises:
        ServiceError: the request fails.
    """
    return Request("GET", "/v1/model")


def status() -> Request[Status]:
    """Report the state of index, queue and store.

    Raises:
        ServiceError: the request fails.
    """
    return Request("GET", "/v1/status")


def keys() -> Request[list[KeyInfo]]:
    """List all keys, without their secrets.

    Raises:
        ServiceError: the request fails.
    """
    return Request("GET", "/v1/admin/keys")


def make_key(name: str, scope: Scope) -> Request[MadeKey]:
    """Make a key; its token is in this response only.

    The request is not sent again if its response is lost, as that could make a second key.

    Args:
        name: of the key's holder.
        scope: "read", "owner" (its own items), "interactions", "backend" (reads and writes
            everything but the training data) or "admin".

    Raises:
        ServiceError: the request fails.
    """
    body = {"name": json_option(name, "name", str), "scope": json_option(scope, "scope", str)}
    return Request("POST", "/v1/admin/keys", body=body, idempotent=False)


def revoke_key(key: str) -> Request[None]:
    """Revoke a key for good.

    Args:
        key: the "key" that ``keys`` lists, not the token.

    Raises:
        ServiceError: there is no such key (404), or the request fails.
    """
    return Request("DELETE", "/v1/admin/keys/{key}", json_option(key, "key", str))


def swap_model(folder: str) -> Request[Health]:
    """Serve another model, on every replica; "swapping" of ``model`` is None once it is served.

    The service tries the model before it answers; its answer may take half an hour, whatever the
    timeout of the client.

    Args:
        folder: of the model, below the service's ``models_folder``.

    Raises:
        ServiceError: no swap is allowed or the model is wrong (422), or the request fails.
    """
    body = {"folder": json_option(folder, "folder", str)}
    return Request("POST", "/v1/admin/model", body=body, min_timeout=_TRIAL_SECONDS)


def ready() -> Request[bool]:
    """Whether the service can make lists now; False if it does not answer. Sent only once.

    Raises:
        ServiceError: the response is an error other than status 503.
    """
    return Request("GET", "/health/ready", retried=False, parse=readiness_of)
