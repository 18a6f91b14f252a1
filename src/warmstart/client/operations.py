"""Every operation of the service: what it is called, what it takes, what it gives.

Each function makes the request; ``clients`` makes a method of each, sync and async.
"""

import operator
import uuid
from collections.abc import Iterable, Mapping

from warmstart.client.request import Request
from warmstart.client.responses import (
    Health,
    Id,
    Interaction,
    ItemInfo,
    ItemList,
    KeyInfo,
    MadeKey,
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


def write_items(
    items: Mapping[str, Mapping[str, Value]] | Mapping[int, Mapping[str, Value]],
) -> Request[WrittenItems]:
    """Add or update items, all or none; they are recommended a moment later.

    Args:
        items: from the id to the columns: title, text, ... as in the training data.

    Returns:
        What became of each. One that was written before with the same columns is "unchanged".

    Raises:
        ServiceError: see there.
    """
    rows = [{"id": _id(item), "columns": dict(columns)} for item, columns in items.items()]
    return Request("POST", "/v1/items", body={"items": rows})


def write_item(item: Id, columns: Mapping[str, Value]) -> Request[WrittenItems]:
    """Add or update one item.

    Args:
        item: its id.
        columns: title, text, ... as in the training data.

    Returns:
        What became of it.

    Raises:
        ServiceError: see there.
    """
    return Request("PUT", "/v1/items/{item}", _id(item), body={"columns": dict(columns)})


def delete_item(item: Id) -> Request[None]:
    """Recommend an item no more, be it written or of the training data.

    Args:
        item: its id.

    Raises:
        ServiceError: there is none (404), and see there.
    """
    return Request("DELETE", "/v1/items/{item}", _id(item))


def item(item: Id) -> Request[ItemInfo]:
    """An item as it stands: its state, its clicks, who it was simulated to interest.

    Args:
        item: its id.

    Raises:
        ServiceError: there is none (404), and see there.
    """
    return Request("GET", "/v1/items/{item}", _id(item))


def items(*, limit: int = 100, offset: int = 0) -> Request[ItemList]:
    """Items that were written, the newest first.

    Args:
        limit: how many.
        offset: how many to leave out at the beginning.

    Raises:
        ServiceError: see there.
    """
    return Request("GET", "/v1/items", query={"limit": limit, "offset": offset})


def similar(item: Id, *, k: int = 10) -> Request[Similar]:
    """Items whose texts are most like this one's.

    Args:
        item: its id.
        k: how many.

    Raises:
        ServiceError: there is none (404), and see there.
    """
    return Request("GET", "/v1/similar/{item}", _id(item), query={"k": k})


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
) -> Request[Recommendations]:
    """The best items for a user, or for a history of a user that the model does not know.

    Args:
        user: their id; or
        history: ids of items they have interacted with.
        k: length of the list.
        exclude_seen: leave out what they have interacted with.
        allow: only these items may come.
        deny: these may not.
        cold_share_min: share of the list that cold items have at least, where there are so many.
        cold_share_max: and at most.
        explain: say why.

    Raises:
        ServiceError: nothing is known of the user, or of the history (404), and see there.
    """
    body = {
        "user": None if user is None else _id(user),
        "history": None if history is None else _ids(history),
        "k": k,
        "exclude_seen": exclude_seen,
        "allow": None if allow is None else _ids(allow),
        "deny": _ids(deny),
        "cold_share_min": cold_share_min,
        "cold_share_max": cold_share_max,
        "explain": explain,
    }
    given = {name: value for name, value in body.items() if value is not None}
    return Request("POST", "/v1/recommend", body=given)


def simulate(columns: Mapping[str, Value], *, k: int = 20) -> Request[Simulation]:
    """Whom a text would interest, were it an item; nothing is stored.

    Args:
        columns: title, text, ... as in the training data.
        k: how many users.

    Raises:
        ServiceError: see there.
    """
    return Request("POST", "/v1/simulate", body={"columns": dict(columns), "k": k})


def record(interactions: Iterable[Interaction]) -> Request[Recorded]:
    """Record interactions, all or none.

    One without an event id gets one here, so that it counts once even where the answer is lost and
    the request is sent again. Give ids of your own where your program may send it again.

    Args:
        interactions: "user", "item" and perhaps "event" of each.

    Raises:
        ServiceError: an item is not known (422), and see there.
    """
    rows = [
        {
            "user": _id(one["user"]),
            "item": _id(one["item"]),
            "event": one.get("event") or uuid.uuid4().hex,
        }
        for one in interactions
    ]
    return Request("POST", "/v1/interactions", body={"interactions": rows})


def user(user: Id) -> Request[UserInfo]:
    """A user's history, as trained on and as recorded since.

    Args:
        user: their id.

    Raises:
        ServiceError: nothing is known of them (404), and see there.
    """
    return Request("GET", "/v1/users/{user}", _id(user))


def model() -> Request[ModelInfo]:
    """The model that is served.

    Raises:
        ServiceError: see there.
    """
    return Request("GET", "/v1/model")


def status() -> Request[Status]:
    """Health of index and queue.

    Raises:
        ServiceError: see there.
    """
    return Request("GET", "/v1/status")


def keys() -> Request[list[KeyInfo]]:
    """All keys, without their secrets.

    Raises:
        ServiceError: see there.
    """
    return Request("GET", "/v1/admin/keys")


def make_key(name: str, scope: Scope) -> Request[MadeKey]:
    """Make a key; its token is given this once.

    It is not tried again where the answer is lost, as a second key might come of it.

    Args:
        name: who holds it.
        scope: "read", "write" (and read) or "admin" (all).

    Raises:
        ServiceError: see there.
    """
    return Request("POST", "/v1/admin/keys", body={"name": name, "scope": scope}, again=False)


def revoke_key(key: str) -> Request[None]:
    """Let a key open nothing any more.

    Args:
        key: its name as ``keys`` gives it, not the token.

    Raises:
        ServiceError: there is none (404), and see there.
    """
    return Request("DELETE", "/v1/admin/keys/{key}", key)


def swap_model(folder: str) -> Request[Health]:
    """Serve another model, on every replica; ``model`` tells when it has come.

    Args:
        folder: below the service's folder of models.

    Raises:
        ServiceError: it may not be, or there is none (422), and see there.
    """
    return Request("POST", "/v1/admin/model", body={"folder": folder})


def ready() -> Request[bool]:
    """Whether the service can make lists now; asked once.

    Raises:
        ServiceError: nothing answers.
    """
    return Request("GET", "/health/ready", again=False, read=lambda answer: answer.is_success)


def _id(given: Id) -> Id:
    """A string, or a plain integer of whatever integer it is (numpy's are no JSON)."""
    return given if isinstance(given, str) else operator.index(given)


def _ids(given: Iterable[Id]) -> list[Id]:
    return [_id(one) for one in given]
