"""Write routes: items and interactions."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from warmstart.serve.api.access import GuardedRoute, MayErase, MayRecord, MayWrite, TheService
from warmstart.serve.api.convert import as_item, external_id, internal_name, internal_names
from warmstart.serve.api.invalid_requests import shown
from warmstart.serve.api.problems import FieldError, Problem, error_responses, field_error
from warmstart.serve.api.read import ItemPath, UserPath
from warmstart.serve.api.schemas import (
    ItemColumns,
    NewEvents,
    NewItem,
    NewItems,
    Recorded,
    WrittenItem,
    WrittenItems,
)
from warmstart.serve.api.threads import TheThreads, Threads
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.event_store import EventConflictError
from warmstart.serve.storage.keys import Caller
from warmstart.serve.storage.records import Event

routes = APIRouter(route_class=GuardedRoute)
_BODY = error_responses(400, 408, 413, 415, 422)
_ITEMS = _BODY | error_responses(507)
_ITEM_BYTES = 2**20  # of the body for one item


def _check_number(service: Service, number: int, name: str) -> None:
    allowed = service.settings.max_items_per_request
    if number > allowed:
        detail = f"one request may have at most {allowed} {name}"
        raise Problem(422, detail, pointer=f"#/{name}", seen=f"{number} {name}")


async def _write(
    service: Service,
    threads: Threads,
    given: list[NewItem],
    caller: Caller,
    id_at: str,
    columns_at: str,
) -> WrittenItems:
    """Store items; the pointers have "{}" for the position of each."""

    def work() -> WrittenItems:
        names = internal_names(service, [new.id for new in given], id_at)
        items = [
            as_item(service, name, dict(new.columns), caller.key, columns_at.format(position))
            for position, (name, new) in enumerate(zip(names, given, strict=True))
        ]
        outcomes = service.write_items(
            items, own_only=caller.is_owner, reserved=_reserved(service, names, caller)
        )
        to_external = external_id(service)
        written = [
            WrittenItem(id=to_external(item.item), outcome=outcome)
            for item, outcome in zip(items, outcomes, strict=True)
        ]
        return WrittenItems(items=written, waiting=service.waiting)

    return await threads.store.run(work)


def _reserved(service: Service, names: Sequence[str], caller: Caller) -> list[str]:
    """Those items that the caller may change only if somebody wrote them before."""
    if caller.may("admin"):
        return []
    return [name for name in names if service.deployment.index.is_trained(name)]


@routes.post("/items", status_code=202, responses=_ITEMS, tags=["items"])
async def write_items(
    body: NewItems, service: TheService, threads: TheThreads, caller: MayWrite
) -> WrittenItems:
    """Add or update items, all or none; unchanged items are left as they are.

    The response is sent once they are stored. They are recommended once they are encoded. A key of
    scope owner may write new items and its own; those of the training data need scope admin.
    """
    _check_number(service, len(body.items), "items")
    pointers = ("#/items/{}/id", "#/items/{}/columns")
    return await _write(service, threads, body.items, caller, *pointers)


@routes.put(
    "/items/{item:id}", status_code=202, responses=_ITEMS, tags=["items"], max_body_size=_ITEM_BYTES
)
async def write_item(
    item: ItemPath, body: ItemColumns, service: TheService, threads: TheThreads, caller: MayWrite
) -> WrittenItems:
    """Add or update one item; the body may repeat its id, to have the type checked too."""
    name = internal_name(service, item, "path.item")
    if body.id is not None and internal_name(service, body.id, "#/id") != name:
        detail = f"got {shown(body.id)}; allowed: the id in the path, {shown(item)}"
        raise Problem(422, detail, pointer="#/id", seen=body.id)
    new = NewItem(id=name, columns=body.columns)
    return await _write(service, threads, [new], caller, "path.item", "#/columns")


@routes.delete(
    "/items/{item:id}", status_code=204, responses=error_responses(404, 422), tags=["items"]
)
async def delete_item(
    item: ItemPath, service: TheService, threads: TheThreads, caller: MayWrite
) -> None:
    """Exclude an item from all lists, and erase its columns and text for good.

    Its id stays with its owner. An item of the training data needs scope admin.
    """
    name = internal_name(service, item, "path.item")

    def work() -> None:
        known = service.deployment.index.entry(name) is not None
        if not known and service.store.items.get(name) is None:
            raise Problem(404, "no such item", pointer="path.item", seen=item)
        reserved = _reserved(service, [name], caller)
        service.store.items.delete(name, caller.key, own_only=caller.is_owner, reserved=reserved)

    await threads.store.run(work)


@routes.post(
    "/interactions",
    status_code=202,
    responses=_BODY | error_responses(409),
    tags=["interactions"],
)
async def record(
    body: NewEvents, service: TheService, threads: TheThreads, caller: MayRecord
) -> Recorded:
    """Record interactions, all or none, or with ``partial`` those that are right.

    They move cold items towards their observed scores and remove the items from the lists of their
    users. Every item must be in the training data or written before. An event id of the same key
    that was used for another user or item is refused.
    """
    given = body.interactions
    _check_number(service, len(given), "interactions")

    def work() -> Recorded:
        at = "#/interactions/{}"
        users = internal_names(service, [e.user for e in given], f"{at}/user", "user")
        items = internal_names(service, [e.item for e in given], f"{at}/item")
        index = service.deployment.index
        unknown = [name for name in dict.fromkeys(items) if index.entry(name) is None]
        missing = {*unknown} - service.store.items.known(unknown)
        refused: dict[int, tuple[str, str, Any]] = {}
        events: dict[int, Event] = {}
        for position, (new, user, name) in enumerate(zip(given, users, items, strict=True)):
            if name in missing:
                refused[position] = ("item", "no such item", new.item)
            else:
                event = Event(new.event or uuid.uuid4().hex, user, name, caller.key)
                events[position] = event
        if refused and not body.partial:
            raise _problem(422, refused)
        try:
            found = service.store.events.record([*events.values()], skip_conflicts=body.partial)
        except EventConflictError as error:
            position = [*events][error.position]
            raise _problem(409, {position: _conflict(error.event)}) from None
        positions = [*events]
        refused |= {positions[n]: _conflict(events[positions[n]]) for n in found.conflicts}
        errors = [
            FieldError(**field_error(f"{at}/{field}".format(position), detail, seen))
            for position, (field, detail, seen) in sorted(refused.items())
        ]
        return Recorded(new=found.new, refused=errors)

    return await threads.store.run(work)


def _conflict(event: Event) -> tuple[str, str, Any]:
    return "event", "this event id of your key was used for another user or item", event.event


def _problem(status: int, refused: Mapping[int, tuple[str, str, Any]]) -> Problem:
    position, (field, detail, seen) = min(refused.items())
    return Problem(status, detail, pointer=f"#/interactions/{position}/{field}", seen=seen)


@routes.delete(
    "/users/{user:id}", status_code=204, responses=error_responses(404, 422), tags=["users"]
)
async def erase_user(user: UserPath, service: TheService, threads: TheThreads, _: MayErase) -> None:
    """Erase all recorded interactions of a user for good.

    What the model learned of a user in the training data ends with the next fit without them.
    """
    name = internal_name(service, user, "path.user", "user")

    def work() -> None:
        known = service.deployment.index.knows_user(name)
        if not service.store.events.erase(name) and not known:
            raise Problem(404, "no such user", pointer="path.user", seen=user)

    await threads.store.run(work)
