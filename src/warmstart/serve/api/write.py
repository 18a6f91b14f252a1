"""Write routes: items and interactions."""

import uuid

from anyio.to_thread import run_sync
from fastapi import APIRouter

from warmstart.serve.api.access import TheService, Writer
from warmstart.serve.api.convert import as_item, external_id, internal_name, internal_names
from warmstart.serve.api.invalid_requests import shown
from warmstart.serve.api.problems import Problem, error_responses
from warmstart.serve.api.read import ItemPath
from warmstart.serve.api.schemas import (
    ItemColumns,
    NewEvents,
    NewItem,
    NewItems,
    Recorded,
    WrittenItem,
    WrittenItems,
)
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.store import Event, Item

routes = APIRouter()
_BODY = error_responses(400, 413, 415, 422)


async def _write(
    service: Service, given: list[NewItem], owner: str, id_at: str, columns_at: str
) -> WrittenItems:
    """Store items; the pointers have "{}" for the position of each."""
    if len(given) > service.settings.max_items_per_request:
        allowed = f"one request may have at most {service.settings.max_items_per_request} items"
        raise Problem(422, allowed, pointer="#/items", seen=f"{len(given)} items")

    def work() -> WrittenItems:
        names = internal_names(service, [new.id for new in given], id_at)
        items = [
            as_item(service, name, dict(new.columns), owner, columns_at.format(position))
            for position, (name, new) in enumerate(zip(names, given, strict=True))
        ]
        outcomes, to_external = service.write_items(items), external_id(service)
        written = [
            WrittenItem(id=to_external(item.item), outcome=outcome)
            for item, outcome in zip(items, outcomes, strict=True)
        ]
        return WrittenItems(items=written, waiting=service.waiting)

    return await run_sync(work)


@routes.post("/items", status_code=202, responses=_BODY, tags=["items"])
async def write_items(body: NewItems, service: TheService, caller: Writer) -> WrittenItems:
    """Add or update items, all or none; unchanged items are left as they are.

    The response is sent once they are stored. They are recommended once they are encoded.
    """
    pointers = ("#/items/{}/id", "#/items/{}/columns")
    return await _write(service, body.items, caller.key, *pointers)


@routes.put("/items/{item:id}", status_code=202, responses=_BODY, tags=["items"])
async def write_item(
    item: ItemPath, body: ItemColumns, service: TheService, caller: Writer
) -> WrittenItems:
    """Add or update one item; the body may repeat its id, to have the type checked too."""
    name = internal_name(service, item, "path.item")
    if body.id is not None and internal_name(service, body.id, "#/id") != name:
        detail = f"got {shown(body.id)}; allowed: the id in the path, {shown(item)}"
        raise Problem(422, detail, pointer="#/id", seen=body.id)
    new = NewItem(id=name, columns=body.columns)
    return await _write(service, [new], caller.key, "path.item", "#/columns")


@routes.delete(
    "/items/{item:id}", status_code=204, responses=error_responses(404, 422), tags=["items"]
)
async def delete_item(item: ItemPath, service: TheService, caller: Writer) -> None:
    """Exclude an item from all lists; it may be an item of the training data."""
    name = internal_name(service, item, "path.item")

    def work() -> None:
        stored = service.store.item(name)
        if stored is None:
            if service.deployment.index.entry(name) is None:
                raise Problem(404, "no such item", pointer="path.item", seen=item)
            stored = Item(name, {}, "", "", caller.key)
        service.store.delete_item(stored)

    await run_sync(work)


@routes.post("/interactions", status_code=202, responses=_BODY, tags=["interactions"])
async def record(body: NewEvents, service: TheService, caller: Writer) -> Recorded:
    """Record interactions, all or none.

    They move cold items towards their observed scores and remove the items from the lists of their
    users. Every item must be in the training data or written before.
    """
    given, limit = body.interactions, service.settings.max_items_per_request
    if len(given) > limit:
        allowed = f"one request may have at most {limit} interactions"
        seen = f"{len(given)} interactions"
        raise Problem(422, allowed, pointer="#/interactions", seen=seen)

    def work() -> Recorded:
        at = "#/interactions/{}"
        users = internal_names(service, [e.user for e in given], f"{at}/user", "user")
        items = internal_names(service, [e.item for e in given], f"{at}/item")
        events = []
        for position, (new, user, name) in enumerate(zip(given, users, items, strict=True)):
            known = service.deployment.index.entry(name) is not None
            if not known and service.store.item(name) is None:
                pointer = f"{at}/item".format(position)
                raise Problem(422, "no such item", pointer=pointer, seen=new.item)
            events.append(Event(new.event or uuid.uuid4().hex, user, name, caller.key))
        return Recorded(new=service.store.record_events(events))

    return await run_sync(work)
